"""ingest_liquidations in a real Airflow: it takes what a stream receives, which here runs beside Airflow."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
import redis

from perpflow.datasets import LIQUIDATIONS
from perpflow.embedded.airflow_client import TaskState
from perpflow.store.received import ENTRIES_KEY
from tests.running_airflow import Airflow, awaited

DAG = "ingest_liquidations"
STOPS_IN_S = 20
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stream(airflow: Airflow) -> Iterator[subprocess.Popen[bytes]]:
    """A stream in Airflow's house, of many liquidations."""
    with redis.Redis.from_url(airflow.redis_url) as client:
        client.delete(ENTRIES_KEY)
    airflow.exchange.set_streams(liquidations_per_s=5)
    variables = airflow.environment | {
        "PERPFLOW_DATABASE_URL": airflow.database_url,
        "PERPFLOW_REDIS_URL": airflow.redis_url,
    }
    with subprocess.Popen([sys.executable, "-m", "perpflow", "stream"], env=variables) as process:
        try:
            yield process
        finally:
            airflow.exchange.set_streams(liquidations_per_s=1)
            process.terminate()
            process.wait(STOPS_IN_S)
            airflow.end_runs(DAG)


@pytest.fixture
def many_wait(airflow: Airflow, stream: subprocess.Popen[bytes]) -> None:
    """Until the stream has received some."""
    awaited(lambda: received(airflow), lambda waiting: waiting > 20)


def received(airflow: Airflow) -> int:
    """Entries that wait in Redis."""
    with redis.Redis.from_url(airflow.redis_url) as client:
        return int(client.xlen(ENTRIES_KEY))


def stored(airflow: Airflow) -> int:
    ((amount,),) = airflow.rows("SELECT count(*) FROM liquidations")
    return int(amount)


def begun_since(airflow: Airflow, before: set[str]) -> dict[str, str]:
    """Runs and their states: the one that was triggered, and one of the schedule that may have come between."""
    return {run: state for run, state in airflow.client.run_states(DAG).items() if run not in before}


def drain(airflow: Airflow) -> dict[str, str]:
    """Trigger a run and await its end; what it and one of the schedule that came between ended in."""
    before = set(airflow.client.run_states(DAG))
    airflow.run(DAG, {})
    return {run: airflow.ended(DAG, run) for run in begun_since(airflow, before)}


def states(airflow: Airflow, run: str) -> dict[str, str | None]:
    return {task.task: task.state for task in airflow.tasks(DAG, run)}


def publishing(airflow: Airflow, before: set[str]) -> tuple[str, TaskState] | None:
    """The run that publishes now, and its task."""
    return next(
        (
            (run, task)
            for run in begun_since(airflow, before)
            for task in airflow.tasks(DAG, run)
            if (task.task, task.state) == ("batch.publish_rows", "running")
        ),
        None,
    )


def updated(airflow: Airflow) -> set[str]:
    """The URIs of updated assets; Airflow spells one without a path with a closing slash."""
    return {uri.removesuffix("/") for uri in airflow.client.updated_assets()}


def test_switched_on_its_schedule_takes_what_has_been_received(airflow: Airflow, many_wait: None) -> None:
    assert LIQUIDATIONS.asset_uri not in updated(airflow)
    airflow.client.pause(DAG, paused=False)
    (run,) = awaited(lambda: list(airflow.client.run_states(DAG)), bool)
    assert run.startswith("scheduled__")
    assert airflow.ended(DAG, run) == "success"
    assert stored(airflow) > 10
    assert airflow.rows("SELECT DISTINCT source FROM liquidations") == [("stream",)]
    assert airflow.rows("SELECT isempty(listening) FROM coverage WHERE dataset = 'liquidations'") == [(False,)]
    assert LIQUIDATIONS.asset_uri in updated(airflow)


def test_a_run_that_is_triggered_does_the_same(airflow: Airflow, many_wait: None) -> None:
    before = stored(airflow)
    assert set(drain(airflow).values()) == {"success"}
    assert stored(airflow) > before


def test_a_frame_that_nobody_can_read_makes_the_report_red_and_is_named(airflow: Airflow, many_wait: None) -> None:
    before = stored(airflow)
    with redis.Redis.from_url(airflow.redis_url) as client:
        client.xadd(ENTRIES_KEY, {"frame": b"\xff no frame", "received_ms": 1_791_391_083_124})
    (red,) = (run for run, state in drain(airflow).items() if state == "failed")
    (report,) = (task for task in airflow.tasks(DAG, red) if task.state != "success")
    assert report.task == "report"
    log = "\n".join(airflow.client.log_tail(DAG, red, report, 60))
    assert re.search(r"withheld: 1 rows of liquidations .* \(frame_is_readable\)", log)
    assert stored(airflow) > before
    kept = airflow.rows("SELECT row->>'frame' FROM quarantine WHERE dataset = 'liquidations'")
    assert kept == [("\\xff no frame",)]


def now_of(airflow: Airflow, run: str, killed: TaskState) -> TaskState:
    """What has become of a task."""
    (now,) = (
        task for task in airflow.tasks(DAG, run) if (task.task, task.map_index) == (killed.task, killed.map_index)
    )
    return now


def is_to_be_tried_again(task: TaskState) -> bool:
    return task.state == "up_for_retry" or task.tries == 2


def test_a_run_whose_publishing_is_killed_is_finished_by_its_retry(airflow: Airflow, many_wait: None) -> None:
    stored_before, runs_before = stored(airflow), set(airflow.client.run_states(DAG))
    with psycopg.connect(airflow.database_url) as connection:
        # Reading goes on, publishing waits.
        connection.execute("LOCK TABLE liquidations IN EXCLUSIVE MODE")
        airflow.client.trigger(DAG, {})
        run, task = awaited(lambda: publishing(airflow, runs_before), bool)
        os.kill(airflow.pid_of(DAG, run, task.task, task.map_index), signal.SIGKILL)
        # Where nobody sees a process die, the scheduler takes it for dead after five minutes without a sign of life.
        awaited(lambda: now_of(airflow, run, task), is_to_be_tried_again, timeout_s=400)
        assert stored(airflow) == stored_before
    assert airflow.ended(DAG, run) == "success"
    again = now_of(airflow, run, task)
    assert (again.state, again.tries) == ("success", 2)
    counts = airflow.client.returned(DAG, run, "report")
    assert counts["inserted"] == counts["staged"] > 0
    assert stored(airflow) >= stored_before + counts["inserted"]


def test_a_run_for_which_nothing_waits_is_green_and_does_nothing(
    airflow: Airflow, stream: subprocess.Popen[bytes]
) -> None:
    stream.terminate()
    assert stream.wait(STOPS_IN_S) == 0
    drain(airflow)
    before = stored(airflow)
    ((run, state), *_) = drain(airflow).items()
    assert state == "success"
    steps = dict.fromkeys(("batch.stage_rows", "batch.check_quality", "batch.publish_rows"), "skipped")
    assert states(airflow, run) == {"plan_windows": "success", **steps, "report": "success"}
    assert airflow.client.returned(DAG, run, "report")["staged"] == 0
    assert stored(airflow) == before
