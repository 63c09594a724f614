"""What the exchange is documented to send, of datasets of which nothing recorded is at hand, is staged and let pass."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from perpflow.datasets import DATASETS, LoadedSpec
from perpflow.parsing import copy_prefix, prefixed, render_rows
from perpflow.quality import gate
from perpflow.store.database import connection_options, session
from perpflow.store.loader import StagingArea, staging_table
from perpflow.windows import DAY, Window, from_ms

SAMPLES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "samples" / "rest_rows.json").read_text())
ENDPOINTS = {f"GET {source.path}": spec for spec in DATASETS.values() for source in spec.rest}
STAGE_IDS = count(1)


def test_every_sample_is_of_an_endpoint() -> None:
    assert SAMPLES.keys() <= ENDPOINTS.keys()


@pytest.mark.parametrize("endpoint", SAMPLES)
async def test_documented_candles_are_staged_and_pass_the_gate(database_url: str, endpoint: str) -> None:
    spec, sample = ENDPOINTS[endpoint], SAMPLES[endpoint]
    found = await staged(database_url, spec, sample["timeframe"], sample["rows"])
    assert len(found) == len(sample["rows"])
    for row, wire in zip(found, sample["rows"], strict=True):
        assert [row[name] for name in ("open", "high", "low", "close")] == [float(price) for price in wire[1:5]]
        assert row["time"] == from_ms(wire[0])


async def staged(url: str, spec: LoadedSpec, timeframe: str, wire: list[list[Any]]) -> list[dict[str, Any]]:
    source, stage_id = spec.rest[0], next(STAGE_IDS)
    names = tuple(name for _, name in source.fields)
    prefix = copy_prefix(stage_id, 0, "rest", "BTC/USDT", timeframe)
    connection = await psycopg.AsyncConnection.connect(url, **connection_options())
    async with connection:
        area = StagingArea(stage_id, connection)
        await area.copy(spec, names, prefixed(render_rows(wire, source), prefix, len(names)))
    start = from_ms(wire[0][0])
    with session(url) as opened:
        assert gate.check(opened, url, spec.name, stage_id, Window(start, start + DAY)).passed
        text = sql.SQL("SELECT * FROM {} WHERE stage_id = {} ORDER BY time")
        return opened.execute(text.format(staging_table(spec), sql.Literal(stage_id))).fetchall()
