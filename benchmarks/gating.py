"""Seconds that the gate takes for a staged batch of candles: Great Expectations in SQL, without its import."""

from __future__ import annotations

from uuid import uuid4

from benchmarks import candles
from benchmarks.measurement import Measurement, timed
from benchmarks.publishing import prepare, stage
from perpflow.batches import Batch
from perpflow.datasets import OHLCV
from perpflow.quality import gate
from perpflow.quality.validation import preload
from perpflow.settings import Deployment
from perpflow.store import loader
from perpflow.store.database import session

#: 250 thousand and a million rows.
SIZES = (28, 112)


def measure(deployment: Deployment) -> list[Measurement]:
    """One check of each size; informative, because there is no baseline that finds the same."""
    preload()
    return [_measure(deployment, count) for count in SIZES]


def _measure(deployment: Deployment, count: int) -> Measurement:
    symbols = candles.symbols(count)
    batch = Batch(f"benchmark {uuid4()}", "benchmark", (OHLCV.name,), symbols, candles.WINDOW)
    with session(deployment.database_url) as connection:
        stage_id = stage(connection, deployment, prepare(symbols), batch)
        with timed() as watch:
            verdict = gate.check(connection, deployment.database_url, OHLCV.name, stage_id, batch.window)
        assert verdict.passed, verdict.findings
        loader.delete_staged(connection, OHLCV, stage_id)
        loader.vacuum_staging(connection, (OHLCV,))
    return Measurement(f"gate, {verdict.rows:,} staged rows", f"{watch.seconds:.1f} s")
