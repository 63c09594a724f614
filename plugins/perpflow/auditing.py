"""The use case of audits: look at what was published and not looked at yet, and say how far every series is verified.

The ledger alone says what there is to look at, whatever event has woken us. The work is cut into units of a month and
some symbols, each one transaction: it sees one snapshot of facts and ledger, keeps its findings, and then takes the
locks that publishers take. Where a publisher has changed one of these rows since the snapshot, PostgreSQL refuses the
lock, all of the unit is forgotten, and it looks again. So nothing counts as audited that changed meanwhile, and a kill
costs one unit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import IsolationLevel, errors, sql
from psycopg.types.json import Jsonb
from psycopg.types.multirange import TimestamptzMultirange
from psycopg.types.range import TimestamptzRange

from perpflow.datasets import DATASETS
from perpflow.errors import BadConfiguration, BadSuite, BatchFaulty
from perpflow.quality.audit import AUDITS, PAIRS, Audit, statement, windows_to_look_at
from perpflow.settings import Deployment
from perpflow.store import ledger, verification
from perpflow.store.database import Connection, one, query, session, to_multirange
from perpflow.store.verification import OpenFindings, Verified
from perpflow.windows import EPOCH, Window, merge, months

log = logging.getLogger(__name__)

#: A unit's windows together: fifty symbols' months, some 600,000 candles, are looked at in seconds. What increments
#: bring of a whole universe is one unit.
MOST_AT_ONCE = timedelta(days=50 * 31)
#: How often a unit looks again where something was published meanwhile; what is left then is left to the next run.
MOST_LOOKS = 10
#: Neighbours of what is looked at, for whichever audit: the longest period beyond it.
MARGIN = timedelta(days=32)

#: For audits that no window bounds.
EVERYWHERE = TimestamptzMultirange([TimestamptzRange(None, None)])
ALWAYS = Window(EPOCH, EPOCH)

Looked = dict[str, list[Window]]  # by symbol


@dataclass(frozen=True, slots=True)
class Audited:
    """What a run did: new and resolved findings, and what it had to leave; and the series that are verified until
    another instant than was told, by this run or by one that did not come to telling it."""

    found: int
    resolved: int
    moved: tuple[Verified, ...]
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """How far series are verified, and what is open."""

    series: tuple[Verified, ...]
    findings: tuple[OpenFindings, ...]

    @property
    def is_disputed(self) -> bool:
        """Whether a critical finding is open."""
        return any(finding.severity == "critical" for finding in self.findings)


def audit(
    deployment: Deployment, datasets: tuple[str, ...], symbols: tuple[str, ...] | None = None, *, again: bool = False
) -> Audited:
    """Run every audit that reads one of the datasets for what of it was not audited yet; with `again` for all of it.

    Raises:
        BadSuite: the suite whose limits an audit goes by is broken. What other datasets' audits looked at counts.
        StoreUnavailable: the database does not answer. What was looked at until then counts.
    """
    with session(deployment.database_url) as connection:
        verification.note_fallen(connection)
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        done: dict[str, list[tuple[int, int] | None]] = {}
        broken: dict[str, None] = {}
        for dataset in (name for name in DATASETS if name in datasets):
            try:
                scope = verification.scope(connection, dataset, symbols, again=again)
                done[dataset] = [_looked_at(connection, dataset, unit, symbols) for unit in (None, *units(scope))]
            except BadSuite as error:
                broken[str(error)] = None
        if broken:
            raise BadSuite("\n".join(broken))
        moved = tuple(verification.untold(connection))
    counts = [each for of_dataset in done.values() for each in of_dataset if each is not None]
    left = tuple(dataset for dataset, of_dataset in done.items() if None in of_dataset)
    return Audited(sum(found for found, _ in counts), sum(resolved for _, resolved in counts), moved, left)


def told(deployment: Deployment, moved: tuple[Verified, ...]) -> None:
    """Keep that somebody was told of these; what nobody keeps here the next audit returns again.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with session(deployment.database_url) as connection:
        verification.tell(connection, moved)


def accept(deployment: Deployment, ids: tuple[int, ...], *, person: str, note: str) -> int:
    """Take critical findings as they are: they dispute nothing any more, as long as they say the same.

    Returns how many there were.

    Raises:
        BadConfiguration: no note is given, or one of them is no critical finding that is open; none is accepted then.
        StoreUnavailable: the database does not answer.
    """
    if not note.strip():
        raise BadConfiguration("the note is empty.", hint="Say why it is so and stays so.")
    with session(deployment.database_url) as connection, connection.transaction():
        found = verification.accept(connection, ids, person, note.strip())
        missing = sorted(set(ids) - {number for number, _, _ in found})
        if missing:
            raise BadConfiguration(
                f"no critical finding is open that has the number {', '.join(map(str, missing))}.",
                hint="`python -m perpflow audit` and the table audit_findings have the numbers. None was accepted.",
            )
        # In the table's order, as publishers do.
        for spec in DATASETS.values():
            symbols = tuple(sorted({symbol for _, dataset, symbol in found if dataset == spec.name}))
            if symbols:
                ledger.lock(connection, spec, symbols)
                verification.dispute(connection, (spec.name,), symbols)
    return len(found)


def state(deployment: Deployment, datasets: tuple[str, ...], symbols: tuple[str, ...] | None = None) -> State:
    """How far series are verified and what is open.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with session(deployment.database_url) as connection:
        return State(
            tuple(verification.verified(connection, datasets, symbols)),
            tuple(verification.open_findings(connection, datasets, symbols)),
        )


def complain(deployment: Deployment, datasets: tuple[str, ...]) -> None:
    """Say what is disputed of these datasets.

    Raises:
        BatchFaulty: critical findings are open; names each audit's first.
        StoreUnavailable: the database does not answer.
    """
    critical = [finding for finding in state(deployment, datasets).findings if finding.severity == "critical"]
    if critical:
        raise BatchFaulty(
            f"{sum(finding.findings for finding in critical)} critical findings are open:\n  "
            + "\n  ".join(f"{each.audit} {each.dataset}: {each.findings}, first {each.sample}" for each in critical),
            hint="\nverified_until ends before them. See the table audit_findings; load it anew, then audit; or accept"
            " what is so and stays so: `python -m perpflow audit accept NUMBER --note ...`.",
        )


def units(scope: Mapping[str, list[Window]]) -> Iterator[Looked]:
    """The windows of all symbols cut into months, the oldest first, with as many symbols at once as a unit takes."""
    by_month: dict[Window, Looked] = {}
    for symbol, windows in scope.items():
        for window in windows:
            for month in months(window):
                part = window.intersect(month)
                assert part is not None, "these months touch the window"
                by_month.setdefault(month, {}).setdefault(symbol, []).append(part)
    for month in sorted(by_month):
        yield from _packed(by_month[month])


def _packed(of_month: Looked) -> Iterator[Looked]:
    unit: Looked = {}
    length = timedelta(0)
    for symbol, windows in of_month.items():
        more = sum((window.length for window in windows), timedelta(0))
        if unit and length + more > MOST_AT_ONCE:
            yield unit
            unit, length = {}, timedelta(0)
        unit[symbol] = windows
        length += more
    if unit:
        yield unit


def _looked_at(
    connection: Connection, dataset: str, unit: Looked | None, symbols: tuple[str, ...] | None
) -> tuple[int, int] | None:
    """Look at a unit, or (None) at what no window bounds; findings new and resolved, None where it never held still."""
    for _ in range(MOST_LOOKS):
        connection.execute(query("audit_turn"))
        try:
            with connection.transaction():
                return _look(connection, dataset, unit, tuple(unit) if unit is not None else symbols)
        except (errors.SerializationFailure, errors.DeadlockDetected):
            log.info("%s: something was published meanwhile; looking again", dataset)
        finally:
            if not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                connection.execute(query("audit_turn_over"))
    log.warning("%s: it was published to again and again; what is left the next run looks at", dataset)
    return None


def _look(
    connection: Connection, dataset: str, unit: Looked | None, symbols: tuple[str, ...] | None
) -> tuple[int, int]:
    connection.execute(query("audit_settings"))
    audits = [one for one in AUDITS if dataset in one.reads and one.everywhere == (unit is None)]
    targets = {each.target(dataset) for each in audits}
    series = verification.series_of(connection, tuple(targets), symbols)
    done = [_recorded(connection, each, dataset, series[each.target(dataset)], unit) for each in audits]
    if unit is not None:
        involved = {name for each in audits for name in each.reads} | targets
        # In the table's order, as publishers do.
        for spec in (spec for spec in DATASETS.values() if spec.name in involved):
            ledger.lock(connection, spec, tuple(unit))
        verification.mark_audited(connection, dataset, unit)
        verification.dispute(connection, tuple(targets), tuple(unit))
    return sum(found for found, _ in done), sum(resolved for _, resolved in done)


def _recorded(
    connection: Connection, audit: Audit, dataset: str, series: list[tuple[str, str]], unit: Looked | None
) -> tuple[int, int]:
    """Run one audit, keep what it finds, resolve what it finds no more; returns how many of each."""
    if not series:
        return 0, 0
    target = DATASETS[audit.target(dataset)]
    windows = [
        [] if unit is None else windows_to_look_at(target, name, unit.get(symbol, []), audit.reach)
        for symbol, name in series
    ]
    whole = merge(window for each in windows for window in each) or [ALWAYS]
    parameters: dict[str, Any] = {
        **audit.constants,
        "audit": audit.name,
        "target": target.name,
        "symbols": [symbol for symbol, _ in series],
        "series": [name for _, name in series],
        "steps": [grid.name if (grid := target.instants_of(name)) else None for _, name in series],
        "windows": [EVERYWHERE if unit is None else to_multirange(each) for each in windows],
        "start": whole[0].start - MARGIN,
        "end": whole[-1].end + MARGIN,
        "coarse": [coarse for coarse, _ in PAIRS],
        "fine": [fine for _, fine in PAIRS],
        "limits": Jsonb(audit.limits(dataset)),
        "rules": list(audit.rules),
        "by_series": target.series_in_key,
    }
    recording = query("audit_record", audit=statement(audit, dataset), table=sql.Identifier(target.name))
    row = one(connection, recording, parameters)
    return row["found"], row["resolved"]
