"""How complete everything is, by the ledger alone: how many of a series' points are there, and why the rest is not.

One scan of the ledger for the whole universe. `python -m perpflow coverage` looks closer: it counts the rows of the
fact tables, and tells a hole that nobody has asked for from one that a file may still fill. Here both are missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce

import numpy
from numpy.typing import NDArray

from perpflow.coverage_summary import expected_window
from perpflow.datasets import DATASETS
from perpflow.settings import Collection
from perpflow.store import ledger
from perpflow.store.database import Connection
from perpflow.symbols import known_contracts
from perpflow.windows import DAY, Window, intersect, months, start_of_day, subtract
from perpflow.windows import days as days_of

#: As long as a history is shown day by day; beyond, month by month. More columns one could hardly tell apart.
MOST_DAYS = 190
#: What is seen day by day beside a history of months.
RECENT_DAYS = 31

Seconds = NDArray[numpy.float64]


@dataclass(frozen=True, slots=True)
class Points:
    """How many points there should be, and what has become of them.

    `absent`: no source has them. Of datasets without a grid (funding) these are hours that a source has answered for.
    """

    expected: int = 0
    present: int = 0
    absent: int = 0
    quarantined: int = 0

    def __add__(self, other: Points) -> Points:
        return Points(
            self.expected + other.expected,
            self.present + other.present,
            self.absent + other.absent,
            self.quarantined + other.quarantined,
        )

    @property
    def missing(self) -> int:
        """What is neither there nor explained."""
        return self.expected - self.present - self.absent - self.quarantined

    @property
    def obtainable(self) -> int:
        """What the exchange has."""
        return self.expected - self.absent

    @property
    def share(self) -> float:
        """Of what the exchange has, the part that is here; 1 where it has nothing."""
        return self.present / self.obtainable if self.obtainable else 1.0


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its points, and where they are.

    `life` is what it should hold, None where no source has anything; the other windows lie inside it.
    """

    dataset: str
    symbol: str
    name: str
    points: Points
    life: Window | None
    present: list[Window]
    absent: list[Window]
    quarantined: list[Window]

    @property
    def missing(self) -> list[Window]:
        """Where its holes are; ascending."""
        return subtract([self.life] if self.life else [], [*self.present, *self.absent, *self.quarantined])


def read_series(connection: Connection, collection: Collection, now: datetime) -> list[Series]:
    """Every series of the ledger from the configured start to what had settled by `now`, the exchange's clock."""
    found = []
    collected = collection.collected(known_contracts(connection).values())
    for row in ledger.read(connection, tuple(DATASETS)):
        spec = DATASETS[row.dataset]
        start, is_collected = collection.start_of(row.dataset), row.symbol in collected
        life = expected_window(spec, row, start, now, is_collected)
        within = [life] if life else []
        parts = [intersect(within, windows) for windows in (row.present, row.missing_upstream, row.quarantined)]
        grid = spec.instants_of(row.series)
        assert grid is not None, "what has no grid of its own settles on one"
        counts = [sum(map(grid.count, windows)) for windows in (within, *parts)]
        found.append(Series(row.dataset, row.symbol, row.series, Points(*counts), life, *parts))
    return found


def total(series: Iterable[Series]) -> Points:
    """All of their points."""
    return reduce(Points.__add__, (one.points for one in series), Points())


# --- over time


@dataclass(frozen=True, slots=True)
class Cells:
    """Some series over time, in seconds of each cell: an array for each of what may be of an instant."""

    life: Seconds
    present: Seconds
    absent: Seconds
    quarantined: Seconds

    @property
    def missing(self) -> Seconds:
        """What is neither there nor explained."""
        left: Seconds = numpy.maximum(self.life - self.present - self.absent - self.quarantined, 0.0)
        return left


def edges_by_day(span: Window) -> list[datetime]:
    """The midnights around the days of a span."""
    return _edges(days_of(span))


def edges_by_month(span: Window) -> list[datetime]:
    """The beginnings of the months around a span."""
    return _edges(months(span))


def _edges(windows: Iterator[Window]) -> list[datetime]:
    cut = list(windows)
    return [window.start for window in cut] + [window.end for window in cut[-1:]]


def axes(series: Iterable[Series]) -> list[list[datetime]]:
    """The edges of cells to show: the whole time by day; where that is too long, by month and its last days by day."""
    lives = [one.life for one in series if one.life]
    if not lives:
        return []
    whole = Window(min(life.start for life in lives), max(life.end for life in lives))
    if whole.length <= MOST_DAYS * DAY:
        return [edges_by_day(whole)]
    recent = Window(start_of_day(whole.end - timedelta(days=RECENT_DAYS - 1)), whole.end)
    return [edges_by_month(whole), edges_by_day(recent)]


def cells(series: Iterable[Series], edges: list[datetime]) -> Cells:
    """Some series together, cut at `edges`."""
    at = numpy.array([edge.timestamp() for edge in edges])
    life, present, absent, quarantined = (numpy.zeros(len(edges) - 1) for _ in range(4))
    for one in series:
        life += _seconds([one.life] if one.life else [], at)
        present += _seconds(one.present, at)
        absent += _seconds(one.absent, at)
        quarantined += _seconds(one.quarantined, at)
    return Cells(life, present, absent, quarantined)


def _seconds(windows: list[Window], edges: Seconds) -> Seconds:
    """How many seconds of the windows lie in each cell between two edges."""
    if not windows:
        return numpy.zeros(len(edges) - 1)
    starts = numpy.array([window.start.timestamp() for window in windows])[:, None]
    lengths = numpy.array([window.length.total_seconds() for window in windows])[:, None]
    before: Seconds = numpy.clip(edges[None, :] - starts, 0.0, lengths).sum(axis=0)
    return numpy.diff(before)
