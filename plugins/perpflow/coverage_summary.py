"""Is everything there, and if not, why not: each series' rows against what its window should hold.

The ledger says what is covered and why the rest is not; the fact tables are counted and must agree with it. A hole is
explained where every source was asked and none has the point (or the archive's file had to be left out), where the gate
withheld it, or where REST was asked in vain and the archive's file of that day is still to come. Anything else is
unexplained, and a reason to look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any

from psycopg import sql

from perpflow.datasets import DATASETS
from perpflow.exchange.archive import period_of, spelled
from perpflow.fetching import ARCHIVE_LAG
from perpflow.settling import settled
from perpflow.specs import LoadedSpec
from perpflow.store import ledger
from perpflow.store.database import Connection, from_multirange, one, query, to_multirange
from perpflow.store.ledger import Coverage
from perpflow.symbols import closed_sessions
from perpflow.windows import Timeframe, Window, intersect, merge, start_of_day, subtract


class Reason(StrEnum):
    """Why points of a series are not there."""

    NO_SOURCE = "no source has it (archive and REST were asked)"
    FORGOTTEN = "no source has it (the archive was asked; REST keeps thirty days only)"
    REFUSED = "the archive's file was left out (archive_objects says why), and REST does not have it"
    CLOSED = "the market of the contract was closed, and no source has it"
    WITHHELD = "withheld by the gate; see the table quarantine"
    TOO_YOUNG = "REST was asked and lacks it, the archive's file of that day may still come"
    NOT_LOADED = "UNEXPLAINED: not loaded yet"
    NEVER_LOADED = "UNEXPLAINED: nothing of the series was ever loaded"
    UNEXPLAINED = "UNEXPLAINED: nothing in the ledger says why"
    LOST = "UNEXPLAINED: the ledger calls it present, the table lacks it; `audit`, then `repair` fetch it again"
    ORPHANED = "UNEXPLAINED: the table has it, the ledger does not know it"

    @property
    def explains(self) -> bool:
        """Whether nobody needs to look."""
        return self in {
            Reason.NO_SOURCE,
            Reason.FORGOTTEN,
            Reason.REFUSED,
            Reason.CLOSED,
            Reason.WITHHELD,
            Reason.TOO_YOUNG,
        }


@dataclass(frozen=True, slots=True)
class Hole:
    """Points that are missing for one reason, or orphaned. `points` is None where there is no grid to count on."""

    reason: Reason
    windows: tuple[Window, ...]
    points: int | None


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """One series: what is there, what should be, and every hole between the two.

    `window` is what it should hold, from its first instant on, as far as it has settled; None where no source has any.
    `expected` is None where nothing can be counted on beforehand: funding settles when the exchange decides, and is
    complete where a source answered for the whole window.
    """

    dataset: str
    symbol: str
    series: str
    window: Window | None
    first: datetime | None
    last: datetime | None
    rows: int
    expected: int | None
    archive: int
    rest: int
    holes: tuple[Hole, ...]
    recheck_at: datetime | None

    @property
    def missing(self) -> int:
        """How many points are missing, for whatever reason."""
        return sum(hole.points or 0 for hole in self.holes if hole.reason is not Reason.ORPHANED)

    @property
    def complete(self) -> bool:
        """Whether every point is there or its absence is explained."""
        return all(hole.reason.explains for hole in self.holes)

    @property
    def withheld(self) -> int:
        """How many points the gate withholds."""
        return sum(hole.points or 0 for hole in self.holes if hole.reason is Reason.WITHHELD)


def summarise(
    connection: Connection,
    *,
    start: datetime | None,
    now: datetime,
    datasets: tuple[str, ...] | None = None,
    symbols: tuple[str, ...] | None = None,
    is_collected: Callable[[str], bool] = lambda _: True,
) -> list[SeriesSummary]:
    """Every series of the ledger from `start` (None: from its beginning) to what had settled by `now`.

    Of symbols that are not collected nothing is expected but what lies between the first and the last that was loaded.
    """
    rows = ledger.read(connection, datasets or tuple(DATASETS), symbols)
    closed = closed_sessions(connection, symbols)
    summaries = []
    for name, of_dataset in groupby(rows, attrgetter("dataset")):
        spec, series = DATASETS[name], list(of_dataset)
        told = _told(connection, spec, sorted({row.symbol for row in series}), closed)
        windows = [expected_window(spec, row, start, now, is_collected(row.symbol)) for row in series]
        summaries += [_series(connection, row, window, told, now) for row, window in zip(series, windows, strict=True)]
    return summaries


@dataclass(frozen=True, slots=True)
class Told:
    """What explains the holes of a dataset, by symbol: when it was asked for, files that were left out, closed markets.

    The log has thousands of entries a day, each of many symbols: it is read once for all of them.
    """

    asked: Mapping[str, list[Window]]
    left_out: Mapping[str, list[str]]
    closed: Mapping[str, list[Window]]


def _told(connection: Connection, spec: LoadedSpec, symbols: list[str], closed: Mapping[str, list[Window]]) -> Told:
    parameters = {"dataset": spec.name, "kind": spec.archive.kind, "symbols": symbols}
    asked = connection.execute(query("summary_asked"), parameters)
    left_out = connection.execute(query("summary_refused"), parameters)
    return Told(
        {row["symbol"]: from_multirange(row["asked"]) for row in asked},
        {row["symbol"]: row["keys"] for row in left_out},
        closed,
    )


def _series(connection: Connection, row: Coverage, window: Window | None, told: Told, now: datetime) -> SeriesSummary:
    spec = DATASETS[row.dataset]
    if window is None:
        return SeriesSummary(row.dataset, row.symbol, row.series, None, None, None, 0, 0, 0, 0, (), row.recheck_at)
    counted = _count(connection, spec, row, window)
    held = counted.pop("held")
    grid = spec.timeframe_of(row.series)
    closed = told.closed.get(row.symbol, [])
    gaps = _gaps(row, grid, window, _asked(row, told), _refused(spec, row, told), closed, now)
    return SeriesSummary(
        row.dataset,
        row.symbol,
        row.series,
        window,
        **counted,
        expected=grid.count(window) if grid else None,
        holes=(*gaps, *_disagreements(row, grid, window, counted["rows"], held)),
        recheck_at=row.recheck_at,
    )


def expected_window(
    spec: LoadedSpec, row: Coverage, start: datetime | None, now: datetime, is_collected: bool
) -> Window | None:
    """What the series should hold: from its first instant on, as far as it has settled; None where that is nothing."""
    if row.available_from is None:
        return None
    begins = max(start, row.available_from) if start else row.available_from
    window = settled(spec, row.series, begins, min(row.available_to or now, now), now)
    if is_collected or window is None:
        return window
    return window.intersect(row.extent) if row.extent else None


def _count(connection: Connection, spec: LoadedSpec, row: Coverage, window: Window) -> dict[str, Any]:
    value = row.series if spec.partial_rows else spec.values[0].name
    statement = query(
        "summary_rows",
        table=sql.Identifier(spec.name),
        series=sql.Identifier(spec.series_column) if spec.series_in_key else sql.Literal(row.series),
        value=sql.Identifier(value),
    )
    parameters = {
        "symbol": row.symbol,
        "series": row.series,
        "start": window.start,
        "end": window.end,
        "present": to_multirange(row.present),
    }
    return one(connection, statement, parameters)


def _asked(row: Coverage, told: Told) -> list[Window]:
    """Where the sources were asked, as the load log has it, from the first to the last instant they have answered for.

    What comes after that they may not have had yet, or nobody has asked for it: no file is awaited for it. And the log
    speaks of datasets: a timeframe that was added later has not been asked for before its own first point. But of the
    last settlements of a contract that is gone from REST nobody will be asked any more: their month's file is awaited.
    """
    asked = told.asked.get(row.symbol, [])
    if row.available_to is not None and DATASETS[row.dataset].timeframe_of(row.series) is None:
        return asked
    return intersect(asked, [row.extent] if row.extent else [])


def _refused(spec: LoadedSpec, row: Coverage, told: Told) -> list[Window]:
    """The months and days of archive files that had to be left out."""
    folder = f"/{spelled(row.series)}/" if spec.archive.by_interval else ""
    keys = (key for key in told.left_out.get(row.symbol, []) if folder in key)
    return merge(filter(None, map(period_of, keys)))


def _gaps(
    row: Coverage,
    grid: Timeframe | None,
    window: Window,
    asked: list[Window],
    refused: list[Window],
    closed: list[Window],
    now: datetime,
) -> Iterator[Hole]:
    absent = subtract([window], [*row.present, *row.quarantined])
    # Gaps of the ledger for some attempts, then missing upstream; a later issue of the file fills them.
    left_out = intersect(absent, refused)
    missing = subtract(intersect([window], row.missing_upstream), left_out)
    gaps = subtract(absent, [*missing, *left_out])
    while_closed = intersect(missing, closed)
    lacking = subtract(missing, while_closed)
    forgotten = subtract(lacking, kept_by_rest(DATASETS[row.dataset], row.series, now))
    asked_for = intersect(gaps, asked)
    # A file holds a whole day, or a month. Without a grid (funding) REST's full answer is all that counts, and no file
    # is awaited, unless the contract is gone from REST.
    edge = _still_to_come(DATASETS[row.dataset], now)
    young = intersect(asked_for, [Window(min(edge, window.end), window.end)]) if grid or row.available_to else []
    for reason, windows in (
        (Reason.NO_SOURCE, subtract(lacking, forgotten)),
        (Reason.FORGOTTEN, forgotten),
        (Reason.CLOSED, while_closed),
        (Reason.REFUSED, left_out),
        (Reason.WITHHELD, intersect([window], row.quarantined)),
        (Reason.TOO_YOUNG, young),
        (Reason.NOT_LOADED, subtract(gaps, asked)),
        (Reason.UNEXPLAINED, subtract(asked_for, young)),
    ):
        points = _points(grid, windows)
        if windows and points != 0:
            yield Hole(reason, tuple(windows), points)


def _still_to_come(spec: LoadedSpec, now: datetime) -> datetime:
    """From when on the archive's finest files of a dataset may not be there yet."""
    finest = spec.archive.granularities[-1]
    day = start_of_day(now - ARCHIVE_LAG[finest])
    return day.replace(day=1) if finest == "monthly" else day


def kept_by_rest(spec: LoadedSpec, series: str, now: datetime) -> list[Window]:
    """The time of which REST tells now, by whole points; of an earlier one nobody can have asked it since it forgot."""
    reach, grid = spec.rest_for(series).reach, spec.instants_of(series)
    begins = datetime.min.replace(tzinfo=now.tzinfo) if reach is None else now - reach
    return [Window(grid.ceil(begins) if grid and reach else begins, now)]


def _disagreements(row: Coverage, grid: Timeframe | None, window: Window, rows: int, held: int) -> Iterator[Hole]:
    """Where the table and the ledger differ: `held` of its rows lie in what the ledger calls present."""
    present = intersect([window], row.present)
    points = _points(grid, present)
    lost = intersect(present, row.lost)
    if points is not None and held < points:
        # Audits may have found a part of it.
        is_all = _points(grid, lost) == points - held
        yield Hole(Reason.LOST, tuple(lost if is_all else present), points - held)
    elif points is None and lost:
        yield Hole(Reason.LOST, tuple(lost), None)
    # More rows than points in what is present do not lie on the grid.
    orphans = rows - (held if points is None else min(held, points))
    if orphans:
        yield Hole(Reason.ORPHANED, tuple(subtract([window], present) or present), orphans)


def _points(grid: Timeframe | None, windows: list[Window]) -> int | None:
    return None if grid is None else sum(grid.count(window) for window in windows)
