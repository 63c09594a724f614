"""A row leaves the quarantine as it went in: every value, and so its hash, by which the gate knows it."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from perpflow import releasing
from perpflow.datasets import LIQUIDATIONS, TABLES
from perpflow.store import loader
from perpflow.store.database import Connection
from perpflow.store.loader import told_apart_by
from perpflow.windows import to_ms
from tests.staged_rows import MAKERS, START, Gate, Row

REVIEWS = count(1)
#: Whatever a double can be, and nothing at all.
NUMBERS = st.one_of(st.none(), st.floats(), st.floats(allow_nan=False).map(lambda x: round(x, 8)))


def liquidation(**changes: Any) -> Row:
    """A sound liquidation as it is staged."""
    return {
        "source": "stream",
        "symbol": "SOL/USDT",
        "series": "forceOrder",
        "trade_time_ms": to_ms(START),
        "exchange_symbol": "SOLUSDT",
        "side": "SELL",
        "price": 100.0,
        "quantity": 2.0,
        "average_price": 101.0,
        "filled_quantity": 2.0,
        **changes,
    }


def quarantined(connection: Connection, gate: Gate, review: str) -> int:
    """Move what is staged to the quarantine, as publishing does, and release it; returns its hash."""
    spec = TABLES[gate.dataset]
    mark = sql.SQL("UPDATE {} SET withheld = ARRAY['e'] WHERE stage_id = {}")
    connection.execute(mark.format(gate.table, sql.Literal(gate.stage_id)))
    findings = [{"expectation": "e", "columns": "", "reason": "r"}]
    loader.quarantine_rows(connection, spec, gate.stage_id, batch=review, origins=["file"], findings=findings)
    loader.delete_staged(connection, spec, gate.stage_id)
    decide = """UPDATE quarantine SET decision = 'released', note = 'n', reviewed_at = now(), review = %s
                WHERE batch = %s RETURNING row_hash"""
    row = connection.execute(decide, [review, review]).fetchone()
    assert row is not None
    return int(row["row_hash"])


def staged_hashes(connection: Connection, dataset: str) -> list[int]:
    hashed = sql.SQL("SELECT hash_record_extended(ROW (s.source, s.time, {}), 0) AS hash FROM {} s").format(
        told_apart_by(TABLES[dataset]), loader.staging_table(TABLES[dataset])
    )
    return [row["hash"] for row in connection.execute(hashed)]


@pytest.mark.parametrize("dataset", TABLES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_row_comes_out_as_it_went_in(connection: Connection, database_url: str, dataset: str, data: Any) -> None:
    row = liquidation() if dataset == LIQUIDATIONS.name else MAKERS[dataset](START)
    numbers = {name: data.draw(NUMBERS, name) for name, value in row.items() if isinstance(value, float)}
    connection.execute(sql.SQL("TRUNCATE {}, quarantine").format(loader.staging_table(TABLES[dataset])))
    gate, review = Gate(connection, database_url, dataset), f"review {next(REVIEWS)}"
    gate.stage([row | numbers])
    before = quarantined(connection, gate, review)
    (batch,) = releasing.plan(connection, "run", (review,)).batches
    assert releasing.stage(connection, batch) == {dataset: 1}
    assert staged_hashes(connection, dataset) == [before]
