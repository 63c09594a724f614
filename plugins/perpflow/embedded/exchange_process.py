"""The simulated exchange as a process in the background, for the demo and `make up EXCHANGE=simulator`.

The simulator itself is the checkout's `simulator/`; here it gets a port that is remembered, a log and an end.
"""

import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx

from perpflow.embedded import processes
from perpflow.embedded.accounts import Account
from perpflow.embedded.airflow_settings import ExchangeAddress
from perpflow.embedded.errors import ServiceError
from perpflow.embedded.state import CHECKOUT, StateFolder
from perpflow.windows import from_ms

log = logging.getLogger(__name__)

READY_TIMEOUT_S = 60
STOP_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Requests:
    """What the exchange was asked since it started: how often, and how often beyond its limits (429 and 418)."""

    total: int
    refused: int


class ExchangeProcess:
    """The simulator of one state folder; recognised by its working folder, as the other servers are."""

    def __init__(self, state_dir: Path) -> None:
        self.state = StateFolder(state_dir.resolve())
        self.folder = self.state.root / "simulator"
        self.log = self.state.log("simulator")
        self._port_file = self.folder / "port"
        # Where the clock stood at the last stop: it goes on from there, or the data would lie in its future.
        self._clock_file = self.folder / "clock"

    @property
    def url(self) -> str:
        """Where REST, archive and controls are."""
        return f"http://127.0.0.1:{self._port_file.read_text()}"

    @property
    def address(self) -> ExchangeAddress:
        """What tasks are told."""
        return ExchangeAddress.of_simulator(self.url)

    def pids(self) -> list[int]:
        """The process, if it lives."""
        return processes.processes_in(self.folder)

    def forget_clock(self) -> None:
        """Begin at the simulator's own default again, for a market of which nothing was collected."""
        self._clock_file.unlink(missing_ok=True)

    def start(self) -> None:
        """Start it and wait until it answers; one that runs goes on as it is.

        Raises:
            ServiceError: it ended or does not answer.
        """
        if self.pids():
            return
        if not (CHECKOUT / "simulator").is_dir():
            raise ServiceError("The simulator", "is not part of this installation", advice="run it from a checkout")
        self.folder.mkdir(parents=True, exist_ok=True)
        port = processes.choose_port(int(self._port_file.read_text()) if self._port_file.exists() else None)
        self._port_file.write_text(str(port))
        paths = [str(CHECKOUT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        clock = ["--now", self._clock_file.read_text()] if self._clock_file.exists() else []
        pid = processes.spawn(
            [sys.executable, "-m", "simulator", "--port", str(port), *clock],
            environment=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            log=self.log, account=Account(os.geteuid(), os.getegid()), folder=self.folder,
        )  # fmt: skip
        self._await_answer(pid)

    def stop(self) -> None:
        """End it, and remember its time; nothing to do is fine."""
        if self.pids():
            try:
                self._clock_file.write_text(self.now().isoformat())
            except httpx.HTTPError:
                log.warning("The simulator does not answer; its clock will go on from an earlier time.")
        for how in (signal.SIGTERM, signal.SIGKILL):
            processes.end(self.pids(), how, timeout_s=STOP_TIMEOUT_S)

    def now(self) -> datetime:
        """The exchange's clock."""
        answer = httpx.get(f"{self.url}/fapi/v1/time", timeout=5, trust_env=False)
        return from_ms(int(answer.raise_for_status().json()["serverTime"]))

    def move_clock(self, by: timedelta) -> None:
        """Let time pass on the exchange; its clock runs on from there."""
        later = (self.now() + by).isoformat()
        httpx.post(f"{self.url}/_simulator/clock", json={"now": later}, timeout=5, trust_env=False).raise_for_status()

    def requests(self) -> Requests:
        """How much was asked of it, by its own count."""
        answer = httpx.get(f"{self.url}/_simulator/requests", timeout=5, trust_env=False)
        report = answer.raise_for_status().json()
        return Requests(report["total"], report["violations"])

    def _await_answer(self, pid: int) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while processes.is_alive(pid) and time.monotonic() < deadline:
            try:
                self.now()
            except httpx.TransportError:
                time.sleep(processes.POLL_S)
            else:
                return
        problem = "does not answer" if processes.is_alive(pid) else "ended while starting"
        raise ServiceError("The simulator", problem, advice="see the log", log=self.log)
