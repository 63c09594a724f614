"""Which minutes liquidations were listened to, and which not: what was not heard then nobody can give any more.

The ledger says in the exchange's event time when somebody listened. An event is told a second or so after its trade, so
that of a minute, which is one of trades, everything was heard where somebody listened until two seconds after its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from perpflow.batches import ALL_CONTRACTS
from perpflow.datasets import LIQUIDATIONS
from perpflow.store import ledger
from perpflow.store.database import Connection
from perpflow.windows import TIMEFRAMES, Window, merge, subtract

MINUTE = TIMEFRAMES["1m"]
#: An event is told so long after its trade, at most.
TOLD_WITHIN = timedelta(seconds=2)
#: What was listened to is in the ledger no sooner, however often it is drained.
SETTLES_AFTER = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class ListeningSummary:
    """The whole minutes that were looked at, and the stretches among them that were not listened to, ascending.

    `window` is empty where there was no whole minute.
    """

    window: Window
    silent: tuple[Window, ...]

    @property
    def minutes(self) -> int:
        """How many minutes were looked at."""
        return MINUTE.count(self.window)

    @property
    def heard(self) -> int:
        """How many of them were listened to from beginning to end."""
        return self.minutes - sum(MINUTE.count(stretch) for stretch in self.silent)


def summarise(listened: Iterable[Window], window: Window) -> ListeningSummary:
    """The whole minutes of `window` (trade time) against the times of listening (event time)."""
    start = MINUTE.ceil(window.start)
    looked_at = Window(start, max(MINUTE.floor(window.end), start))
    heard = [
        Window(first, last)
        for stretch in merge(listened)
        if (first := MINUTE.ceil(stretch.start)) < (last := MINUTE.floor(stretch.end - TOLD_WITHIN))
    ]
    return ListeningSummary(looked_at, tuple(subtract([looked_at], heard)))


def read_listening(connection: Connection) -> list[Window]:
    """When liquidations were listened to, as the ledger has it; ascending, empty where nobody ever has."""
    rows = ledger.read(connection, (LIQUIDATIONS.name,), (ALL_CONTRACTS,))
    return rows[0].listening if rows else []


def since_first(
    listened: list[Window], *, now: datetime, at_most: timedelta | None = None, waits: timedelta = timedelta(0)
) -> ListeningSummary | None:
    """The minutes from the first time that anybody listened to what the ledger must know by now; None without any.

    Args:
        listened: ascending.
        now: on the exchange's clock.
        at_most: no further back than so long before now.
        waits: for how long the oldest has waited that is to be drained: of the time since then not all is known.
    """
    if not listened:
        return None
    begins = listened[0].start if at_most is None else max(listened[0].start, now - at_most)
    ends = now - max(SETTLES_AFTER, waits)
    return summarise(listened, Window(begins, max(begins, ends)))
