"""`make demo`: the whole thing once, end to end, on this machine, against a simulated exchange.

Real TimescaleDB and Redis, a real Airflow scheduler, the DAGs as they are: 180 days of three symbols are loaded through
the gate, then brought up to the minute. At the end stands a proof that everything is there, or a reason for each point
that is not, up to the minute in which the last runs began. Exit 0 when all runs are green, nothing is unexplained and
no request went beyond the exchange's limits; nothing is left running.
"""

import asyncio
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import psycopg
import typer
import yaml
from rich.markup import escape
from rich.table import Table

from perpflow import embedded, latest_table
from perpflow.coverage_summary import SeriesSummary, summarise
from perpflow.coverage_table import render
from perpflow.datasets import DATASETS
from perpflow.embedded.airflow_client import AirflowClient
from perpflow.embedded.airflow_runs import POLL_S, DagRun, RunFailed, await_dags, await_runs, describe_failure, run_all
from perpflow.embedded.airflow_settings import pools
from perpflow.embedded.airflow_stack import AirflowStack
from perpflow.embedded.demo_display import Display
from perpflow.embedded.errors import ServiceError
from perpflow.embedded.exchange_process import ExchangeProcess, Requests
from perpflow.embedded.simulated import empty_databases, simulated_state_dir, without_external_servers
from perpflow.embedded.state import Services
from perpflow.errors import PerpflowError
from perpflow.listening_summary import read_listening
from perpflow.reader import latest
from perpflow.settings import COLLECTION_VARIABLE
from perpflow.store.cache import open_redis
from perpflow.store.database import Connection, one, query, session
from perpflow.store.latest import Latest
from perpflow.store.lease import Holder, holder
from perpflow.terminal import new_table
from perpflow.windows import Window, start_of_day

SYMBOLS = ("SOL/USDT", "BTC/USDT", "ETH/USDT")
INGEST = tuple(f"ingest_{name}" for name in DATASETS)
STREAM, DRAIN = "stream_market", "ingest_liquidations"
#: How long the last stream goes on.
LAST_STREAM_S = 10
DAYS = 180
# From 12:34 over the settlement at 16:00: every series but the daily candles has grown.
LATER = timedelta(hours=4)
# Far above what they take; a demo that hangs must end all the same.
HISTORY_TIMEOUT_S = 1800
SHORT_RUN_TIMEOUT_S = 600


class Demo:
    """One demo: its house, its display, and what it asked for."""

    def __init__(self, days: int, display: Display) -> None:
        self.days = days
        self.display = display
        self.state = simulated_state_dir()
        # Nothing is deferred where the exchange answers, so no triggerer: 10 s of processor time and 230 MB less.
        self.airflow = AirflowStack(self.state, triggerer=False)
        self.exchange = ExchangeProcess(self.state)

    def run(self) -> bool:
        """Everything, in order; whether all is there or explained."""
        if self.airflow.pids():
            self.display.console.print("[yellow]Stopping what `make up EXCHANGE=simulator` has left running.[/]")
            self.airflow.stop()
            self.exchange.stop()
        with self.display.phase("TimescaleDB and Redis"):
            services = embedded.start(self.state)
            empty_databases(self.state, services)
            self.airflow.forget_metadata()
        for warning in services.warnings:
            self.display.console.print(f"[yellow]Warning: {escape(warning)}[/]")
        with self.display.phase("Simulated exchange and Airflow"):
            self.exchange.forget_clock()
            self.exchange.start()
            self.airflow.start(services, self.exchange.address)
        with AirflowClient(self.airflow.url, self.airflow.password) as client:
            until, start = self._load(client, services)
        with session(services.database.url or "") as connection:
            return self._show(connection, services.redis.url or "", start, until)

    def _load(self, client: AirflowClient, services: Services) -> tuple[datetime, datetime]:
        """All runs; returns up to which instant the data must be there, and from which."""
        client.ensure_pools(pools())
        await_dags(client, {"migrate_database", "load_history", STREAM, DRAIN, *INGEST})
        with self.display.phase("migrate_database"):
            run_all(client, {"migrate_database": {}}, timeout_s=SHORT_RUN_TIMEOUT_S, watch=lambda _: None)
        start = start_of_day(self.exchange.now() - timedelta(days=self.days))
        form = {"symbols": list(SYMBOLS), "datasets": list(DATASETS), "start": f"{start:%Y-%m-%d}", "end": None}
        with session(services.database.url or "") as connection:
            watch = Progress(self.display, client, connection)
            with self.display.phase(
                f"load_history: {len(SYMBOLS)} symbols, {self.days} days, {len(DATASETS)} datasets"
            ):
                run_all(client, {"load_history": form}, timeout_s=HISTORY_TIMEOUT_S, watch=watch)
            self.exchange.move_clock(LATER)
            until = self.exchange.now()
            streams = Streams(client, services.redis.url or "")
            with self.display.phase(f"{STREAM}: live prices and liquidations"):
                streams.begin()
            with self.display.phase(f"ingest_*: up to the minute, {LATER // timedelta(hours=1)} simulated hours later"):
                run_all(client, {dag: {} for dag in INGEST}, timeout_s=SHORT_RUN_TIMEOUT_S, watch=watch)
            with self.display.phase(f"{STREAM}: a successor takes over, and ends after {LAST_STREAM_S} s"):
                streams.end()
            with self.display.phase(DRAIN):
                run_all(client, {DRAIN: {}}, timeout_s=SHORT_RUN_TIMEOUT_S, watch=watch)
        return until, start

    def _show(self, connection: Connection, redis_url: str, start: datetime, until: datetime) -> bool:
        summaries, requests = summarise(connection, start=start, now=until), self.exchange.requests()
        live = {symbol: latest(symbol, redis_url) for symbol in SYMBOLS}
        liquidations = one(connection, query("summary_liquidations"), {})
        listened = read_listening(connection)
        self.display.show(
            render(summaries),
            quality_table(connection),
            latest_table.table(live, latest_table.now_ms()),
            liquidations_table(liquidations, listened),
            self.display.times_table(),
        )
        beyond = f"{requests.refused:,}" if requests.refused else "none"
        self.display.console.print(f"{requests.total:,} requests to the exchange, {beyond} beyond its limits")
        found = [*shortcomings(summaries, requests), *live_shortcomings(live, liquidations, listened)]
        for text in found:
            self.display.console.print(f"[bold red]{escape(text)}[/]", soft_wrap=True)
        return not found

    def stop(self, *, services: bool) -> None:
        """End everything that this demo started, also where a part of it can't be ended, and make sure that it is gone.

        Raises:
            ServiceError: something is still there.
        """
        # What is put on the stack last goes first.
        with ExitStack() as parts:
            parts.callback(self._refuse_remains)
            if services:
                parts.callback(embedded.stop, self.state)
            parts.callback(self.exchange.stop)
            parts.callback(self.airflow.stop)

    def _refuse_remains(self) -> None:
        if left := [*self.airflow.pids(), *self.exchange.pids()]:
            raise ServiceError("The demo", f"processes {left} are still there", advice="end them by hand: kill -9")


class Streams:
    """The live streams of the demo: the scheduler's own run, and one that takes over from it."""

    def __init__(self, client: AirflowClient, redis_url: str) -> None:
        self._client = client
        self._redis_url = redis_url

    def begin(self) -> None:
        """Switch the DAG on, whose first run begins at once, and wait until that streams.

        Raises:
            RunFailed: it does not.
        """
        self._client.pause(STREAM, paused=False)
        deadline = time.monotonic() + SHORT_RUN_TIMEOUT_S
        while not self._holder():
            if red := [run for run, state in self._client.run_states(STREAM).items() if state == "failed"]:
                raise RunFailed(describe_failure(self._client, STREAM, red[0]))
            if time.monotonic() > deadline:
                raise RunFailed(f"{STREAM} does not stream after {SHORT_RUN_TIMEOUT_S} s")
            time.sleep(POLL_S)

    def end(self) -> None:
        """Have a short run take over, and wait until both have ended.

        Raises:
            RunFailed: a run is red, or does not end.
        """
        earlier = list(self._client.run_states(STREAM))
        run = self._client.trigger(STREAM, {"seconds": LAST_STREAM_S})
        await_runs(self._client, STREAM, [*earlier, run], timeout_s=SHORT_RUN_TIMEOUT_S)
        # Not before: of a DAG that is paused Airflow notices a minute later that a run has ended.
        self._client.pause(STREAM, paused=True)

    def _holder(self) -> str:
        async def read() -> Holder | None:
            async with open_redis(self._redis_url) as redis:
                return await holder(redis)

        found = asyncio.run(read())
        return found.name if found else ""


class Progress:
    """Shows how many of the planned batches are published, from the load log."""

    def __init__(self, display: Display, client: AirflowClient, connection: Connection) -> None:
        self._display = display
        self._client = client
        self._connection = connection
        self._planned: dict[DagRun, int] = {}

    def __call__(self, runs: Sequence[DagRun]) -> None:
        """Update the display."""
        for dag, run in runs:
            if (dag, run) not in self._planned:
                batches = self._client.returned(dag, run, "plan_windows")
                self._planned |= {} if batches is None else {(dag, run): len(batches)}
        published = [self._published(f"{dag}|{run}") for dag, run in runs]
        rows = sum(counts["inserted"] for counts in published)
        # Of these runs only: the phase before had its own.
        planned = [self._planned.get(run) for run in runs]
        total = None if None in planned else sum(filter(None, planned))
        done = sum(counts["batches"] for counts in published)
        self._display.progress(done, total, f"batches published, {rows:,} rows")

    def _published(self, run: str) -> dict[str, Any]:
        return one(self._connection, query("load_progress"), {"run": run})


def shortcomings(summaries: list[SeriesSummary], requests: Requests) -> list[str]:
    """Why the demo has failed, a sentence each; none where all is there or explained, within the exchange's limits."""
    found = [f"{name} has no rows at all." for name in missing_series(summaries)]
    for summary in summaries:
        found += [
            f"{summary.dataset} {summary.symbol} {summary.series}: {hole.reason}."
            for hole in summary.holes
            if not hole.reason.explains
        ]
    if requests.refused:
        of = f"{requests.refused:,} of {requests.total:,} requests"
        found.append(f"{of} went beyond the exchange's limits and were refused.")
    return found


def missing_series(summaries: list[SeriesSummary]) -> list[str]:
    """The series that should have come and have no row."""
    there = {(s.dataset, s.symbol) for s in summaries if s.rows}
    return [f"{dataset} {symbol}" for dataset in DATASETS for symbol in SYMBOLS if (dataset, symbol) not in there] + [
        f"{s.dataset} {s.symbol} {s.series}" for s in summaries if not s.rows
    ]


def live_shortcomings(
    live: dict[str, Latest | None], liquidations: dict[str, Any], listened: list[Window]
) -> list[str]:
    """Why the demo's stream has failed, a sentence each."""
    found = [
        f"{symbol} has no live {group.replace('_', ' ')}."
        for symbol, values in live.items()
        for group in ("price", "mark", "open_interest")
        if getattr(values, group, None) is None
    ]
    if not liquidations["rows"]:
        found.append("liquidations has no rows at all.")
    if len(listened) != 1:
        found.append(
            f"liquidations were listened to in {len(listened)} stretches, although one stream followed another."
        )
    return found


def liquidations_table(liquidations: dict[str, Any], listened: list[Window]) -> Table:
    """What the stream has brought into `liquidations`, and when it listened."""
    table = new_table("Liquidations (times are UTC)")
    for name in ("listened from", "to"):
        table.add_column(name, no_wrap=True)
    for name in ("rows", "contracts", "longs", "shorts", "quote value"):
        table.add_column(name, justify="right", no_wrap=True)
    edges = (f"{edge:%Y-%m-%d %H:%M:%S}" for edge in ((listened[0].start, listened[-1].end) if listened else ()))
    value = f"{liquidations['value']:,.0f}"
    counts = (f"{liquidations[name]:,}" for name in ("rows", "contracts", "longs", "shorts"))
    table.add_row(*(list(edges) or ["-", "-"]), *counts, value)
    return table


def quality_table(connection: Connection) -> Table:
    """What the gate and the loader did with the rows."""
    table = new_table("Quality: what happened to the rows")
    table.add_column("dataset")
    for name in ("batches", "staged", "inserted", "updated", "unchanged", "quarantined"):
        table.add_column(name, justify="right")
    table.add_column("normalised")
    for row in connection.execute(query("summary_quality")):
        normalised = ", ".join(f"{kind} {count:,}" for kind, count in row.pop("normalised").items())
        dataset, *counts = row.values()
        table.add_row(dataset, *(f"{count:,}" for count in counts), normalised or "-")
    return table


@contextmanager
def own_collection(state: Path) -> Iterator[None]:
    """Collect the demo's symbols, all else by default, whatever somebody has made of include/collection.yaml."""
    path = state / "demo-collection.yaml"
    path.write_text(yaml.safe_dump({"symbols": list(SYMBOLS)}))
    before = os.environ.get(COLLECTION_VARIABLE)
    os.environ[COLLECTION_VARIABLE] = str(path)
    try:
        yield
    finally:
        os.environ.pop(COLLECTION_VARIABLE)
        if before is not None:
            os.environ[COLLECTION_VARIABLE] = before


@contextmanager
def only_demo(state: Path) -> Iterator[None]:
    """One demo at a time in a checkout: they would empty each other's databases."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "demo.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            advice = "wait for it, or use another checkout or PERPFLOW_HOME"
            raise ServiceError("The demo", "another one runs in this checkout", advice=advice) from held
        yield


@contextmanager
def cleaned_up(demo: Demo) -> Iterator[None]:
    """Whatever happens, end what was started; services that ran before stay up, unless a demo that died left them."""
    mark = demo.state / "demo.running"
    ran_before = embedded.status(demo.state).running and not mark.exists()
    mark.touch()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)
        demo.display.console.print("[dim]Stopping what was started ...[/]")
        demo.stop(services=not ran_before)
        mark.unlink()


def main(days: Annotated[int, typer.Option(min=1, help="How much history to load.")] = DAYS) -> None:
    """Load, verify and show half a year of three symbols from a simulated exchange."""
    display = Display()
    try:
        state = simulated_state_dir()
        with without_external_servers(), only_demo(state), own_collection(state):
            demo = Demo(days, display)
            with cleaned_up(demo):
                passed = demo.run()
    except (RunFailed, ServiceError, PerpflowError, OSError, httpx.HTTPError, psycopg.Error) as problem:
        display.console.print(f"\n[bold red]The demo failed.[/] {escape(str(problem))}", soft_wrap=True)
        raise typer.Exit(1) from problem
    except KeyboardInterrupt as stopped:
        display.console.print("\nStopped; nothing that the demo started is left running.")
        raise typer.Exit(130) from stopped
    if not passed:
        display.console.print("\n[bold red]The demo failed;[/] what is wrong stands above.")
        raise typer.Exit(1)
    display.console.print(NEXT, soft_wrap=True)


NEXT = """
[bold green]Every point is there, or the reason why it is not.[/] Nothing that the demo started is left running.
Where to look next:

  make up EXCHANGE=simulator    the same data in Airflow's UI, kept current while it runs
  make sql EXCHANGE=simulator   a SQL prompt on it, for instance:

    SELECT * FROM oi_price_1h WHERE symbol = 'SOL/USDT' ORDER BY bucket DESC LIMIT 20;
    SELECT * FROM ohlcv WHERE symbol = 'SOL/USDT' AND timeframe = '5m' ORDER BY time DESC LIMIT 100;
    SELECT * FROM liquidations ORDER BY time DESC LIMIT 20;
    SELECT dataset, symbol, series, missing_upstream, recheck_at FROM coverage WHERE NOT isempty(missing_upstream);

  make up                       the live exchange
"""

if __name__ == "__main__":
    typer.run(main)
