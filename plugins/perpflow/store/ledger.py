"""The ledger: one row per (dataset, symbol, series) that says what is covered, and why the rest is not.

A gap is a series' life minus `present`, but for what audits found `lost` of it, `missing_upstream` and `quarantined`.
What is covered changes only in the transaction that publishes what the row describes, under its lock; audits say what
is disputed and lost of it under the same lock, and a life that has ended cuts off what was missing beyond.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb
from psycopg.types.multirange import TimestamptzMultirange

from perpflow.datasets import TABLES
from perpflow.specs import DatasetSpec, StreamedSpec
from perpflow.store.database import Connection, from_multirange, one, query, to_multirange, to_range
from perpflow.store.loader import Loaded, points_view
from perpflow.windows import Window, merge

SeriesKey = tuple[str, str]  # (symbol, series)

#: What every source lacked is asked for again by the first load of its range after a week: archive files are re-issued.
#: Where that was in vain the next pause is twice as long, up to sixteen weeks. Most such holes are for ever: contracts
#: on shares are not traded at night and at weekends.
RECHECK_AFTER = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Coverage:
    """A ledger row; `lost` is what open findings of audits say the table lacks of what is `present`."""

    dataset: str
    symbol: str
    series: str
    available_from: datetime | None
    available_to: datetime | None
    evidence: str | None
    present: list[Window]
    lost: list[Window]
    missing_upstream: list[Window]
    quarantined: list[Window]
    recheck_at: datetime | None
    listening: list[Window]

    @property
    def accounted(self) -> list[Window]:
        """What is covered or explained."""
        return merge((*self.present, *self.missing_upstream, *self.quarantined))

    @property
    def extent(self) -> Window | None:
        """From the first covered or explained instant to the last; None for a series without any."""
        return Window(self.accounted[0].start, self.accounted[-1].end) if self.accounted else None


@dataclass(frozen=True, slots=True)
class Bounds:
    """The ends of a ledger row: when the series lives, and from when to when it is covered or explained."""

    dataset: str
    symbol: str
    series: str
    available_from: datetime | None
    available_to: datetime | None
    evidence: str | None
    covered_from: datetime | None
    covered_to: datetime | None

    @property
    def extent(self) -> Window | None:
        """From the first covered or explained instant to the last; None for a series without any."""
        return Window(self.covered_from, self.covered_to) if self.covered_from and self.covered_to else None


@dataclass(slots=True)
class Answered:
    """Which windows were answered: by at least one source in full, and by every source that there is."""

    by_any: list[Window] = field(default_factory=list)
    by_all: list[Window] = field(default_factory=list)


def read(
    connection: Connection, datasets: tuple[str, ...] | None = None, symbols: tuple[str, ...] | None = None
) -> list[Coverage]:
    """Ledger rows by (dataset, symbol, series); all of them where a filter is None."""
    parameters = {
        "datasets": None if datasets is None else list(datasets),
        "symbols": None if symbols is None else list(symbols),
    }
    return [_coverage(row) for row in connection.execute(query("coverage_read"), parameters)]


def bounds(connection: Connection, datasets: tuple[str, ...], symbols: tuple[str, ...] | None = None) -> list[Bounds]:
    """Where ledger rows begin and end, by (dataset, symbol, series); of all symbols where there is no filter."""
    parameters = {"datasets": list(datasets), "symbols": None if symbols is None else list(symbols)}
    return [Bounds(**row) for row in connection.execute(query("coverage_bounds"), parameters)]


def _coverage(row: dict[str, Any]) -> Coverage:
    ranges = ("present", "lost", "missing_upstream", "quarantined", "listening")
    return Coverage(**row | {name: from_multirange(row[name]) for name in ranges})


def ensure(connection: Connection, spec: DatasetSpec, symbols: tuple[str, ...], series: tuple[str, ...]) -> None:
    """Have a row for each series."""
    connection.execute(
        query("coverage_ensure"), {"dataset": spec.name, "symbols": list(symbols), "series": list(series)}
    )


def set_life(
    connection: Connection, spec: DatasetSpec, key: SeriesKey, available_from: datetime, evidence: str
) -> None:
    """Record the first instant that any source has; once it stands, only an earlier one takes its place."""
    symbol, series = key
    parameters = {"dataset": spec.name, "symbol": symbol, "series": series}
    connection.execute(
        query("coverage_set_life"), parameters | {"available_from": available_from, "evidence": evidence}
    )


def set_end(connection: Connection, spec: DatasetSpec, key: SeriesKey, available_to: datetime | None) -> None:
    """Record from which instant on no source has anything, None where there is none: gaps end there."""
    symbol, series = key
    parameters = {"dataset": spec.name, "symbol": symbol, "series": series, "available_to": available_to}
    connection.execute(query("coverage_set_end"), parameters)


def gaps(
    connection: Connection,
    spec: DatasetSpec,
    spans: dict[SeriesKey, Window],
    *,
    now: datetime,
    again: bool = False,
) -> dict[SeriesKey, list[Window]]:
    """What is not covered inside each series' span (with `again`: all of its life there)."""
    keys = sorted(spans)
    parameters = {
        "dataset": spec.name,
        "symbols": [symbol for symbol, _ in keys],
        "series": [series for _, series in keys],
        "spans": [to_range(spans[key]) for key in keys],
        "now": now,
        "overdue": now - RECHECK_AFTER,
        "again": again,
    }
    rows = connection.execute(query("coverage_gaps"), parameters)
    return {(row["symbol"], row["series"]): _points(spec, row["series"], row["gaps"]) for row in rows}


def holes(
    connection: Connection,
    wanted: Mapping[tuple[str, str], Window],
    symbols: tuple[str, ...] | None = None,
    *,
    now: datetime,
) -> dict[str, dict[SeriesKey, list[Window]]]:
    """What is neither present nor explained, of all series at once: by dataset, the holes of those that have any.

    Args:
        wanted: by dataset and series from when to when points are wanted and have settled, whatever the symbol.
        symbols: None for all that the ledger has.
    """
    keys = sorted(wanted)
    parameters = {
        "datasets": [dataset for dataset, _ in keys],
        "series": [series for _, series in keys],
        "wanted": [to_range(wanted[key]) for key in keys],
        "symbols": None if symbols is None else list(symbols),
        "now": now,
        "overdue": now - RECHECK_AFTER,
    }
    found: dict[str, dict[SeriesKey, list[Window]]] = {dataset: {} for dataset, _ in keys}
    for row in connection.execute(query("coverage_holes"), parameters):
        windows = found[row["dataset"]].setdefault((row["symbol"], row["series"]), [])
        windows += _whole(TABLES[row["dataset"]], row["series"], Window(row["start"], row["until"]))
    return {
        dataset: {key: merge(windows) for key, windows in of_series.items() if windows}
        for dataset, of_series in found.items()
    }


def _points(spec: DatasetSpec, series: str, gaps: TimestamptzMultirange) -> list[Window]:
    return merge(whole for gap in from_multirange(gaps) for whole in _whole(spec, series, gap))


def _whole(spec: DatasetSpec, series: str, gap: Window) -> list[Window]:
    """A gap by whole points: an edge that lies off the grid is moved out to it, so that nothing of the gap stays.

    On a grid of points a sliver beside a row that lies off it holds none, and nobody can fill it. Where there need not
    be a point (funding), a source's full answer fills any.
    """
    grid = spec.instants_of(series)
    if grid is None:
        return [gap]
    return [grid.widened(gap)] if spec.timeframe_of(series) is None or grid.count(gap) else []


def lock(connection: Connection, spec: DatasetSpec, symbols: tuple[str, ...]) -> None:
    """Take the symbols' row locks in key order, until the transaction ends."""
    connection.execute(query("coverage_lock"), {"dataset": spec.name, "symbols": list(symbols)})


def describe(
    connection: Connection,
    spec: DatasetSpec,
    stage_id: int,
    *,
    window: Window,
    answered: dict[SeriesKey, Answered],
    now: datetime,
    covered: dict[SeriesKey, list[Window]] | None = None,
    changed: bool = True,
) -> None:
    """Write into the ledger what the staged rows and the sources' answers prove; part of the publish transaction.

    `now` is when the sources were asked, on the exchange's clock: what all of them lack is asked for again later.
    `covered` says what the rows cover where that is known and none of them is withheld; else they are looked through.
    `changed` says whether the transaction has written any row: those wait for their audits again.
    """
    keys, known = sorted(answered), sorted(covered or {})
    parameters = {
        "dataset": spec.name,
        "stage_id": stage_id,
        "start": window.start,
        "end": window.end,
        "on_grid": spec.grid is not None or spec.series_in_key,
        "symbols": [symbol for symbol, _ in keys],
        "series": [series for _, series in keys],
        "by_any": [to_multirange(answered[key].by_any) for key in keys],
        "by_all": [to_multirange(answered[key].by_all) for key in keys],
        "now": now,
        "recheck_after": RECHECK_AFTER,
        "overdue": now - RECHECK_AFTER,
        "known": covered is not None,
        "known_symbols": [symbol for symbol, _ in known],
        "known_series": [series for _, series in known],
        "covered": [to_multirange((covered or {})[key]) for key in known],
        "changed": changed,
    }
    grid = spec.instants_of(spec.series[0])
    assert grid is not None, "what is loaded has instants on a grid"
    statement = query(
        "coverage_publish",
        points=points_view(spec),
        table=sql.Identifier(spec.name),
        # Of a row that several series share, every one is looked at again.
        of_series=query("audit_of_timeframe", series=sql.Identifier("c", "series"))
        if spec.series_in_key
        else sql.Literal(True),
        step=sql.Identifier("c", "series") if spec.series_in_key else sql.Literal(grid.name),
    )
    connection.execute(statement, parameters)


def listen(connection: Connection, spec: StreamedSpec, symbol: str, listened: list[Window]) -> None:
    """Write into the ledger when the stream was listened to; part of the publish transaction."""
    if listened:
        parameters = {"dataset": spec.name, "symbol": symbol, "series": spec.series[0]}
        connection.execute(query("coverage_listen"), parameters | {"listened": to_multirange(listened)})


def fold_log(connection: Connection, keep: timedelta) -> tuple[int, int]:
    """Fold entries of the load log that are older than `keep`; returns how many went into how many.

    Those of a dataset, a day and the same symbols become one. What was withheld or warned of stays as it is. Call it
    outside any transaction: their room is given back at once.
    """
    done = one(connection, query("log_fold"), {"keep": keep})
    if done["folded"]:
        connection.execute(query("log_vacuum"))
    return done["folded"], done["written"]


def record_version(
    connection: Connection,
    spec: DatasetSpec,
    loaded: Loaded,
    *,
    batch: str,
    symbols: tuple[str, ...],
    window: Window,
    run: str,
    normalised: dict[str, int],
    warnings: list[dict[str, Any]],
    code_version: str,
) -> None:
    """Write the load log's entry; part of the publish transaction."""
    parameters = {
        "batch": batch,
        "dataset": spec.name,
        "symbols": list(symbols),
        "window": to_range(window),
        "sources": list(loaded.sources),
        "staged": loaded.staged,
        "inserted": loaded.inserted,
        "updated": loaded.updated,
        "corrected": loaded.corrected,
        "unchanged": loaded.unchanged,
        "quarantined": loaded.quarantined,
        "normalised": Jsonb(normalised),
        "warnings": Jsonb(warnings),
        "run": run,
        "code_version": code_version,
    }
    connection.execute(query("publish_version"), parameters)
