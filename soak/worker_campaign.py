"""Campaign 1: many processes load overlapping windows, some of them the same batch, and are killed at random points.

Each lane takes the next batch and has its steps done, each by a process of its own, again and again until it ends by
itself: what Airflow's retries do, without their waiting times. Meanwhile the servers die and the exchange has faults.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from random import Random
from threading import Event, Lock
from typing import Any

from perpflow.batches import Batch, Plan
from soak import checks
from soak.chaos import ServerKiller, Weather
from soak.checks import Check, Wanted
from soak.damage import Puncher, Reissuer
from soak.house import House
from soak.market import MENDING, Load, Market
from soak.tally import Tally
from soak.witness import witness
from soak.workers import STEPS, Pace, Step, Worker

#: Two cores, and steps that wait for exchange and database half of their time.
LANES = 4
#: A step that has ended with an error this often does not get anywhere.
MOST_ERRORS = 60
LONGEST_PAUSE_S = 1.5
#: The chance that a process is killed, until the quota is reached; small enough that kills fall all over the campaign.
KILLED: dict[Step, float] = {
    "plan": 0.15,
    "repair": 0.15,
    "reissued": 0.15,
    "stage": 0.35,
    "check": 0.4,
    "publish": 0.35,
}


class StepFailed(Exception):
    """A step ended as none may, whatever is killed: with a permanent error, a stranger, or never."""


@dataclass(frozen=True, slots=True)
class Work:
    """A batch to be taken its whole way; `copy` tells those apart who take the same one."""

    load: Load
    batch: Batch
    copy: int

    def __str__(self) -> str:
        return f"load {self.load.number} {self.batch.label} {self.batch.window} copy {self.copy}"


class WorkerCampaign:
    """One campaign in one house.

    Args:
        seed: draws loads, kills and faults.
        until: the monotonic second at which no more loads are taken.
    """

    def __init__(self, house: House, market: Market, tally: Tally, seed: int, until: float) -> None:
        self.house = house
        self.market = market
        self.tally = tally
        self.plans: list[Plan] = []
        self._seed = seed
        self._until = until
        self._pace = Pace()
        dice = Random(f"{seed} loads")
        self._covering = deque(market.covering_loads(dice))
        self._further = market.further_loads(dice, len(self._covering) + 1)
        self._work: SimpleQueue[Work] = SimpleQueue()
        self._lock = Lock()
        self._over = Event()

    def run(self) -> list[Check]:
        """Load, kill, and check what came of it.

        Raises:
            StepFailed: a step can't be got to its end.
        """
        self.market.spoil(self.house.exchange)
        witness(self.house.database_url)
        with (
            ServerKiller(self.house, self.tally, Random(f"{self._seed} servers")),
            Weather(self.house, self.tally, Random(f"{self._seed} weather")),
            Reissuer(self.house, self.tally, Random(f"{self._seed} issues"), self.market),
            Puncher(self.house, self.tally, Random(f"{self._seed} holes"), self.market),
            ThreadPoolExecutor(LANES, "lane") as lanes,
        ):
            started = [lanes.submit(self._lane) for _ in range(LANES)]
            try:
                done, _ = wait(started, return_when=FIRST_EXCEPTION)
            finally:
                # Interrupted, or one has failed: the others end with the process that they wait for.
                self._over.set()
        for lane in done:
            lane.result()
        self.house.restart()
        self._mend()
        return self._checks()

    def _mend(self) -> None:
        """Repair what was punched and read again what was issued again, undisturbed."""
        for load in self.market.last_loads(2 * MENDING):
            planned: Plan = STEPS[load.planned_by](self.house.deployment, load.request())
            self.plans.append(planned)
            for batch in planned.batches:
                for step in ("stage", "check", "publish"):
                    STEPS[step](self.house.deployment, batch)
            self.tally.count(self.tally.done, load.planned_by)

    def _checks(self) -> list[Check]:
        deployment, wanted = self.house.deployment, Wanted(self.market, self.house.exchange.seed)
        batches = [batch for planned in self.plans for batch in planned.batches]
        return [
            checks.enough_kills(self.tally),
            *checks.of_store(deployment, wanted, batches),
            checks.every_batch_is_published(deployment, batches),
            checks.corrections_are_of_what_was_issued_again(deployment.database_url, self.market),
            checks.reports_name_what_was_withheld_alone(deployment, self.plans),
        ]

    # --- lanes

    def _lane(self) -> None:
        """Take batches until all is done; where none waits plan the next load."""
        while True:
            try:
                work = self._work.get_nowait()
            except Empty:
                load = self._next_load()
                if load is None:
                    return
                self._plan(load)
                continue
            dice = Random(f"{self._seed} {work}")
            for step in ("stage", "check", "publish"):
                self._take(step, work.batch, dice, str(work))

    def _next_load(self) -> Load | None:
        """The next one: all that cover the spans, then more while kills are wanted and there is time."""
        with self._lock:
            if self._covering:
                return self._covering.popleft()
            return next(self._further) if self.tally.wants_more and time.monotonic() < self._until else None

    def _plan(self, load: Load) -> None:
        dice = Random(f"{self._seed} plan {load.number}")
        planned: Plan = self._take(load.planned_by, load.request(), dice, str(load))
        with self._lock:
            self.plans.append(planned)
        for batch in planned.batches:
            for copy in range(load.copies):
                self._work.put(Work(load, batch, copy))

    def _take(self, step: Step, subject: Any, dice: Random, name: str) -> Any:
        """Have a step done by one process after another until one ends by itself; its value."""
        errors = 0
        while not self._over.is_set():
            worker = Worker(step, STEPS[step], self.house.deployment, subject, self.house.worker_log)
            if self._kills(step, worker, dice):
                continue
            outcome, seconds = worker.outcome()
            if outcome.error is None:
                self._pace.record(step, seconds)
                self.tally.count(self.tally.done, step)
                return outcome.value
            errors += 1
            self.tally.count_error(step, outcome.error)
            if not outcome.transient or errors > MOST_ERRORS:
                raise StepFailed(f"{step} of {name}, error {errors}: {outcome.error}: {outcome.text}")
            time.sleep(dice.uniform(0, LONGEST_PAUSE_S))
        raise StepFailed(f"{step} of {name} was given up, because another lane has failed")

    def _kills(self, step: Step, worker: Worker, dice: Random) -> bool:
        """Perhaps kill it; whether that hit."""
        moment = dice.random()
        if dice.random() > KILLED[step] or not self.tally.wants_more or time.monotonic() > self._until:
            return False
        hit = worker.killed(moment * self._pace.usual_s(step))
        self.tally.count(self.tally.kills if hit else self.tally.late, step)
        return hit
