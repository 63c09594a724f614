"""Campaign 2: a real Airflow loads weeks of three symbols while its tasks, its scheduler and the servers are killed.

Tasks come back by Airflow's own means: retries after the delays that the DAGs say, and its search for tasks without a
heartbeat, which is made quicker here. Whatever colour the disturbed runs end in, a clean run of the same range must be
green and leave everything whole.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

import httpx
import psycopg
from psycopg.rows import DictRow, dict_row

from perpflow.batches import Batch, Plan
from perpflow.embedded.airflow_client import AirflowClient
from perpflow.embedded.airflow_runs import FINAL, await_dags
from perpflow.embedded.airflow_settings import ExchangeAddress, pools
from perpflow.embedded.airflow_stack import AirflowStack
from perpflow.embedded.demo import own_collection
from soak import checks
from soak.chaos import ServerKiller, Weather, kill
from soak.checks import Check, Wanted, check
from soak.house import House
from soak.market import Market
from soak.tally import Tally

T = TypeVar("T")

DAG = "load_history"
#: A task whose process has vanished is noticed after half a minute instead of five. Below that a busy machine's late
#: heartbeats would count as deaths.
QUICK = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "3",
}
#: Four retries are 20, 40, 80 and 160 s apart: a task is killed twice at most, the rest is for what dies with a server.
KILLED_UP_TO_TRY = 2
#: Far above what a run takes, with all of its retries.
RUN_ENDS_IN_S = 1800.0
POLL_S = 1.0
#: `report` has no second try: without it a run would have no colour.
RUNNING = """
SELECT id, task_id, pid FROM task_instance
WHERE dag_id = %s AND state = 'running' AND pid IS NOT NULL AND try_number <= %s AND task_id <> 'report' ORDER BY id
"""


class RunHangs(Exception):
    """A run did not end, whatever was killed: it is Airflow's or ours to see to that."""


@dataclass(frozen=True, slots=True)
class Airflow:
    """A real Airflow in a house, and how it is asked."""

    house: House
    stack: AirflowStack

    @property
    def address(self) -> ExchangeAddress:
        """The simulated exchange, as its tasks are told."""
        return ExchangeAddress.of_simulator(self.house.exchange.url)

    def start(self) -> None:
        """Start all of its processes anew; what still runs is stopped."""
        self.stack.start(self.house.services, self.address)

    def restart(self) -> None:
        """Start all of its processes anew where one is gone: killed, or given up without its database."""
        if not self.stack.running:
            self.start()

    def ask(self, question: Callable[[AirflowClient], T]) -> T:
        """An answer of its API server, which is away at times."""
        deadline = time.monotonic() + RUN_ENDS_IN_S
        while True:
            try:
                with AirflowClient(self.stack.url, self.stack.password) as client:
                    return question(client)
            except httpx.HTTPError as error:
                if time.monotonic() > deadline:
                    raise RunHangs(f"Airflow's API server does not answer: {error}") from error
                time.sleep(POLL_S)

    def tasks_at_work(self) -> list[DictRow]:
        """Tasks that run and may be killed once more, by Airflow's own tables: its API would be too slow."""
        return self._rows(RUNNING, (DAG, KILLED_UP_TO_TRY))

    def has_ended(self, task: Any) -> bool:
        """Whether a task had got to its end; one that begins anew gets another id."""
        return bool(self._rows("SELECT FROM task_instance WHERE id = %s AND state = 'success'", (task,)))

    def _rows(self, statement: str, parameters: tuple[Any, ...]) -> list[DictRow]:
        url = self.house.services.airflow_database.url or ""
        with suppress(psycopg.OperationalError), psycopg.connect(url, row_factory=dict_row) as connection:
            return connection.execute(statement.encode(), parameters).fetchall()
        return []


@contextmanager
def running(house: House) -> Iterator[Airflow]:
    """Airflow in the house, its DAG ready; stopped afterwards."""
    airflow = Airflow(house, AirflowStack(house.state, triggerer=False))
    os.environ |= QUICK
    try:
        # Whatever somebody has made of include/collection.yaml.
        with own_collection(house.state):
            airflow.start()
            airflow.ask(lambda client: client.ensure_pools(pools()))
            airflow.ask(lambda client: await_dags(client, {DAG}))
            airflow.ask(lambda client: client.pause(DAG, paused=False))
            yield airflow
    finally:
        for name in QUICK:
            os.environ.pop(name)
        airflow.stack.stop()


class AirflowKiller(ServerKiller):
    """Kills tasks most of all, now and then a server, rarely the scheduler: starting Airflow takes half a minute."""

    VICTIMS = ("task",) * 10 + ("postmaster", "redis", "scheduler")

    def __init__(self, airflow: Airflow, tally: Tally, dice: Random) -> None:
        super().__init__(airflow.house, tally, dice)
        self.airflow = airflow

    def strike(self) -> None:
        """One victim; what Airflow has lost of its processes is started again."""
        super().strike()
        self.airflow.restart()

    def kill_one(self, victim: str) -> None:
        """A task of the step that was hit least, the scheduler, or a server; none while no task is at work."""
        tasks = self.airflow.tasks_at_work()
        if not tasks:
            return
        if victim == "task":
            self._kill_task(min(tasks, key=lambda task: (self.tally.kills[_step(task)], self.dice.random())))
        elif victim == "scheduler":
            self._kill_scheduler()
        else:
            super().kill_one(victim)

    def calm_s(self) -> float:
        """Tasks take a second or two."""
        return self.dice.uniform(1, 5)

    def _kill_task(self, task: DictRow) -> None:
        if kill(task["pid"]):
            late = self.airflow.has_ended(task["id"])
            self.tally.count(self.tally.late if late else self.tally.kills, _step(task))

    def _kill_scheduler(self) -> None:
        started = json.loads((self.airflow.stack.home / "processes.json").read_text())["pids"]
        if kill(started["scheduler"]):
            self.tally.count(self.tally.kills, "scheduler")


def _step(task: DictRow) -> str:
    """The step that a task does: its name without its group's."""
    return str(task["task_id"]).removeprefix("batch.")


class AirflowCampaign:
    """One campaign in one house.

    Args:
        seed: draws kills and faults.
        until: the monotonic second after which no more disturbed runs begin.
    """

    def __init__(self, house: House, market: Market, tally: Tally, seed: int, until: float) -> None:
        self.house = house
        self.market = market
        self.tally = tally
        self.runs: list[str] = []
        self._seed = seed
        self._until = until

    def run(self) -> list[Check]:
        """Disturbed runs until the quota is reached, then a clean one, and what came of it.

        Raises:
            RunHangs: a run did not end.
        """
        self.market.spoil(self.house.exchange)
        with running(self.house) as airflow:
            with (
                AirflowKiller(airflow, self.tally, Random(f"{self._seed} airflow")),
                Weather(self.house, self.tally, Random(f"{self._seed} weather")),
            ):
                self._load(airflow, again=False)
                while self.tally.wants_more and time.monotonic() < self._until:
                    self._load(airflow, again=True)
            self.house.restart()
            airflow.restart()
            colour = self._load(airflow, again=False)
            plans = [self._plan(airflow, run) for run in self.runs]
            left = airflow.stack
        return [
            checks.enough_kills(self.tally),
            check("the clean run is green", [] if colour == "success" else [f"it ended in {colour}"]),
            check("no process of Airflow is left running", map(str, left.pids())),
            *self._checks(plans),
        ]

    def _load(self, airflow: Airflow, *, again: bool) -> str:
        """Run the DAG over the market's span; the state that the run ends in."""
        (span,) = self.market.spans
        form = {
            "symbols": list(self.market.symbols),
            "datasets": list(self.market.datasets),
            "start": f"{span.start:%Y-%m-%d}",
            "again": again,
        }
        run = airflow.ask(lambda client: client.trigger(DAG, form))
        self.runs.append(run)
        deadline = time.monotonic() + RUN_ENDS_IN_S
        while (state := airflow.ask(lambda client: client.run_states(DAG))[run]) not in FINAL:
            if time.monotonic() > deadline:
                raise RunHangs(f"{DAG} {run} is still {state} after {RUN_ENDS_IN_S:.0f} s")
            time.sleep(POLL_S)
        self.tally.count(self.tally.done, f"{'again, ' if again else ''}run ended in {state}")
        return state

    def _plan(self, airflow: Airflow, run: str) -> Plan:
        planned = airflow.ask(lambda client: client.returned(DAG, run, "plan_windows"))
        return Plan([Batch.from_json(item) for item in planned or ()])

    def _checks(self, plans: list[Plan]) -> list[Check]:
        wanted = Wanted(self.market, self.house.exchange.seed)
        return checks.of_store(self.house.deployment, wanted, [batch for plan in plans for batch in plan.batches])
