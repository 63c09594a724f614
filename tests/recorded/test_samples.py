"""What the real exchange has sent goes through rendering, COPY, normalisation and the gate as the simulator's does."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from perpflow.datasets import DATASETS, FUNDING_RATE, OHLCV
from perpflow.exchange.archive import ArchiveObject, unzip
from perpflow.parsing import copy_prefix, labels, prefixed, render_rows, rows_of
from perpflow.quality import gate
from perpflow.specs import DatasetSpec, RestSource
from perpflow.store.database import connection_options, session
from perpflow.store.loader import StagingArea, staging_table
from perpflow.windows import DAY, TIMEFRAMES, Window, from_ms, to_ms
from tests.loading import utc
from tests.staged_rows import KNOW

RECORDED = Path(__file__).resolve().parents[2].parent / "shared" / "recorded"
REST = json.loads((RECORDED / "rest_rows.json").read_text())
ZIPS = sorted((RECORDED / "archive_zips").glob("*.zip"))
FUNDING = sorted((RECORDED / "funding_history").glob("*.csv"))
METRICS = RECORDED / "BTCUSDT_metrics_sample.csv"
ENDPOINTS = [(spec, source) for spec in DATASETS.values() for source in spec.rest if f"GET {source.path}" in REST]
SYMBOL = "BTC/USDT"
STAGE_IDS = count(1)


@pytest.fixture
async def area(database_url: str) -> AsyncIterator[StagingArea]:
    """An attempt of its own in staging."""
    connection = await psycopg.AsyncConnection.connect(database_url, **connection_options())
    async with connection:
        await connection.execute(KNOW, [SYMBOL, "BTCUSDT", None])
        await connection.commit()
        yield StagingArea(next(STAGE_IDS), connection)


async def copy(
    area: StagingArea, spec: DatasetSpec, columns: tuple[str, ...], lines: bytes, source: str, series: str
) -> None:
    prefix = copy_prefix(area.stage_id, 0, source, SYMBOL, series)
    await area.copy(spec, columns, prefixed(lines, prefix, len(columns)))


def staged(url: str, area: StagingArea, spec: DatasetSpec) -> list[dict[str, Any]]:
    text = sql.SQL("SELECT * FROM {} WHERE stage_id = {} ORDER BY time")
    with session(url) as connection:
        return connection.execute(text.format(staging_table(spec), sql.Literal(area.stage_id))).fetchall()


def passes(url: str, area: StagingArea, spec: DatasetSpec, window: Window) -> bool:
    with session(url) as connection:
        return gate.check(connection, url, spec.name, area.stage_id, window).passed


@pytest.mark.parametrize(("spec", "source"), ENDPOINTS, ids=[source.method for _, source in ENDPOINTS])
async def test_recorded_rest_rows_are_staged(
    database_url: str, area: StagingArea, spec: DatasetSpec, source: RestSource
) -> None:
    sent = REST[f"GET {source.path}"]
    names = tuple(name for _, name in source.fields)
    series = source.series or ("1h" if spec is OHLCV else spec.series[0])
    await copy(area, spec, names, render_rows(sent, source), "rest", series)
    found = staged(database_url, area, spec)
    assert len(found) == len(sent)
    for row, wire in zip(found, sent, strict=True):
        for key, name in source.fields:
            value = wire[key]
            assert row[name] == (None if value == "" else float(value)), name
        instant = from_ms(int(wire[source.fields[0][0]]))
        assert abs(row["time"] - instant) < timedelta(milliseconds=10)
        assert row["time"].microsecond == 0


async def test_a_recorded_candle_passes_the_gate(database_url: str, area: StagingArea) -> None:
    (candle,) = REST["GET /fapi/v1/klines"]
    names = tuple(name for _, name in OHLCV.rest[0].fields)
    await copy(area, OHLCV, names, render_rows([candle], OHLCV.rest[0]), "rest", "1h")
    start = from_ms(candle[0])
    assert passes(database_url, area, OHLCV, Window(start, start + DAY))


@pytest.mark.parametrize("dataset", ["open_interest", "long_short_ratio"])
async def test_recorded_metrics_feed_both_datasets(database_url: str, area: StagingArea, dataset: str) -> None:
    spec = DATASETS[dataset]
    text = METRICS.read_bytes()
    await copy(area, spec, spec.archive.columns, rows_of(text), "archive", "all")
    found = staged(database_url, area, spec)
    sent = list(csv.DictReader(text.decode().splitlines()))
    assert len(found) == len(sent) == 11
    assert [row["time"] for row in found] == [utc(row["create_time"]) for row in sent]
    wire = {
        "reported_open_interest": "sum_open_interest",
        "reported_open_interest_value": "sum_open_interest_value",
        "top_account": "count_toptrader_long_short_ratio",
        "top_position": "sum_toptrader_long_short_ratio",
        "global_account": "count_long_short_ratio",
        "taker_volume": "sum_taker_long_short_vol_ratio",
    }
    for name, column in wire.items():
        assert [row[name] for row in found] == [float(row[column]) for row in sent], name
    assert passes(database_url, area, spec, Window(utc("2023-11-14"), utc("2023-11-16")))


@pytest.mark.parametrize("path", ZIPS, ids=lambda path: path.stem)
async def test_a_recorded_zip_is_verified_unpacked_and_staged_as_candles(
    database_url: str, area: StagingArea, path: Path
) -> None:
    content = path.read_bytes()
    assert path.with_name(f"{path.name}.CHECKSUM").read_text().split()[0] == hashlib.sha256(content).hexdigest()
    day = Window(utc(path.stem[-10:]), utc(path.stem[-10:]) + DAY)
    lines = rows_of(unzip(ArchiveObject("klines", "daily", "BTCUSDT", "1m", day), content))
    assert labels(lines)[2] == 1440
    await copy(area, OHLCV, OHLCV.archive.columns, lines, "archive", "1m")
    found = staged(database_url, area, OHLCV)
    assert [row["time"] for row in found] == list(TIMEFRAMES["1m"].points(day))
    fields = [line.split(",") for line in lines.decode().splitlines()]
    assert [row["close"] for row in found] == [float(row[4]) for row in fields]
    assert [row["trade_count"] for row in found] == [int(row[8]) for row in fields]
    assert passes(database_url, area, OHLCV, day)


def settlements(path: Path) -> Iterator[tuple[datetime, str]]:
    """The sample's date column is UTC+3."""
    for row in csv.DictReader(path.read_text().splitlines()):
        local = datetime.fromisoformat(row["Date"]).replace(tzinfo=UTC)
        yield local - timedelta(hours=3), row["Funding Rate"]


@pytest.mark.parametrize("path", FUNDING, ids=lambda path: path.stem[:8])
async def test_four_recorded_years_of_funding_pass_the_gate_every_eight_hours(
    database_url: str, area: StagingArea, path: Path
) -> None:
    sent = list(settlements(path))
    rows = "\n".join(f"{to_ms(time)},8,{rate}" for time, rate in sent).encode()
    await copy(area, FUNDING_RATE, FUNDING_RATE.archive.columns, rows, "archive", "settlement")
    await area.derive(FUNDING_RATE)
    found = staged(database_url, area, FUNDING_RATE)
    hours = [TIMEFRAMES["1h"].floor(time) for time, _ in sent]
    assert max(time - hour for (time, _), hour in zip(sent, hours, strict=True)) < timedelta(seconds=1)
    assert [row["time"] for row in found] == hours
    assert [row["funding_rate"] for row in found] == [float(rate) for _, rate in sent]
    assert {b - a for a, b in pairwise(hours)} == {timedelta(hours=8)}
    assert {row["interval_hours"] for row in found} == {8}
    assert passes(database_url, area, FUNDING_RATE, Window(sent[0][0], sent[-1][0] + DAY))
