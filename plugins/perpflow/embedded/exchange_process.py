"""The simulated exchange as a process in the background, for the demo and `make up EXCHANGE=simulator`.

The simulator itself is the checkout's `simulator/`; here it gets a port that is remembered, a log and an end.
"""

import os
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

import httpx

from perpflow.embedded import processes
from perpflow.embedded.accounts import Account
from perpflow.embedded.airflow_settings import ExchangeAddress
from perpflow.embedded.errors import ServiceError
from perpflow.embedded.state import CHECKOUT, StateFolder
from perpflow.windows import from_ms

READY_TIMEOUT_S = 60
STOP_TIMEOUT_S = 10


class ExchangeProcess:
    """The simulator of one state folder; recognised by its working folder, as the other servers are."""

    def __init__(self, state_dir: Path) -> None:
        self.state = StateFolder(state_dir.resolve())
        self.folder = self.state.root / "simulator"
        self.log = self.state.log("simulator")
        self._port_file = self.folder / "port"

    @property
    def url(self) -> str:
        """Where REST, archive and controls are."""
        return f"http://127.0.0.1:{self._port_file.read_text()}"

    @property
    def address(self) -> ExchangeAddress:
        """What tasks are told."""
        return ExchangeAddress(self.url, self.url, simulated=True)

    def pids(self) -> list[int]:
        """The process, if it lives."""
        return processes.processes_in(self.folder)

    def start(self, *, now: datetime | None = None) -> None:
        """Start it and wait until it answers; one that runs goes on as it is.

        Args:
            now: its clock at the start; the simulator's own default otherwise.

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
        clock = ["--now", now.isoformat()] if now else []
        pid = processes.spawn(
            [sys.executable, "-m", "simulator", "--port", str(port), *clock],
            environment=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            log=self.log, account=Account(os.geteuid(), os.getegid()), folder=self.folder,
        )  # fmt: skip
        self._await_answer(pid)

    def stop(self) -> None:
        """End it; nothing to do is fine."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            processes.end(self.pids(), how, timeout_s=STOP_TIMEOUT_S)

    def now(self) -> datetime:
        """The exchange's clock."""
        answer = httpx.get(f"{self.url}/fapi/v1/time", timeout=5, trust_env=False)
        return from_ms(int(answer.raise_for_status().json()["serverTime"]))

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
