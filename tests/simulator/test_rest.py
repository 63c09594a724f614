"""REST over a real socket: rows, pages and every error body."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from simulator.grid import DAY, FIVE_MINUTES, HOUR, MINUTE, to_ms
from simulator.symbols import BY_SYMBOL

NOW = to_ms("2026-10-15T12:34:56")
KLINES, FUNDING = "/fapi/v1/klines", "/fapi/v1/fundingRate"
OPEN_INTEREST = "/futures/data/openInterestHist"


def get(http: httpx.Client, path: str, **query: object) -> Any:
    """The decoded JSON of a 200."""
    answer = http.get(path, params={name: str(value) for name, value in query.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("path", "query", "code", "msg"),
    [
        (KLINES, {"symbol": "NOPEUSDT", "interval": "5m"}, -1121, "Invalid symbol."),
        (KLINES, {"symbol": "FTMUSDT", "interval": "5m"}, -1121, "Invalid symbol."),
        (KLINES, {"symbol": "ICPUSDTSETTLED", "interval": "5m"}, -1121, "Invalid symbol."),
        (KLINES, {"symbol": "BTCUSDT", "interval": "7m"}, -1120, "Invalid interval."),
        (KLINES, {"symbol": "BTCUSDT", "interval": "1s"}, -1120, "Invalid interval."),
        (
            KLINES,
            {"interval": "5m"},
            -1102,
            "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.",
        ),
        (
            KLINES,
            {"symbol": "BTCUSDT"},
            -1102,
            "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.",
        ),
        (
            KLINES,
            {"symbol": "BTCUSDT", "interval": "5m", "startTime": "soon"},
            -1102,
            "Mandatory parameter 'startTime' was not sent, was empty/null, or malformed.",
        ),
        (
            KLINES,
            {"symbol": "BTCUSDT", "interval": "5m", "limit": "1501"},
            -1130,
            "Data sent for parameter 'limit' is not valid.",
        ),
        (
            KLINES,
            {"symbol": "BTCUSDT", "interval": "5m", "limit": "0"},
            -1130,
            "Data sent for parameter 'limit' is not valid.",
        ),
        (
            KLINES,
            {"symbol": "BTCUSDT", "interval": "5m", "startTime": "2", "endTime": "1"},
            -1023,
            "Start time is greater than end time.",
        ),
        (FUNDING, {"symbol": "NOPEUSDT"}, -1121, "Invalid symbol."),
        (OPEN_INTEREST, {"symbol": "NOPEUSDT", "period": "5m"}, -1121, "Invalid symbol."),
        (OPEN_INTEREST, {"symbol": "BTCUSDT", "period": "8h"}, -1130, "parameter 'period' is invalid."),
        (
            OPEN_INTEREST,
            {"symbol": "BTCUSDT", "period": "5m", "limit": "501"},
            -1130,
            "parameter 'limit' is invalid.",
        ),
        (
            OPEN_INTEREST,
            {"symbol": "BTCUSDT", "period": "5m", "startTime": str(NOW - 31 * DAY)},
            -1130,
            "parameter 'startTime' is invalid.",
        ),
    ],
)
def test_errors_read_as_the_exchange_words_them(
    http: httpx.Client, path: str, query: dict[str, str], code: int, msg: str
) -> None:
    answer = http.get(path, params=query)
    assert answer.status_code == 400
    assert answer.json() == {"code": code, "msg": msg}


def test_a_funding_limit_above_1000_has_an_envelope_of_its_own(http: httpx.Client) -> None:
    answer = http.get(FUNDING, params={"symbol": "BTCUSDT", "limit": "1001"})
    assert answer.status_code == 400
    assert answer.json()["code"] == "000002"
    assert "msg" not in answer.json()


def test_unknown_and_discontinued_paths_are_404(http: httpx.Client) -> None:
    assert http.get("/fapi/v1/allForceOrders").status_code == 404
    assert http.get("/futures/data/nothing").status_code == 404


def test_the_clock_and_the_ping_answer(http: httpx.Client) -> None:
    assert get(http, "/fapi/v1/time") == {"serverTime": NOW}
    assert get(http, "/fapi/v1/ping") == {}


def test_exchange_info_lists_what_trades_now(http: httpx.Client) -> None:
    content = get(http, "/fapi/v1/exchangeInfo")
    kinds = {entry["symbol"]: entry["contractType"] for entry in content["symbols"]}
    assert kinds["BTCUSDT_261225"] == "CURRENT_QUARTER"
    assert {"BTCUSDT", "1000PEPEUSDT", "NEWUSDT", "币安人生USDT"} <= set(kinds)
    assert kinds["TSLAUSDT"] == "TRADIFI_PERPETUAL"
    assert {"ICPUSDT", "COSUSDT", "ICXUSDT"} <= set(kinds)
    assert not {"FTMUSDT", "ICPUSDTSETTLED"} & set(kinds)
    assert content["rateLimits"][0]["limit"] == 2400


def test_nothing_on_rest_knows_what_was_delisted(http: httpx.Client) -> None:
    dead = {"FTMUSDT", "ICPUSDTSETTLED"}
    assert not dead & {entry["symbol"] for entry in get(http, "/fapi/v1/premiumIndex")}
    assert not dead & {entry["symbol"] for entry in get(http, "/fapi/v1/fundingInfo")}
    assert not dead & {entry["symbol"] for entry in get(http, FUNDING, startTime=to_ms("2026-06-29"), limit=1000)}
    for symbol in dead:
        for path in ("/fapi/v1/premiumIndex", "/fapi/v1/openInterest", FUNDING):
            assert http.get(path, params={"symbol": symbol}).json() == {"code": -1121, "msg": "Invalid symbol."}
        answer = http.get(OPEN_INTEREST, params={"symbol": symbol, "period": "5m"})
        assert answer.json() == {"code": -1121, "msg": "Invalid symbol."}


def test_a_perpetual_on_a_stock_trades_at_the_weekend_as_well(http: httpx.Client) -> None:
    saturday = to_ms("2026-10-10")
    rows = get(http, KLINES, symbol="TSLAUSDT", interval="5m", startTime=saturday, limit=288)
    assert [row[0] for row in rows] == [saturday + step * FIVE_MINUTES for step in range(288)]
    assert len(get(http, FUNDING, symbol="TSLAUSDT", startTime=saturday, endTime=saturday + DAY - 1)) == 3


def test_a_name_that_is_listed_again_begins_anew(http: httpx.Client) -> None:
    rows = get(http, KLINES, symbol="ICPUSDT", interval="5m", startTime=0, limit=1)
    assert rows[0][0] == to_ms("2022-09-27T02:30")


def test_klines_have_twelve_fields_typed_as_recorded(http: httpx.Client) -> None:
    row = get(http, KLINES, symbol="BTCUSDT", interval="1h", limit=2)[0]
    assert [type(field) for field in row] == [int, str, str, str, str, str, int, str, int, str, str, str]
    assert row[6] == row[0] + HOUR - 1
    assert row[1].split(".")[1] == "00" or len(row[1].split(".")[1]) == 2
    assert len(row[7].split(".")[1]) == 5


def test_kline_times_are_compared_with_open_times_both_ends_included(http: httpx.Client) -> None:
    start = to_ms("2026-08-01")
    rows = get(http, KLINES, symbol="SOLUSDT", interval="5m", startTime=start, endTime=start + 3 * FIVE_MINUTES)
    assert [row[0] for row in rows] == [start + step * FIVE_MINUTES for step in range(4)]
    rows = get(http, KLINES, symbol="SOLUSDT", interval="5m", startTime=start + 1, limit=2)
    assert [row[0] for row in rows] == [start + FIVE_MINUTES, start + 2 * FIVE_MINUTES]


def test_the_last_kline_is_the_running_one(http: httpx.Client) -> None:
    for interval in ("1m", "5m", "4h", "1d", "1w", "1M"):
        rows = get(http, KLINES, symbol="BTCUSDT", interval=interval, limit=3)
        assert len(rows) == 3
        assert rows[-1][0] <= NOW < rows[-1][6]
        assert rows[-2][6] < NOW


def test_klines_before_the_listing_begin_with_it_and_empty_ranges_are_empty(http: httpx.Client) -> None:
    rows = get(http, KLINES, symbol="BTCUSDT", interval="1m", startTime=0, limit=5)
    assert rows[0][0] == to_ms("2019-09-08T17:55")
    assert len(rows) == 5
    assert get(http, KLINES, symbol="BTCUSDT", interval="1m", startTime=0, endTime=1000) == []
    assert get(http, KLINES, symbol="BTCUSDT", interval="1m", startTime=NOW + DAY) == []


def test_klines_page_from_the_start_or_back_from_the_end(http: httpx.Client) -> None:
    start = to_ms("2026-03-01")
    forward = get(http, KLINES, symbol="ETHUSDT", interval="15m", startTime=start, endTime=start + 90 * DAY, limit=1500)
    assert [forward[0][0], len(forward)] == [start, 1500]
    backward = get(http, KLINES, symbol="ETHUSDT", interval="15m", endTime=start, limit=7)
    assert [backward[-1][0], len(backward)] == [start, 7]


def test_funding_without_a_range_gives_the_latest_200_whatever_limit_says(http: httpx.Client) -> None:
    for symbol in ("BTCUSDT", "1000PEPEUSDT"):
        rows = get(http, FUNDING, symbol=symbol, limit=1000)
        assert len(rows) == 200
        assert rows[-1]["fundingTime"] <= NOW < rows[-1]["fundingTime"] + 8 * HOUR
        assert rows == sorted(rows, key=lambda row: row["fundingTime"])
    assert len(get(http, FUNDING, symbol="BTCUSDT", limit=3)) == 200


def test_funding_from_zero_gives_only_the_latest_record(http: httpx.Client) -> None:
    rows = get(http, FUNDING, symbol="BTCUSDT", startTime=0, limit=1000)
    assert [row["fundingTime"] // MINUTE * MINUTE for row in rows] == [to_ms("2026-10-15T08:00")]


def test_funding_pages_from_the_start_inclusive(http: httpx.Client) -> None:
    rows = get(http, FUNDING, symbol="BTCUSDT", startTime=1567296000000, limit=1000)
    assert len(rows) == 1000
    assert rows[0]["fundingTime"] // MINUTE * MINUTE == 1568102400000
    assert rows[0]["markPrice"] == ""
    again = get(http, FUNDING, symbol="BTCUSDT", startTime=rows[1]["fundingTime"], endTime=rows[3]["fundingTime"])
    assert again == rows[1:4]


def test_funding_without_a_symbol_mixes_all(http: httpx.Client) -> None:
    rows = get(http, FUNDING, startTime=NOW - DAY, limit=1000)
    assert {"BTCUSDT", "1000PEPEUSDT", "NEWUSDT"} <= {row["symbol"] for row in rows}
    assert "BTCUSDT_261225" not in {row["symbol"] for row in rows}


def test_a_changed_funding_interval_shows_in_times_and_in_funding_info(http: httpx.Client) -> None:
    start = to_ms("2026-07-19T08:00")
    rows = get(http, FUNDING, symbol="ALICEUSDT", startTime=start, limit=5)
    hours = [(row["fundingTime"] - start) // HOUR for row in rows]
    assert hours == [0, 8, 16, 20, 24]
    adjusted = {entry["symbol"]: entry["fundingIntervalHours"] for entry in get(http, "/fapi/v1/fundingInfo")}
    assert adjusted["ALICEUSDT"] == adjusted["1000PEPEUSDT"] == 4
    assert (adjusted["COSUSDT"], adjusted["ICXUSDT"]) == (1, 8)
    assert "BTCUSDT" not in adjusted
    rows = get(http, FUNDING, symbol="ICXUSDT", startTime=to_ms("2026-07-05T16:00"), limit=4)
    assert [(row["fundingTime"] - to_ms("2026-07-05T16:00")) // HOUR for row in rows] == [0, 8, 10, 12]


def test_premium_index_is_an_object_with_a_symbol_and_a_list_without(http: httpx.Client) -> None:
    one = get(http, "/fapi/v1/premiumIndex", symbol="ETHUSDT")
    assert one["nextFundingTime"] == to_ms("2026-10-15T16:00")
    everything = {entry["symbol"]: entry for entry in get(http, "/fapi/v1/premiumIndex")}
    assert everything["ETHUSDT"] == one
    assert everything["BTCUSDT_261225"]["lastFundingRate"] == ""
    assert everything["BTCUSDT_261225"]["nextFundingTime"] == 0


def test_open_interest_now_is_the_newest_point(http: httpx.Client) -> None:
    now = get(http, "/fapi/v1/openInterest", symbol="ETHUSDT")
    newest = get(http, OPEN_INTEREST, symbol="ETHUSDT", period="5m", limit=1)[0]
    assert float(now["openInterest"]) == float(newest["sumOpenInterest"])


def test_statistics_default_to_the_latest_30(http: httpx.Client) -> None:
    rows = get(http, "/futures/data/globalLongShortAccountRatio", symbol="SOLUSDT", period="1h")
    times = [row["timestamp"] for row in rows]
    assert times == [to_ms("2026-10-15T12:00") - step * HOUR for step in range(29, -1, -1)]
    assert all(len(row["longShortRatio"].split(".")[1]) == 4 for row in rows)
    assert all(float(row["longAccount"]) + float(row["shortAccount"]) == pytest.approx(1) for row in rows)


def test_statistics_reach_back_thirty_days_and_page_from_the_start(http: httpx.Client) -> None:
    path, start = "/futures/data/topLongShortAccountRatio", NOW - 30 * DAY
    rows = get(http, path, symbol="BTCUSDT", period="5m", startTime=start, endTime=NOW, limit=500)
    first = -(-start // FIVE_MINUTES) * FIVE_MINUTES
    assert [row["timestamp"] for row in rows] == [first + step * FIVE_MINUTES for step in range(500)]
    last = get(http, path, symbol="BTCUSDT", period="5m", endTime=rows[9]["timestamp"], limit=4)
    assert last == rows[6:10]
    assert get(http, path, symbol="BTCUSDT", period="5m", endTime=NOW - 40 * DAY) == []


def test_taker_volumes_have_no_symbol_and_add_up_over_periods(http: httpx.Client) -> None:
    path, end = "/futures/data/takerlongshortRatio", to_ms("2026-10-15T12:00")
    hour = get(http, path, symbol="BTCUSDT", period="1h", endTime=end, limit=1)[0]
    fives = get(http, path, symbol="BTCUSDT", period="5m", endTime=end, limit=12)
    assert "symbol" not in hour
    assert float(hour["buyVol"]) == pytest.approx(sum(float(row["buyVol"]) for row in fives))
    candle = get(http, KLINES, symbol="BTCUSDT", interval="1h", startTime=end - HOUR, limit=1)[0]
    assert float(hour["buyVol"]) == pytest.approx(float(candle[9]))


def test_the_symbol_outside_ascii_answers(http: httpx.Client) -> None:
    symbol = next(name for name in BY_SYMBOL if not name.isascii())
    assert len(get(http, KLINES, symbol=symbol, interval="5m", limit=4)) == 4
