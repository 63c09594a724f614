"""Whether a file's rows are labelled with the start or the end of their five minutes. Pure: no clock, no I/O.

The archive's metrics come in generations. Some label a row with its instant (00:00 ... 23:55 of the file's day), as
REST does, others with the end of the five minutes that begin there (00:05 ... 00:00 of the next day); a file that is
issued again may be of either. Two witnesses are heard. The labels: only the one generation has a row at the day's
00:00, only the other one at the next day's. The prices: a row's value over its amount is the price at its instant,
which is where the candle opens that begins then. A file of which neither can tell, or about which they contradict each
other or themselves, is ambiguous, and nobody guesses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from perpflow.exchange.archive import FetchedObject
from perpflow.parsing import instants, numbers, relabelled
from perpflow.specs import LoadedSpec
from perpflow.windows import Timeframe, Window, to_ms

Alignment = Literal["start", "end"]
Seconds = npt.NDArray[np.int64]
Prices = npt.NDArray[np.float64]

#: Prices speak where their median distance (of logarithms) from the one candle is less than half that from the other,
#: over at least two hours of rows. The price that a row implies is not quite that of the last trade; simulated with
#: heavy-tailed moves, 24 rows and a factor of two err once in 2,000 files where that difference is twice the usual move
#: of five minutes, once in 50,000 where it is half of it, and it is a small part of it on real markets.
LEAST_ROWS = 24
CLEARLY = 2.0


@dataclass(frozen=True, slots=True)
class Opens:
    """Opening prices on a grid: `prices[n]` is that of the candle at `first + n * step` (seconds), NaN without one."""

    first: int
    step: int
    prices: Prices

    def at(self, moments: Seconds) -> Prices:
        """The prices at these points of the grid, NaN where none is known."""
        slots = (moments - self.first) // self.step
        known = (slots >= 0) & (slots < len(self.prices))
        return np.where(known, self.prices[np.clip(slots, 0, len(self.prices) - 1)], np.nan)

    def reach(self, window: Window) -> bool:
        """Whether any price of the window is known."""
        points = np.arange(_seconds(window.start), _seconds(window.end), self.step, dtype=np.int64)
        return bool(np.isfinite(self.at(points)).any())


@dataclass(frozen=True, slots=True)
class Statement:
    """What a witness says about a file: one of the alignments, none, or both, which is as good as none; and why."""

    says: frozenset[Alignment]
    because: str

    @property
    def alignment(self) -> Alignment | None:
        """What it comes to; None where it is ambiguous."""
        return next(iter(self.says)) if len(self.says) == 1 else None

    def __or__(self, other: Statement) -> Statement:
        return Statement(self.says | other.says, f"{self.because}; {other.because}")


def opens_of(fetched: FetchedObject, spec: LoadedSpec, timeframe: Timeframe) -> Opens:
    """The opening prices of a file of candles over its whole period.

    Raises:
        StructurallyBad: its rows are no candles.
    """
    assert timeframe.length is not None
    period, step = fetched.object.period, int(timeframe.length.total_seconds())
    opens = Opens(_seconds(period.start), step, np.full(timeframe.count(period), np.nan))
    if fetched.rows:
        names = spec.archive.columns
        times, prices = numbers(fetched.csv, len(names), 0, names.index("open"))
        slots = (times / 1000 - opens.first) / step
        known = (slots == np.round(slots)) & (slots >= 0) & (slots < len(opens.prices))
        opens.prices[slots[known].astype(np.int64)] = prices[known]
    return opens


def hear(fetched: FetchedObject, spec: LoadedSpec, opens: Opens | None) -> Statement:
    """What labels and prices together say about a file that has rows.

    Raises:
        StructurallyBad: its labels are no instants, or its rows do not have the dataset's columns.
    """
    assert spec.grid is not None
    assert spec.grid.length is not None
    step, tolerance = int(spec.grid.length.total_seconds()), int(spec.tolerance.total_seconds())
    labels = instants(fetched.csv).astype(np.int64)
    points = (labels + step // 2) // step * step
    on_grid = abs(labels - points) <= tolerance
    heard = labels_say(labels, points[on_grid], fetched.object.period)
    return heard | prices_say(points[on_grid], _implied_prices(fetched, spec)[on_grid], opens, step)


def labels_say(labels: Seconds, points: Seconds, period: Window) -> Statement:
    """What a file's labels say; `points` are those that lie close to the grid, put on it. In any order."""
    edges: tuple[tuple[Alignment, int], ...] = (("start", _seconds(period.start)), ("end", _seconds(period.end)))
    says = frozenset(alignment for alignment, edge in edges if (points == edge).any())
    return Statement(says, f"labels lie between {_text(labels.min())} and {_text(labels.max())}")


def prices_say(points: Seconds, implied: Prices, opens: Opens | None, step: int) -> Statement:
    """What the prices that rows imply say about their labels, held against the candles that begin there or before.

    A row counts once however often it is there, and only if both prices are known and differ.
    """
    if opens is None:
        return Statement(frozenset(), "there are no candles to compare prices with")
    points, first = np.unique(points, return_index=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        here, before, price = np.log(opens.at(points)), np.log(opens.at(points - step)), np.log(implied[first])
    telling = np.isfinite(here) & np.isfinite(before) & np.isfinite(price) & (here != before)
    rows = int(np.count_nonzero(telling))
    if rows < LEAST_ROWS:
        return Statement(frozenset(), f"{rows} rows have prices that can be compared, {LEAST_ROWS} are needed")
    as_start, as_end = (float(np.median(abs(price - candle)[telling])) for candle in (here, before))
    distances: dict[Alignment, tuple[float, float]] = {"start": (as_start, as_end), "end": (as_end, as_start)}
    says = frozenset(alignment for alignment, (own, other) in distances.items() if own * CLEARLY < other)
    return Statement(says, f"prices are off by {as_start:.3%} if labels are starts, by {as_end:.3%} if they are ends")


def with_labels_at_start(fetched: FetchedObject, spec: LoadedSpec) -> FetchedObject:
    """The file's rows with each label moved back by one step of the grid; all else stays, `first_label` included."""
    assert spec.grid is not None
    assert spec.grid.length is not None
    back = np.timedelta64(spec.grid.length)
    return replace(fetched, csv=relabelled(fetched.csv, instants(fetched.csv) - back))


def _implied_prices(fetched: FetchedObject, spec: LoadedSpec) -> Prices:
    assert spec.archive.implied_price is not None
    names = spec.archive.columns
    value, amount = numbers(fetched.csv, len(names), *map(names.index, spec.archive.implied_price))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return value / amount


def _seconds(instant: datetime) -> int:
    return to_ms(instant) // 1000


def _text(seconds: np.int64) -> str:
    return str(seconds.astype("datetime64[s]")).replace("T", " ")
