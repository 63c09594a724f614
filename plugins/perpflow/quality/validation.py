"""One run of Great Expectations over a staged batch, in SQL.

Great Expectations gets a session of its own with a temporary view of the batch, and answers in its shortest form: which
expectations fail, and the query that finds the failing rows. No row travels to Python for an expectation about rows; of
one written in SQL the addresses of what fails wait in a temporary table, of which the library reads two hundred.
Importing the library costs seconds, hence inside the function.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from perpflow.errors import BadSuite, StoreUnavailable
from perpflow.quality.expectation_types import QUERY_TYPE
from perpflow.quality.library import great_expectations
from perpflow.quality.suites import Expectation, Suite
from perpflow.store.database import query

#: The temporary view that include/sql/queries/gate_batch.sql makes.
BATCH_VIEW = "gate_batch"

#: The index query is all that the gate needs of an expectation about rows: it gives the address of every failing row.
RESULT_FORMAT = {
    "result_format": "BOOLEAN_ONLY",
    "unexpected_index_column_names": ["row_id"],
    "return_unexpected_index_query": True,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An expectation that failed, and the query for its failing rows (None: it speaks of the batch as a whole)."""

    expectation: Expectation
    rows_query: str | None


def preload() -> None:
    """Import Great Expectations now, for a process from which workers are forked."""
    with great_expectations():
        pass


def run(reader: psycopg.Connection[Any], suite: Suite) -> tuple[Failure, ...]:
    """The expectations of `suite` that the batch behind `reader`'s view `gate_batch` fails, in the suite's order.

    Raises:
        BadSuite: Great Expectations could not evaluate an expectation, or left one out.
        StoreUnavailable: the session broke meanwhile.
    """
    results = {_name(result): result for result in _validate(reader, suite)}
    for expectation in suite.expectations:
        _demand_answer(reader, suite, expectation, results.get(expectation.name))
    failed = (e for e in suite.expectations if not results[e.name].success)
    return tuple(Failure(e, _rows_query(e, results[e.name].result)) for e in failed)


def _validate(reader: psycopg.Connection[Any], suite: Suite) -> list[Any]:
    with great_expectations() as gx:
        from great_expectations.compatibility.pydantic import ValidationError
        from great_expectations.exceptions import GreatExpectationsError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            configurations = [_configuration(reader, number, e) for number, e in enumerate(suite.expectations)]
            expectations = gx.ExpectationSuite(suite.dataset, configurations)
            report = _batch(gx, reader).validate(expectations, result_format=RESULT_FORMAT)
        # A session that breaks while the library looks whether it has one: an error of its own, of the built-in kind.
        except (GreatExpectationsError, ValidationError, SQLAlchemyError, ConnectionError) as error:
            raise _explained(reader, suite, "Great Expectations", str(error)) from error
    return list(report.results)


def _configuration(reader: psycopg.Connection[Any], number: int, expectation: Expectation) -> dict[str, Any]:
    configuration = expectation.configuration()
    if expectation.type == QUERY_TYPE:
        configuration["kwargs"] = {
            "unexpected_rows_query": query("gate_answered", number=sql.Literal(number)).as_string(reader)
        }
    return configuration


def _batch(gx: Any, reader: psycopg.Connection[Any]) -> Any:
    from sqlalchemy.pool import StaticPool

    # It tells every user to take a source that cannot be given a session.
    warnings.filterwarnings("ignore", message="You are using a generic SQLDatasource")
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    # The session is made by us: no password passes through the library, and the view is there. A temporary table of
    # the batch (the library's default) would copy every row.
    source = context.data_sources.add_sql(
        "staging",
        connection_string="postgresql+psycopg://",
        create_temp_table=False,
        kwargs={"creator": lambda: reader, "poolclass": StaticPool},
    )
    return source.add_table_asset(BATCH_VIEW, table_name=BATCH_VIEW).add_batch_definition_whole_table("all").get_batch()


def _name(result: Any) -> str:
    return str(result.expectation_config.meta["name"])


def _demand_answer(reader: psycopg.Connection[Any], suite: Suite, expectation: Expectation, result: Any) -> None:
    # The library answers `success: false` where an expectation raised: that is no verdict about the rows.
    if result is None:
        raise _explained(reader, suite, expectation.name, "Great Expectations gave no result for it")
    problem = _exception(result.exception_info or {})
    if problem:
        raise _explained(reader, suite, expectation.name, problem)


def _exception(info: Mapping[str, Any]) -> str | None:
    # Either one record, or one per metric that the expectation needs.
    records = [info] if "raised_exception" in info else list(info.values())
    raised = [str(record["exception_message"]) for record in records if record["raised_exception"]]
    return raised[0] if raised else None


def _explained(
    reader: psycopg.Connection[Any], suite: Suite, subject: str, problem: str
) -> BadSuite | StoreUnavailable:
    if reader.closed or "OperationalError" in problem:
        return StoreUnavailable(f"the database went away during the check: {problem}", dataset=suite.dataset)
    return unevaluated(suite, subject, problem)


def unevaluated(suite: Suite, subject: str, problem: str) -> BadSuite:
    """The error of a suite of which something could not be evaluated: an expectation by its name, or something else."""
    return BadSuite(
        f"{suite.path.name}: {suite.numbered(subject)} could not be evaluated: {problem.strip().rstrip('.')}.",
        dataset=suite.dataset,
        hint="Nothing is published until it can be: mend it in that file, then clear the task.",
    )


def _rows_query(expectation: Expectation, result: Mapping[str, Any]) -> str | None:
    if expectation.type == QUERY_TYPE:
        return str(expectation.kwargs["unexpected_rows_query"]).rstrip("; \n").format(batch=BATCH_VIEW)
    found = result.get("unexpected_index_query")
    return str(found).rstrip("; \n") if found else None
