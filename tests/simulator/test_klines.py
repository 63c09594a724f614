"""Candles of trades, mark prices and premiums: the same from archive and REST, and what only some kinds have."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from simulator.grid import DAY, FIVE_MINUTES, HOUR, MINUTE, to_datetime, to_ms
from simulator.klines import KINDS, TRADED
from simulator.rest import ENDPOINTS
from simulator.symbols import BY_SYMBOL
from simulator.truth import Truth
from tests.simulator.archive_reading import ROOT, kline_key, lines, page
from tests.simulator.conftest import NOW, SEED

UNTRADED = [kind for kind in KINDS if kind != TRADED]
MARK, PREMIUM = "markPriceKlines", "premiumIndexKlines"
SEPTEMBER = to_ms("2026-09-01")


def rest(http: httpx.Client, kind: str, interval: str, start: int | None, limit: int, symbol: str = "SOLUSDT") -> Any:
    """Rows of REST as they come."""
    query = {"symbol": symbol, "interval": interval, "limit": limit} | ({"startTime": start} if start else {})
    answer = http.get(f"/fapi/v1/{kind}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interval", ["1m", "5m", "1h", "1d"])
def test_archive_rows_of_every_kind_are_rest_rows(http: httpx.Client, kind: str, interval: str) -> None:
    header, *rows = lines(http, kline_key("SOLUSDT", interval, "2026-09-17", kind))
    assert header[0] == "open_time"
    sent = rest(http, kind, interval, to_ms("2026-09-17"), len(rows))
    assert rows == [[str(field) for field in row] for row in sent]
    assert [type(field) for field in sent[0]] == [int, str, str, str, str, str, int, str, int, str, str, str]


@pytest.mark.parametrize("kind", KINDS)
def test_months_of_every_kind_are_their_days_and_older_ones_have_no_header(http: httpx.Client, kind: str) -> None:
    for month, days, headers in (("2026-02", 28, 0), ("2026-09", 30, 1)):
        whole = lines(http, kline_key("ETHUSDT", "1h", month, kind))[headers:]
        parts = [
            lines(http, kline_key("ETHUSDT", "1h", f"{month}-{day + 1:02}", kind))[headers:] for day in range(days)
        ]
        assert whole == [row for part in parts for row in part]
        assert len(whole) == days * 24


@pytest.mark.parametrize("kind", UNTRADED)
def test_what_is_not_traded_has_placeholders_and_counts_samples(http: httpx.Client, kind: str) -> None:
    for row in rest(http, kind, "5m", SEPTEMBER, 288):
        assert (row[5], row[7], row[8], *row[9:]) == ("0", "0", 300, "0", "0", "0")
        assert row[6] == row[0] + FIVE_MINUTES - 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_hour_is_its_twelve_five_minute_candles(http: httpx.Client, kind: str) -> None:
    hours, fives = (rest(http, kind, interval, SEPTEMBER, n) for interval, n in (("1h", 24), ("5m", 288)))
    for n, hour in enumerate(hours):
        parts = fives[12 * n : 12 * n + 12]
        high, low = max(float(part[2]) for part in parts), min(float(part[3]) for part in parts)
        assert [hour[1], *map(float, hour[2:4]), hour[4]] == [parts[0][1], high, low, parts[-1][4]]


def test_candles_of_the_mark_price_hold_what_premium_index_tells(http: httpx.Client) -> None:
    truth, minute = Truth(SEED), NOW // MINUTE * MINUTE - HOUR
    for _, opened, high, low, closed, *_rest in rest(http, MARK, "1m", minute, 5):
        assert truth.mark_price("SOLUSDT", to_datetime(minute)) == float(opened)
        told = [truth.mark_price("SOLUSDT", to_datetime(minute + at)) for at in range(0, MINUTE, 997)]
        assert float(low) <= min(told) <= max(told) <= float(high)
        assert truth.mark_price("SOLUSDT", to_datetime(minute + MINUTE)) == pytest.approx(float(closed), rel=1e-3)
        minute += MINUTE


def test_premiums_are_small_and_of_either_sign() -> None:
    truth, years = Truth(SEED), (to_datetime(to_ms("2021-01-01")), to_datetime(to_ms("2026-10-01")))
    for symbol in ("BTCUSDT", "SOLUSDT"):
        closes = [row[4] for row in truth.price_candles("premium_index", symbol, "1d", *years)]
        assert -0.01 < min(closes) < 0 < max(closes) < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_row_of_every_kind_is_the_running_candle(http: httpx.Client, kind: str) -> None:
    closed, running = rest(http, kind, "5m", None, 2)
    assert closed[6] < NOW <= running[6]
    ended = Truth(SEED)._feed.kline_rows(BY_SYMBOL["SOLUSDT"], "5m", running[0], running[0] + 1, None, kind)[0]
    assert list(map(str, running)) != list(ended)


def test_the_mark_price_begins_later_than_trades(http: httpx.Client) -> None:
    first = to_datetime(to_ms("2019-12-23T11:55"))
    assert Truth(SEED).available_from("mark_price", "BTCUSDT") == first
    assert Truth(SEED).available_from("mark_price", "SOLUSDT") == Truth(SEED).available_from("ohlcv", "SOLUSDT")
    row, after = rest(http, MARK, "5m", 1, 2, "BTCUSDT")
    assert to_datetime(row[0]) == first
    minutes = rest(http, MARK, "1m", 1, 2, "BTCUSDT")
    assert [to_datetime(minute[0]) for minute in minutes] == [first + timedelta(minutes=n) for n in (3, 4)]
    assert row[1] == minutes[0][1]
    assert after[0] == row[0] + FIVE_MINUTES
    assert page(http, f"{ROOT}daily/{MARK}/BTCUSDT/5m/").keys[0].endswith("BTCUSDT-5m-2019-12-23.zip")
    assert page(http, f"{ROOT}monthly/{MARK}/BTCUSDT/5m/").keys[0].endswith("BTCUSDT-5m-2020-01.zip")


def test_some_mark_prices_are_nowhere(http: httpx.Client) -> None:
    day, hole = to_ms("2026-09-10"), to_ms("2026-09-10T03:40")
    for interval, step, lacking in (("5m", FIVE_MINUTES, 4), ("15m", 3 * FIVE_MINUTES, 1), ("1h", HOUR, 0)):
        times = [row[0] for row in rest(http, MARK, interval, day, DAY // step - lacking)]
        gone = set(range(day, day + DAY, step)) - set(times)
        assert len(gone) == lacking
        assert all(hole <= time < hole + 4 * FIVE_MINUTES for time in gone)
        archived = lines(http, kline_key("SOLUSDT", interval, "2026-09-10", MARK))[1:]
        assert [int(row[0]) for row in archived] == times
    assert len(rest(http, PREMIUM, "5m", day, 288)) == 288


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_weighs_by_its_limit(kind: str) -> None:
    _, window, weight = ENDPOINTS[f"/fapi/v1/{kind}"]
    assert (window, weight({"limit": "499"}), weight({"limit": "1500"})) == ("weight", 2, 10)
