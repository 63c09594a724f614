"""What must hold when everything has come to rest: facts, ledger, load log, quarantine and staging, all whole."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from perpflow import pipeline, reporting
from perpflow.batches import Batch, LoadRequest, Plan
from perpflow.datasets import DATASETS
from perpflow.errors import BatchFaulty
from perpflow.settings import Deployment
from perpflow.specs import DatasetSpec
from perpflow.store import ledger, loader
from perpflow.store.database import Connection, session
from perpflow.store.ledger import Coverage
from perpflow.windows import TIMEFRAMES, Window
from simulator.truth import Truth
from soak import witness
from soak.damage import PUNCHED
from soak.market import Market
from soak.tally import Tally
from tests.expected import Expected, settled_points, stored_points
from tests.loading import Row, facts, rows, windows_of

#: Faults of one check that are printed; the number of all of them is.
SHOWN = 5
#: PostgreSQL ends a dead client's session when it next wants to answer; the longest statement takes seconds.
SESSIONS_END_IN_S = 60.0
OTHER_SESSIONS = """
SELECT pid, state, left(query, 80) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'perpflow'
"""

ORPHANS = "SELECT count(*) FROM staging.{} WHERE stage_id NOT IN (SELECT stage_id FROM staging.manifests)"

#: A point of a series: symbol, series, time.
Point = tuple[str, str, datetime]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, and where it does not."""

    subject: str
    faults: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether it does."""
        return not self.faults


def check(subject: str, faults: Iterable[str]) -> Check:
    """A check whose faults are many: the first few are kept, with the number of the others."""
    found = iter(faults)
    shown = list(islice(found, SHOWN))
    others = sum(1 for _ in found)
    return Check(subject, (*shown, *([f"and {others} more"] if others else [])))


class Wanted:
    """What a market must have come to, by the simulator's truth.

    Args:
        seed: the exchange's.
    """

    def __init__(self, market: Market, seed: int) -> None:
        self.market = market
        self._expected = Expected(Truth(seed), market.now)

    def rows(self, spec: DatasetSpec) -> list[Row]:
        """The whole table, in key order, without what is withheld."""
        found = [row for row in self._everything(spec) if _point(spec, row) not in self._spoiled(spec)]
        return sorted(found, key=lambda row: row[: len(spec.key)])

    def withheld(self, spec: DatasetSpec) -> set[Point]:
        """The spoiled points that a source has."""
        return {point for row in self._everything(spec) if (point := _point(spec, row)) in self._spoiled(spec)}

    def _everything(self, spec: DatasetSpec) -> Iterator[Row]:
        for symbol in self.market.symbols:
            for span in self.market.spans:
                yield from self._expected.rows(spec.name, symbol, span)

    def _spoiled(self, spec: DatasetSpec) -> set[Point]:
        return {
            (corruption.symbol, corruption.series, time)
            for corruption in self.market.corruptions
            if corruption.dataset == spec.name
            for time in corruption.times
        }


def _point(spec: DatasetSpec, row: Row) -> Point:
    return (row[0], row[1], row[2]) if spec.series_in_key else (row[0], spec.series[0], row[1])


def enough_kills(tally: Tally) -> Check:
    """The quota was reached before the time was up."""
    short = [] if tally.killed >= tally.quota else [f"the time was up after {tally.killed}"]
    return check(f"at least {tally.quota} kills hit what was at work", short)


def of_store(deployment: Deployment, wanted: Wanted, planned: list[Batch]) -> list[Check]:
    """What must hold of the store when nothing is at work any more and no other batches than these were planned."""
    url = deployment.database_url
    return [
        sessions_have_ended(url),
        *(table_is_the_truth(url, wanted, spec) for spec in DATASETS.values()),
        *(ledger_accounts_for_every_point(url, wanted, spec) for spec in DATASETS.values()),
        quarantine_holds_what_was_spoiled(url, wanted),
        no_batch_is_logged_twice(url, planned),
        every_row_was_inserted_once(url),
        staging_holds_no_orphan_after_a_sweep(url),
        nothing_is_left_to_load(deployment, wanted.market),
    ]


def sessions_have_ended(url: str) -> Check:
    """No session of a killed process is left in the database."""
    with session(url) as connection:
        deadline = time.monotonic() + SESSIONS_END_IN_S
        while (left := rows(connection, OTHER_SESSIONS)) and time.monotonic() < deadline:
            time.sleep(0.2)
    return check("no session of a killed process is left", (str(row) for row in left))


def table_is_the_truth(url: str, wanted: Wanted, spec: DatasetSpec) -> Check:
    """The fact table equals the truth, row by row, values and sources."""
    found, true = set(facts(url, spec.name)), set(wanted.rows(spec))
    return check(
        f"{spec.name}: {len(true):,} rows equal the truth",
        [
            *(f"missing or different: {row}" for row in sorted(true - found, key=repr)),
            *(f"not in the truth: {row}" for row in sorted(found - true, key=repr)),
        ],
    )


def ledger_accounts_for_every_point(url: str, wanted: Wanted, spec: DatasetSpec) -> Check:
    """Each expected point is present, missing upstream or quarantined, and nothing is claimed that is not there."""
    with session(url) as connection:
        ledger_rows = ledger.read(connection, (spec.name,), wanted.market.symbols)
    describe = _faults_off_grid if spec.timeframe_of(spec.series[0]) is None else _faults_on_grid
    there = {(row.symbol, row.series) for row in ledger_rows}
    absent = [(s, series) for s in wanted.market.symbols for series in spec.series if (s, series) not in there]
    return check(
        f"{spec.name}: the ledger accounts for every point",
        [*(f"{key} is not in the ledger" for key in absent), *describe(url, wanted, spec, ledger_rows)],
    )


def _faults_on_grid(url: str, wanted: Wanted, spec: DatasetSpec, ledger_rows: list[Coverage]) -> Iterator[str]:
    stored, withheld = stored_points(url, spec.name), wanted.withheld(spec)
    for row in ledger_rows:
        grid = spec.timeframe_of(row.series)
        assert grid is not None
        points = {point for span in wanted.market.spans for point in settled_points(grid, span)}
        have = stored.get((row.symbol, row.series), set())
        held = {time for symbol, series, time in withheld if (symbol, series) == (row.symbol, row.series)}
        lacking = points - have - held
        yield from _differences(row, "present", row.present, windows_of(have, grid))
        yield from _differences(row, "quarantined", row.quarantined, windows_of(held, grid))
        yield from _differences(row, "missing_upstream", row.missing_upstream, windows_of(lacking, grid))
        if (row.recheck_at is None) == bool(lacking):
            yield f"{row.symbol} {row.series}: recheck_at is {row.recheck_at}"


def _faults_off_grid(url: str, wanted: Wanted, spec: DatasetSpec, ledger_rows: list[Coverage]) -> Iterator[str]:
    """Settlements: each span is covered whole; one that ends now, up to the hour of the last one that may have been."""
    now = wanted.market.now
    latest = TIMEFRAMES["1h"].ceil(now - spec.settles_after)
    spans = [Window(span.start, latest if span.end == now else span.end) for span in wanted.market.spans]
    for row in ledger_rows:
        yield from _differences(row, "present", row.present, spans)
        yield from _differences(row, "missing_upstream", row.missing_upstream, [])
        yield from _differences(row, "quarantined", row.quarantined, [])


def _differences(row: Coverage, what: str, found: list[Window], true: list[Window]) -> Iterator[str]:
    subject = f"{row.symbol} {row.series} {what}"
    yield from (f"{subject}: {window} is claimed" for window in found if window not in true)
    yield from (f"{subject}: {window} is not" for window in true if window not in found)


def quarantine_holds_what_was_spoiled(url: str, wanted: Wanted) -> Check:
    """All spoiled rows are in the quarantine, and no others; that none is in the facts the tables show."""
    true = {(spec.name, *point) for spec in DATASETS.values() for point in wanted.withheld(spec)}
    with session(url) as connection:
        found = set(rows(connection, "SELECT dataset, symbol, series, time FROM quarantine"))
    return check(
        f"the quarantine holds the {len(true)} spoiled rows and no others",
        [*(f"not there: {point}" for point in true - found), *(f"sound: {point}" for point in found - true)],
    )


def no_batch_is_logged_twice(url: str, planned: list[Batch]) -> Check:
    """The load log has each batch and dataset at most once, and none that nobody planned."""
    known = {(batch.id, dataset) for batch in planned for dataset in batch.datasets}
    with session(url) as connection:
        logged = Counter(rows(connection, "SELECT batch, dataset FROM data_versions"))
    return check(
        f"the load log has {logged.total():,} batches and datasets, each once",
        [
            *(f"{key}: {times} times" for key, times in logged.items() if times > 1),
            *(f"{key}: was never planned" for key in logged if key not in known),
        ],
    )


def every_batch_is_published(deployment: Deployment, planned: list[Batch]) -> Check:
    """Each batch that was planned stands in the load log, with all of its datasets."""
    known = {(batch.id, dataset) for batch in planned for dataset in batch.datasets}
    with session(deployment.database_url) as connection:
        logged = set(rows(connection, "SELECT batch, dataset FROM data_versions"))
    return check(f"all of {len(known):,} planned batches and datasets are published", map(str, known - logged))


def every_row_was_inserted_once(url: str) -> Check:
    """What all publishes say they have inserted is what is there: each was whole or nothing."""
    with session(url) as connection:
        logged = rows(connection, "SELECT dataset, sum(inserted)::bigint FROM data_versions GROUP BY dataset")
        said: dict[str, int] = dict(logged)
        connection.execute(PUNCHED)
        punched: dict[str, int] = dict(
            rows(connection, "SELECT dataset, sum(rows)::bigint FROM soak_punched GROUP BY dataset")
        )
        there = {name: _count(connection, name) for name in DATASETS}
    return check(
        "rows that publishes say they inserted are the rows that are there",
        (
            f"{name}: {said.get(name, 0)} inserted, {n} there and {punched.get(name, 0)} punched out"
            for name, n in there.items()
            if said.get(name, 0) != n + punched.get(name, 0)
        ),
    )


def corrections_are_of_what_was_issued_again(url: str, market: Market) -> Check:
    """Each change of what the archive had given stands in `corrections`, as often as it happened, and nothing else.

    Only rows of files that were issued again may have changed. One that was punched out meanwhile, or staged before the
    new issue and published after it, changes more than once.
    """
    with session(url) as connection:
        corrected, changed = witness.corrections(connection), witness.changes(connection)
    return check(
        f"{corrected.total():,} corrections are what new issues have changed, each once",
        [
            *(f"changed and not in corrections: {change}" for change in (changed - corrected).elements()),
            *(f"in corrections and not changed: {change}" for change in (corrected - changed).elements()),
            *(f"was not issued again: {change}" for change in corrected if not _was_reissued(market, change)),
        ],
    )


def _was_reissued(market: Market, change: witness.Change) -> bool:
    dataset, symbol, series, time, _, _ = change
    return any(issue.changes(DATASETS[dataset], symbol, series, time) for issue in market.first_issues)


def reports_name_what_was_withheld_alone(deployment: Deployment, plans: Iterable[Plan]) -> Check:
    """No batch was left out and no object of the archive, whatever was faulty on the way."""
    return check(
        "reports name withheld rows and nothing else",
        (line for planned in plans for line in _complaints(deployment, planned) if not line.startswith("withheld: ")),
    )


def _complaints(deployment: Deployment, planned: Plan) -> list[str]:
    try:
        reporting.report(deployment, planned)
    except BatchFaulty as faulty:
        # Its first line counts them, its last says what to do.
        return [line.strip() for line in str(faulty).splitlines()[1:-1]]
    return []


def staging_holds_no_orphan_after_a_sweep(url: str) -> Check:
    """What kills have left in staging is gone after the sweep that each plan begins with.

    Neither rows that no manifest claims are left, nor manifests of what is published.
    """
    with session(url) as connection:
        loader.sweep(connection, DATASETS.values())
        orphans = {name: rows(connection, ORPHANS.format(name))[0][0] for name in DATASETS}
        published = rows(connection, "SELECT batch FROM staging.manifests JOIN data_versions USING (batch)")
    return check(
        "staging holds no orphan after a sweep",
        [
            *(f"{name}: {count} rows without a manifest" for name, count in orphans.items() if count),
            *(f"{batch}: is published and has a manifest" for (batch,) in published),
        ],
    )


def _count(connection: Connection, table: str) -> int:
    return int(rows(connection, f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608  one of our own names


def nothing_is_left_to_load(deployment: Deployment, market: Market) -> Check:
    """Planning the same spans once more finds no gap."""
    asked = (LoadRequest(market.datasets, market.symbols, span.start, span.end, "soak check") for span in market.spans)
    planned = (batch for request in asked for batch in pipeline.plan(deployment, request).batches)
    return check("nothing is left to load", (f"{batch.label} {batch.window}" for batch in planned))
