"""Loads through the pipeline as the tasks do: plan, then stage, check and publish each batch."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from psycopg import sql
from psycopg.rows import tuple_row

from perpflow import pipeline, sessions
from perpflow.batches import Batch, LoadRequest, Plan
from perpflow.datasets import DATASETS, PROVENANCE, TABLES
from perpflow.settings import Collection, Deployment, ExchangeSettings
from perpflow.store.database import Connection, session
from perpflow.windows import Window
from simulator.process import Handle

Row = tuple[Any, ...]

#: The whole of the exchange's limits, for one process: tests have the simulated exchange for themselves.
EAGER = ExchangeSettings(rate_share=1, processes=1, rest_concurrency=8, archive_concurrency=8, timeout_s=10)
#: Beyond what any test asks for.
LIMITS = {"weight": 1_000_000, "statistics": 1_000_000, "funding": 1_000_000}
EXCHANGE_SYMBOLS = {f"{base}/USDT": f"{base}USDT" for base in ("SOL", "BTC", "ALICE", "ETH", "FTM", "COS")}
EXCHANGE_SYMBOLS |= {"ICP/USDT#SETTLED": "ICPUSDTSETTLED"}


def utc(text: str) -> datetime:
    """An instant from ISO text without a zone."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def deployment_of(database_url: str, exchange: Handle, **collection: Any) -> Deployment:
    """A deployment on that database and exchange; `collection` as in collection.yaml."""
    # One process, one budget: what an earlier test has spent on its exchange is no debt of this one.
    sessions.process_budget.cache_clear()
    exchange.set_limits(**LIMITS)
    return Deployment(
        database_url=database_url,
        rest_url=exchange.url,
        archive_url=exchange.url,
        collection=Collection(exchange=EAGER, **collection),
    )


def request(
    run: str,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    *,
    datasets: Iterable[str] = DATASETS,
    symbols: tuple[str, ...] | None = ("SOL/USDT",),
    again: bool = False,
    symbols_per_task: int = 1,
) -> LoadRequest:
    """A request; instants as ISO text or as they are."""
    first, last = (utc(edge) if isinstance(edge, str) else edge for edge in (start, end))
    return LoadRequest(tuple(datasets), symbols, first, last, run, again, symbols_per_task)


def run_batch(deployment: Deployment, batch: Batch) -> dict[str, dict[str, int]]:
    """Stage, check, publish."""
    pipeline.stage(deployment, batch)
    pipeline.check(deployment, batch)
    return pipeline.publish(deployment, batch)


def load(deployment: Deployment, asked: LoadRequest) -> Plan:
    """Plan and run every batch."""
    planned = pipeline.plan(deployment, asked)
    for batch in planned.batches:
        run_batch(deployment, batch)
    return planned


def ingest(deployment: Deployment, dataset: str, run: str) -> Plan:
    """Plan from the watermark to now and run every batch."""
    planned = pipeline.plan_increment(deployment, dataset, run)
    for batch in planned.batches:
        run_batch(deployment, batch)
    return planned


def rows(connection: Connection, text: str, *parameters: Any) -> list[Row]:
    """A query's rows as tuples."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(text.encode(), parameters or None).fetchall()


def facts(url: str, dataset: str) -> list[Row]:
    """A fact table, whole: the dataset's columns and `source`, in key order."""
    spec = TABLES[dataset]
    names = [*(column.name for column in spec.columns), PROVENANCE[0].name]
    statement = sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.Identifier(dataset),
        sql.SQL(", ").join(map(sql.Identifier, spec.key)),
    )
    with session(url) as connection, connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(statement).fetchall()


def windows_of(instants: Iterable[datetime], step: Any) -> list[Window]:
    """The windows that points cover, each from itself to the next grid point."""
    covered: list[Window] = []
    for instant in sorted(instants):
        end = step.after(instant)
        if covered and covered[-1].end == instant:
            covered[-1] = Window(covered[-1].start, end)
        else:
            covered.append(Window(instant, end))
    return covered
