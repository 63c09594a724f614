"""The processes of campaign 4: streams that hand over to each other, and drains, some of which are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Lock

import psutil

from perpflow import pipeline
from perpflow.settings import Deployment
from soak.chaos import Trouble, kill
from soak.house import House
from soak.tally import Tally
from soak.workers import Worker

HAND_OVER_EVERY_S = 30.0
#: A successor imports for a second or two, connects, and receives for three seconds beside its predecessor; it waits
#: longer only while the exchange is silent.
HANDS_OVER_WITHIN_S = 60.0
ENDS_WITHIN_S = 20.0
LOOK_EVERY_S = 0.1
SAMPLE_EVERY_S = 1.0
ROOT = Path(__file__).resolve().parent.parent
#: A drain takes about so long once it is forked; kills fall within that.
DRAIN_S = 1.5
DRAIN_KILLED = 0.35
RECLAIM_AFTER_S = 10.0
#: Open interest is polled as well, so that every group of latest values is watched.
COLLECTION = "stream:\n  open_interest_every_s: 5\n"


@dataclass(slots=True)
class StreamProcess:
    """`python -m perpflow stream`; `began` in monotonic seconds, memory as (monotonic second, bytes resident)."""

    process: subprocess.Popen[bytes]
    log: Path
    began: float = field(default_factory=time.monotonic)
    is_killed: bool = False
    memory: list[tuple[float, int]] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    @property
    def said(self) -> str:
        """What it printed and logged."""
        return self.log.read_text(errors="replace")


@dataclass(frozen=True, slots=True)
class StreamKill:
    """A kill -9 of a stream at a real second; `alone`: no other stream process was there."""

    at: float
    pid: int
    alone: bool


class Supervisor(Trouble):
    """Keeps a stream running, as Airflow's schedule and retries would: a successor every 30 s, another after a kill.

    `faults` says which process ended as none may. Processes that are left end with `stop`.
    """

    def __init__(self, house: House, tally: Tally, dice: Random) -> None:
        super().__init__(house, tally, dice)
        self.faults: list[str] = []
        self.kills: list[StreamKill] = []
        self.is_steady = False
        self._lock = Lock()
        self._running: list[StreamProcess] = []
        self._started = 0
        self._sampled_at = 0.0
        self._collection = house.state / "collection.yaml"
        self._collection.write_text(COLLECTION)

    def strike(self) -> None:
        """Look at the processes once, and start what is wanted."""
        with self._lock:
            for each in list(self._running):
                if each.process.poll() is not None:
                    self._running.remove(each)
                    self._judge(each, has_successor=bool(self._running) and self._running[-1].began > each.began)
            self._end_what_does_not_hand_over()
            self._sample()
            if self._wants_another():
                self._start()

    def calm_s(self) -> float:
        """A dead stream is noticed as soon as a parent notices."""
        return LOOK_EVERY_S

    def processes(self) -> list[StreamProcess]:
        """Those that run, the newest last."""
        with self._lock:
            return [each for each in self._running if each.process.poll() is None]

    def kill(self, victim: StreamProcess) -> bool:
        """Kill -9 one of them; whether it was there."""
        with self._lock:
            others = [each for each in self._running if each is not victim and each.process.poll() is None]
            victim.is_killed = True
            at = time.time()
            # Its parent is this process: who waits for it is `poll`.
            with suppress(ProcessLookupError):
                os.kill(victim.pid, signal.SIGKILL)
            if victim.process.wait() != -signal.SIGKILL:
                victim.is_killed = False
                return False
            self.kills.append(StreamKill(at, victim.pid, alone=not others))
        self.tally.count(self.tally.kills, "stream" if others else "only stream")
        return True

    def stop(self) -> None:
        """SIGTERM to all, and wait for their ends."""
        with self._lock:
            for each in self._running:
                each.process.send_signal(signal.SIGTERM)
            for each in self._running:
                self._await_stop(each)
            self._running.clear()

    def kill_all(self) -> None:
        """The last resort, where the campaign has failed."""
        for each in self._running:
            kill(each.pid)
            each.process.poll()

    # --- one look, with the lock held

    def _await_stop(self, each: StreamProcess) -> None:
        try:
            code = each.process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.faults.append(f"stream {each.pid} did not end within {ENDS_WITHIN_S:.0f} s of SIGTERM, see {each.log}")
            _end_hanging(each)
            return
        # One that was about to end anyway has no handler for the signal any more.
        if "handed over" not in each.said and (code != 0 or "stopped" not in each.said):
            self.faults.append(f"stream {each.pid}, told to stop, ended with exit {code}: {each.said[-400:]}")

    def _judge(self, ended: StreamProcess, *, has_successor: bool) -> None:
        if ended.is_killed:
            return
        if ended.process.returncode == 0 and "handed over" in ended.said and has_successor:
            self.tally.count(self.tally.done, "hand-over")
            return
        self.faults.append(f"stream {ended.pid} ended with exit {ended.process.returncode}: {ended.said[-400:]}")

    def _end_what_does_not_hand_over(self) -> None:
        if len(self._running) > 1 and time.monotonic() - self._running[1].began > HANDS_OVER_WITHIN_S:
            slow = self._running[0]
            self.faults.append(f"stream {slow.pid} has not handed over in {HANDS_OVER_WITHIN_S:.0f} s, see {slow.log}")
            _end_hanging(slow)

    def _wants_another(self) -> bool:
        if not self._running:
            return True
        return not self.is_steady and time.monotonic() - self._running[-1].began >= HAND_OVER_EVERY_S

    def _start(self) -> None:
        self._started += 1
        log = self.house.logs / f"stream-{self._started}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "perpflow", "stream"],
                cwd=ROOT,
                env=self._environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._running.append(StreamProcess(process, log))

    def _environment(self) -> dict[str, str]:
        deployment = self.house.deployment
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT / "plugins"),
            "PERPFLOW_DATABASE_URL": deployment.database_url,
            "PERPFLOW_REDIS_URL": deployment.redis_url or "",
            "PERPFLOW_REST_URL": deployment.rest_url,
            "PERPFLOW_STREAM_URL": self.house.exchange.stream_url,
            "PERPFLOW_COLLECTION": str(self._collection),
            # So that a process that hangs says where.
            "PYTHONFAULTHANDLER": "1",
        }

    def _sample(self) -> None:
        if time.monotonic() - self._sampled_at < SAMPLE_EVERY_S:
            return
        self._sampled_at = time.monotonic()
        for each in self._running:
            with suppress(psutil.NoSuchProcess):
                each.memory.append((self._sampled_at, psutil.Process(each.pid).memory_info().rss))


def _end_hanging(each: StreamProcess) -> None:
    """End it; its log then tells where each thread was."""
    each.is_killed = True
    each.process.send_signal(signal.SIGABRT)
    each.process.wait()


@contextmanager
def supervised(supervisor: Supervisor) -> Iterator[Supervisor]:
    """Around a campaign's work: streams run, and none is left."""
    try:
        with supervisor:
            yield supervisor
        supervisor.stop()
    finally:
        supervisor.kill_all()


def resident_after_imports() -> int:
    """Bytes that a process holds which has imported what a stream needs, and does nothing."""
    line = [sys.executable, "-c", "import sys, perpflow.streaming; print(flush=True); sys.stdin.read()"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "plugins")}
    with subprocess.Popen(line, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        resident: int = psutil.Process(process.pid).memory_info().rss
        process.communicate()
        return resident


def drain(deployment: Deployment, reclaim_after_s: float) -> int:
    """All that waits through the gate, as `python -m perpflow drain` does it; how many batches that were."""
    run = f"drain|soak {os.getpid()} {time.time_ns()}"
    planned = pipeline.plan_drain(deployment, run, reclaim_after_s)
    for batch in planned.batches:
        pipeline.stage(deployment, batch)
        pipeline.check(deployment, batch)
        pipeline.publish(deployment, batch)
    return len(planned.batches)


class Drainer(Trouble):
    """Drains every few seconds, each time in a process of its own, and kills some of these at random points."""

    def __init__(self, house: House, tally: Tally, dice: Random) -> None:
        super().__init__(house, tally, dice)
        self.faults: list[str] = []

    def strike(self) -> None:
        """One drain."""
        worker = Worker("drain", drain, self.house.deployment, RECLAIM_AFTER_S, self.house.worker_log)
        if self.dice.random() < DRAIN_KILLED:
            hit = worker.killed(self.dice.uniform(0, DRAIN_S))
            self.tally.count(self.tally.kills if hit else self.tally.late, "drain")
            return
        outcome, _ = worker.outcome()
        if outcome.error is None:
            self.tally.count(self.tally.done, "drain")
            return
        self.tally.count_error("drain", outcome.error)
        if not outcome.transient:
            self.faults.append(f"{outcome.error}: {outcome.text[-400:]}")

    def calm_s(self) -> float:
        """Long enough for something to come meanwhile."""
        return self.dice.uniform(2, 4)
