"""The gate: a staged batch is checked in SQL, and rows that fail a critical expectation are withheld.

What is withheld is as small as the fault: the rows that break a row rule, the (symbol, series, UTC day) that breaks a
set rule; the suites' queries give those rows. Withholding is a mark: the names of the failed expectations stand in the
staged row's `withheld`, and publishing moves marked rows to the quarantine. A row that a person has released from an
expectation (reviewing.py) is not marked for that one again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from perpflow.datasets import TABLES
from perpflow.quality.suites import load_suite
from perpflow.quality.validation import Failure, run
from perpflow.quality.verdict import SAMPLE_ROWS, Finding, Verdict
from perpflow.specs import DatasetSpec
from perpflow.store.database import Connection, connection_options, one, query, unavailable
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
            _view_batch(reader, spec, stage_id, window)
            failures = run(reader, suite)
        with connection.transaction():
            _view_batch(connection, spec, stage_id, window)
            verdict = _mark(connection, spec, stage_id, failures)
            connection.execute(query("gate_batch_drop"))
    return verdict


def _mark(connection: Connection, spec: DatasetSpec, stage_id: int, failures: tuple[Failure, ...]) -> Verdict:
    this_batch = {"stage_id": stage_id}
    connection.execute(query("gate_clear", staging=_staging(spec)), this_batch)
    rows = one(connection, query("stage_count", staging=_staging(spec)), this_batch)["count"]
    findings = tuple(_finding(connection, spec, failure) for failure in failures)
    # A critical expectation withholds nothing where a person has released every row that fails it.
    passed = not any(finding.withheld for finding in findings)
    return Verdict(spec.name, passed, rows, findings)


def _finding(connection: Connection, spec: DatasetSpec, failure: Failure) -> Finding:
    expectation = failure.expectation
    rows_query = _rows(failure)
    # Without parameters: a suite's query may hold percent signs.
    failing = connection.execute(_failing(spec, expectation.columns, rows_query)).fetchone()
    assert failing is not None
    withheld = 0
    if expectation.severity == "critical":
        withheld = connection.execute(_withhold(spec, expectation.name, rows_query)).rowcount
    return Finding(
        expectation=expectation.name,
        rule=expectation.rule,
        severity=expectation.severity,
        columns=expectation.columns,
        failing=failing["rows"],
        withheld=withheld,
        sample=tuple(failing["sample"]),
        reason=expectation.reason,
    )


def _withhold(spec: DatasetSpec, expectation: str, rows_query: sql.Composable) -> sql.Composed:
    return query(
        "gate_mark",
        staging=_staging(spec),
        failing=rows_query,
        expectation=sql.Literal(expectation),
        dataset=sql.Literal(spec.name),
        series=sql.Identifier(spec.series_column),
        hashed=told_apart_by(spec),
    )


def _failing(spec: DatasetSpec, columns: tuple[str, ...], rows_query: sql.Composable) -> sql.Composed:
    return query(
        "gate_failing",
        staging=_staging(spec),
        series=sql.Identifier(spec.series_column),
        series_name=sql.Literal(spec.series_column),
        columns=sql.Literal(list(columns)),
        failing=rows_query,
        limit=sql.Literal(SAMPLE_ROWS),
    )


def _rows(failure: Failure) -> sql.Composable:
    # An expectation about the batch as a whole names no rows: if it fails, the batch does.
    if failure.rows_query is None:
        return query("gate_every_row")
    # A suite is ours and reviewed like code.
    return sql.SQL(failure.rows_query)


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
