"""What a plan will take: files, requests, bytes, and time at the configured share of the exchange's limits. Pure.

It goes the way that `fetching` goes, without asking anybody: for each batch the archive's months, its days, and REST
for what is left. What it cannot know are holes, for which the next source is asked as well, and files that come late.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from perpflow.aligning import CANDLES
from perpflow.batches import Batch, Estimate
from perpflow.costing import USUAL_INTERVAL, requests_for
from perpflow.datasets import DATASETS, DAY_PUBLISHED_AFTER, MONTH_PUBLISHED_AFTER
from perpflow.exchange.weight_budget import LIMITS, Share
from perpflow.fetching import IN_FLIGHT, worth_reading
from perpflow.settings import Collection
from perpflow.specs import LoadedSpec
from perpflow.store.ledger import SeriesKey
from perpflow.windows import DAY, TIMEFRAMES, Window, intersect, merge, months, start_of_day, subtract

Gaps = Mapping[SeriesKey, list[Window]]

#: Assumed of the way to the archive: seconds for a file and its checksum, bytes a second for all files together.
FILE_S, BYTES_PER_S = 0.3, 5_000_000
#: Rows that a task stages, checks and publishes in a second, by the README's benchmark of each of the three.
ROWS_PER_S = 110_000


@dataclass(frozen=True, slots=True)
class Way:
    """How batches are worked on: so many at once, and the seconds that each takes beyond its rows."""

    at_once: int
    batch_s: float


def by_command(_: Collection) -> Way:
    """One batch after another, in one process. 35 small ones took 40 s on two busy cores."""
    return Way(1, 1.1)


def by_airflow(collection: Collection) -> Way:
    """As many as the pool lets. In the README's demo 63 batches took 105 s, four at once."""
    return Way(collection.airflow.pools.perpflow_archive, 6.7)


# --- what is asked for


@dataclass(frozen=True, slots=True)
class Files:
    """The months' and the days' files that windows are read from; days that follow one another are one window."""

    months: list[Window]
    days: list[Window]

    @property
    def number(self) -> int:
        """How many files these are."""
        return len(self.months) + sum(window.length // DAY for window in self.days)

    @property
    def windows(self) -> list[Window]:
        """What they hold."""
        return merge((*self.months, *self.days))


def estimated(batches: Iterable[Batch], gaps: Mapping[str, Gaps], now: datetime) -> Estimate:
    """What the batches take, given the gaps by dataset; `now` is on the exchange's clock."""
    found = Estimate()
    by_symbol: dict[tuple[str, str], dict[str, list[Window]]] = {}
    for name, of_series in gaps.items():
        for (symbol, series), windows in of_series.items():
            by_symbol.setdefault((name, symbol), {})[series] = windows
    for batch in batches:
        found.batches += 1
        for symbol in batch.symbols:
            within = {name: _within(by_symbol.get((name, symbol), {}), batch.window) for name in batch.datasets}
            _add(found, within, now)
    return found


def _within(of_series: dict[str, list[Window]], window: Window) -> dict[str, list[Window]]:
    """The part of each series' windows that lies in a batch's, where there is any."""
    parts = {series: intersect(windows, [window]) for series, windows in of_series.items()}
    return {series: windows for series, windows in parts.items() if windows}


def _add(found: Estimate, wanted: dict[str, dict[str, list[Window]]], now: datetime) -> None:
    """A symbol's share of a batch: wanted windows by dataset and series."""
    by_file: dict[str | None, list[Window]] = {}
    for name, of_series in wanted.items():
        for series, windows in of_series.items():
            interval = series if DATASETS[name].archive.by_interval else None
            by_file.setdefault(interval, []).extend(windows)
    read = {}
    for interval, windows in by_file.items():
        spec = DATASETS[next(iter(wanted))]
        read[interval] = files_for(spec, windows, now)
        _add_files(found, spec, interval or spec.series[0], read[interval])
        if spec.archive.implied_price and spec.grid:
            _add_files(found, CANDLES, spec.grid.name, _witnesses(read[interval], now))
    for name, of_series in wanted.items():
        spec = DATASETS[name]
        found.rows += _rows_of(spec, of_series)
        for series, windows in of_series.items():
            _add_requests(found, spec, series, windows, read[series if spec.archive.by_interval else None], now)


def files_for(spec: LoadedSpec, windows: Iterable[Window], now: datetime) -> Files:
    """The archive's files that the windows are read from, as far as they are published by `now`."""
    left, whole, parts = merge(windows), [], []
    if "monthly" in spec.archive.granularities:
        touched = sorted({month for window in left for month in months(window)})
        whole = [
            month
            for month in touched
            if month.end + MONTH_PUBLISHED_AFTER <= now and worth_reading(spec, "monthly", intersect(left, [month]))
        ]
        left = subtract(left, whole)
    if "daily" in spec.archive.granularities:
        latest = start_of_day(now - DAY_PUBLISHED_AFTER)
        edges = ((start_of_day(window.start), TIMEFRAMES["1d"].ceil(window.end)) for window in left)
        parts = merge(Window(start, min(end, latest)) for start, end in edges if start < latest)
    return Files(whole, parts)


def _witnesses(read: Files, now: datetime) -> Files:
    """The files of candles that tell how those are labelled: their months, or days where the month is not published."""
    touched = sorted({month for window in read.windows for month in months(window)})
    whole = [month for month in touched if month.end + MONTH_PUBLISHED_AFTER <= now]
    return Files(whole, subtract(read.windows, whole))


def _add_files(found: Estimate, spec: LoadedSpec, series: str, read: Files) -> None:
    found.files += read.number
    found.size += _points(spec, series, read.windows) * spec.archive.row_bytes


def _add_requests(
    found: Estimate, spec: LoadedSpec, series: str, wanted: list[Window], read: Files, now: datetime
) -> None:
    source = spec.rest_for(series)
    left = subtract(wanted, read.windows)
    if source.reach is not None:
        left = intersect(left, [Window(now - source.reach, now)])
    asked = list(requests_for(spec, series, left))
    if spec.lead_in is not None:
        asked += [(spec.lead_in // USUAL_INTERVAL, source.weight)] * len(wanted)
    for rows, weight in asked:
        found.requests[source.budget] += 1
        found.units[source.budget] += weight
        found.size += rows * source.row_bytes


def _rows_of(spec: LoadedSpec, of_series: dict[str, list[Window]]) -> int:
    """A row holds all series of an instant, unless the series is part of its key."""
    if spec.series_in_key:
        return sum(_points(spec, series, windows) for series, windows in of_series.items())
    together = merge(window for windows in of_series.values() for window in windows)
    return _points(spec, spec.series[0], together)


def _points(spec: LoadedSpec, series: str, windows: Iterable[Window]) -> int:
    grid = spec.timeframe_of(series)
    if grid is not None:
        return sum(grid.count(window) for window in windows)
    return sum((window.length for window in windows), timedelta(0)) // USUAL_INTERVAL


# --- how long it takes


def seconds(estimate: Estimate, collection: Collection, way: Way) -> dict[str, float]:
    """What each of the things that bound a load would take alone; together they take about as long as the longest."""
    exchange = collection.exchange
    at_once = way.at_once * min(exchange.archive_concurrency, IN_FLIGHT)
    share = Share(exchange.rate_share, exchange.live_reserve)
    taken = {
        "archive": max(estimate.files * FILE_S / at_once, estimate.size / BYTES_PER_S),
        "database": (estimate.rows / ROWS_PER_S + estimate.batches * way.batch_s) / way.at_once,
    }
    for budget, units in estimate.units.items():
        whole, window_s = LIMITS[budget]
        # What a window holds may be asked for at once.
        taken[budget] = max(units / (whole * share.fraction) - 1, 0.0) * window_s
    return taken


def described(estimate: Estimate, collection: Collection, way: Way) -> list[str]:
    """The plan for people, before anything starts."""
    if not estimate.batches:
        return ["plan: nothing to load, the ledger has it all"]
    taken = seconds(estimate, collection, way)
    slowest = max(taken, key=lambda what: taken[what])
    requests = ", ".join(
        f"{estimate.requests[budget]:,} of {budget} ({estimate.units[budget]:,} units)"
        for budget in LIMITS
        if estimate.requests[budget]
    )
    percent = Share(collection.exchange.rate_share, collection.exchange.live_reserve).fraction * 100
    return [
        f"plan: {estimate.batches:,} batches, about {estimate.rows:,} rows, {_bytes(estimate.size)}",
        f"plan: {estimate.files:,} archive files; REST requests: {requests or 'none'}",
        f"plan: about {lasting(taken[slowest])}, bounded by {slowest}, at {percent:.0f} % of the exchange's limits; "
        f"assumed: {FILE_S} s a file, {_bytes(BYTES_PER_S)} a second, {way.at_once} batches at once",
    ]


def summarised(estimate: Estimate, collection: Collection, way: Way) -> dict[str, Any]:
    """The same as plain values, for XCom."""
    return {
        "batches": estimate.batches,
        "rows": estimate.rows,
        "bytes": estimate.size,
        "archive_files": estimate.files,
        "rest_requests": dict(estimate.requests),
        "rest_units": dict(estimate.units),
        "seconds": {what: round(taken) for what, taken in seconds(estimate, collection, way).items()},
    }


def remaining(done: int, of: int, elapsed_s: float) -> str:
    """How far a load is, and how long the rest takes if it goes on like this."""
    left = f", about {lasting(elapsed_s / done * (of - done))} left" if 0 < done < of else ""
    return f"{done:,} of {of:,} batches done, {100 * done / max(of, 1):.0f} %{left}"


def lasting(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bytes(size: float) -> str:
    """`12 KB`, `3.4 MB`, `1.2 GB`."""
    for unit in ("KB", "MB"):
        size /= 1000
        if size < 1000:
            return f"{size:,.0f} {unit}" if size >= 10 else f"{size:.1f} {unit}"
    return f"{size / 1000:,.1f} GB"
