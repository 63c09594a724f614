"""Seconds that the gate takes for staged candles: Great Expectations in SQL, in a process that has imported it.

And the memory that checking takes of the process: it asks for addresses, so a million rows take no more than fifteen.
"""

from __future__ import annotations

from uuid import uuid4

import psutil
from psycopg.types.json import Jsonb

from benchmarks import candles
from benchmarks.measurement import Measurement, timed
from benchmarks.publishing import prepare, stage
from perpflow.batches import Batch
from perpflow.datasets import OHLCV
from perpflow.quality import gate
from perpflow.quality.validation import preload
from perpflow.settings import Deployment
from perpflow.store import loader
from perpflow.store.database import Connection, query, session

#: 250 thousand and a million rows.
SIZES = (28, 112)
#: What an increment of three symbols in five timeframes brings.
SMALL = 15
LEAVE = """
    DELETE FROM staging.ohlcv WHERE stage_id = %s
       AND ctid <> ALL (ARRAY(SELECT ctid FROM staging.ohlcv WHERE stage_id = %s LIMIT %s))"""


def measure(deployment: Deployment) -> list[Measurement]:
    """One check of each size, then one of a small batch; there is no baseline that finds the same."""
    preload()
    with session(deployment.database_url) as connection:
        found = [_measured(connection, deployment, count) for count in SIZES]
        found.append(_measured(connection, deployment, 1, leave=SMALL))
    *_, large, small = found
    return [
        *(Measurement(f"gate, {rows:,} staged rows", f"{seconds:.1f} s") for rows, seconds, _ in found[:-2]),
        Measurement(f"gate, {large[0]:,} staged rows", f"{large[1]:.1f} s", "under 10 s"),
        Measurement(f"gate, {small[0]} staged rows", f"{small[1]:.1f} s", "under 2 s"),
        Measurement(f"memory that checking {large[0]:,} rows adds", f"{large[2]:.0f} MiB"),
    ]


def _measured(
    connection: Connection, deployment: Deployment, count: int, leave: int | None = None
) -> tuple[int, float, float]:
    """Staged rows, seconds, and by how many MiB the process has grown."""
    symbols = candles.symbols(count)
    _know(connection, symbols)
    batch = Batch(f"benchmark {uuid4()}", "benchmark", (OHLCV.name,), symbols, candles.WINDOW)
    stage_id = stage(connection, deployment, prepare(symbols), batch)
    if leave is not None:
        connection.execute(LEAVE, [stage_id, stage_id, leave])
    before = psutil.Process().memory_info().rss
    with timed() as watch:
        verdict = gate.check(connection, deployment.database_url, OHLCV.name, stage_id, batch.window)
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    assert verdict.passed, verdict.findings
    loader.delete_staged(connection, OHLCV, stage_id)
    loader.vacuum_staging(connection, (OHLCV,))
    return verdict.rows, watch.seconds, grown


def _know(connection: Connection, symbols: tuple[str, ...]) -> None:
    names = ("symbol", "exchange_symbol", "base", "quote", "contract_type", "status")
    listed = [dict(zip(names, (name, name, "", "USDT", "PERPETUAL", "TRADING"), strict=True)) for name in symbols]
    connection.execute(query("symbols_upsert"), {"listed": Jsonb(listed), "whole": False, "delisted": ""})
