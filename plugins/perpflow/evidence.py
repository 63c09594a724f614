"""What an attempt has seen, and what that proves: which windows are whole, and which holes are the exchange's own.

A file or an answer proves something about a window only if it could not look the same with a row missing: labels on a
grid are counted, settlements are held against the interval that the archive names beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from perpflow.datasets import DATASETS
from perpflow.exchange.archive import FetchedObject
from perpflow.specs import LoadedSpec
from perpflow.store.ledger import Answered, SeriesKey
from perpflow.store.loader import Origin
from perpflow.windows import LATEST_MS, MILLISECOND, Timeframe, Window, from_ms, intersect, merge


@dataclass(slots=True)
class Evidence:
    """What an attempt read and asked: origins by number, objects, and answers by dataset and series.

    `unknown` are the series whose symbol REST no longer knows: it has answered, and can have nothing.
    """

    origins: list[Origin] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)
    archive: dict[tuple[str, SeriesKey], list[Window]] = field(default_factory=dict)
    rest: dict[tuple[str, SeriesKey], list[Window]] = field(default_factory=dict)
    whole: dict[tuple[str, SeriesKey], list[Window]] = field(default_factory=dict)
    unknown: set[tuple[str, SeriesKey]] = field(default_factory=set)

    def number(self, origin: Origin) -> int:
        """Register an origin; returns its number in staging."""
        self.origins.append(origin)
        return len(self.origins) - 1

    def answered(self, dataset: str, key: SeriesKey) -> Answered:
        """By any source in full, and by every source that there is; the latter by whole points of the series' grid."""
        grid = DATASETS[dataset].instants_of(key[1])
        both = intersect(self.archive.get((dataset, key), []), self.rest.get((dataset, key), []))
        if grid is not None:
            both = [points for window in both if (points := grid.points_window(window))]
        return Answered(by_any=merge(self.whole.get((dataset, key), [])), by_all=both)


def regular_window(labels: npt.NDArray[np.bytes_] | None, period: Window, timeframe: Timeframe) -> Window | None:
    """What an object covers whose labels (milliseconds) are one step of the grid apart, all of them inside its period.

    Most files are like that, and their rows need not be sorted and counted in the database to know it. Only for rows
    that are stored at the time of their label: two that are put on a grid may meet there. Months have no fixed step.
    """
    if labels is None or timeframe.length is None or not all(label.isdigit() for label in (labels[0], labels[-1])):
        return None
    try:
        instants = labels.astype(np.int64)
        first, last = from_ms(int(instants[0])), from_ms(int(instants[-1]))
    except (ValueError, OverflowError):
        return None
    held = Window(first, timeframe.after(last)) if first <= last else None
    steady = (np.diff(instants) == timeframe.length // MILLISECOND).all()
    inside = held is not None and timeframe.floor(first) == first and held.intersect(period) == held
    return held if steady and inside else None


def unbroken_windows(fetched: FetchedObject, spec: LoadedSpec, grid: Timeframe) -> list[Window]:
    """The parts of an object's period in which its rows are as far apart as the intervals beside them say.

    Where an interval changes, either of two neighbours may name the one between them: the shorter one proves. What lies
    between rows that are further apart is not proven: a row may be missing there. At the edges of the period there is
    one neighbour only, and its word is taken.
    """
    rows = sorted(settlements(fetched, spec))
    if not rows:
        return []
    period = fetched.object.period
    (first, interval), (last, to_come) = rows[0], rows[-1]
    proven = [Window(instant, grid.after(instant)) for instant, _ in rows]
    proven += [
        Window(before, after)
        for (before, named), (after, named_next) in pairwise(rows)
        if after - before <= min(named, named_next)
    ]
    if first - interval < period.start < first:
        proven.append(Window(period.start, first))
    if last < period.end <= last + to_come:
        proven.append(Window(last, period.end))
    return intersect([period], proven)


#: Far above any funding interval: a number beyond it is none.
LONGEST_INTERVAL_H = 24 * 7
#: As many as an unsigned number of 64 bits may have.
MOST_DIGITS = 20


def settlements(fetched: FetchedObject, spec: LoadedSpec) -> Iterator[tuple[Any, timedelta]]:
    """Instant, on the grid, and interval of each row that can be read; the others are the gate's business."""
    assert spec.archive.interval_column is not None
    assert spec.settles_on is not None
    at = spec.archive.columns.index(spec.archive.interval_column)
    for line in fetched.csv.split(b"\n"):
        fields = line.split(b",")
        if len(fields) <= at:
            continue
        instant, hours = _number(fields[0], LATEST_MS), _number(fields[at], LONGEST_INTERVAL_H)
        if instant is not None and hours is not None:
            yield spec.settles_on.snap(from_ms(instant), spec.tolerance), timedelta(hours=hours)


def _number(text: bytes, most: int) -> int | None:
    """A whole number that is not above `most`; None for anything else."""
    # Of digits by the thousand Python makes no number, but a ValueError.
    number = int(text) if text.isdigit() and len(text) <= MOST_DIGITS else None
    return number if number is not None and number <= most else None
