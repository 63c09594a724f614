"""A backfill from REST alone, and the least time in which the configured budget allows it.

A budget is a sliding window: its whole amount may go at once, then the next when the minute is over. What is asked for
here are some minutes' worth of 1m candles, so the last of them may be asked when all minutes but one have passed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import ceil

from benchmarks.measurement import Measurement, timed
from perpflow import pipeline
from perpflow.batches import LoadRequest
from perpflow.datasets import OHLCV
from perpflow.exchange.rest import request_weight
from perpflow.exchange.weight_budget import LIMITS, Share
from perpflow.settings import Collection, DatasetSettings, Deployment, ExchangeSettings
from perpflow.store.database import one, query, session
from perpflow.windows import Window
from simulator.process import Handle, running

SYMBOL = "SOL/USDT"
END = datetime(2026, 10, 1, tzinfo=UTC)
#: 453,600 candles: less than four minutes' worth of the budget below by more than the short last pages of its months
#: and the questions for the exchange's clock, which would else wait for a fifth.
WINDOW = Window(END - timedelta(days=315), END)
EXCHANGE = ExchangeSettings(rate_share=0.25, egress="benchmark-rest")


def measure(stores: Deployment) -> list[Measurement]:
    """Seconds from the plan to the last published batch, against what the budget allows."""
    with running(seed=7, faults=[{"kind": "status", "code": 404, "match": "/data/"}]) as exchange:
        deployment = _deployment(stores, exchange)
        with timed() as watch:
            planned = pipeline.plan(
                deployment, LoadRequest((OHLCV.name,), (SYMBOL,), WINDOW.start, WINDOW.end, "benchmark rest")
            )
            for batch in planned.batches:
                pipeline.stage(deployment, batch)
                pipeline.check(deployment, batch)
                pipeline.publish(deployment, batch)
        report = exchange.requests()
    rows = _rows(deployment)
    weight, least_s = _least_seconds(rows)
    assert report["violations"] == 0, report
    subject = f"{rows:,} 1m candles from REST alone, weight {weight:,}"
    return [
        Measurement(f"{subject}: what the budget allows", f"{least_s:.0f} s"),
        Measurement(f"{subject}: planned, staged, checked, published", f"{watch.seconds:.0f} s"),
        Measurement("REST backfill : what the budget allows", f"{watch.seconds / least_s:.2f}", "at most 1.15"),
    ]


def _deployment(stores: Deployment, exchange: Handle) -> Deployment:
    collection = Collection(datasets={OHLCV.name: DatasetSettings(timeframes=("1m",))}, exchange=EXCHANGE)
    places = {"rest_url": exchange.url, "archive_url": exchange.url, "collection": collection}
    return stores.model_copy(update=places)


def _rows(deployment: Deployment) -> int:
    with session(deployment.database_url) as connection:
        return int(one(connection, query("load_progress"), {"run": "benchmark rest"})["inserted"])


def _least_seconds(rows: int) -> tuple[int, float]:
    """The weight of so many rows in full pages, and when the last of it may be spent."""
    source = OHLCV.rest[0]
    weight = ceil(rows / source.page_rows) * request_weight(source, source.page_rows)
    whole, length_s = LIMITS["weight"]
    share = Share(EXCHANGE.rate_share, EXCHANGE.live_reserve)
    return weight, (ceil(weight / int(whole * share.fraction)) - 1) * length_s
