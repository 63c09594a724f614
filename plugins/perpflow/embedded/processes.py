"""Starting server processes that outlive us, finding them again, stopping them; locks and ports.

A server is recognised by its working folder: both PostgreSQL (every process of it) and Redis change into their data
folder, so neither a recycled process number in a stale pid file nor another server can be taken for ours.
"""

import fcntl
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import psutil

from perpflow.embedded.accounts import Account

# How often waiting code looks again: short against a server's start (0.2-1 s).
POLL_S = 0.02
# Below the range that Linux hands to outgoing connections (32768 and up), so that a port stays free while we are down.
PORTS = range(20000, 32000)


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold the lock file: one process at a time; the kernel lets go of it when a holder dies."""
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def open_log(log: Path) -> BinaryIO:
    """Open a server's log for appending. We open it, so it needs no rights for the servers' account."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return log.open("ab")


def spawn(
    command: list[str], *, environment: Mapping[str, str], log: Path, account: Account, folder: Path = Path("/")
) -> int:
    """Start a server in the background, working in `folder`, and return its process number.

    A shell starts it and ends at once, so the server is init's child: it outlives us and leaves us no zombie.
    """
    with open_log(log) as output:
        started = subprocess.run(
            ["/bin/sh", "-c", '"$@" >&2 </dev/null & echo $!', "sh", *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=output,
            env=dict(environment), cwd=folder, start_new_session=True, check=True, **account.run_as(),
        )  # fmt: skip
    return int(started.stdout)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie (in a container whose first process doesn't reap) does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def works_in(pid: int, folder: Path) -> bool:
    """Whether the process runs with this working folder."""
    try:
        return is_alive(pid) and Path(psutil.Process(pid).cwd()) == folder
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def session_of(pid: int) -> int | None:
    """The session that the process belongs to, for ever the one that it was started in; None where it has ended."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _is_hidden(pid: int) -> bool:
    """Whether it keeps its folder from us: Airflow's supervisors of tasks do, lest somebody read their memory."""
    try:
        psutil.Process(pid).cwd()
    except psutil.AccessDenied:
        return is_alive(pid)
    except psutil.NoSuchProcess:
        return False
    return False


def processes_in(folder: Path, sessions: Collection[int] = ()) -> list[int]:
    """All processes whose working folder this is: a server, or what a killed one left behind.

    Of those that keep their folder from us, the ones in `sessions`, which a server of ours was started in.
    """
    return [
        pid
        for pid in psutil.pids()
        if works_in(pid, folder) or (sessions and session_of(pid) in sessions and _is_hidden(pid))
    ]


def end(pids: list[int], how: signal.Signals, *, timeout_s: float) -> list[int]:
    """Signal the processes, wait for them, and return those still alive after the timeout."""
    for pid in pids:
        # Many end by themselves, seeing that others of theirs do.
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).send_signal(how)
    deadline = time.monotonic() + timeout_s
    while (alive := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return alive


def is_port_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As servers do: a port whose old connections are only winding down counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(remembered: int | None) -> int:
    """The remembered port unless a stranger has taken it, else a free one."""
    port = remembered
    while port is None or not is_port_free(port):
        port = PORTS[secrets.randbelow(len(PORTS))]
    return port
