"""The archive over a real socket: keys, dates, checksums, listing, and the same rows as REST."""

from __future__ import annotations

import json

import httpx
import pytest

from simulator.grid import DAY, FIVE_MINUTES, to_datetime, to_ms
from simulator.process import Handle
from tests.simulator.archive_reading import (
    ROOT,
    Page,
    all_keys,
    download,
    funding_key,
    kline_key,
    lines,
    metrics_key,
    page,
)


def rest_klines(http: httpx.Client, symbol: str, interval: str, start: int, limit: int) -> list[list[str]]:
    """REST rows as text, to compare with archive rows."""
    query = {"symbol": symbol, "interval": interval, "startTime": start, "limit": limit}
    return [[str(field) for field in row] for row in http.get("/fapi/v1/klines", params=query).json()]


@pytest.mark.parametrize("symbol", ["BTCUSDT", "SOLUSDT", "1000PEPEUSDT", "NEWUSDT"])
@pytest.mark.parametrize("interval", ["1m", "5m", "4h", "1d"])
def test_daily_kline_rows_are_rest_rows(http: httpx.Client, symbol: str, interval: str) -> None:
    header, *rows = lines(http, kline_key(symbol, interval, "2026-09-17"))
    assert header[0] == "open_time"
    assert len(header) == 12
    assert rows == rest_klines(http, symbol, interval, to_ms("2026-09-17"), len(rows))


def test_monthly_files_are_their_daily_files(http: httpx.Client) -> None:
    monthly = lines(http, kline_key("ETHUSDT", "1h", "2026-02"))
    daily = [row for day in range(1, 29) for row in lines(http, kline_key("ETHUSDT", "1h", f"2026-02-{day:02}"))]
    assert monthly == daily
    assert len(monthly) == 28 * 24


def test_month_candles_are_spelled_1mo_and_only_monthly(http: httpx.Client) -> None:
    (row,) = lines(http, kline_key("BTCUSDT", "1mo", "2026-05"))
    assert [row] == rest_klines(http, "BTCUSDT", "1M", to_ms("2026-05-01"), 1)
    assert http.get(f"/{kline_key('BTCUSDT', '1mo', '2026-05-01')}").status_code == 404
    assert http.get(f"/{kline_key('BTCUSDT', '1M', '2026-05')}").status_code == 404


def test_metrics_parse_to_the_same_doubles_as_rest(http: httpx.Client) -> None:
    header, *rows = lines(http, metrics_key("SOLUSDT", "2026-09-25"))
    assert header[:2] == ["create_time", "symbol"]
    query = {"symbol": "SOLUSDT", "period": "5m", "startTime": to_ms("2026-09-25"), "limit": 288}
    newest_first = http.get("/futures/data/openInterestHist", params=query).json()
    rest = {row["timestamp"]: row for row in newest_first}
    assert len(rows) == len(rest) == 288
    for row in rows:
        point = rest[to_ms(row[0])]
        assert float(row[2]) == float(point["sumOpenInterest"])
        assert float(row[3]) == float(point["sumOpenInterestValue"])


@pytest.mark.parametrize(
    ("column", "path", "name"),
    [
        (4, "topLongShortAccountRatio", "longShortRatio"),
        (5, "topLongShortPositionRatio", "longShortRatio"),
        (6, "globalLongShortAccountRatio", "longShortRatio"),
        (7, "takerlongshortRatio", "buySellRatio"),
    ],
)
def test_ratios_are_rests_with_more_decimals(http: httpx.Client, column: int, path: str, name: str) -> None:
    rows = lines(http, metrics_key("BTCUSDT", "2026-10-01"))[1:]
    query = {"symbol": "BTCUSDT", "period": "5m", "startTime": to_ms("2026-10-01"), "limit": 288}
    rest = http.get(f"/futures/data/{path}", params=query).json()
    assert [to_ms(row[0]) for row in rows] == [point["timestamp"] for point in rest]
    assert [float(row[column]) for row in rows] == pytest.approx([float(point[name]) for point in rest], abs=0.00005001)


@pytest.mark.parametrize(
    ("symbol", "count", "hours"),
    [
        ("ALICEUSDT", 20 * 3 - 3 + 1 + 12 * 6 - 1, {"8", "4"}),
        ("ICXUSDT", 5 * 3 + 1 + 26 * 12 - 1, {"8", "2"}),
        ("COSUSDT", 31 * 24, {"1"}),
        ("TSLAUSDT", 31 * 3, {"8"}),
    ],
)
def test_funding_files_hold_the_settlements_of_rest(
    http: httpx.Client, symbol: str, count: int, hours: set[str]
) -> None:
    header, *rows = lines(http, funding_key(symbol, "2026-07"))
    assert header == ["calc_time", "funding_interval_hours", "last_funding_rate"]
    assert len(rows) == count
    query = {"symbol": symbol, "startTime": to_ms("2026-07-01"), "endTime": to_ms("2026-08-01") - 1, "limit": 1000}
    rest = http.get("/fapi/v1/fundingRate", params=query).json()
    assert [(int(row[0]), row[2]) for row in rows] == [(entry["fundingTime"], entry["fundingRate"]) for entry in rest]
    assert {row[1] for row in rows} == hours


def test_a_changed_interval_counts_from_the_settlement_after_the_change(http: httpx.Client) -> None:
    by_time = {int(row[0]) // 1000: row[1] for row in lines(http, funding_key("ALICEUSDT", "2026-07"))[1:]}
    assert by_time[to_ms("2026-07-20T00:00") // 1000] == "8"
    assert by_time[to_ms("2026-07-20T04:00") // 1000] == "4"


def test_daily_files_appear_the_next_morning_and_monthly_ones_on_the_third(mutable: Handle) -> None:
    daily, monthly = kline_key("BTCUSDT", "1d", "2026-10-14"), kline_key("BTCUSDT", "1d", "2026-09")
    with httpx.Client(base_url=mutable.url) as http:
        for now, expected in (("2026-10-15T08:39:59", 404), ("2026-10-15T08:40:00", 200)):
            mutable.set_now(now)
            assert http.get(f"/{daily}").status_code == expected
        for now, expected in (("2026-10-03T08:59:59", 404), ("2026-10-03T09:00:00", 200)):
            mutable.set_now(now)
            assert http.get(f"/{monthly}").status_code == expected
            assert (monthly in page(http, f"{ROOT}monthly/klines/BTCUSDT/1d/").keys) == (expected == 200)


def test_coverage_begins_as_on_record(http: httpx.Client) -> None:
    firsts = {
        f"{ROOT}daily/klines/BTCUSDT/5m/": "BTCUSDT-5m-2019-12-31.zip",
        f"{ROOT}monthly/klines/BTCUSDT/5m/": "BTCUSDT-5m-2020-01.zip",
        f"{ROOT}daily/metrics/BTCUSDT/": "BTCUSDT-metrics-2020-09-01.zip",
        f"{ROOT}daily/metrics/SOLUSDT/": "SOLUSDT-metrics-2021-12-01.zip",
        f"{ROOT}daily/metrics/NEWUSDT/": "NEWUSDT-metrics-2026-09-05.zip",
    }
    for prefix, name in firsts.items():
        assert page(http, prefix).keys[0] == prefix + name
    assert http.get(f"/{kline_key('BTCUSDT', '5m', '2019-12-30')}").status_code == 404


def test_missing_objects_are_404_in_xml(http: httpx.Client) -> None:
    for key in ("data/futures/um/daily/metrics/NOPE/NOPE-metrics-2026-01-01.zip", "data/spot/x.zip", "data/futures/um"):
        answer = http.get(f"/{key}")
        assert answer.status_code == 404
        assert "<Code>NoSuchKey</Code>" in answer.text
    assert http.get(f"/{metrics_key('BTCUSDT', '2026-02-31')}").status_code == 404


@pytest.mark.parametrize("delimiter", ["/", ""])
def test_listing_pages_give_every_key_once_in_order(http: httpx.Client, delimiter: str) -> None:
    keys = all_keys(http, f"{ROOT}daily/metrics/BTCUSDT/", delimiter)
    days = (to_ms("2026-10-14") - to_ms("2020-09-01")) // DAY + 1
    assert len(keys) == 2 * days
    assert keys == sorted(set(keys), key=str.encode)


def test_listing_below_a_partial_name_and_across_folders(http: httpx.Client) -> None:
    some = page(http, f"{ROOT}daily/metrics/BTCUSDT/BTCUSDT-metrics-2026-09-2").keys
    assert len(some) == 20
    deep = all_keys(http, f"{ROOT}monthly/fundingRate/", delimiter="")
    assert {key.split("/")[5] for key in deep} >= {"BTCUSDT", "FTMUSDT", "ICPUSDTSETTLED"}
    assert deep == sorted(deep, key=str.encode)


def test_pages_of_folders_and_keys_together_go_on_from_their_next_marker(http: httpx.Client) -> None:
    query = {"prefix": f"{ROOT}daily/metrics/", "delimiter": "/"}
    whole = page(http, f"{ROOT}daily/metrics/")
    assert not whole.truncated
    found: list[str] = []
    marker: str | None = ""
    while marker is not None:
        some = Page(http.get("/", params={**query, "marker": marker, "max-keys": "2"}).text)
        assert some.truncated == (some.next_marker is not None)
        assert len(some.prefixes) == 2 or not some.truncated
        found += some.prefixes
        marker = some.next_marker
    assert found == whole.prefixes
    assert len(found) > 10


def test_common_prefixes_are_symbols_dead_ones_included(http: httpx.Client) -> None:
    found = page(http, f"{ROOT}daily/klines/")
    names = [prefix.split("/")[-2] for prefix in found.prefixes]
    assert {"BTCUSDT", "FTMUSDT", "ICPUSDTSETTLED", "BTCUSDT_261225"} <= set(names)
    assert "BTCUSDT_261225" not in str(page(http, f"{ROOT}daily/metrics/").prefixes)
    assert f"{ROOT}monthly/klines/SOLUSDT/1mo/" in page(http, f"{ROOT}monthly/klines/SOLUSDT/").prefixes
    assert page(http, "nothing/").keys == []


def test_objects_carry_version_marks_that_a_cache_can_use(http: httpx.Client) -> None:
    key = metrics_key("SOLUSDT", "2026-09-30")
    first = http.get(f"/{key}")
    assert first.headers["last-modified"] == "Thu, 01 Oct 2026 08:40:00 GMT"
    assert http.get(f"/{key}", headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    listed = page(http, key)
    assert listed.etags[0] == first.headers["etag"]
    assert download(http, key) == first.content
    assert http.head(f"/{key}").headers["etag"] == first.headers["etag"]


def test_two_processes_make_the_same_bytes(http: httpx.Client, mutable: Handle) -> None:
    with httpx.Client(base_url=mutable.url) as other:
        for key in (kline_key("SOLUSDT", "5m", "2026-05"), metrics_key("BTCUSDT", "2024-03-05")):
            assert download(http, key) == download(other, key)


def test_the_grid_of_a_metrics_day_is_whole(http: httpx.Client) -> None:
    rows = lines(http, metrics_key("BTCUSDT", "2026-05-05"))[1:]
    times = [to_ms(row[0]) for row in rows]
    assert times == list(range(to_ms("2026-05-05"), to_ms("2026-05-06"), FIVE_MINUTES))
    assert str(to_datetime(times[0]))[:19] == rows[0][0]
    assert json.loads(rows[0][2]) > 0
