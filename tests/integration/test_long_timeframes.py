"""Candles that straddle the month boundaries at which batches are cut: weeks, three days, months."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from perpflow import pipeline, reporting
from perpflow.batches import LoadRequest
from perpflow.settings import Collection, Deployment
from perpflow.store.database import session
from simulator.process import Handle
from simulator.truth import Truth

START, END = datetime(2026, 6, 10, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC)


@pytest.mark.parametrize("timeframe", ["3d", "1w", "1M"])
def test_every_candle_that_opens_in_the_range_is_loaded_even_across_months(
    empty_database_url: str, exchange: Handle, timeframe: str
) -> None:
    collection = Collection.model_validate({"datasets": {"ohlcv": {"timeframes": [timeframe]}}})
    deployment = Deployment(
        database_url=empty_database_url, rest_url=exchange.url, archive_url=exchange.url, collection=collection
    )
    plan = pipeline.plan(deployment, LoadRequest(("ohlcv",), ("BTC/USDT",), START, END, run="straddling"))
    for batch in plan.batches:
        pipeline.stage(deployment, batch)
        pipeline.check(deployment, batch)
        pipeline.publish(deployment, batch)
    reporting.report(deployment, plan)

    with session(empty_database_url) as connection:
        stored = [row["time"] for row in connection.execute("SELECT time FROM ohlcv ORDER BY time")]
    assert stored == [row[0] for row in Truth().ohlcv("BTCUSDT", timeframe, START, END)]
    again = pipeline.plan(deployment, LoadRequest(("ohlcv",), ("BTC/USDT",), START, END, run="again"))
    assert again.batches == []
