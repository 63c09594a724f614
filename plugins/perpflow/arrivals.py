"""Frames that have arrived, and the newest values in them: where many come for one contract, the last one counts."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from perpflow import frames
from perpflow.counters import COUNTS
from perpflow.errors import StructurallyBad
from perpflow.exchange.listing import is_delivery
from perpflow.exchange.live import Received
from perpflow.store.latest import LastPrice, Latest, Mark

log = logging.getLogger(__name__)

#: As many frames may wait for the writer; beyond that the oldest ones go, whose values newer ones have replaced.
MOST_WAITING = 50_000


class Inbox:
    """Frames on their way from the receiving threads to the event loop. `dropped` counts those that found no room."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self.dropped = 0
        self._reported = 0
        self._waiting: deque[tuple[bytes, int]] = deque(maxlen=most)
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._told = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, received: Received) -> None:
        """Called by receiving threads."""
        if len(self._waiting) == self._waiting.maxlen:
            self.dropped += 1
        self._waiting.append((received.frame, received.received_ms))
        self._tell()

    async def take(self) -> list[tuple[bytes, int]]:
        """All that has come, as soon as anything has."""
        await self._news.wait()
        self._news.clear()
        self._told = False
        if self.dropped > self._reported:
            COUNTS.count("stream.dropped", self.dropped - self._reported)
            log.warning(
                "%d frames came faster than they could be read, and were dropped.", self.dropped - self._reported
            )
            self._reported = self.dropped
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self._loop.call_soon_threadsafe(self._news.set)


@dataclass(frozen=True, slots=True)
class News:
    """The newest values by unified symbol, the exchange's names of USD-M contracts that nobody knows, and what is wrong
    with the rest.
    """

    values: dict[str, Latest] = field(default_factory=dict)
    strangers: set[str] = field(default_factory=set)
    unreadable: list[str] = field(default_factory=list)


def newest(waiting: Iterable[tuple[bytes, int]], symbols: Mapping[str, str]) -> News:
    """The newest value of each kind and contract in some frames.

    Args:
        waiting: frames with the instants of their receipt (ms UTC).
        symbols: unified symbols of USD-M perpetuals by the exchange's names; what is not among them is left out: COIN-M
            and delivery contracts come in the same frames.
    """
    news = News()
    for raw, received_ms in waiting:
        try:
            frame = frames.decode(raw)
        except StructurallyBad as error:
            news.unreadable.append(str(error))
            continue
        news.unreadable.extend(f"{frame.stream}: {reason}" for reason in frame.unreadable)
        for event in frame.events:
            symbol = symbols.get(event.exchange_symbol)
            if event.market != frames.USD_M:
                continue
            if symbol is not None:
                known = news.values.get(symbol) or Latest(symbol)
                news.values[symbol] = _merged(known, event, received_ms)
            elif not is_delivery(event.exchange_symbol):
                news.strangers.add(event.exchange_symbol)
    return news


def united(known: Mapping[str, Latest], news: Mapping[str, Latest]) -> dict[str, Latest]:
    """Both; of each group of values the newer."""
    return {**known, **{symbol: _newer(known.get(symbol), value) for symbol, value in news.items()}}


def _merged(known: Latest, event: frames.Event, received_ms: int) -> Latest:
    price, mark = known.price, known.mark
    if isinstance(event, frames.MarkPrice):
        if mark is None or mark.at <= event.event_ms:
            mark = Mark(
                event.event_ms,
                received_ms,
                event.mark_price,
                event.index_price,
                event.next_funding_ms,
                frames.funding_of(event),
            )
    elif isinstance(event, frames.AggTrade | frames.Ticker) and (price is None or price.at <= event.event_ms):
        price = LastPrice(event.event_ms, received_ms, event.price)
    return Latest(known.symbol, price, mark, known.open_interest)


def _newer(known: Latest | None, news: Latest) -> Latest:
    if known is None:
        return news
    price = max(filter(None, (known.price, news.price)), key=lambda value: value.at, default=None)
    mark = max(filter(None, (known.mark, news.mark)), key=lambda value: value.at, default=None)
    interest = max(filter(None, (known.open_interest, news.open_interest)), key=lambda value: value.at, default=None)
    return Latest(news.symbol, price, mark, interest)
