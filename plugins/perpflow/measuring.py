"""What a stream measures of itself: rates and lags of the last seconds, counts since its beginning."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from perpflow.arrivals import Inbox
from perpflow.exchange.feed import Feed
from perpflow.keeping import Keeper
from perpflow.store.latest import Latest
from perpflow.store.stream_measures import StreamMeasures
from perpflow.windows import to_ms

#: Writes whose lags are remembered.
WRITES = 2_000


class Measuring:
    """Measures one stream.

    Args:
        holder: for people, of the lease: host, process, run.
    """

    def __init__(self, holder: str) -> None:
        self._holder = holder
        self._began_at = _now_ms()
        self._taken_at = time.monotonic()
        self._frames = Counter[str]()
        self._ahead_ms = 0
        self._lags: deque[int] = deque(maxlen=WRITES)
        self._write_lags: deque[int] = deque(maxlen=WRITES)

    def set_clock(self, exchange_now: datetime) -> None:
        """By the exchange's clock it is now so late."""
        self._ahead_ms = to_ms(exchange_now) - to_ms(datetime.now(UTC))

    def wrote(self, values: Iterable[Latest]) -> None:
        """These have just been written; open interest, which is looked up, says nothing about streams."""
        streamed = [group for value in values for group in (value.price, value.mark) if group is not None]
        if streamed:
            now = _now_ms()
            self._lags.append(now + self._ahead_ms - min(group.at for group in streamed))
            self._write_lags.append(now - min(group.received_at for group in streamed))

    def take(self, feeds: Sequence[Feed], inbox: Inbox, keeper: Keeper) -> StreamMeasures:
        """How it has been since the last time."""
        now = time.monotonic()
        frames = Counter[str]()
        for feed in feeds:
            frames.update(feed.measures.frames)
        elapsed_s = max(now - self._taken_at, 0.001)
        per_s = {
            kind or "other": round((number - self._frames[kind]) / elapsed_s, 1)
            for kind, number in frames.items()
            if kind or number
        }
        lag_ms, write_ms = _median_and_95th(self._lags), _median_and_95th(self._write_lags)
        self._frames, self._taken_at = frames, now
        self._lags.clear()
        self._write_lags.clear()
        return StreamMeasures(
            holder=self._holder,
            at=_now_ms(),
            began_at=self._began_at,
            frames_per_s=per_s,
            lag_ms=lag_ms,
            write_ms=write_ms,
            connections=sum(feed.live.is_set() for feed in feeds),
            reconnects=sum(feed.measures.failures for feed in feeds),
            stalls=sum(feed.measures.stalls for feed in feeds),
            dropped=inbox.dropped,
            waiting=len(inbox),
            liquidations=keeper.kept,
            liquidations_waiting=keeper.waiting,
            last_error=next((feed.measures.last_error for feed in feeds if feed.measures.last_error), ""),
        )


def _median_and_95th(values: Iterable[int]) -> tuple[float, float] | None:
    ordered = sorted(values)
    if not ordered:
        return None
    return float(ordered[len(ordered) // 2]), float(ordered[int(0.95 * len(ordered))])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
