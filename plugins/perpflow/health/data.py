"""Checks of the data: how current each dataset is, what it lacks that REST will forget, and what was withheld."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from croniter import croniter  # type: ignore[import-untyped]

from perpflow.contracts import COLLECTED_STATUSES
from perpflow.datasets import DATASETS
from perpflow.health.finding import Finding, Level, above, span
from perpflow.health.surroundings import Surroundings
from perpflow.monitoring import HealthSettings
from perpflow.rotation import runs_of_a_round
from perpflow.settings import Collection
from perpflow.settling import settled
from perpflow.specs import LoadedSpec
from perpflow.store import ledger
from perpflow.store.database import Connection, one, query, session
from perpflow.store.ledger import Coverage, SeriesKey
from perpflow.symbols import closed_sessions, known_contracts
from perpflow.windows import Window, merge

# Longer than any series' period, the month included.
LONGEST = timedelta(days=62)


@dataclass(frozen=True, slots=True)
class Newest:
    """Where a series' data ends, where it should end at least by now, and where the exchange's ends."""

    key: SeriesKey
    end: datetime
    due: datetime
    available: datetime

    @property
    def is_late(self) -> bool:
        """Whether runs must have missed it."""
        return self.end < self.due

    @property
    def behind(self) -> timedelta:
        """How much the exchange has that we have not."""
        return max(self.available - self.end, timedelta(0))


async def freshness(around: Surroundings) -> list[Finding]:
    """How far each enabled dataset is behind what the exchange has, against its schedule; on the exchange's clock."""
    now = await around.rest.now()
    with session(around.deployment.database_url) as connection:
        return freshness_at(connection, around.deployment.collection, now)


def freshness_at(connection: Connection, collection: Collection, now: datetime) -> list[Finding]:
    """The same at an instant that is given, by the ledger as it is; a finding for each enabled dataset, by name."""
    symbols = _collected(connection, collection)
    rows = {(row.dataset, row.symbol, row.series): row for row in ledger.read(connection)}
    closed = closed_sessions(connection)
    enabled = [spec for spec in DATASETS.values() if collection.dataset(spec.name).enabled]
    age = one(connection, query("health_schema_age"), {})["age"]
    overdue = age > timedelta(days=collection.look_back_days)
    return [_of_dataset(spec, collection, symbols, rows, closed, now, overdue=overdue) for spec in enabled]


def _collected(connection: Connection, collection: Collection) -> list[str]:
    """The configured symbols that something new is to come of; one that was never planned counts too."""
    known = known_contracts(connection)
    if collection.symbols == "all":
        return sorted(symbol for symbol, contract in known.items() if collection.follows(contract))
    trading = {symbol for symbol, contract in known.items() if contract.status in COLLECTED_STATUSES}
    return [symbol for symbol in collection.symbols if symbol in trading or symbol not in known]


def _of_dataset(
    spec: LoadedSpec,
    collection: Collection,
    symbols: list[str],
    rows: dict[tuple[str, str, str], Coverage],
    closed: dict[str, list[Window]],
    now: datetime,
    *,
    overdue: bool,
) -> Finding:
    found: list[Newest] = []
    empty: list[SeriesKey] = []
    # Where the limits let a run take some of the symbols only, each misses all runs until its turn.
    runs = collection.health.missed_runs * runs_of_a_round(spec, collection, len(symbols), now)
    due_by = missed_since(collection.schedule(spec.name), now, runs)
    for key in ((symbol, series) for symbol in symbols for series in collection.series(spec.name)):
        row = rows.get((spec.name, *key))
        if row is not None and row.present:
            found.append(_newest(spec, key, _reached(row.present[-1], closed.get(key[0], [])), due_by, now))
        elif row is None or row.available_from is not None:
            empty.append(key)
    return freshness_finding(spec, found, empty, overdue=overdue)


def _reached(last: Window, closed: list[Window]) -> datetime:
    """Where a series' points end; or, where they end with its market, when that opens: nothing need come meanwhile."""
    return next(window.end for window in merge([last, *closed]) if window.intersect(last))


def missed_since(schedule: str, now: datetime, missed: int) -> datetime:
    """When the third latest run was due, or another one: what had settled by then has been missed by so many."""
    runs, run = croniter(schedule, now), now
    for _ in range(missed):
        run = runs.get_prev(datetime)
    return run


def _newest(spec: LoadedSpec, key: SeriesKey, end: datetime, due_by: datetime, now: datetime) -> Newest:
    def ends_by(instant: datetime) -> datetime:
        window = settled(spec, key[1], instant - LONGEST, instant + LONGEST, instant)
        assert window is not None, "every period is shorter than what is looked back"
        return window.end

    return Newest(key, end, ends_by(due_by), ends_by(now))


def freshness_finding(
    spec: LoadedSpec, found: list[Newest], empty: list[SeriesKey], *, overdue: bool = False
) -> Finding:
    """Red where runs must have missed points; yellow where nothing was collected yet.

    Args:
        overdue: there has been time for the first run for longer than a run looks back: points may be lost by now. Of
            one symbol among others nobody knows since when it is wanted.
    """
    run = f"Switch the DAG ingest_{spec.name} on, or run `python -m perpflow ingest --datasets {spec.name}`."
    if not found:
        return Finding(Level.RED if overdue and empty else Level.YELLOW, "nothing collected yet", run, spec.name)
    late = [newest for newest in found if newest.is_late]
    if late:
        worst = max(late, key=lambda newest: newest.due - newest.end)
        cause = f"{len(late)} of {len(found) + len(empty)} series are late; worst {' '.join(worst.key)}"
        cause += f", which ends at {worst.end:%Y-%m-%d %H:%M} UTC, {_hours(worst.behind)} behind the exchange"
        return Finding(Level.RED, cause, f"{run} If it runs, see its report and the lines above.", spec.name)
    if empty:
        cause = f"nothing collected yet of {len(empty)} series, such as {' '.join(empty[0])}; the others are current"
        return Finding(Level.YELLOW, cause, run, spec.name)
    behind = max(newest.behind for newest in found)
    return Finding(Level.GREEN, f"{len(found)} series are current, at most {_hours(behind)} behind", "", spec.name)


def _hours(length: timedelta) -> str:
    """`0:35 h`."""
    hours, minutes = divmod(int(length.total_seconds()) // 60, 60)
    return f"{hours}:{minutes:02} h"


async def holes(around: Surroundings) -> list[Finding]:
    """What lacks between points of the last weeks, of datasets that REST keeps for a month only."""
    now, collection = await around.rest.now(), around.deployment.collection
    wanted, found = {}, []
    for spec in DATASETS.values():
        for series in collection.series(spec.name):
            reach = spec.rest_for(series).reach
            if reach is not None and (span := settled(spec, series, now - reach, now, now)):
                wanted[spec.name, series] = span
    with session(around.deployment.database_url) as connection:
        lacking = ledger.holes(connection, wanted, now=now)
        names = tuple({symbol for series in lacking.values() for symbol, _ in series})
        begins = {
            (r.dataset, (r.symbol, r.series)): r.extent.start for r in ledger.read(connection, None, names) if r.extent
        }
    # Increments look back by themselves; and what was never loaded is no hole.
    recent = now - timedelta(days=collection.look_back_days)
    for dataset, of_series in lacking.items():
        for key, windows in of_series.items():
            first = begins.get((dataset, key), now)
            old = [window for window in windows if first <= window.start < recent]
            found += [Forgotten(dataset, key, old[0].start, wanted[dataset, key[1]].start)] if old else []
    return [holes_finding(found, around.limits.forgotten_within)]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The first hole of a series, and from when on REST still has points."""

    dataset: str
    key: SeriesKey
    start: datetime
    edge: datetime


def holes_finding(found: list[Forgotten], urgent: timedelta) -> Finding:
    """Red where a hole is about to fall out of what REST gives; yellow where there is any."""
    if not found:
        return Finding(Level.GREEN, "nothing lacks that REST will have forgotten in a month")
    worst = min(found, key=lambda hole: hole.start - hole.edge)
    left = worst.start - worst.edge
    cause = f"{len(found)} series lack points that REST forgets in time; first {worst.dataset} {' '.join(worst.key)}"
    cause += f" from {worst.start:%Y-%m-%d %H:%M} UTC, in {_hours(left)}"
    advice = "Switch the DAG repair_gaps on, or run `python -m perpflow repair`."
    return Finding(Level.RED if left < urgent else Level.YELLOW, cause, advice)


async def withheld(around: Surroundings) -> list[Finding]:
    """What was withheld or left out in the last day, and what is released and was never published."""
    with session(around.deployment.database_url) as connection:
        found = one(connection, query("health_withheld"), {})
    causes, looks = [], []
    if found["withheld"]:
        rows = f"{found['withheld']:,} rows of {found['batches']} batches are in quarantine"
        causes.append(f"{rows} ({', '.join(found['datasets'])}) since less than 24 hours")
        looks.append("See `python -m perpflow quarantine list`, then release or reject, or run review_quarantine.")
    if found["unsettled"]:
        causes.append(f"{found['unsettled']:,} rows are released and not published since an hour")
        looks.append("Run review_quarantine, which publishes what an earlier release has left.")
    if found["objects"]:
        causes.append(f"{found['objects']} archive files were left out in the last 24 hours")
        looks.append("Look into the table archive_objects.")
    if not causes:
        return [Finding(Level.GREEN, "nothing in the last 24 hours")]
    return [Finding(Level.YELLOW, "; ".join(causes), " ".join(looks))]


async def quarantine(around: Surroundings) -> list[Finding]:
    """How many withheld rows wait for a review, and for how long."""
    with session(around.deployment.database_url) as connection:
        found = one(connection, query("health_quarantine"), {})
    return [quarantine_finding(found["rows"], found["datasets"], found["oldest"], around.limits)]


def quarantine_finding(rows: int, datasets: list[str], oldest: timedelta, limits: HealthSettings) -> Finding:
    """Rows that nobody has reviewed, of these datasets, the oldest for so long."""
    if not rows:
        return Finding(Level.GREEN, "no row waits for a review")
    level = above(oldest / timedelta(days=1), limits.quarantine_days)
    cause = f"{rows:,} rows wait for a review ({', '.join(datasets)}), the oldest for {span(oldest)}"
    advice = "Release or reject them: by the DAG review_quarantine, or `python -m perpflow quarantine`."
    return Finding(level, cause, advice if level else "")
