"""Steps of the pipeline as processes of their own, each of which may be killed at any moment.

Processes are forked from a server that has imported what they need, as Airflow's LocalExecutor forks its tasks: a cold
start takes eight seconds, a fork some milliseconds. A step says when it begins and when it has ended, so that a kill
counts only where it hit one at work.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from threading import Lock
from typing import Any, Literal

from perpflow import pipeline
from perpflow.errors import PerpflowError, Transient
from perpflow.settings import Deployment

CONTEXT = multiprocessing.get_context("forkserver")

Step = Literal["plan", "repair", "reissued", "stage", "check", "publish"]
Work = Callable[[Deployment, Any], Any]
STEPS: dict[Step, Work] = {
    "plan": pipeline.plan,
    "repair": pipeline.plan_repair,
    "reissued": pipeline.plan_reissued,
    "stage": pipeline.stage,
    "check": pipeline.check,
    "publish": pipeline.publish,
}

#: A step takes a second; with retries against faults of the exchange half a minute. Beyond this it hangs.
HANGS_AFTER_S = 240.0
BEGAN = "began"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended: with a value, or with an error. A stranger is an error that is none of Perpflow's."""

    value: Any = None
    error: str | None = None
    text: str = ""
    transient: bool = False

    @classmethod
    def of(cls, error: Exception) -> Outcome:
        """What an exception of the step means."""
        known = isinstance(error, PerpflowError)
        text = str(error) if known else "".join(traceback.format_exception(error))
        return cls(error=type(error).__name__, text=text, transient=isinstance(error, Transient))


def _work(step: str, work: Work, deployment: Deployment, subject: Any, log: Path, channel: Connection) -> None:
    """The process: one step, its outcome sent last."""
    # The semaphore of Great Expectations' progress bars then has no name under which a killed process leaves it behind.
    multiprocessing.set_start_method("fork", force=True)
    logging.basicConfig(filename=log, level=logging.INFO, format=f"%(asctime)s {os.getpid()} {step} %(message)s")
    channel.send(BEGAN)
    try:
        outcome = Outcome(work(deployment, subject))
    except Exception as error:
        logging.exception("failed")
        outcome = Outcome.of(error)
    channel.send(outcome)


class Worker:
    """Work in a process of its own, such as a step.

    Args:
        name: for logs and errors.
        work: gets deployment and subject; what it returns is the outcome's value.
        log: what is logged is appended there.
    """

    def __init__(self, name: str, work: Work, deployment: Deployment, subject: Any, log: Path) -> None:
        self.name = name
        self._channel, theirs = CONTEXT.Pipe(duplex=False)
        arguments = (name, work, deployment, subject, log, theirs)
        self._process = CONTEXT.Process(target=_work, args=arguments, daemon=True)
        self._process.start()
        # Without our copy of its end the channel closes when the process dies.
        theirs.close()
        self._begun_at: float | None = None

    def killed(self, after_s: float) -> bool:
        """Kill it so many seconds after it has begun; False where it had ended by then."""
        if self.has_ended(after_s):
            return False
        self.kill()
        # The last moment before the kill: it may have sent its outcome, and then it was not at work any more.
        return not self._has_outcome()

    def kill(self) -> None:
        """Kill -9."""
        self._process.kill()
        self._process.join()

    def has_ended(self, within_s: float) -> bool:
        """Whether it ends within so many seconds; those before it has begun do not count."""
        self._await_begin()
        return self._channel.poll(within_s)

    def outcome(self, within_s: float = HANGS_AFTER_S) -> tuple[Outcome, float]:
        """Wait for its end; how it ended, and how many seconds it was at work.

        Raises:
            TimeoutError: it hangs; it is killed.
        """
        if not self.has_ended(within_s):
            self.kill()
            raise TimeoutError(f"{self.name} hangs: no end after {within_s:.0f} s")
        outcome = self._receive()
        assert self._begun_at is not None
        seconds = time.monotonic() - self._begun_at
        self._process.join()
        return outcome, seconds

    def _await_begin(self) -> None:
        if self._begun_at is None:
            if not self._channel.poll(HANGS_AFTER_S):
                raise TimeoutError(f"{self.name} did not begin in {HANGS_AFTER_S:.0f} s")
            self._receive()
            self._begun_at = time.monotonic()

    def _receive(self) -> Any:
        try:
            return self._channel.recv()
        except (EOFError, OSError):
            return Outcome(error="Died", text=f"{self.name} ended without an outcome, exit {self._exitcode()}")

    def _exitcode(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def _has_outcome(self) -> bool:
        return self._channel.poll() and self._receive().error != "Died"


class Pace:
    """How long each step usually takes, by those that ended: kills fall within that."""

    #: Seconds on two cores, until the first ones have ended.
    USUAL_S: dict[Step, float] = {
        "plan": 0.5,
        "repair": 0.3,
        "reissued": 0.3,
        "stage": 0.8,
        "check": 0.6,
        "publish": 0.1,
    }

    def __init__(self) -> None:
        self._lock = Lock()
        self._seen = {step: deque([usual], maxlen=15) for step, usual in self.USUAL_S.items()}

    def record(self, step: Step, seconds: float) -> None:
        """A step has ended after so long."""
        with self._lock:
            self._seen[step].append(seconds)

    def usual_s(self, step: Step) -> float:
        """The median of the last ones."""
        with self._lock:
            return median(self._seen[step])


@contextmanager
def preloaded() -> Iterator[None]:
    """Start the process that workers are forked from. Call it before there is a thread."""
    before = os.environ.get("PYTHONPATH")
    # It is started anew, and finds modules by the environment alone.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        CONTEXT.set_forkserver_preload(["soak.preload"])
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before
    yield
    assert not multiprocessing.active_children(), "a worker is still there"
