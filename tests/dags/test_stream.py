"""stream_market in a real Airflow: it waits for the exchange, hands over, and ends properly when cleared or failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis

from perpflow import reader
from perpflow.store.latest import Latest
from perpflow.store.lease import LASTS_S, LEASE_KEY
from tests.running_airflow import Airflow, awaited

DAG = "stream_market"
SYMBOL = "SOL/USDT"
#: A lease that is let go is gone before one that nobody renews any more.
BEFORE_IT_EXPIRES_S = LASTS_S - 5


@pytest.fixture(scope="module")
def redis_url(airflow: Airflow) -> str:
    """That of Airflow's house."""
    return airflow.environment["AIRFLOW_CONN_PERPFLOW_REDIS"]


@pytest.fixture(scope="module")
def first(airflow: Airflow, redis_url: str) -> Iterator[str]:
    """A run that streams. Switched on, the DAG begins with the hour that has passed."""
    airflow.client.pause(DAG, paused=False)
    (run,) = awaited(lambda: list(airflow.client.run_states(DAG)), bool)
    awaited(lambda: holder_of(redis_url), lambda name: run in name)
    airflow.client.pause(DAG, paused=True)
    yield run
    for left, state in airflow.client.run_states(DAG).items():
        if state in ("running", "queued"):
            airflow.client._call("PATCH", f"dags/{DAG}/dagRuns/{left}", json={"state": "failed"})
    awaited(lambda: holder_of(redis_url), lambda name: name == "")


def holder_of(redis_url: str) -> str:
    """Who has the lease; empty where nobody has."""
    with redis.Redis.from_url(redis_url) as client:
        name = client.hget(LEASE_KEY, "holder")
    return name.decode() if isinstance(name, bytes) else ""


def live(redis_url: str) -> Latest | None:
    return reader.latest(SYMBOL, redis_url)


def streaming_run(airflow: Airflow, redis_url: str) -> str:
    """The run that has the lease; when an hour begins there may be another one already."""
    return next(run for run in airflow.client.run_states(DAG) if run in holder_of(redis_url))


def struck(airflow: Airflow, fault: int) -> int:
    """How often a fault has struck; other tests have left theirs."""
    return next(int(each["struck"]) for each in airflow.exchange.faults() if each["id"] == fault)


def task_of(airflow: Airflow, run: str) -> Any:
    return next(task for task in airflow.tasks(DAG, run) if task.task == "stream_live")


def test_a_scheduled_run_streams_into_redis(airflow: Airflow, first: str, redis_url: str) -> None:
    assert first.startswith("scheduled__")
    seen = live(redis_url)
    assert seen is not None
    assert seen.price is not None
    assert seen.mark is not None
    awaited(lambda: live(redis_url), lambda now: now != seen)
    assert task_of(airflow, first).state == "running"


def test_airflow_hears_from_the_task_while_events_rush_in(airflow: Airflow, first: str) -> None:
    url = airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "")
    beats: set[Any] = set()
    with psycopg.connect(url, autocommit=True) as metadata:

        def beats_so_far() -> int:
            found = metadata.execute(
                "SELECT last_heartbeat_at FROM task_instance WHERE dag_id = %s AND run_id = %s AND task_id = %s",
                [DAG, first, "stream_live"],
            )
            beats.update(found.fetchall())
            return len(beats)

        airflow.exchange.burst("aggTrade", 5_000, 60, ["SOLUSDT", "BTCUSDT"])
        awaited(beats_so_far, lambda number: number >= 5, timeout_s=60)
    assert task_of(airflow, first).state == "running"


def test_a_successor_takes_over_and_its_predecessor_ends_green(airflow: Airflow, first: str, redis_url: str) -> None:
    airflow.client.pause(DAG, paused=False)
    successor = airflow.client.trigger(DAG, {})
    assert airflow.ended(DAG, first) == "success"
    assert airflow.client.returned(DAG, first, "stream_live")["how"] == "handed over"
    assert successor in holder_of(redis_url)
    assert task_of(airflow, successor).state == "running"


def test_a_run_that_is_cleared_lets_go_and_streams_anew(airflow: Airflow, first: str, redis_url: str) -> None:
    run = streaming_run(airflow, redis_url)
    before = holder_of(redis_url)
    airflow.client._call(
        "POST", f"dags/{DAG}/clearTaskInstances",
        json={"dry_run": False, "dag_run_id": run, "task_ids": ["stream_live"], "only_failed": False,
              "include_downstream": False},
    )  # fmt: skip
    awaited(lambda: holder_of(redis_url), lambda name: name != before, BEFORE_IT_EXPIRES_S)
    awaited(lambda: holder_of(redis_url), lambda name: name not in ("", before))
    assert run in holder_of(redis_url)


def test_a_run_that_is_marked_failed_lets_the_lease_go(airflow: Airflow, first: str, redis_url: str) -> None:
    run = streaming_run(airflow, redis_url)
    airflow.client._call("PATCH", f"dags/{DAG}/dagRuns/{run}", json={"state": "failed"})
    awaited(lambda: holder_of(redis_url), lambda name: name == "", BEFORE_IT_EXPIRES_S)


def test_a_run_waits_until_the_exchange_answers_and_holds_no_slot_meanwhile(
    airflow: Airflow, first: str, redis_url: str
) -> None:
    fault = airflow.exchange.add_fault("status", code=503, match="/fapi/v1/time", body="maintenance")
    try:
        run = airflow.client.trigger(DAG, {"seconds": 10})
        awaited(lambda: airflow.tasks(DAG, run)[0].state, lambda state: state == "deferred")
        awaited(lambda: struck(airflow, fault), bool)
        assert task_of(airflow, run).state is None
    finally:
        airflow.exchange.remove_fault(fault)
    assert airflow.ended(DAG, run) == "success"
    assert airflow.client.returned(DAG, run, "stream_live")["how"] == "over"


def test_an_exchange_that_never_will_answer_ends_the_run_at_once(airflow: Airflow, first: str) -> None:
    fault = airflow.exchange.add_fault("status", code=451, match="/fapi/v1/time", body={"code": 0, "msg": "restricted"})
    try:
        run, state = airflow.run(DAG, {"seconds": 10})
    finally:
        airflow.exchange.remove_fault(fault)
    assert state == "failed"
    (wait,) = (task for task in airflow.tasks(DAG, run) if task.task == "wait_for_exchange")
    assert wait.tries == 1
    assert any("exchange.proxy" in line for line in airflow.client.log_tail(DAG, run, wait, 60))
