"""A batch is published whole or not at all, whatever is killed, emptied or started twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from perpflow import pipeline
from perpflow.batches import Batch
from perpflow.datasets import DATASETS
from perpflow.errors import AccessDenied, BatchSuperseded, StoreUnavailable
from perpflow.settings import Deployment
from perpflow.store import loader, manifests
from perpflow.store.database import Connection, session
from perpflow.windows import Window
from simulator.process import Handle
from simulator.truth import Truth
from tests.expected import Expected
from tests.loading import deployment_of, facts, request, rows, utc

WINDOW = Window(utc("2026-10-13"), utc("2026-10-14"))
DATASETS_OF_BATCH = ("open_interest", "long_short_ratio")
LEDGER = ("data_versions", "archive_objects", "quarantine")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def deployment(empty_database_url: str, exchange: Handle) -> Iterator[Deployment]:
    yield deployment_of(empty_database_url, exchange)
    exchange.clear_faults()


@pytest.fixture
def batch(deployment: Deployment) -> Batch:
    """A day of metrics: one archive object, two datasets."""
    asked = request("run", WINDOW.start, WINDOW.end, datasets=DATASETS_OF_BATCH)
    (planned,) = pipeline.plan(deployment, asked).batches
    return planned


@pytest.fixture
def connection(deployment: Deployment) -> Iterator[Connection]:
    with session(deployment.database_url) as opened:
        yield opened


def assert_published_once(deployment: Deployment, exchange: Handle) -> None:
    """The whole day, its ledger and its load log; nothing left in staging."""
    expected = Expected(Truth(exchange.seed), exchange.now)
    assert facts(deployment.database_url, "open_interest") == expected.open_interest("SOL/USDT", WINDOW)
    assert facts(deployment.database_url, "long_short_ratio") == expected.long_short_ratio("SOL/USDT", WINDOW)
    with session(deployment.database_url) as connection:
        assert rows(connection, "SELECT present::text FROM coverage GROUP BY 1") == [
            ('{["2026-10-13 00:00:00+00","2026-10-14 00:00:00+00")}',)
        ]
        assert rows(connection, "SELECT dataset, inserted FROM data_versions ORDER BY 1") == [
            ("long_short_ratio", 288),
            ("open_interest", 288),
        ]
        assert staged(connection) == {name: 0 for name in (*DATASETS_OF_BATCH, "manifests")}


def assert_nothing_published(deployment: Deployment) -> None:
    """No fact, no ledger entry, no log."""
    assert [facts(deployment.database_url, name) for name in DATASETS_OF_BATCH] == [[], []]
    with session(deployment.database_url) as connection:
        assert rows(connection, "SELECT present::text, missing_upstream::text FROM coverage GROUP BY 1, 2") == [
            ("{}", "{}")
        ]
        assert [rows(connection, f"TABLE {name}") for name in LEDGER] == [[], [], []]


def staged(connection: Connection) -> dict[str, int]:
    """Rows in staging by table."""
    return {name: len(rows(connection, f"TABLE staging.{name}")) for name in (*DATASETS_OF_BATCH, "manifests")}


def empty_staging(connection: Connection) -> None:
    """What a crash of PostgreSQL does to UNLOGGED tables."""
    for name in DATASETS:
        connection.execute(f"TRUNCATE staging.{name}".encode())


# --- staged rows that are gone


def lose_an_hour(connection: Connection) -> None:
    """What no crash does, but a careless hand may."""
    connection.execute("DELETE FROM staging.open_interest WHERE time < '2026-10-13 01:00Z'")


@pytest.mark.parametrize("loss", [empty_staging, lose_an_hour])
@pytest.mark.parametrize("before", ["check", "publish"])
def test_staged_rows_that_vanish_are_staged_and_checked_again(
    deployment: Deployment,
    batch: Batch,
    connection: Connection,
    exchange: Handle,
    loss: Callable[[Connection], None],
    before: str,
) -> None:
    pipeline.stage(deployment, batch)
    if before == "check":
        loss(connection)
    pipeline.check(deployment, batch)
    if before == "publish":
        loss(connection)
    pipeline.publish(deployment, batch)
    loader.sweep(connection, DATASETS.values())
    assert_published_once(deployment, exchange)


def test_a_mark_that_changes_after_the_check_is_noticed(
    deployment: Deployment, batch: Batch, connection: Connection, exchange: Handle
) -> None:
    pipeline.stage(deployment, batch)
    pipeline.check(deployment, batch)
    connection.execute("UPDATE staging.open_interest SET withheld = '{by hand}' WHERE time = '2026-10-13 12:00Z'")
    pipeline.publish(deployment, batch)
    loader.sweep(connection, DATASETS.values())
    assert_published_once(deployment, exchange)


def test_rows_that_another_attempt_takes_away_during_the_check_do_not_make_the_suite_a_bad_one(
    deployment: Deployment, batch: Batch, connection: Connection, exchange: Handle
) -> None:
    pipeline.stage(deployment, batch)

    def overtake(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        # Great Expectations has counted the rows by then; next it counts nulls.
        if "nonnull.unexpected_count" in statement:
            manifests.claim(connection, batch)
            loader.sweep(connection, DATASETS.values())

    event.listen(Engine, "before_cursor_execute", overtake)
    try:
        with pytest.raises(StoreUnavailable, match="288 rows were staged and 0 are left"):
            pipeline.check(deployment, batch)
    finally:
        event.remove(Engine, "before_cursor_execute", overtake)
    pipeline.publish(deployment, batch)
    assert_published_once(deployment, exchange)


def test_nothing_is_called_present_when_rows_are_gone_and_the_exchange_is_too(
    deployment: Deployment, batch: Batch, connection: Connection, exchange: Handle
) -> None:
    pipeline.stage(deployment, batch)
    pipeline.check(deployment, batch)
    empty_staging(connection)
    exchange.add_fault("waf403")
    with pytest.raises(AccessDenied):
        pipeline.publish(deployment, batch)
    assert_nothing_published(deployment)
    exchange.clear_faults()
    pipeline.publish(deployment, batch)
    assert_published_once(deployment, exchange)


def test_publishing_what_was_never_staged_stages_and_checks_it(
    deployment: Deployment, batch: Batch, exchange: Handle
) -> None:
    pipeline.publish(deployment, batch)
    assert_published_once(deployment, exchange)


# --- two at once


def test_two_publishers_publish_once_and_say_the_same(deployment: Deployment, batch: Batch, exchange: Handle) -> None:
    pipeline.stage(deployment, batch)
    pipeline.check(deployment, batch)
    with ThreadPoolExecutor(2) as threads:
        counts = list(threads.map(lambda _: pipeline.publish(deployment, batch), range(2)))
    assert counts[0] == counts[1]
    assert_published_once(deployment, exchange)


def test_an_attempt_that_another_one_overtakes_is_superseded(
    deployment: Deployment, batch: Batch, connection: Connection, exchange: Handle
) -> None:
    slow = exchange.add_fault("latency", match=".zip", ms=3000)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(pipeline.stage, deployment, batch)
        wait_for(connection, "SELECT 1 FROM staging.manifests", first)
        exchange.remove_fault(slow)
        pipeline.stage(deployment, batch)
        with pytest.raises(BatchSuperseded, match="another attempt"):
            first.result()
    # The overtaken attempt's rows are orphans beside the manifest's.
    assert staged(connection) == {"open_interest": 576, "long_short_ratio": 576, "manifests": 1}
    assert loader.sweep(connection, DATASETS.values()) == 576
    pipeline.check(deployment, batch)
    pipeline.publish(deployment, batch)
    assert_published_once(deployment, exchange)


def test_an_attempt_that_begins_while_the_batch_is_published_leaves_nothing_that_a_sweep_does_not_take(
    deployment: Deployment, batch: Batch, connection: Connection, exchange: Handle
) -> None:
    pipeline.stage(deployment, batch)
    pipeline.check(deployment, batch)
    with ThreadPoolExecutor(2) as threads:
        with publisher_halted(deployment):
            publisher = threads.submit(pipeline.publish, deployment, batch)
            wait_for(connection, WAITING, publisher)
            # It has seen that nothing is published yet, and waits for the manifest that the publisher holds.
            late = threads.submit(pipeline.stage, deployment, batch)
            wait_for(connection, CLAIMING, late)
        publisher.result()
        late.result()
    assert staged(connection)["manifests"] == 1
    loader.sweep(connection, DATASETS.values())
    assert_published_once(deployment, exchange)


def wait_for(connection: Connection, text: str, unless: Future[Any] | None = None) -> None:
    """Ask until the query gives a row; every question takes the server's time. pytest's timeout ends it."""
    while not rows(connection, text):
        assert unless is None or not unless.done(), unless.exception()


# --- killed


#: A publisher that waits for a lock, with its rows, coverage and load log written and nothing committed.
WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INTO archive_objects%'"

CLAIMING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INTO staging.manifests%'"


@contextmanager
def publisher_halted(deployment: Deployment) -> Iterator[Connection]:
    """Whoever publishes meanwhile halts just before the end of the transaction."""
    with session(deployment.database_url) as connection, connection.transaction():
        connection.execute("LOCK TABLE archive_objects IN SHARE MODE")
        yield connection


def test_a_session_that_is_cut_off_in_the_middle_of_publishing_leaves_nothing(
    deployment: Deployment, batch: Batch, connection: Connection, exchange: Handle
) -> None:
    pipeline.stage(deployment, batch)
    pipeline.check(deployment, batch)
    with ThreadPoolExecutor(1) as threads, publisher_halted(deployment):
        publisher = threads.submit(pipeline.publish, deployment, batch)
        wait_for(connection, WAITING, publisher)
        (waiting,) = rows(connection, WAITING)
        connection.execute("SELECT pg_terminate_backend(%s)", waiting)
        with pytest.raises(StoreUnavailable, match="reports: terminating connection"):
            publisher.result()
    assert_nothing_published(deployment)
    pipeline.publish(deployment, batch)
    assert_published_once(deployment, exchange)


PUBLISHER = """
import json, sys
from perpflow import pipeline
from perpflow.batches import Batch
from perpflow.settings import Deployment
pipeline.publish(Deployment.model_validate_json(sys.argv[1]), Batch.from_json(json.loads(sys.argv[2])))
"""


def test_a_process_that_is_killed_in_the_middle_of_publishing_leaves_nothing(
    deployment: Deployment, batch: Batch, connection: Connection, exchange: Handle
) -> None:
    pipeline.stage(deployment, batch)
    pipeline.check(deployment, batch)
    line = [sys.executable, "-c", PUBLISHER, deployment.model_dump_json(), json.dumps(batch.to_json())]
    paths = os.pathsep.join([str(ROOT / "plugins"), *sys.path])
    with publisher_halted(deployment):
        process = subprocess.Popen(line, env={**os.environ, "PYTHONPATH": paths})
        try:
            wait_for(connection, WAITING)
        finally:
            process.kill()
            process.wait()
    # PostgreSQL notices that nobody listens any more when it wants to answer.
    others = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_for(connection, f"SELECT 1 WHERE NOT EXISTS ({others})")
    assert_nothing_published(deployment)
    pipeline.publish(deployment, batch)
    assert_published_once(deployment, exchange)


# --- orphans


def test_sweeping_takes_orphans_and_leaves_what_a_manifest_claims(
    deployment: Deployment, batch: Batch, connection: Connection, exchange: Handle
) -> None:
    pipeline.stage(deployment, batch)
    pipeline.stage(deployment, batch)
    assert staged(connection) == {"open_interest": 576, "long_short_ratio": 576, "manifests": 1}
    assert loader.sweep(connection, DATASETS.values()) == 576
    assert loader.sweep(connection, DATASETS.values()) == 0
    assert staged(connection) == {"open_interest": 288, "long_short_ratio": 288, "manifests": 1}
    pipeline.check(deployment, batch)
    pipeline.publish(deployment, batch)
    assert_published_once(deployment, exchange)


def test_a_batch_that_nobody_took_further_for_a_day_is_swept_and_its_window_is_still_a_gap(
    deployment: Deployment, batch: Batch, connection: Connection, exchange: Handle
) -> None:
    pipeline.stage(deployment, batch)
    connection.execute("UPDATE staging.manifests SET claimed_at = now() - interval '25 hours'")
    assert loader.sweep(connection, DATASETS.values()) == 576
    assert_nothing_published(deployment)
    asked = request("next", WINDOW.start, WINDOW.end, datasets=DATASETS_OF_BATCH)
    assert [planned.window for planned in pipeline.plan(deployment, asked).batches] == [WINDOW]
