"""Connections to the market database, and the SQL that stands in files.

Every connection speaks UTC. SQL text lives in `include/sql`; Python fills in identifiers with psycopg's `sql` module
and values as parameters, never by string formatting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg.types.multirange import TimestamptzMultirange
from psycopg.types.range import TimestamptzRange

from perpflow.errors import BadConfiguration, SchemaMissing, StoreUnavailable
from perpflow.include import include_path
from perpflow.windows import Window

Row = dict[str, Any]
Connection = psycopg.Connection[DictRow]
Identifier = sql.Composable

#: Long enough for a database that is just starting, short enough that a task says what is wrong.
CONNECT_TIMEOUT_S = 10

#: What every session of ours is set to. Statistics of staging are always stale: rows of a new attempt come and go
#: within seconds, and the planner takes them for one row. Nested loops over them made a check of 8,928 rows last 40 to
#: 70 s instead of half a second; hash and merge joins are never far from the best for what we do.
SESSION_OPTIONS = "-c TimeZone=UTC -c enable_nestloop=off"


@cache
def _text(name: str) -> str:
    return (include_path() / "sql" / "queries" / f"{name}.sql").read_text()


def query(name: str, **identifiers: sql.Composable) -> sql.Composed:
    """The query of `include/sql/queries/<name>.sql` with its `{identifier}` places filled in."""
    return sql.SQL(_text(name)).format(**identifiers)


def columns(names: tuple[str, ...], of: str | None = None) -> sql.Composed:
    """A comma-separated list of quoted column names, of the table alias `of` if given."""
    parts = (sql.Identifier(of, name) if of else sql.Identifier(name) for name in names)
    return sql.SQL(", ").join(parts)


@contextmanager
def session(url: str) -> Iterator[Connection]:
    """A connection in autocommit mode; use `connection.transaction()` for what must happen together.

    Raises:
        BadConfiguration: the URL is none that libpq reads.
        StoreUnavailable: the server does not answer, went away during the session, or reports that it can't just now.
        SchemaMissing: it lacks what migrations make.
    """
    try:
        with psycopg.connect(url, **connection_options(url)) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise unavailable(error) from error
    except (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName) as error:
        raise SchemaMissing(
            f"the market database has not been migrated ({error.diag.message_primary}).",
            hint="Run `python -m perpflow migrate`, or the DAG migrate_database.",
        ) from error


def connection_options(url: str = "") -> dict[str, Any]:
    """What every connection of ours is opened with, synchronous or not; what `url` itself says of it stays in force.

    Raises:
        BadConfiguration: the URL is none that libpq reads.
    """
    said = address_of(url)
    return {
        "autocommit": True,
        "row_factory": dict_row,
        "connect_timeout": said.get("connect_timeout", CONNECT_TIMEOUT_S),
        "application_name": said.get("application_name", "perpflow"),
        # The last one of a setting counts: ours are no matter of taste.
        "options": f"{said.get('options', '')} {SESSION_OPTIONS}".lstrip(),
    }


def address_of(url: str) -> dict[str, Any]:
    """What a URL or a list of key=value says, by libpq's names.

    Raises:
        BadConfiguration: it is none that libpq reads, or one of which it would take a password's end for the host.
    """
    try:
        said = conninfo_to_dict(url)
        if not _is_misread(url):
            return said
    except psycopg.ProgrammingError:
        pass
    # Without libpq's own words: they quote the address, password and all.
    raise BadConfiguration(
        f"the market database's address is not valid: {_problem_of(url)}.",
        hint="Set PERPFLOW_DATABASE_URL to one such as postgresql://user:password@host:5432/perpflow.",
    )


def _is_misread(url: str) -> bool:
    """Whether an @ or / of user or password stands as it is: what follows would be shown as host, port or name."""
    _, is_url, rest = url.partition("?")[0].partition("://")
    account, _, name = rest.partition("/")
    return bool(is_url) and (account.count("@") > 1 or "@" in name)


def _problem_of(url: str) -> str:
    scheme = re.match(r"[\w+.-]+://", url)
    if scheme is None:
        return "it is neither a postgresql:// URL nor a list of key=value"
    if scheme[0] not in ("postgresql://", "postgres://"):
        return f"it begins with {scheme[0]}, not postgresql://"
    return "libpq can't read it; special characters in user and password must be percent-encoded, as @ by %40"


def unavailable(error: psycopg.OperationalError) -> StoreUnavailable:
    """The error that says what happened to a user: in the server's words where it has any, else that it is away."""
    said = " ".join((error.diag.message_primary or str(error)).split())
    # A refused connection has no SQLSTATE, only libpq's text with the server's line in it.
    if error.sqlstate or "FATAL:" in said:
        return StoreUnavailable(
            f"the market database reports: {said}.",
            hint="Nothing was half-written. If it repeats, look at the server's log and the connection perpflow_db.",
        )
    return StoreUnavailable(
        f"the market database does not answer: {said}",
        hint="Check `python -m perpflow services status`, or the connection perpflow_db. Nothing was half-written.",
    )


def one(connection: Connection, statement: sql.Composed, parameters: Mapping[str, Any]) -> Row:
    """The single row of a query.

    Raises:
        LookupError: the query gave none.
    """
    row = connection.execute(statement, parameters).fetchone()
    if row is None:
        raise LookupError(f"no row for {dict(parameters)}")
    return row


def to_range(window: Window) -> TimestamptzRange:
    """A window as PostgreSQL's tstzrange `[start, end)`."""
    return TimestamptzRange(window.start, window.end)


def to_multirange(windows: list[Window]) -> TimestamptzMultirange:
    """Windows as PostgreSQL's tstzmultirange."""
    return TimestamptzMultirange([to_range(window) for window in windows])


def from_multirange(ranges: TimestamptzMultirange | None) -> list[Window]:
    """The windows of a tstzmultirange whose ranges are bounded; ascending."""
    return [Window(r.lower, r.upper) for r in ranges or () if r.lower is not None and r.upper is not None]
