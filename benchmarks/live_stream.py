"""Trades at 5,000 a second, from the simulated exchange's socket to Redis and its listeners, against a plain loop.

What is measured is the time from the receipt of a frame to the moment at which a listener has its value, once for each
millisecond in which one was received, the processor time of the process in between, and its memory at the end. The
stream tells the newest value of each contract, the plain loop every one. Both take the same burst, one after the other.

So does cryptofeed where it is installed, as it comes (it gathers up to 500 values or half a second's) and told not to
wait. It appends every trade to Redis Streams; when, Redis itself has noted, and the way to a listener is left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil
import redis

from benchmarks import cryptofeed_stream
from benchmarks.measurement import Measurement
from perpflow import reader
from perpflow.exchange.live import MARKET_PATH
from perpflow.settings import Deployment
from perpflow.store.latest import CHANNEL, decode_latest
from perpflow.store.received import ENTRIES_KEY
from simulator.process import Handle, running

SYMBOLS = ("SOL/USDT", "BTC/USDT", "ETH/USDT")
NAMES = tuple(symbol.replace("/", "") for symbol in SYMBOLS)
PER_S, SECONDS = 5000, 15.0
#: The first frames of a burst meet a process that has slept.
WARM_UP_S = 2.0
READS = 2000

#: The instant of receipt (ms) of a message; None where it is none of a trade.
Read = Callable[[bytes], int | None]
#: Waits so many seconds; the instants of receipt and of arrival (ms UTC) of the values that came meanwhile.
Follow = Callable[[float], Iterable[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Run:
    """Lags in ms, sorted; share of a core; resident memory at the end, in bytes."""

    lags: list[int]
    core: float
    memory: int

    def lag(self, part: float) -> int:
        """The lag that so large a part stays within."""
        return self.lags[min(int(part * len(self.lags)), len(self.lags) - 1)]

    @property
    def figure(self) -> str:
        """As the table has it."""
        return f"{self.lag(0.95)} ms, {self.core:.0%} of a core, {self.memory / 2**20:.0f} MB"


def measure(stores: Deployment) -> list[Measurement]:
    """Lag, processor time and memory of each, and what the reader takes."""
    assert stores.redis_url is not None
    with running(seed=7, frozen=False) as exchange:
        with _ours(stores, exchange) as process:
            ours = _burst(exchange, process, partial(_published, stores.redis_url, _received_at))
            read_ms = _read_ms(stores.redis_url)
            kept = _keep(stores.redis_url, exchange, process)
        with _plain(stores, exchange) as process:
            plain = _burst(exchange, process, partial(_published, stores.redis_url, _plainly_received_at))
        others = _cryptofeeds(stores.redis_url, exchange)
    trades = f"{PER_S:,} trades a second, from receipt to"
    subject = f"{trades} a listener of Redis"
    return [
        Measurement(f"{subject}: plain loop, 95 % within", plain.figure),
        *(Measurement(f"{trades} Redis itself: {name}, 95 % within", run.figure) for name, run in others.items()),
        Measurement(f"{subject}: 95 % within", ours.figure, "at most 20 ms"),
        Measurement("processor time, plain loop : stream", f"{plain.core / ours.core:.1f}"),
        *(
            Measurement(f"processor time, {name} : stream", f"{run.core / ours.core:.1f}")
            for name, run in others.items()
        ),
        Measurement(f"{PER_S:,} liquidations a second for {SECONDS:.0f} s: in Redis", kept, "all that was sent"),
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


def _keep(redis_url: str, exchange: Handle, process: psutil.Process) -> str:
    """A burst of liquidations: how many of those sent are kept a second later, and at which cost."""
    with redis.Redis.from_url(redis_url) as client:
        client.delete(ENTRIES_KEY)
        exchange.clear_liquidations()
        used = _cpu_s(process)
        exchange.burst("forceOrder", PER_S, SECONDS)
        time.sleep(SECONDS)
        core = (_cpu_s(process) - used) / SECONDS
        time.sleep(1)
        sent = {_order(each) for each in exchange.liquidations() if each["sent_to"]}
        entries = [fields for _, fields in client.xrange(ENTRIES_KEY)]
        client.delete(ENTRIES_KEY)
    kept = {_order(json.loads(fields[b"frame"])["data"]) for fields in entries if b"frame" in fields}
    return f"{len(sent & kept):,} of {len(sent):,}, {core:.0%} of a core, {process.memory_info().rss / 2**20:.0f} MB"


def _order(liquidation: dict[str, Any]) -> tuple[str, ...]:
    """What tells a liquidation from all others."""
    return tuple(str(liquidation["o"][name]) for name in ("s", "T", "S", "ap", "z"))


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


def _cryptofeeds(redis_url: str, exchange: Handle) -> dict[str, Run]:
    """The runs of cryptofeed by name; none where it is not installed."""
    if (version := cryptofeed_stream.usable_version()) is None:
        return {}
    runs = {}
    for interval, name in (("", f"cryptofeed {version}"), ("0", f"cryptofeed {version}, batch_interval=0")):
        with _cryptofeed(redis_url, exchange, interval) as process:
            runs[name] = _burst(exchange, process, partial(_appended, redis_url))
    return runs


@contextmanager
def _cryptofeed(redis_url: str, exchange: Handle, interval: str) -> Iterator[psutil.Process]:
    keys = [*map(cryptofeed_stream.stream_key, SYMBOLS)]
    with redis.Redis.from_url(redis_url) as client:
        client.delete(*keys)
        arguments = ("benchmarks.cryptofeed_stream", exchange.url, exchange.stream_url, redis_url, interval, *SYMBOLS)
        with _process(*arguments, interpreter=cryptofeed_stream.INTERPRETER) as process:
            _wait(process, lambda: all(client.exists(key) for key in keys))
            yield process


@contextmanager
def _process(
    *arguments: str, environment: dict[str, str] | None = None, interpreter: str = sys.executable
) -> Iterator[psutil.Process]:
    line = [interpreter, "-m", *arguments]
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


def _burst(exchange: Handle, process: psutil.Process, follow: Follow) -> Run:
    exchange.burst("aggTrade", PER_S, SECONDS, NAMES)
    warm_at, used = 1000 * (time.time() + WARM_UP_S), _cpu_s(process)
    values = follow(SECONDS)
    core, memory = (_cpu_s(process) - used) / SECONDS, process.memory_info().rss
    lags: list[int] = []
    seen: set[int] = set()
    for received_at, arrived_at in values:
        # A mark price is told with the last price beside it, which has been told before.
        if received_at > warm_at and received_at not in seen:
            lags.append(arrived_at - received_at)
            seen.add(received_at)
    return Run(sorted(lags), core, memory)


def _published(redis_url: str, read: Read, seconds: float) -> list[tuple[int, int]]:
    ends, values = time.monotonic() + seconds, []
    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(CHANNEL)
        while time.monotonic() < ends:
            message = listener.get_message(timeout=0.1)
            now_ms = time.time_ns() // 1_000_000
            received_at = read(message["data"]) if message else None
            if received_at is not None:
                values.append((received_at, now_ms))
    return values


def _appended(redis_url: str, seconds: float) -> Iterator[tuple[int, int]]:
    """Read back when it is over: a listener in Python that followed would measure itself."""
    time.sleep(seconds)
    return _entries(redis_url)


def _entries(redis_url: str) -> Iterator[tuple[int, int]]:
    with redis.Redis.from_url(redis_url) as client:
        for key in map(cryptofeed_stream.stream_key, SYMBOLS):
            for number, entry in client.xrange(key):
                yield cryptofeed_stream.instants(number, entry)


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
