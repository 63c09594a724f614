"""Two years of candles: our archive path against the loop that everybody writes first, both behind 80 ms of latency.

The loop is ccxt's `fetch_ohlcv`, page after page at its cap of 1,000 rows. Ours downloads, verifies, copies into
staging and normalises; the loop keeps its rows in a list and has no store to fill. Both are served from warm caches: a
first pass, in which their rows are compared, is not timed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import ccxt
from psycopg.rows import tuple_row

from benchmarks.measurement import Measurement, timed
from perpflow import pipeline
from perpflow.batches import Batch, LoadRequest
from perpflow.datasets import OHLCV
from perpflow.settings import Collection, DatasetSettings, Deployment
from perpflow.store import loader
from perpflow.store.database import Connection, query, session
from perpflow.windows import TIMEFRAMES, Window, from_ms, to_ms
from simulator.process import Handle, running

SYMBOL, MARKET, TIMEFRAME = "SOL/USDT", "SOL/USDT:USDT", "5m"
WINDOW = Window(datetime(2024, 10, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))
LATENCY_MS = 80
CCXT_PAGE = 1000
TIMES_FASTER = 8

Candle = tuple[datetime, float, float, float, float, float]


def measure(stores: Deployment) -> list[Measurement]:
    """How many times faster ours is than the loop."""
    with running(seed=7) as exchange:
        exchange.set_limits(weight=1_000_000)
        deployment = _deployment(stores, exchange)
        pipeline.plan(deployment, LoadRequest((OHLCV.name,), (SYMBOL,), WINDOW.start, WINDOW.end, "benchmark"))
        with session(stores.database_url) as connection:
            _compare(connection, deployment, exchange)
            exchange.add_fault("latency", ms=LATENCY_MS)
            with timed() as loop:
                rows = _loop(exchange)
            with timed() as ours:
                _stage(deployment)
            loader.sweep(connection, (OHLCV,))
    subject = f"{len(rows):,} candles, {LATENCY_MS} ms latency"
    return [
        Measurement(f"{subject}: loop of ccxt calls", f"{loop.seconds:.1f} s"),
        Measurement(f"{subject}: archive into staging", f"{ours.seconds:.1f} s"),
        Measurement("loop of ccxt calls : archive", f"{loop.seconds / ours.seconds:.1f}", f"at least {TIMES_FASTER}"),
    ]


def _deployment(stores: Deployment, exchange: Handle) -> Deployment:
    datasets = {OHLCV.name: DatasetSettings(timeframes=(TIMEFRAME,))}
    places = {"rest_url": exchange.url, "archive_url": exchange.url, "collection": Collection(datasets=datasets)}
    return stores.model_copy(update=places)


def _loop(exchange: Handle) -> list[Candle]:
    """Every candle of the window by ccxt, one page after another."""
    client: Any = ccxt.binanceusdm({"enableRateLimit": False})
    for name in ("fapiPublic", "fapiPublicV2", "fapiPublicV3"):
        client.urls["api"][name] = f"{exchange.url}/fapi/v1"
    client.load_markets()
    rows: list[Candle] = []
    since, end = to_ms(WINDOW.start), to_ms(WINDOW.end)
    step = TIMEFRAMES[TIMEFRAME].length
    assert step is not None
    while since < end:
        page = client.fetch_ohlcv(MARKET, TIMEFRAME, since, CCXT_PAGE)
        rows += [(from_ms(row[0]), *row[1:]) for row in page if row[0] < end]
        since = to_ms(rows[-1][0] + step)
    return rows


def _stage(deployment: Deployment) -> int:
    """Stage the window; returns the attempt's number."""
    batch = Batch(f"benchmark {uuid4()}", "benchmark", (OHLCV.name,), (SYMBOL,), WINDOW, again=True)
    pipeline.stage(deployment, batch)
    with session(deployment.database_url) as connection:
        manifest = connection.execute(query("manifest_read"), {"batch": batch.id}).fetchone()
    assert manifest is not None
    return int(manifest["stage_id"])


def _compare(connection: Connection, deployment: Deployment, exchange: Handle) -> None:
    stage_id = _stage(deployment)
    with connection.cursor(row_factory=tuple_row) as cursor:
        columns = b"time, open, high, low, close, volume"
        text = b"SELECT " + columns + b" FROM staging.ohlcv WHERE stage_id = %s ORDER BY time"
        staged = cursor.execute(text, (stage_id,)).fetchall()
    if staged != _loop(exchange):
        raise SystemExit("The archive's candles are not those of ccxt's loop; nothing was measured.")
    loader.delete_staged(connection, OHLCV, stage_id)
