"""Trades at 5,000 a second, from the simulated exchange's socket to Redis and its listeners, against a plain loop.

What is measured is the time from the receipt of a frame to the moment at which a listener has its value, once for each
millisecond in which one was received, and the processor time of the process in between. The stream tells the newest
value of each contract, the plain loop every one. Both take the same burst, one after the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import redis

from benchmarks.measurement import Measurement
from perpflow import reader
from perpflow.exchange.live import MARKET_PATH
from perpflow.settings import Deployment
from perpflow.store.latest import CHANNEL, decode_latest
from simulator.process import Handle, running

SYMBOLS = ("SOL/USDT", "BTC/USDT", "ETH/USDT")
NAMES = tuple(symbol.replace("/", "") for symbol in SYMBOLS)
PER_S, SECONDS = 5000, 15.0
#: The first frames of a burst meet a process that has slept.
WARM_UP_S = 2.0
READS = 2000

#: Exchange's name or symbol, and the instant of receipt (ms), of a message; None where it is none of a trade.
Read = Callable[[bytes], int | None]


@dataclass(frozen=True, slots=True)
class Run:
    """Lags in ms, sorted; share of a core; messages that the process was sent and the values that listeners got."""

    lags: list[int]
    core: float

    def lag(self, part: float) -> int:
        """The lag that so large a part stays within."""
        return self.lags[min(int(part * len(self.lags)), len(self.lags) - 1)]


def measure(stores: Deployment) -> list[Measurement]:
    """Lag and processor time of both, and what the reader takes."""
    assert stores.redis_url is not None
    with running(seed=7, frozen=False) as exchange:
        with _ours(stores, exchange) as process:
            ours = _burst(exchange, stores.redis_url, process, _received_at)
            read_ms = _read_ms(stores.redis_url)
        with _plain(stores, exchange) as process:
            plain = _burst(exchange, stores.redis_url, process, _plainly_received_at)
    subject = f"{PER_S:,} trades a second, from receipt to a listener of Redis"
    return [
        Measurement(f"{subject}: plain loop, 95 % within", f"{plain.lag(0.95)} ms, {plain.core:.0%} of a core"),
        Measurement(f"{subject}: 95 % within", f"{ours.lag(0.95)} ms, {ours.core:.0%} of a core", "at most 20 ms"),
        Measurement("processor time, plain loop : stream", f"{plain.core / ours.core:.1f}"),
        Measurement("reader.latest, 99 % within", f"{read_ms:.2f} ms", "under 1 ms"),
    ]


@contextmanager
def _ours(stores: Deployment, exchange: Handle) -> Iterator[psutil.Process]:
    assert stores.redis_url is not None
    environment = {
        "PERPFLOW_DATABASE_URL": stores.database_url,
        "PERPFLOW_REDIS_URL": stores.redis_url,
        "PERPFLOW_REST_URL": exchange.url,
        "PERPFLOW_STREAM_URL": exchange.stream_url,
    }
    with _process("perpflow", "stream", environment=environment) as process:
        _wait(process, lambda: all((found := reader.latest(s, stores.redis_url)) and found.price for s in SYMBOLS))
        yield process


@contextmanager
def _plain(stores: Deployment, exchange: Handle) -> Iterator[psutil.Process]:
    assert stores.redis_url is not None
    streams = [f"{name.lower()}@aggTrade" for name in NAMES]
    url = exchange.stream_url + MARKET_PATH
    with (
        redis.Redis.from_url(stores.redis_url) as client,
        _process("benchmarks.plain_stream", url, stores.redis_url, "3600", *streams) as process,
    ):
        _wait(process, lambda: all(client.exists(f"plain:{name}") for name in NAMES))
        yield process


@contextmanager
def _process(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[psutil.Process]:
    line = [sys.executable, "-m", *arguments]
    with subprocess.Popen(line, env=os.environ | (environment or {})) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.kill()


def _wait(process: psutil.Process, holds: Callable[[], bool]) -> None:
    """Until the process has written, which must not end meanwhile."""
    while not holds():
        if process.status() == psutil.STATUS_ZOMBIE:
            raise RuntimeError(f"{' '.join(process.cmdline())} has ended before it had written anything")
        time.sleep(0.05)


def _burst(exchange: Handle, redis_url: str, process: psutil.Process, read: Read) -> Run:
    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(CHANNEL)
        exchange.burst("aggTrade", PER_S, SECONDS, NAMES)
        began = time.monotonic()
        lags: list[int] = []
        seen: set[int] = set()
        used = _cpu_s(process)
        while time.monotonic() - began < SECONDS:
            message = listener.get_message(timeout=0.1)
            now_ms = time.time_ns() // 1_000_000
            received_at = read(message["data"]) if message else None
            # A mark price is told with the last price beside it, which has been told before.
            if received_at is not None and received_at not in seen and time.monotonic() - began > WARM_UP_S:
                lags.append(now_ms - received_at)
                seen.add(received_at)
        return Run(sorted(lags), (_cpu_s(process) - used) / SECONDS)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _received_at(message: bytes) -> int | None:
    price = decode_latest(message).price
    return price.received_at if price else None


def _plainly_received_at(message: bytes) -> int | None:
    return int(json.loads(message)["received_at"])


def _read_ms(redis_url: str) -> float:
    took = []
    for _ in range(READS):
        began = time.perf_counter()
        reader.latest(SYMBOLS[0], redis_url)
        took.append(1000 * (time.perf_counter() - began))
    return sorted(took)[int(0.99 * READS)]
