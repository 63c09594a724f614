"""The migrated schema is the dataset table's, migrating is done once, and the documented queries run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from perpflow import embedded
from perpflow.datasets import DATASETS, PROVENANCE, TABLES
from perpflow.embedded.state import Services
from perpflow.errors import MigrationChanged
from perpflow.include import include_path
from perpflow.store import migrations
from perpflow.store.database import session
from perpflow.store.migrations import FOLDERS, migrate
from perpflow.windows import TIMEFRAMES, Window
from simulator.process import Handle
from simulator.truth import Truth
from tests.loading import deployment_of, load, request, rows, utc

NewDatabase = Callable[[], AbstractContextManager[str]]


def files(*tiers: str) -> list[str]:
    """The migrations of some tiers in order."""
    return [path.name for tier in tiers for path in sorted((include_path() / "sql" / FOLDERS[tier]).glob("[0-9]*.sql"))]


@pytest.fixture
def included(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of include/ that the test may edit."""
    copy = tmp_path / "include"
    shutil.copytree(include_path(), copy)
    monkeypatch.setenv("PERPFLOW_INCLUDE", str(copy))
    return copy


@pytest.mark.parametrize("dataset", TABLES)
def test_a_fact_table_has_the_columns_of_the_dataset_table_in_its_order(database_url: str, dataset: str) -> None:
    with session(database_url) as connection:
        found = rows(
            connection,
            """SELECT column_name, data_type FROM information_schema.columns
               WHERE table_schema = 'public' AND table_name = %s ORDER BY ordinal_position""",
            dataset,
        )
    assert found == [(column.name, column.type) for column in (*TABLES[dataset].columns, *PROVENANCE)]


@pytest.mark.parametrize("dataset", TABLES)
def test_a_fact_tables_key_is_the_dataset_tables(database_url: str, dataset: str) -> None:
    with session(database_url) as connection:
        found = rows(
            connection,
            """SELECT k.column_name FROM information_schema.key_column_usage k
               JOIN information_schema.table_constraints c USING (constraint_name, table_schema, table_name)
               WHERE c.constraint_type = 'PRIMARY KEY' AND table_schema = 'public' AND table_name = %s
               ORDER BY k.ordinal_position""",
            dataset,
        )
    assert tuple(name for (name,) in found) == TABLES[dataset].key


@pytest.mark.parametrize("dataset", TABLES)
def test_staging_holds_every_column_of_the_table_and_of_every_source(database_url: str, dataset: str) -> None:
    spec = TABLES[dataset]
    with session(database_url) as connection:
        found = rows(
            connection,
            """SELECT column_name, data_type FROM information_schema.columns
               WHERE table_schema = 'staging' AND table_name = %s""",
            dataset,
        )
    names = {name for name, _ in found}
    assert names >= {"stage_id", "origin", "source", "symbol", spec.series_column, "withheld"}
    assert ("blank" in names) == spec.has_blanks
    assert names >= spec.wire_columns
    assert set(found) >= {(column.name, column.type) for column in spec.columns}


def test_provenance_is_never_null_and_what_a_source_lacks_may_be(database_url: str) -> None:
    with session(database_url) as connection:
        nullable = rows(
            connection,
            """SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'
               AND is_nullable = 'YES' AND table_name = ANY (%s) ORDER BY 1, 2""",
            list(TABLES),
        )
    optional = {("funding_rate", "mark_price"), ("funding_rate", "interval_hours")}
    optional |= {("long_short_ratio", column.name) for column in DATASETS["long_short_ratio"].values}
    assert set(nullable) == optional


def test_migrating_applies_each_file_once(unmigrated_url: NewDatabase, services: Services) -> None:
    tiers = ("plain", "timescale") if services.database.timescaledb else ("plain",)
    with unmigrated_url() as url, session(url) as connection:
        assert migrations.tiers(connection) == tiers
        assert migrate(connection) == files(*tiers)
        assert migrate(connection) == []


@pytest.mark.parametrize("_", range(5))
def test_two_first_migrators_at_once_share_the_work(unmigrated_url: NewDatabase, services: Services, _: int) -> None:
    tiers = ("plain", "timescale") if services.database.timescaledb else ("plain",)
    ready = Barrier(2, timeout=60)

    def migrate_together(url: str) -> list[str]:
        with session(url) as connection:
            ready.wait()
            return migrate(connection)

    with unmigrated_url() as url, ThreadPoolExecutor(2) as threads:
        applied = list(threads.map(migrate_together, [url, url]))
    assert sorted(applied) == [[], files(*tiers)]


def test_a_new_migration_is_applied_on_top(unmigrated_url: NewDatabase, included: Path) -> None:
    with unmigrated_url() as url, session(url) as connection:
        migrate(connection)
        (included / "sql" / "migrations" / "9999_new.sql").write_text("CREATE TABLE new_one (n int);")
        assert migrate(connection) == ["9999_new.sql"]
        assert rows(connection, "TABLE new_one") == []


def test_a_migration_that_fails_leaves_nothing_of_itself(unmigrated_url: NewDatabase, included: Path) -> None:
    broken = included / "sql" / "migrations" / "9999_broken.sql"
    with unmigrated_url() as url, session(url) as connection:
        migrate(connection)
        broken.write_text("CREATE TABLE half (n int); SELECT no_such_function();")
        with pytest.raises(Exception, match="no_such_function"):
            migrate(connection)
        assert rows(connection, "SELECT to_regclass('half')::text") == [(None,)]
        broken.write_text("CREATE TABLE half (n int);")
        assert migrate(connection) == [broken.name]


def test_an_edited_migration_is_refused(unmigrated_url: NewDatabase, included: Path) -> None:
    first = included / "sql" / "migrations" / files("plain")[0]
    with unmigrated_url() as url, session(url) as connection:
        migrate(connection)
        first.write_text(f"{first.read_text()}\n-- edited")
        with pytest.raises(MigrationChanged, match=first.name):
            migrate(connection)


def test_fact_tables_are_hypertables_where_the_server_can(database_url: str, services: Services) -> None:
    with session(database_url) as connection:
        if services.database.timescaledb is None:
            assert rows(connection, "SELECT FROM pg_extension WHERE extname = 'timescaledb'") == []
            return
        found = rows(connection, "SELECT hypertable_name FROM timescaledb_information.hypertables ORDER BY 1")
    assert [name for (name,) in found] == sorted(TABLES)


@pytest.fixture
def bare_url(unmigrated_url: NewDatabase) -> Iterator[str]:
    """A database as a server makes it: TimescaleDB's extension, if there is one, is not created."""
    with unmigrated_url() as url:
        execute(url, "DROP EXTENSION IF EXISTS timescaledb")
        yield url


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_timescaledb_is_created_where_the_server_offers_it(bare_url: str, services: Services) -> None:
    tiers = ("plain", "timescale") if services.database.timescaledb else ("plain",)
    with session(bare_url) as connection:
        assert migrate(connection) == files(*tiers)


#: As servers do that let their customers create everything but extensions.
FORBID = """
CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE insufficient_privilege USING MESSAGE = 'permission denied to create extension "timescaledb"';
END $$;
CREATE EVENT TRIGGER no_extensions ON ddl_command_start WHEN TAG IN ('CREATE EXTENSION') EXECUTE FUNCTION forbid();
"""


@pytest.fixture
def owner(bare_url: str) -> Iterator[str]:
    """The address of the bare database for a role that may create in it, but no extension."""
    execute(bare_url, FORBID, "CREATE ROLE owner LOGIN PASSWORD 'owner'")
    execute(
        bare_url,
        'GRANT CREATE ON SCHEMA public TO owner; GRANT CREATE ON DATABASE "{}" TO owner'.format(
            conninfo_to_dict(bare_url)["dbname"]
        ),
    )
    yield make_conninfo(bare_url, user="owner", password="owner")
    execute(bare_url, "DROP OWNED BY owner CASCADE; DROP ROLE owner")


def test_where_the_role_may_not_tables_are_plain_and_a_warning_says_what_to_do(
    bare_url: str, owner: str, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    with session(owner) as connection:
        assert migrate(connection) == files("plain")
        if services.database.timescaledb is None:
            assert caplog.messages == []
            return
        (said,) = caplog.messages
        assert 'permission denied to create extension "timescaledb"' in said
        assert "CREATE EXTENSION timescaledb" in said
        execute(bare_url, "DROP EVENT TRIGGER no_extensions", "CREATE EXTENSION timescaledb")
        assert migrate(connection) == files("timescale")


def test_a_server_that_was_started_without_timescaledb_says_how_to_load_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        first = embedded.start(tmp_path)
        embedded.stop(tmp_path)
        assert first.database.data
        Path(first.database.data, "local.conf").write_text("shared_preload_libraries = ''\n")
        url = embedded.start(tmp_path).database.url
        assert url
        execute(url, "CREATE DATABASE bare TEMPLATE template0")
        with session(make_conninfo(url, dbname="bare")) as connection:
            assert migrate(connection) == files("plain")
            assert migrate(connection) == []
    finally:
        embedded.discard(tmp_path)
    assert all("shared_preload_libraries" in said for said in caplog.messages)
    assert bool(caplog.messages) == (first.database.timescaledb is not None)


@pytest.mark.parametrize("name", TIMEFRAMES)
def test_sql_and_python_agree_on_how_long_a_candle_lasts(database_url: str, name: str) -> None:
    grid = TIMEFRAMES[name]
    points = list(grid.points(Window(utc("2023-12-20"), utc("2024-03-20"))))[:50]
    with session(database_url) as connection:
        found = rows(
            connection, "SELECT t + staging.period(%s) FROM unnest(%s::timestamptz[]) AS t ORDER BY t", name, points
        )
    assert [end for (end,) in found] == [grid.after(point) for point in points]


# --- the documented queries

LOADED = Window(utc("2026-10-11"), utc("2026-10-13"))
NEWEST = """SELECT * FROM ohlcv WHERE symbol = 'SOL/USDT' AND timeframe = '5m' ORDER BY time DESC LIMIT 100;"""
BY_HOUR = """SELECT * FROM oi_price_1h WHERE symbol = 'SOL/USDT' ORDER BY bucket DESC LIMIT 20;"""
HOLES = """SELECT time, LAG(time) OVER (ORDER BY time) AS prev_time, time - LAG(time) OVER (ORDER BY time) AS gap
  FROM ohlcv WHERE symbol = 'SOL/USDT' AND timeframe = '5m' ORDER BY time DESC;"""


@pytest.fixture(scope="module")
def loaded(database_url: str, exchange: Handle) -> str:
    deployment = deployment_of(database_url, exchange, datasets={"ohlcv": {"timeframes": ["5m", "1h"]}})
    load(deployment, request("run", LOADED.start, LOADED.end))
    return database_url


def test_the_newest_candles_come_as_documented(loaded: str, exchange: Handle) -> None:
    with session(loaded) as connection:
        found = rows(connection, NEWEST)
    candles = Truth(exchange.seed).ohlcv("SOLUSDT", "5m", LOADED.end - timedelta(minutes=500), LOADED.end)
    assert [row[2:12] for row in found] == candles[::-1]


def test_gaps_show_as_documented(loaded: str) -> None:
    with session(loaded) as connection:
        found = rows(connection, HOLES)
    assert len(found) == 576
    assert {gap for _, _, gap in found[:-1]} == {timedelta(minutes=5)}
    assert found[-1] == (LOADED.start, None, None)


def test_price_open_interest_and_funding_stand_side_by_side_as_documented(loaded: str, exchange: Handle) -> None:
    truth = Truth(exchange.seed)
    start = LOADED.end - timedelta(hours=20)
    interest = {row[0]: row[1:] for row in truth.open_interest("SOLUSDT", start, LOADED.end)}
    funding = {row[0]: row[1] for row in truth.funding_rate("SOLUSDT", start, LOADED.end)}
    expected = []
    for time, *prices, volume, quote_volume, _, _, _ in truth.ohlcv("SOLUSDT", "1h", start, LOADED.end):
        first, last = interest[time], interest[time + timedelta(minutes=55)]
        change = last[0] - first[0]
        row = ("SOL/USDT", time, *prices, volume, quote_volume, first[0], last[0], change, last[1], funding.get(time))
        expected.append(row)
    with session(loaded) as connection:
        assert rows(connection, BY_HOUR) == expected[::-1]
    assert sum(row[-1] is not None for row in expected) in (2, 3)
