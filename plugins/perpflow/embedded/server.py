"""What both servers have in common: being found, started on a port of their own, waited for and stopped."""

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from perpflow.embedded import processes
from perpflow.embedded.accounts import Account
from perpflow.embedded.errors import ServiceError
from perpflow.embedded.server_tree import ServerTree
from perpflow.embedded.state import Memory

# A port can be lost to a stranger between being found free and being listened on.
PORT_ATTEMPTS = 3


class Server(ABC):
    """A server with a data folder. `remember` saves the memory, whenever it changed."""

    name: ClassVar[str]
    pid_file: ClassVar[str]
    # What the log says when the port was taken.
    port_lost: ClassVar[bytes]
    stop_signal: ClassVar[signal.Signals]
    stop_timeout_s: ClassVar[float]
    ready_timeout_s: ClassVar[float]

    def __init__(self, data: Path, log: Path, memory: Memory, remember: Callable[[], None]) -> None:
        self.data = data
        self.log = log
        self.memory = memory
        self.remember = remember

    @abstractmethod
    def prepare(self, tree: ServerTree, account: Account) -> None:
        """Make or verify the data folder."""

    @abstractmethod
    def clear_remains(self) -> None:
        """Remove what a server that was killed left behind; called only when ours doesn't run."""

    @abstractmethod
    def configure(self, tree: ServerTree, account: Account) -> None:
        """Choose the port and write the configuration."""

    @abstractmethod
    def command(self, tree: ServerTree) -> tuple[list[str], dict[str, str]]:
        """The command that starts the server, and its environment."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it accepts our login: not while it is starting or recovering."""

    def pid(self) -> int | None:
        """The running server's process number, by its pid file and verified against the process."""
        try:
            pid = int((self.data / self.pid_file).read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None
        return pid if processes.works_in(pid, self.data) else None

    def start(self, tree: ServerTree, account: Account) -> None:
        """Bring the server up, whatever state the last one left; one that is still recovering is waited for."""
        if (pid := self.pid()) is not None:
            self._await_answer(pid)
            return
        self.prepare(tree, account)
        self.clear_remains()
        for _ in range(PORT_ATTEMPTS - 1):
            if self._launch(tree, account):
                return
        if not self._launch(tree, account):
            raise self._failure(f"lost its port {PORT_ATTEMPTS} times to other programs", "try again")

    def stop(self) -> None:
        """A clean shutdown; nothing to do when it doesn't run."""
        pid = self.pid()
        if pid is not None and processes.end([pid], self.stop_signal, timeout_s=self.stop_timeout_s):
            advice = "is the disk full? Try again; the next start recovers even from `kill -9`"
            raise self._failure(f"process {pid} did not stop in {self.stop_timeout_s:.0f} s", advice)
        self.clear_remains()

    def _launch(self, tree: ServerTree, account: Account) -> bool:
        """Start it and wait until it answers; False when only its port was lost."""
        self.configure(tree, account)
        # Before the server exists: if we die now, the next start finds it.
        self.remember()
        command, environment = self.command(tree)
        logged = self.log.stat().st_size if self.log.exists() else 0
        pid = processes.spawn(command, environment=environment, log=self.log, account=account)
        try:
            self._await_answer(pid)
        except ServiceError:
            if self.port_lost in self.log.read_bytes()[logged:]:
                return False
            raise
        return True

    def _await_answer(self, pid: int) -> None:
        deadline = time.monotonic() + self.ready_timeout_s
        while processes.is_alive(pid) and time.monotonic() < deadline:
            if self.answers():
                return
            time.sleep(processes.POLL_S)
        problem = "is there but does not answer" if processes.is_alive(pid) else "ended while starting"
        raise self._failure(f"process {pid} {problem}", "see the log; no data was lost, a start may be repeated")

    def _failure(self, problem: str, advice: str) -> ServiceError:
        return ServiceError(self.name, problem, advice=advice, log=self.log)
