"""Sessions with a real server: how they are set up, and what their failures are called."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from perpflow.embedded import processes
from perpflow.errors import Permanent, SchemaMissing, StoreUnavailable, Transient
from perpflow.store.database import Connection, session
from simulator.process import Handle

ROOT = Path(__file__).resolve().parents[2]


def shown(connection: Connection, *settings: str) -> list[str]:
    """The settings in force."""
    rows = [connection.execute(sql.SQL("SHOW {}").format(sql.Identifier(name))).fetchone() for name in settings]
    return [str(value) for row in rows if row is not None for value in row.values()]


# --- how they are set up


def test_a_session_speaks_utc_under_its_own_name(database_url: str) -> None:
    with session(database_url) as connection:
        assert shown(connection, "TimeZone", "enable_nestloop", "application_name") == ["UTC", "off", "perpflow"]


def test_an_address_may_add_settings_but_not_change_ours(database_url: str) -> None:
    options = "-c statement_timeout=5min -c TimeZone=Asia/Tokyo"
    url = make_conninfo(database_url, options=options, application_name="desk")
    with session(url) as connection:
        assert shown(connection, "statement_timeout", "TimeZone") == ["5min", "UTC"]
        assert shown(connection, "enable_nestloop", "application_name") == ["off", "desk"]


# --- what their failures are called


def failure(code: str, message: str) -> sql.Composed:
    """A statement that fails on the server as others do by themselves."""
    raised = sql.SQL("BEGIN RAISE {} USING ERRCODE = {}; END").format(sql.Literal(message), sql.Literal(code))
    return sql.SQL("DO {}").format(sql.Literal(raised.as_string()))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("40P01", "deadlock detected"),
        ("53100", "could not extend file: No space left on device"),
        ("53300", "too many connections for role"),
        ("57P01", "terminating connection due to administrator command"),
    ],
)
def test_what_the_server_reports_is_told_in_its_words(database_url: str, code: str, message: str) -> None:
    with pytest.raises(StoreUnavailable) as caught, session(database_url) as connection:
        connection.execute(failure(code, message))
    assert str(caught.value).startswith(f"the market database reports: {message}. Nothing was half-written")
    assert isinstance(caught.value, Transient)


def test_a_server_that_admits_nobody_more_is_not_said_to_be_away(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("CREATE ROLE one_too_many LOGIN PASSWORD 'x' CONNECTION LIMIT 0")
        url = make_conninfo(database_url, user="one_too_many", password="x")
        try:
            with pytest.raises(StoreUnavailable, match="reports: .*too many connections for role"), session(url):
                pass
        finally:
            admin.execute("DROP ROLE one_too_many")


def test_a_missing_server_does_not_answer_in_one_line() -> None:
    url = f"postgresql://nobody@localhost:{processes.choose_port(None)}/none"
    with pytest.raises(StoreUnavailable, match="does not answer: .*Connection refused") as caught, session(url):
        pass
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("SELECT FROM no_such_table", "no_such_table"),
        ("SELECT no_such_column FROM coverage", "no_such_column"),
        ("CREATE TABLE no_such_schema.new ()", "no_such_schema"),
    ],
)
def test_what_a_migration_would_have_made_is_missed_for_good(database_url: str, statement: str, missing: str) -> None:
    with pytest.raises(SchemaMissing, match="has not been migrated") as caught, session(database_url) as connection:
        connection.execute(statement.encode())
    assert missing in str(caught.value)
    assert "python -m perpflow migrate" in str(caught.value)
    assert isinstance(caught.value, Permanent)


@pytest.mark.parametrize("command", ["backfill --symbols SOL/USDT --start 2026-10-09", "ingest --datasets ohlcv"])
def test_the_command_line_says_in_one_line_that_nobody_has_migrated(
    unmigrated_url: Callable[[], AbstractContextManager[str]],
    redis_url: str,
    exchange: Handle,
    tmp_path: Path,
    command: str,
) -> None:
    with unmigrated_url() as url:
        settings = {
            "PERPFLOW_DATABASE_URL": url,
            "PERPFLOW_REDIS_URL": redis_url,
            "PERPFLOW_REST_URL": exchange.url,
            "PERPFLOW_ARCHIVE_URL": exchange.url,
            "PERPFLOW_HOME": str(tmp_path),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "plugins"), *sys.path]),
        }
        done = subprocess.run(
            [sys.executable, "-m", "perpflow", *command.split()],
            env=os.environ | settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("the market database has not been migrated")
    assert "migrate_database" in line
