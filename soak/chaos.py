"""What goes wrong under the workers: servers are killed, the exchange has bad weather; each in a thread of its own."""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from random import Random
from threading import Event, Thread
from types import TracebackType
from typing import Any, ClassVar, Self

import psutil
import psycopg

from soak.house import House
from soak.tally import Tally


class Trouble(ABC):
    """Something that goes wrong again and again while a block is at work: `with ServerKiller(...)`.

    What goes wrong with the trouble itself ends it, and is raised at the end of the block.
    """

    def __init__(self, house: House, tally: Tally, dice: Random) -> None:
        self.house = house
        self.tally = tally
        self.dice = dice
        self._over = Event()
        self._failure: BaseException | None = None
        self._thread = Thread(target=self._run, name=type(self).__name__, daemon=True)

    @abstractmethod
    def strike(self) -> None:
        """Do it once."""

    @abstractmethod
    def calm_s(self) -> float:
        """Seconds until the next time."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def wait(self, seconds: float) -> bool:
        """Wait so long, less where it is over; whether it is."""
        return self._over.wait(seconds)

    def _run(self) -> None:
        try:
            while not self.wait(self.calm_s()):
                self.strike()
        except BaseException as failure:
            self._failure = failure


class ServerKiller(Trouble):
    """Kills Redis, PostgreSQL's postmaster, or one session's process, and starts again what is down.

    The postmaster takes everything with it; one session's death makes it end all others and recover by itself. Either
    empties staging, which is UNLOGGED.
    """

    VICTIMS: tuple[str, ...] = ("postmaster", "postgres session", "redis")

    def strike(self) -> None:
        """One victim, while kills are wanted."""
        if self.tally.wants_more:
            self.kill_one(self.dice.choice(self.VICTIMS))

    def kill_one(self, victim: str) -> None:
        """Kill one of the victims, where it is there."""
        pid = self._pid_of(victim)
        if pid is not None and kill(pid):
            self.tally.count(self.tally.kills, victim)
            self.house.restart()

    def calm_s(self) -> float:
        """Long enough that batches get through, short enough that most of them meet it."""
        return self.dice.uniform(5, 20)

    def _pid_of(self, victim: str) -> int | None:
        if victim == "redis":
            return _pid_in(self.house.services.redis.data, "redis.pid")
        if victim == "postmaster":
            return _pid_in(self.house.services.database.data, "postmaster.pid")
        with suppress(psycopg.OperationalError), psycopg.connect(self.house.database_url) as connection:
            at_work = "SELECT pid FROM pg_stat_activity WHERE application_name = 'perpflow' ORDER BY pid"
            pids = [pid for (pid,) in connection.execute(at_work)]
            return self.dice.choice(pids) if pids else None
        return None


def _pid_in(folder: str | None, name: str) -> int | None:
    with suppress(FileNotFoundError, ValueError):
        return int((Path(folder or "") / name).read_text().split("\n", 1)[0])
    return None


def kill(pid: int) -> bool:
    """Kill -9; False where it is gone already."""
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        os.kill(pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(pid)], timeout=10)
        return True
    return False


class Weather(Trouble):
    """Faults of the exchange, one kind at a time, with clear sky between.

    A fetch tries five times within fifteen seconds, so none of these outlasts it: what an object's bytes or checksum
    say wrongly must not happen so often that the object counts as damaged, which would change what is loaded. Storms
    let some requests through: where none got through, the circuit breaker would have everybody wait for minutes.
    """

    STORM: ClassVar[dict[str, Any]] = {"probability": 0.5}
    TWICE: ClassVar[dict[str, Any]] = {"times": 2}
    KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
        ("status", {"code": 503, "match": "/fapi/", **STORM}),
        ("status", {"code": 500, "match": "/futures/data/", **STORM}),
        ("status", {"code": 502, "match": "/data/futures/", **STORM}),
        ("latency", {"ms": 700}),
        ("reset", STORM),
        ("reset_body", STORM),
        ("truncated_body", STORM),
        ("malformed_json", {"match": "/fapi/", **STORM}),
        ("malformed_json", {"match": "/futures/data/", **STORM}),
        ("weight_header", {"value": -1}),
        ("truncated_zip", TWICE),
        ("bad_checksum", TWICE),
    )

    def strike(self) -> None:
        """One kind, for up to two seconds or two strikes."""
        kind, details = self.dice.choice(self.KINDS)
        number = self.house.exchange.add_fault(kind, **details)
        self.wait(self.dice.uniform(0.5, 2.0))
        struck = next(fault["struck"] for fault in self.house.exchange.faults() if fault["id"] == number)
        self.tally.count(self.tally.struck, _name(kind, details), struck)
        self.house.exchange.remove_fault(number)

    def calm_s(self) -> float:
        """Longer than a storm."""
        return self.dice.uniform(2, 6)


def _name(kind: str, details: dict[str, Any]) -> str:
    return f"{kind} {details['code']}" if "code" in details else kind
