"""The embedded Redis: its configuration and its process."""

import signal
import time
from dataclasses import dataclass
from pathlib import Path

import redis

from perpflow.embedded import processes
from perpflow.embedded.accounts import Account
from perpflow.embedded.errors import ServiceError
from perpflow.embedded.server_tree import BASE_ENVIRONMENT, ServerTree
from perpflow.embedded.state import Memory

SERVICE = "Redis"
# Reading a big append-only file takes seconds; a dead process is noticed at once.
READY_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30
# A port can be lost between being found free and being listened on.
PORT_ATTEMPTS = 3


def settings(data: Path, port: int, password: str) -> list[tuple[str, str, str]]:
    """Name, value, reason."""
    return [
        ("bind", "127.0.0.1", "never reachable from another machine"),
        ("port", str(port), "chosen once, see services.json"),
        ("requirepass", password, "other users of this machine are strangers"),
        ("dir", f'"{data}"', "the append-only file's folder"),
        ("pidfile", f'"{data / "redis.pid"}"', "how the server is found again"),
        ("daemonize", "no", "it is started in the background already"),
        ("appendonly", "yes", "liquidations wait here until they are drained, and nobody serves them twice"),
        ("appendfsync", "everysec", "a crash of the machine costs a second; of Redis alone, nothing"),
        ("aof-load-truncated", "yes", "a file cut short by a crash is loaded up to the cut"),
        ("save", '""', "no snapshots beside the append-only file"),
        ("maxmemory", "1gb", "bounded streams stay far below; a runaway writer gets an error, not the laptop's memory"),
        ("maxmemory-policy", "noeviction", "nothing may vanish silently: not the budget, not a lease"),
    ]


def render(chosen: list[tuple[str, str, str]]) -> str:
    """The text of redis.conf; it holds the password, so its readers are its owner alone."""
    return "".join(f"# {reason}\n{name} {value}\n" for name, value, reason in chosen)


@dataclass(frozen=True)
class RedisServer:
    """One Redis server."""

    data: Path
    log: Path
    memory: Memory

    def pid(self) -> int | None:
        """The running server's process number, by its pid file and verified against the process."""
        try:
            pid = int((self.data / "redis.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if processes.works_in(pid, self.data) else None

    def answers(self) -> bool:
        """Whether it accepts our login: not while loading its file."""
        try:
            with redis.Redis.from_url(self.memory.redis_url() or "", socket_timeout=5) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def start(self, tree: ServerTree, account: Account) -> None:
        """Bring the server up, whatever state the last one left."""
        if not self.data.exists():
            self.data.mkdir(mode=0o700)
            account.give(self.data)
        self._clear_remains()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.memory.redis_port = processes.choose_port(self.memory.redis_port)
            self._configure(account)
            if self._launch(tree, account, last_attempt=attempt == PORT_ATTEMPTS):
                return

    def stop(self) -> None:
        """A clean shutdown: the append-only file is written out first."""
        pid = self.pid()
        if pid is not None and processes.end([pid], signal.SIGTERM, timeout_s=STOP_TIMEOUT_S):
            raise ServiceError(
                SERVICE, f"process {pid} did not stop in {STOP_TIMEOUT_S} s", log=self.log,
                advice="is the disk full? After `kill -9` the next start recovers, up to the last second",
            )  # fmt: skip
        self._clear_remains()

    def _clear_remains(self) -> None:
        """End a rewrite of the file that a killed server left running, and a server that lost its pid file."""
        processes.end(processes.processes_in(self.data), signal.SIGKILL, timeout_s=STOP_TIMEOUT_S)
        (self.data / "redis.pid").unlink(missing_ok=True)

    def _configure(self, account: Account) -> None:
        file = self.data / "redis.conf"
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        file.write_text(render(settings(self.data, self.memory.redis_port or 0, self.memory.redis_password)))
        account.give(file)

    def _launch(self, tree: ServerTree, account: Account, *, last_attempt: bool) -> bool:
        """Start and wait until it answers; False when only the port was lost to a stranger."""
        command = [str(tree.redis_server), str(self.data / "redis.conf")]
        logged = self.log.stat().st_size if self.log.exists() else 0
        pid = processes.spawn(command, environment=BASE_ENVIRONMENT, log=self.log, account=account)
        deadline = time.monotonic() + READY_TIMEOUT_S
        while processes.is_alive(pid) and time.monotonic() < deadline:
            if self.answers():
                return True
            time.sleep(processes.POLL_S)
        with self.log.open("rb") as log:
            log.seek(logged)
            port_lost = b"Address already in use" in log.read()
        if port_lost and not last_attempt:
            return False
        problem = "did not become ready" if processes.is_alive(pid) else "ended while starting"
        raise ServiceError(
            SERVICE, problem, log=self.log, advice="see the log; nothing was lost, a start may be retried"
        )
