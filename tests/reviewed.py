"""Rows in the quarantine, and decisions about them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from perpflow import reviewing
from perpflow.batches import Plan
from perpflow.datasets import DATASETS
from perpflow.reviewing import Decided, Judgement, Selection
from perpflow.settings import Deployment
from perpflow.store import ledger
from perpflow.store.database import session
from perpflow.store.ledger import Coverage
from perpflow.windows import Window
from simulator.process import Handle
from tests.loading import Row, deployment_of, facts, load, request, rows, run_batch, utc

DAY = Window(utc("2026-10-10"), utc("2026-10-11"))
SIX = utc("2026-10-10T06:00")
FIVE = timedelta(minutes=5)
THREE = [SIX + n * FIVE for n in range(3)]


def reviewed(database_url: str, exchange: Handle) -> Iterator[Deployment]:
    """A deployment with candles of two timeframes, before an exchange that is healed afterwards."""
    yield deployment_of(database_url, exchange, datasets={"ohlcv": {"timeframes": ["5m", "1h"]}})
    exchange.clear_faults()


def corrupt(exchange: Handle, dataset: str, what: str, **details: object) -> None:
    if DATASETS[dataset].series_in_key:
        details["interval"] = "5m"
    kind = DATASETS[dataset].archive.kind
    exchange.add_fault("corrupt_rows", dataset=kind, symbol="SOLUSDT", date="2026-10-10", what=what, **details)


def load_day(deployment: Deployment, run: str, dataset: str, **asked: Any) -> Plan:
    return load(deployment, request(run, DAY.start, DAY.end, datasets=(dataset,), **asked))


def table(deployment: Deployment, text: str, *parameters: Any) -> list[Row]:
    with session(deployment.database_url) as connection:
        return rows(connection, text, *parameters)


def ids(deployment: Deployment, where: str = "true") -> list[int]:
    found = table(deployment, f"SELECT id FROM quarantine WHERE {where} ORDER BY id")  # noqa: S608
    return [number for (number,) in found]


def coverage(deployment: Deployment, dataset: str, series: str = "5m") -> Coverage:
    with session(deployment.database_url) as connection:
        return next(row for row in ledger.read(connection, (dataset,)) if row.series == series)


def decide(deployment: Deployment, decision: Any, *numbers: int, review: str = "review", **chosen: Any) -> Decided:
    rivals = chosen.pop("reject_rivals", False)
    said = Judgement(decision, "looked at", "ada", review, rivals)
    return reviewing.decide(deployment, Selection(ids=numbers, **chosen), said)


def release(deployment: Deployment, *numbers: int, **chosen: Any) -> list[dict[str, dict[str, int]]]:
    """Decide and carry out; the counts of each batch."""
    decided = decide(deployment, "released", *numbers, **chosen)
    return carry_out(deployment, decided.reviews)


def carry_out(deployment: Deployment, reviews: tuple[str, ...] | None = None) -> list[dict[str, dict[str, int]]]:
    planned = reviewing.plan(deployment, "run of the release", reviews)
    return [run_batch(deployment, batch) for batch in planned.batches]


def times(deployment: Deployment, dataset: str) -> set[datetime]:
    """The instants of the day that are published."""
    at = DATASETS[dataset].key.index("time")
    found = {row[at] for row in facts(deployment.database_url, dataset)}
    return {time for time in found if DAY.start <= time < DAY.end}


#: A candle with all that the table demands.
WHOLE = {"timeframe": "5m", "time": SIX.isoformat(), "source": "archive"} | dict.fromkeys(
    (
        "open",
        "high",
        "low",
        "close",
        "volume",
        "quote_volume",
        "trade_count",
        "taker_buy_volume",
        "taker_buy_quote_volume",
    ),
    1,
)


def quarantine(
    deployment: Deployment,
    row: str,
    time: datetime | str | None = SIX,
    *,
    symbol: str = "SOL/USDT",
    row_hash: int = 1,
    count: int = 1,
) -> None:
    """Entries made by hand: a row, and further ones five minutes apart."""
    table(
        deployment,
        """INSERT INTO quarantine (batch, dataset, symbol, series, time, expectation, reason, source, row, row_hash)
           SELECT 'b', 'ohlcv', %s, '5m', %s::timestamptz + n * interval '5 minutes', 'e', 'why', 'archive', %s, %s
           FROM generate_series(0, %s - 1) AS n RETURNING 1""",
        symbol,
        time,
        row.replace("'", '"'),
        row_hash,
        count,
    )
