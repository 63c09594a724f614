"""What the exchange is documented to send, of datasets of which nothing recorded is at hand, is staged and let pass."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from perpflow.datasets import DATASETS
from perpflow.parsing import copy_prefix, prefixed, render_rows, rows_of
from perpflow.quality import gate
from perpflow.specs import LoadedSpec
from perpflow.store.database import connection_options, session
from perpflow.store.loader import StagingArea, staging_table
from perpflow.windows import DAY, Window, from_ms
from tests.staged_rows import KNOW

SAMPLES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "samples" / "rest_rows.json").read_text())
ENDPOINTS = {f"GET {source.path}": spec for spec in DATASETS.values() for source in spec.rest}
STAGE_IDS = count(1)
#: As the archive's files of klines of every kind begin.
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def test_every_sample_is_of_an_endpoint() -> None:
    assert SAMPLES.keys() <= ENDPOINTS.keys()


@pytest.mark.parametrize("endpoint", SAMPLES)
async def test_documented_candles_are_staged_and_pass_the_gate(database_url: str, endpoint: str) -> None:
    source, sample = ENDPOINTS[endpoint].rest[0], SAMPLES[endpoint]
    names = tuple(name for _, name in source.fields)
    await are_staged(database_url, endpoint, "rest", names, render_rows(sample["rows"], source))


@pytest.mark.parametrize("endpoint", SAMPLES)
@pytest.mark.parametrize("placeholder", ["0", "0 ", "0\t", "", '"0"', "0.00000000", "NaN", "none of it"])
async def test_whatever_an_archive_file_has_in_place_of_volumes_its_candles_are_staged(
    database_url: str, endpoint: str, placeholder: str
) -> None:
    wire = [[*row[:5], placeholder, row[6], *[placeholder] * 5] for row in SAMPLES[endpoint]["rows"]]
    lines = rows_of("\n".join([HEADER, *(",".join(map(str, row)) for row in wire)]).encode())
    await are_staged(database_url, endpoint, "archive", ENDPOINTS[endpoint].archive.columns, lines)


async def are_staged(url: str, endpoint: str, source: str, columns: tuple[str, ...], lines: bytes) -> None:
    """The sample's rows, staged from these lines, are what they say, and pass the gate."""
    wire, timeframe = SAMPLES[endpoint]["rows"], SAMPLES[endpoint]["timeframe"]
    found = await staged(url, ENDPOINTS[endpoint], source, timeframe, columns, lines)
    assert len(found) == len(wire)
    for row, sent in zip(found, wire, strict=True):
        assert [row[name] for name in ("open", "high", "low", "close")] == [float(price) for price in sent[1:5]]
        assert row["time"] == from_ms(sent[0])


async def staged(
    url: str, spec: LoadedSpec, source: str, timeframe: str, columns: tuple[str, ...], lines: bytes
) -> list[dict[str, Any]]:
    stage_id = next(STAGE_IDS)
    prefix = copy_prefix(stage_id, 0, source, "BTC/USDT", timeframe)
    connection = await psycopg.AsyncConnection.connect(url, **connection_options())
    async with connection:
        await StagingArea(stage_id, connection).copy(spec, columns, prefixed(lines, prefix, len(columns)))
    start = from_ms(int(lines.partition(b",")[0]))
    with session(url) as opened:
        opened.execute(KNOW, ["BTC/USDT", "BTCUSDT", None])
        assert gate.check(opened, url, spec.name, stage_id, Window(start, start + DAY)).passed
        text = sql.SQL("SELECT * FROM {} WHERE stage_id = {} ORDER BY time")
        return opened.execute(text.format(staging_table(spec), sql.Literal(stage_id))).fetchall()
