"""stream_market in an Airflow whose schedule starts a run every minute: run after run takes over, whatever happens.

One story in the order of the tests: three runs of the schedule, a successor that is late, a scheduler that is killed.
Only then is there a moment without a stream. At the end every liquidation that anybody was told is in the table, once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from threading import Event, Thread
from typing import Any

import psutil
import pytest
import redis

from perpflow import reader
from perpflow.embedded.airflow_runs import FINAL
from perpflow.exchange.listing import is_delivery
from perpflow.store.lease import LASTS_S, LEASE_KEY
from perpflow.store.received import ENTRIES_KEY
from perpflow.windows import from_ms
from tests.running_airflow import Airflow, awaited, running_airflow

pytestmark = pytest.mark.timeout(900)

DAG = "stream_market"
TASK = "stream_live"
STREAM = "!forceOrder@arr"
MINUTE = timedelta(minutes=1)
#: Far above what Airflow takes to start a task.
MOST_WITHOUT_S = 30.0
COLLECTION = """
stream:
  schedule: "* * * * *"
datasets:
  liquidations:
    # Once a year: it takes nothing away meanwhile.
    schedule: "0 0 1 1 *"
"""
#: Airflow looks for what a dead scheduler has left as soon as it may call it dead; by default after five minutes.
SETTINGS = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
}


class Onlooker:
    """Looks at the lease all the time: `holders` in their order, each once as long as it stays; empty where nobody."""

    def __init__(self, redis_url: str) -> None:
        self.holders: list[str] = []
        self._over = Event()
        self._redis_url = redis_url

    @contextmanager
    def looking(self) -> Iterator[Onlooker]:
        """While the block runs."""
        thread = Thread(target=self._look)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()

    def _look(self) -> None:
        with redis.Redis.from_url(self._redis_url, decode_responses=True) as client:
            while not self._over.wait(0.05):
                holder = str(client.hget(LEASE_KEY, "holder") or "")
                if [holder] != self.holders[-1:]:
                    self.holders.append(holder)

    @property
    def holder(self) -> str:
        """Who has it now."""
        return self.holders[-1] if self.holders else ""

    @property
    def runs(self) -> list[str]:
        """The runs that had it, from the first one on, each once as long as it stays."""
        names = filter(None, self.holders.copy())
        return [run for run, _ in groupby(name.partition(" on ")[0] for name in names)]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """An Airflow with that schedule; both DAGs are switched off."""
    state = tmp_path_factory.mktemp("relieved")
    collection = state / "collection.yaml"
    collection.write_text(COLLECTION)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**SETTINGS, "PERPFLOW_COLLECTION": str(collection)}.items():
            patch.setenv(name, value)
        with running_airflow(state) as started:
            yield started
            # A scheduler that is stopped would wait for the stream.
            started.end_runs(DAG)


@pytest.fixture(scope="module")
def onlooker(airflow: Airflow) -> Iterator[Onlooker]:
    with Onlooker(airflow.redis_url).looking() as onlooker:
        yield onlooker


@pytest.fixture(scope="module")
def three(airflow: Airflow, onlooker: Onlooker) -> list[str]:
    """The first three runs that stream; of the last one there is no successor, for the DAG is switched off."""
    airflow.client.pause(DAG, paused=False)
    awaited(lambda: onlooker.runs, lambda runs: len(runs) == 3)
    for run in onlooker.runs[:2]:
        airflow.ended(DAG, run)
    airflow.client.pause(DAG, paused=True)
    return onlooker.runs[:3]


def begun(run: str) -> datetime:
    """The minute of a run of the schedule; another one's name is none."""
    return datetime.fromisoformat(run.removeprefix("scheduled__"))


def breaks(airflow: Airflow) -> list[float]:
    """The seconds of each time in which nobody listened to liquidations, between the first run and now."""
    listened = airflow.exchange.streams()["listened"][STREAM]
    assert listened[-1][1] is None
    return [begins - ended for (_, ended), (begins, _) in pairwise(listened)]


def most_at_once(airflow: Airflow) -> int:
    """The most runs that were active at the same time."""
    runs = list(airflow.client._pages(f"dags/{DAG}/dagRuns", "dag_runs"))
    ends = [(run["end_date"] or "9", -1) for run in runs if run["start_date"]]
    steps = sorted([*((run["start_date"], 1) for run in runs if run["start_date"]), *ends])
    return max(sum(step for _, step in steps[: n + 1]) for n in range(len(steps)))


def was_never_alone(onlooker: Onlooker, airflow: Airflow) -> bool:
    """Whether somebody had the lease and listened all the time, from the first run on."""
    held = onlooker.holders[next(n for n, holder in enumerate(onlooker.holders) if holder) :]
    return "" not in held and not breaks(airflow)


def how(airflow: Airflow, run: str) -> tuple[str, str]:
    """The state that a run has ended in, and how its stream did."""
    return airflow.ended(DAG, run), airflow.client.returned(DAG, run, TASK)["how"]


def active(airflow: Airflow) -> list[str]:
    return [run for run, state in airflow.client.run_states(DAG).items() if state not in FINAL]


def alone(airflow: Airflow, onlooker: Onlooker) -> str:
    """Switch the DAG off when one run streams and no other one is about to; returns it."""
    (run,) = awaited(lambda: active(airflow), lambda runs: len(runs) == 1 and runs[0] in onlooker.holder)
    airflow.client.pause(DAG, paused=True)
    return str(run)


def test_each_run_of_the_schedule_takes_over_from_the_one_before(
    airflow: Airflow, onlooker: Onlooker, three: list[str]
) -> None:
    first, second, third = three
    assert begun(first) < begun(second) < begun(third)
    assert [how(airflow, run) for run in (first, second)] == [("success", "handed over")] * 2
    assert third in onlooker.holder
    assert was_never_alone(onlooker, airflow)
    assert most_at_once(airflow) <= 3


def test_without_a_successor_a_run_goes_on_beyond_its_time_and_is_relieved_by_a_late_one(
    airflow: Airflow, onlooker: Onlooker, three: list[str]
) -> None:
    third = three[-1]
    late_by = begun(third) + MINUTE + timedelta(seconds=10)
    awaited(lambda: datetime.now(UTC), lambda now: now > late_by)
    assert max(airflow.client.run_states(DAG), key=begun) == third
    assert (onlooker.runs, active(airflow)) == (three, [third])
    late = airflow.client.trigger(DAG, {})
    airflow.client.pause(DAG, paused=False)
    assert how(airflow, third) == ("success", "handed over")
    assert awaited(lambda: onlooker.runs, lambda runs: late in runs)
    assert was_never_alone(onlooker, airflow)


@pytest.fixture(scope="module")
def abandoned(airflow: Airflow, onlooker: Onlooker, three: list[str]) -> tuple[str, psutil.Process]:
    """The run that streams, and its process: of a scheduler that has been killed for longer than a lease lasts."""
    run = alone(airflow, onlooker)
    process = psutil.Process(airflow.pid_of(DAG, run, TASK))
    airflow.kill_scheduler()
    lease_ends = datetime.now(UTC) + timedelta(seconds=LASTS_S)
    awaited(lambda: datetime.now(UTC), lambda now: now > lease_ends)
    return run, process


def test_a_stream_goes_on_without_its_scheduler(
    airflow: Airflow, onlooker: Onlooker, abandoned: tuple[str, psutil.Process]
) -> None:
    seen = reader.latest("SOL/USDT", airflow.redis_url)
    awaited(lambda: reader.latest("SOL/USDT", airflow.redis_url), lambda now: now != seen)
    assert abandoned[0] in onlooker.holder
    assert was_never_alone(onlooker, airflow)


def test_the_next_scheduler_starts_it_anew_and_then_run_relieves_run_again(
    airflow: Airflow, onlooker: Onlooker, abandoned: tuple[str, psutil.Process]
) -> None:
    (run, process), before = abandoned, onlooker.holder
    airflow.client.pause(DAG, paused=False)
    airflow.start_scheduler()
    # It lets go as soon as its supervisor hears that the task is another's now, and that one has yet to begin.
    awaited(process.is_running, lambda is_running: not is_running)
    awaited(lambda: onlooker.holder, lambda holder: holder not in ("", before))
    assert sum(breaks(airflow)) < MOST_WITHOUT_S
    assert how(airflow, run) == ("success", "handed over")
    (task,) = (task for task in airflow.tasks(DAG, run) if task.task == TASK)
    assert task.tries == 2
    last = alone(airflow, onlooker)
    assert last != run
    assert len(breaks(airflow)) <= 1
    assert "failed" not in airflow.client.run_states(DAG).values()
    assert most_at_once(airflow) <= 3


def test_every_liquidation_that_was_told_is_in_the_table_once(airflow: Airflow, three: list[str]) -> None:
    airflow.exchange.set_streams(liquidations_per_s=0)
    # The largest of a second is told when that is over: one of the last second before the stop comes after it.
    all_told_s = airflow.exchange.streams()["now_s"] + 2
    awaited(lambda: airflow.exchange.streams()["now_s"], lambda now: now > all_told_s)
    told = [each for each in airflow.exchange.liquidations() if each["sent_to"] and not is_delivery(each["o"]["s"])]
    # What was sent to a stream that was just told to stop may not have reached it.
    stopped = [ended for _, ended in airflow.exchange.streams()["listened"][STREAM][:-1]]
    expected = {key(each) for each in told if not any(0 <= end - each["emitted_s"] < 1 for end in stopped)}
    assert len(expected) > 100
    awaited(lambda: waiting(airflow), expected.issubset, timeout_s=20)
    airflow.client.pause("ingest_liquidations", paused=False)
    _, state = airflow.run("ingest_liquidations", {})
    assert state == "success"
    stored = airflow.rows("SELECT time, side, average_price, filled_quantity FROM liquidations")
    assert expected - set(stored) == set()
    assert set(stored) - {key(each) for each in told} == set()
    assert len(stored) == len(set(stored))


def key(event: dict[str, Any]) -> tuple[Any, ...]:
    """What tells a liquidation from the others here."""
    order = event["o"]
    return from_ms(order["T"]), order["S"], float(order["ap"]), float(order["z"])


def waiting(airflow: Airflow) -> set[tuple[Any, ...]]:
    """The orders that wait in Redis."""
    with redis.Redis.from_url(airflow.redis_url) as client:
        entries: Any = client.xrange(ENTRIES_KEY)
    return {key(json.loads(fields[b"frame"])["data"]) for _, fields in entries if b"frame" in fields}
