"""The gate: a staged batch is checked in SQL, and rows that fail a critical expectation are withheld.

What is withheld is as small as the fault: the rows that break a row rule, the (symbol, series, UTC day) that breaks a
set rule; the suites' queries give those rows. Withholding is a mark: the names of the failed expectations stand in the
staged row's `withheld`, and publishing moves marked rows to the quarantine. A row that a person has released from an
expectation (reviewing.py) is not marked for that one again; one that was rejected always is, though in other company it
may pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from perpflow.datasets import TABLES
from perpflow.quality.suites import Suite, load_suite
from perpflow.quality.validation import BATCH_VIEW, Failure, run, unevaluated
from perpflow.quality.verdict import SAMPLE_ROWS, Finding, Verdict
from perpflow.specs import DatasetSpec, StreamedSpec
from perpflow.store.database import Connection, columns, connection_options, one, query, unavailable
from perpflow.store.loader import told_apart_by
from perpflow.windows import Window


def check(connection: Connection, database_url: str, dataset: str, stage_id: int, window: Window) -> Verdict:
    """Check the batch staged under `stage_id`, mark what fails, and say what was found. Checking again starts afresh.

    The staged rows must be committed: Great Expectations reads them in a session of its own.

    Raises:
        BadSuite: the suite is missing or broken, or an expectation could not be evaluated.
        StoreUnavailable: the database does not answer.
    """
    suite = load_suite(dataset)
    spec = TABLES[dataset]
    with _lost_is_unavailable():
        # SQLAlchemy, under Great Expectations, expects rows as tuples.
        with psycopg.connect(database_url, **{**connection_options(database_url), "row_factory": tuple_row}) as reader:
            reader.execute(query("gate_settings"), {"local": False})
            _view_batch(reader, spec, stage_id, window)
            _derive(reader, suite, suite.derived)
            _answer(reader, suite)
            _refuse_strangers(reader, spec, suite, stage_id)
            failures = run(reader, suite)
        with connection.transaction():
            connection.execute(query("gate_settings"), {"local": True})
            _view_batch(connection, spec, stage_id, window)
            verdict = _mark(connection, spec, suite, stage_id, window, failures)
            connection.execute(query("gate_batch_drop"))
    return verdict


def _mark(
    connection: Connection,
    spec: DatasetSpec,
    suite: Suite,
    stage_id: int,
    window: Window,
    failures: tuple[Failure, ...],
) -> Verdict:
    this_batch = {"stage_id": stage_id}
    connection.execute(query("gate_clear", staging=_staging(spec)), this_batch)
    rows = one(connection, query("stage_count", staging=_staging(spec)), this_batch)["count"]
    derived = suite.derived_of([failure.rows_query or "" for failure in failures])
    _derive(connection, suite, derived)
    connection.execute(query("gate_failing"))
    # All are found before any is marked: marking a row gives it another address.
    found = tuple(_finding(connection, spec, stage_id, failure) for failure in failures)
    # What stands beside the batch may have changed since Great Expectations looked: then no row fails any more.
    found = tuple(
        finding
        for finding, failure in zip(found, failures, strict=True)
        if finding.failing or failure.rows_query is None
    )
    counts = _counts(connection, spec, stage_id, window)
    findings = tuple(_counted(finding, counts.pop(finding.expectation, (0, 0))) for finding in found)
    findings += tuple(_rejection(connection, spec, name, counts[name]) for name in sorted(counts))
    connection.execute(query("gate_mark", staging=_staging(spec)))
    for name in reversed(derived):
        connection.execute(query("gate_derived_drop", table=_derived(name)))
    # A critical expectation withholds nothing where a person has released every row that fails it.
    passed = not any(finding.withheld for finding in findings)
    return Verdict(spec.name, passed, rows, findings)


def _finding(connection: Connection, spec: DatasetSpec, stage_id: int, failure: Failure) -> Finding:
    expectation = failure.expectation
    # Without parameters: a suite's query may hold percent signs.
    collect = query(
        "gate_collect",
        failing=_rows(failure),
        staging=_staging(spec),
        stage_id=sql.Literal(stage_id),
        expectation=sql.Literal(expectation.name),
        withholds=sql.Literal(expectation.severity == "critical"),
    )
    failing = connection.execute(collect).rowcount
    return Finding(
        expectation=expectation.name,
        rule=expectation.rule,
        severity=expectation.severity,
        columns=expectation.columns,
        failing=failing,
        withheld=0,
        sample=_sample(connection, spec, expectation.name, expectation.columns),
        reason=expectation.reason,
    )


def _counted(finding: Finding, counts: tuple[int, int]) -> Finding:
    withheld, rejected = counts
    return replace(finding, withheld=withheld, rejected=rejected)


def _counts(connection: Connection, spec: DatasetSpec, stage_id: int, window: Window) -> dict[str, tuple[int, int]]:
    """How many rows each expectation withholds, and how many of them were rejected for it.

    Withheld is what fails it, is critical and no person has released from it, and what one has rejected for it.
    """
    parts = {"staging": _staging(spec), "same_row": same_row(spec)}
    connection.execute(query("gate_excuse", **parts), {"dataset": spec.name})
    if find_rejected(connection, spec, window):
        connection.execute(query("gate_reject", **parts), {"stage_id": stage_id})
    counts = connection.execute(query("gate_withheld")).fetchall()
    return {row["expectation"]: (row["rows"], row["rejected"]) for row in counts}


def find_rejected(connection: Connection, spec: DatasetSpec, window: Window) -> int:
    """Have what people have rejected in a window in the table `gate_rejected` of this transaction; returns how much."""
    rejected = query(
        "gate_rejected",
        dataset=sql.Literal(spec.name),
        window_start=sql.Literal(window.start),
        window_end=sql.Literal(window.end),
    )
    return connection.execute(rejected).rowcount


def same_row(spec: DatasetSpec) -> sql.Composed:
    """Whether an entry `q` of the quarantine is of the staged row `s`."""
    named = ("symbol", "exchange_symbol") if isinstance(spec, StreamedSpec) else ("symbol",)
    return query(
        "gate_same_row",
        symbols=columns(named, of="s"),
        series=sql.Identifier(spec.series_column),
        hashed=told_apart_by(spec),
    )


def _rejection(connection: Connection, spec: DatasetSpec, expectation: str, counts: tuple[int, int]) -> Finding:
    """Of rows that fail nothing any more, and were rejected."""
    about = one(connection, query("gate_rejected_for"), {"expectation": expectation})
    names = tuple(about["column"].split(", ")) if about["column"] else ()
    found = Finding(
        expectation=expectation,
        rule="row",
        severity="critical",
        columns=names,
        failing=counts[0],
        withheld=0,
        sample=_sample(connection, spec, expectation, names),
        reason=about["reason"],
    )
    return _counted(found, counts)


def _sample(connection: Connection, spec: DatasetSpec, expectation: str, names: tuple[str, ...]) -> tuple[str, ...]:
    quoting = query(
        "gate_sample", staging=_staging(spec), series=sql.Identifier(spec.series_column), limit=sql.Literal(SAMPLE_ROWS)
    )
    parameters = {"expectation": expectation, "series": spec.series_column, "columns": list(names)}
    return tuple(one(connection, quoting, parameters)["sample"])


def _rows(failure: Failure) -> sql.Composable:
    # An expectation about the batch as a whole names no rows: if it fails, the batch does.
    if failure.rows_query is None:
        return query("gate_every_row")
    return sql.SQL(failure.rows_query)


def _derive(connection: psycopg.Connection[Any], suite: Suite, names: Iterable[str]) -> None:
    """Make the suite's derived tables."""
    for name in names:
        with _faults_named(suite, f"derived.{name}"):
            connection.execute(query("gate_derived", table=_derived(name), rows=_rows_of(suite.derived[name])))


def _answer(reader: psycopg.Connection[Any], suite: Suite) -> None:
    """Keep what fails each query of the suite: Great Expectations runs a query twice, which then costs nothing."""
    asked = {
        expectation.name: query("gate_answer", number=sql.Literal(number), rows=_rows_of(text))
        for number, expectation in enumerate(suite.expectations)
        if (text := expectation.kwargs.get("unexpected_rows_query")) is not None
    }
    try:
        with reader.transaction():
            reader.execute(query("gate_answers", asked=sql.SQL("").join(asked.values())))
    except psycopg.OperationalError:
        raise
    except psycopg.Error:
        # One of them is broken: asked one by one they say which.
        for name, one_of_them in asked.items():
            with _faults_named(suite, name), reader.transaction(force_rollback=True):
                reader.execute(query("gate_answers", asked=one_of_them))
        raise


def _refuse_strangers(reader: psycopg.Connection[Any], spec: DatasetSpec, suite: Suite, stage_id: int) -> None:
    """An address that a suite's query has from elsewhere would withhold whatever lies there in staging.

    Raises:
        BadSuite: a query gives one; names the expectation.
    """
    statement = query("gate_stranger", staging=_staging(spec), stage_id=sql.Literal(stage_id))
    for number, row_id in reader.execute(statement).fetchall():
        problem = f"it gives the row_id {row_id}, and no row of the batch has that; take row_id from {{batch}}"
        raise unevaluated(suite, suite.expectations[number].name, problem)


def _rows_of(text: str) -> sql.SQL:
    """A suite's query, as it is run. A suite is ours and reviewed like code."""
    return sql.SQL(text.rstrip("; \n").format(batch=BATCH_VIEW))


@contextmanager
def _faults_named(suite: Suite, subject: str) -> Iterator[None]:
    """What a suite's SQL can't do is the suite's fault.

    Raises:
        BadSuite: the query is broken; names `subject`.
    """
    try:
        yield
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise unevaluated(suite, subject, str(error)) from error


def _derived(name: str) -> sql.Identifier:
    return sql.Identifier(f"derived_{name}")


def _view_batch(connection: psycopg.Connection[Any], spec: DatasetSpec, stage_id: int, window: Window) -> None:
    view = query(
        "gate_batch",
        staging=_staging(spec),
        stage_id=sql.Literal(stage_id),
        window_start=sql.Literal(window.start),
        window_end=sql.Literal(window.end),
    )
    connection.execute(view)


def _staging(spec: DatasetSpec) -> sql.Identifier:
    return sql.Identifier("staging", spec.name)


@contextmanager
def _lost_is_unavailable() -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError as error:
        raise unavailable(error) from error
