"""One increment of the whole market through a real Airflow: 550 symbols of four datasets, without limits and with them.

The exchange is simulated, on the same cores; its processor time stands beside ours. Before anything is timed an
increment of an hour has met every series. Then an hour that crosses midnight, so that all five timeframes and a
settlement have grown, is loaded without limits: that is our own time. The eight hours after it are loaded within the
exchange's limits, of which the share is the whole; what they leave no choice about is computed from the requests that
were sent: a window's whole amount may go at once, the next when it is over.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ccxt
import yaml
from redis import Redis

from benchmarks.measurement import Measurement, timed
from perpflow import embedded, pipeline
from perpflow.datasets import DATASETS
from perpflow.embedded.airflow_client import AirflowClient
from perpflow.embedded.airflow_runs import await_dags, run_all
from perpflow.embedded.airflow_settings import ExchangeAddress, pools
from perpflow.embedded.airflow_stack import AirflowStack
from perpflow.embedded.state import Services, StateFolder
from perpflow.exchange.shared_budget import TRAVEL_S, state_key, window_key
from perpflow.exchange.weight_budget import LIMITS
from perpflow.settings import COLLECTION_VARIABLE, Deployment, load_collection
from perpflow.store import ledger
from perpflow.store.database import one, query, session
from perpflow.windows import to_ms
from simulator.process import Handle, running

SYMBOLS, SYMBOLS_PER_TASK = 550, 50
LOADED = ("ohlcv", "open_interest", "funding_rate", "long_short_ratio")
#: Ten minutes after an hour in which everything that is published by the hour has been.
NOW = datetime(2026, 10, 15, 22, 40, tzinfo=UTC)
MIDNIGHT_PASSED, MORNING = timedelta(hours=2), timedelta(hours=10)
UNLIMITED = 10_000_000
TIMEOUT_S = 1800
STATISTICS = (
    "OpenInterestHist",
    "TopLongShortPositionRatio",
    "TopLongShortAccountRatio",
    "GlobalLongShortAccountRatio",
    "TakerlongshortRatio",
)


@dataclass(frozen=True, slots=True)
class Increment:
    """One increment: how long it took, what it asked and loaded; processor time of all but the exchange, and its."""

    seconds: float
    requests: dict[str, Any]
    rows: int
    cpu_s: float
    exchange_cpu_s: float

    @property
    def limit_bound_s(self) -> float:
        """When the last of its requests may be sent at the earliest."""
        spent = {name: window["total"] for name, window in self.requests["windows"].items()}
        return max((ceil(spent[kind] / most) - 1) * (length_s + TRAVEL_S) for kind, (most, length_s) in LIMITS.items())


def measure(_stores: Deployment) -> list[Measurement]:
    """Our own time against a loop that gets the same rows and stores nothing; then the time within the limits."""
    with _house() as (state, client, services, exchange):
        market = _Market(state, client, services, exchange)
        market.lift_limits()
        market.meet()
        market.increment("warm", NOW + timedelta(hours=1))
        loop_s = _loop(exchange)
        own = market.increment("own", NOW + MIDNIGHT_PASSED)
        market.restore_limits()
        bound = market.increment("bound", NOW + MORNING)
    assert bound.requests["violations"] == 0, bound.requests
    subject = f"{SYMBOLS} symbols, {len(LOADED)} datasets, through Airflow"
    return [
        Measurement(
            f"an hour of every series of {SYMBOLS} symbols by a loop of ccxt calls, nothing stored", f"{loop_s:.0f} s"
        ),
        Measurement(
            f"{subject}, limits off: {own.requests['total']:,} requests, {own.rows:,} rows",
            f"{own.seconds:.0f} s",
            "under 120 s",
        ),
        Measurement(
            "of it processor time: Airflow, tasks, database, Redis; and the simulated exchange",
            f"{own.cpu_s:.0f} s; {own.exchange_cpu_s:.0f} s",
        ),
        Measurement("increment without limits : loop of ccxt calls", f"{own.seconds / loop_s:.1f}"),
        Measurement(f"{subject}, limits on: what they allow", f"{bound.limit_bound_s:.0f} s"),
        Measurement(
            f"{subject}, limits on: {bound.requests['total']:,} requests, {bound.rows:,} rows", f"{bound.seconds:.0f} s"
        ),
        Measurement(
            "increment within the limits : what they allow",
            f"{bound.seconds / bound.limit_bound_s:.2f}",
            "at most 1.1",
        ),
    ]


class _Market:
    """The whole market as one Airflow collects it."""

    def __init__(self, state: Path, client: AirflowClient, services: Services, exchange: Handle) -> None:
        assert services.database.url
        self._folders = (state, StateFolder(state).data("postgres").parent)
        self._client, self._exchange = client, exchange
        self._deployment = Deployment(
            database_url=services.database.url,
            redis_url=services.redis.url,
            rest_url=exchange.url,
            archive_url=exchange.url,
            collection=load_collection(),
        )
        self._host = urlsplit(exchange.url).netloc

    def lift_limits(self) -> None:
        """Neither side knows of limits."""
        self._exchange.set_limits(**dict.fromkeys((*LIMITS, "announced"), UNLIMITED))
        self._limits(**{f"limit:{kind}": str(UNLIMITED) for kind in LIMITS})

    def restore_limits(self) -> None:
        """The exchange's own, and nothing spent of them."""
        whole = {kind: most for kind, (most, _) in LIMITS.items()}
        self._exchange.set_limits(announced=whole["weight"], **whole)
        self._limits(**{f"limit:{kind}": str(most) for kind, most in whole.items()})

    def _limits(self, **fields: str) -> None:
        egress = self._deployment.collection.exchange.egress
        with Redis.from_url(str(self._deployment.redis_url)) as redis:
            redis.hset(state_key(egress, self._host), mapping=fields)
            redis.delete(*(window_key(egress, self._host, kind) for kind in LIMITS))

    def meet(self) -> None:
        """Let each series begin now: to find the first instant of thousands, once, is no part of an increment."""
        pipeline.migrate(self._deployment)
        pipeline.sync_symbols(self._deployment)
        with session(self._deployment.database_url) as connection:
            listed = connection.execute("SELECT symbol FROM symbols WHERE status <> 'DELISTED'").fetchall()
            for spec in (DATASETS[name] for name in LOADED):
                ledger.ensure(connection, spec, tuple(row["symbol"] for row in listed), spec.series)
            begins = [NOW.replace(minute=0), "where the benchmark begins"]
            connection.execute("UPDATE coverage SET available_from = %s, evidence = %s", begins)

    def increment(self, name: str, until: datetime) -> Increment:
        """Move the exchange's clock, and bring all datasets up to it side by side."""
        self._exchange.set_now(until)
        self._exchange.clear_requests()
        before, published = (_cpu_s(self._folders), self._exchange.cpu_s()), self._published()
        with timed() as watch:
            confs: dict[str, dict[str, Any]] = {f"ingest_{name}": {} for name in LOADED}
            run_all(self._client, confs, timeout_s=TIMEOUT_S, watch=lambda _: None)
        after, asked = (_cpu_s(self._folders), self._exchange.cpu_s()), self._exchange.requests()
        print(f"  {name}: {watch.seconds:.0f} s", file=sys.stderr, flush=True)
        ours, exchanges = (later - earlier for later, earlier in zip(after, before, strict=True))
        return Increment(watch.seconds, asked, self._published() - published, ours, exchanges)

    def _published(self) -> int:
        with session(self._deployment.database_url) as connection:
            return int(one(connection, query("load_progress"), {"run": None})["inserted"])


@contextmanager
def _house() -> Iterator[tuple[Path, AirflowClient, Services, Handle]]:
    """Services, a simulated exchange with the whole market, and Airflow over them; discarded afterwards."""
    state = Path(tempfile.mkdtemp(prefix="perpflow-bench-"))
    stack = AirflowStack(state, triggerer=False)
    try:
        with running(now=NOW, symbols=SYMBOLS) as exchange, _collection(state):
            services = embedded.start(state)
            stack.start(services, ExchangeAddress.of_simulator(exchange.url))
            with AirflowClient(stack.url, stack.password) as client:
                client.ensure_pools(pools())
                await_dags(client, {f"ingest_{name}" for name in LOADED})
                yield state, client, services, exchange
    finally:
        stack.stop()
        embedded.discard(state)


@contextmanager
def _collection(state: Path) -> Iterator[None]:
    """Collect everything, by hand alone: the next time of its schedule is months away for each dataset."""
    datasets = {name: {"schedule": "0 0 1 1 *"} for name in DATASETS}
    wanted = {"symbols": "all", "symbols_per_task": SYMBOLS_PER_TASK, "look_back_days": 1}
    path = state / "collection.yaml"
    path.write_text(yaml.safe_dump(wanted | {"exchange": {"rate_share": 1.0}, "datasets": datasets}))
    before = os.environ.get(COLLECTION_VARIABLE)
    os.environ[COLLECTION_VARIABLE] = str(path)
    try:
        yield
    finally:
        os.environ.pop(COLLECTION_VARIABLE)
        if before is not None:
            os.environ[COLLECTION_VARIABLE] = before


def _cpu_s(folders: tuple[Path, ...]) -> float:
    """Processor time so far of all that works in these folders, what has ended under it included (Linux)."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        # It may end while we look.
        with suppress(OSError):
            if any((process / "cwd").readlink().is_relative_to(folder) for folder in folders):
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _loop(exchange: Handle) -> float:
    """Seconds in which plain calls, one after another, get an hour of every series."""
    client: Any = ccxt.binanceusdm({"enableRateLimit": False})
    for name, path in (("fapiPublic", "fapi/v1"), ("fapiData", "futures/data")):
        client.urls["api"][name] = f"{exchange.url}/{path}"
    listed = client.fapiPublicGetExchangeInfo()["symbols"]
    symbols = [entry["symbol"] for entry in listed if entry["contractType"] != "CURRENT_QUARTER"]
    until = NOW + timedelta(hours=1)
    span = {"startTime": to_ms(until - timedelta(hours=1)), "endTime": to_ms(until)}
    began = time.perf_counter()
    for symbol in symbols:
        for interval in DATASETS["ohlcv"].series:
            client.fapiPublicGetKlines({"symbol": symbol, "interval": interval, "limit": 12, **span})
        client.fapiPublicGetFundingRate({"symbol": symbol, "limit": 12, **span})
        for name in STATISTICS:
            getattr(client, f"fapiDataGet{name}")({"symbol": symbol, "period": "5m", "limit": 12, **span})
    return time.perf_counter() - began
