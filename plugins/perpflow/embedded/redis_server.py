"""The embedded Redis: its configuration and its process."""

import signal
from pathlib import Path

from perpflow.embedded import probe, processes
from perpflow.embedded.accounts import Account
from perpflow.embedded.server import Server
from perpflow.embedded.server_tree import BASE_ENVIRONMENT, ServerTree

REWRITE_TIMEOUT_S = 10


def settings(data: Path, port: int, password: str) -> list[tuple[str, str, str]]:
    """Name, value, reason. Everything else stays at Redis' default."""
    return [
        ("bind", "127.0.0.1", "never reachable from another machine"),
        ("port", str(port), "chosen once, see services.json"),
        ("requirepass", password, "other users of this machine are strangers"),
        ("dir", f'"{data}"', "the append-only file's folder"),
        ("pidfile", f'"{data / RedisServer.pid_file}"', "how the server is found again"),
        ("daemonize", "no", "it is started in the background already"),
        ("appendonly", "yes", "liquidations wait here until they are drained, and nobody serves them twice"),
        ("appendfsync", "everysec", "a crash of the machine costs a second; of Redis alone, nothing"),
        ("aof-load-truncated", "yes", "a file cut short by a crash is loaded up to the cut"),
        ("save", '""', "no snapshots beside the append-only file"),
        ("maxmemory", "1gb", "bounded streams stay far below; a runaway writer gets an error, not the laptop's memory"),
        ("maxmemory-policy", "noeviction", "nothing may vanish silently: not the budget, not a lease"),
    ]


def render(chosen: list[tuple[str, str, str]]) -> str:
    """The text of redis.conf."""
    return "".join(f"# {reason}\n{name} {value}\n" for name, value, reason in chosen)


class RedisServer(Server):
    """One Redis server."""

    name = "Redis"
    pid_file = "redis.pid"
    port_lost = b"Address already in use"
    # A clean shutdown: the append-only file is written out first.
    stop_signal = signal.SIGTERM
    stop_timeout_s = 30
    # Reading a big append-only file takes seconds; a dead process is noticed at once.
    ready_timeout_s = 120

    def answers(self) -> bool:
        """Whether it accepts our login: not while it is reading its file."""
        url = self.memory.redis_url()
        return url is not None and probe.own_redis(url).reachable

    def prepare(self, tree: ServerTree, account: Account) -> None:
        """Make the data folder."""
        if not self.data.exists():
            self.data.mkdir(mode=0o700)
            account.give(self.data)

    def clear_remains(self) -> None:
        """End a rewrite of the file that a killed server left running, and remove its pid file."""
        processes.end(processes.processes_in(self.data), signal.SIGKILL, timeout_s=REWRITE_TIMEOUT_S)
        (self.data / self.pid_file).unlink(missing_ok=True)

    def configure(self, tree: ServerTree, account: Account) -> None:
        """Choose the port, write redis.conf; it holds the password, so nobody else may read it."""
        self.memory.redis_port = processes.choose_port(self.memory.redis_port)
        chosen = settings(self.data, self.memory.redis_port, self.memory.redis_password)
        account.write(self.data / "redis.conf", render(chosen))

    def command(self, tree: ServerTree) -> tuple[list[str], dict[str, str]]:
        """The command that starts the server, and its environment."""
        return [str(tree.redis_server), str(self.data / "redis.conf")], dict(BASE_ENVIRONMENT)
