"""Recorded files are served as they are, and REST answers from their rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote

import httpx
import pytest

from simulator.archive import zipped
from simulator.grid import to_ms
from simulator.process import Handle, running
from tests.simulator.archive_reading import all_keys, funding_key, kline_key, lines, metrics_key

DAY = to_ms("2020-01-01")
METRICS = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio\n"
    "2020-01-03 23:50:00,BTCUSDT,80424.539,2934227437.9054494,1.09433416,1.37975481,1.09030379,0.56294739\n"
    "2020-01-03 23:55:00,BTCUSDT,80390.219,2931348945.616,1.09249614,1.38046584,1.0884327,0.72138723\n"
)


def kline_text(day: int) -> str:
    """A headerless day of 5-minute candles with one missing."""
    times = [DAY + day * 86_400_000 + step * 300_000 for step in range(288) if (day, step) != (1, 100)]
    return "".join(
        f"{time},7195.24,7196.25,7183.14,7186.68,51.642,{time + 299_999},371233.51800,493,19.598,140888.41400,0\n"
        for time in times
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days laid out as the archive lays them out."""
    root = tmp_path_factory.mktemp("recorded")
    files = {kline_key("BTCUSDT", "5m", f"2020-01-0{day + 1}"): kline_text(day) for day in range(3)}
    files[metrics_key("BTCUSDT", "2020-01-03")] = METRICS
    files[funding_key("BTCUSDT", "2020-01")] = (
        "calc_time,funding_interval_hours,last_funding_rate\n1577836800003,8,-0.00011916\n1577865600000,8,0.0001\n"
    )
    for key, text in files.items():
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zipped(f"{path.stem}.csv", text, DAY))
    return root


@pytest.fixture(scope="module")
def recorded(folder: Path) -> Iterator[Handle]:
    """A simulator of the recorded folder."""
    with running(recorded=folder) as handle:
        yield handle


@pytest.fixture(scope="module")
def web(recorded: Handle) -> Iterator[httpx.Client]:
    """Its client."""
    with httpx.Client(base_url=recorded.url) as client:
        yield client


def test_the_clock_starts_after_the_last_recorded_day(recorded: Handle) -> None:
    assert recorded.now.isoformat() == "2020-01-04T12:00:00+00:00"


def test_symbols_and_digits_come_from_the_files(web: httpx.Client) -> None:
    (entry,) = web.get("/fapi/v1/exchangeInfo").json()["symbols"]
    assert (entry["symbol"], entry["pricePrecision"], entry["quantityPrecision"]) == ("BTCUSDT", 2, 3)
    assert entry["baseAsset"] == "BTC"


def test_files_are_served_byte_for_byte_with_a_checksum(web: httpx.Client, folder: Path) -> None:
    key = kline_key("BTCUSDT", "5m", "2020-01-02")
    content = (folder / key).read_bytes()
    answer = web.get(f"/{quote(key)}")
    assert answer.content == content
    assert answer.headers["etag"] == f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
    assert len(lines(web, key)) == 287
    assert key in all_keys(web, "data/futures/um/daily/klines/BTCUSDT/5m/")
    assert web.get("/data/futures/um/../../../etc/passwd").status_code == 404


def test_rest_pages_over_the_recorded_hole(web: httpx.Client) -> None:
    query = {"symbol": "BTCUSDT", "interval": "5m", "startTime": str(DAY + 86_400_000), "limit": "200"}
    rows = web.get("/fapi/v1/klines", params=query).json()
    assert len(rows) == 200
    assert DAY + 86_400_000 + 100 * 300_000 not in {row[0] for row in rows}
    assert web.get("/fapi/v1/klines", params={**query, "interval": "1h"}).json() == []


def test_statistics_and_funding_answer_from_the_rows(web: httpx.Client) -> None:
    rows = web.get("/futures/data/openInterestHist", params={"symbol": "BTCUSDT", "period": "5m"}).json()
    assert [row["sumOpenInterest"] for row in rows] == ["80424.53900000", "80390.21900000"]
    ratio = web.get("/futures/data/topLongShortPositionRatio", params={"symbol": "BTCUSDT", "period": "5m"}).json()
    assert [row["longShortRatio"] for row in ratio] == ["1.3798", "1.3805"]
    funding = web.get("/fapi/v1/fundingRate", params={"symbol": "BTCUSDT"}).json()
    assert [(row["fundingTime"], row["fundingRate"]) for row in funding] == [
        (1577836800003, "-0.00011916"),
        (1577865600000, "0.0001"),
    ]


def test_recorded_files_cannot_be_late(recorded: Handle) -> None:
    with pytest.raises(HTTPError) as refusal:
        recorded.add_fault("late_archive", hours=1)
    assert (refusal.value.code, refusal.value.read()[:13]) == (400, b"late_archive:")
    refusal.value.close()
