"""Prices between candles: inside them, the same on REST and for whoever computes the truth."""

from __future__ import annotations

from datetime import timedelta

import httpx

from simulator.clock import Clock
from simulator.feed import SyntheticFeed
from simulator.grid import DAY, HOUR, MINUTE, to_datetime, to_ms
from simulator.process import Handle
from simulator.quotes import Quotes, premium
from simulator.symbols import BY_SYMBOL
from simulator.truth import Truth
from tests.simulator.conftest import SEED

AT = to_ms("2026-10-15T12:34:56")


def test_a_price_lies_on_the_way_from_the_candles_open_to_its_close() -> None:
    feed, contract = SyntheticFeed(SEED), BY_SYMBOL["SOLUSDT"]
    quotes, minute = Quotes(feed), AT // MINUTE * MINUTE
    ((_, opened, high, low, closed, *_rest),) = feed.kline_rows(contract, "1m", minute, minute + 1, None)
    assert quotes.price(contract, minute) == float(opened)
    assert abs(quotes.price(contract, minute + MINUTE - 1) - float(closed)) < 0.01
    assert all(float(low) <= quotes.price(contract, minute + ms) <= float(high) for ms in range(0, MINUTE, 997))


def test_what_is_read_once_a_minute_is_what_is_read_each_time() -> None:
    feed = SyntheticFeed(SEED)
    quotes, start = Quotes(feed), to_ms("2026-10-15T15:58:30")
    for symbol in ("BTCUSDT", "COSUSDT", "BTCUSDT_261225"):
        for at in range(start, start + 3 * MINUTE, 7_001):
            assert quotes.premium(BY_SYMBOL[symbol], at) == premium(feed, BY_SYMBOL[symbol], at)


def test_a_settlement_is_no_longer_the_next_once_it_has_come() -> None:
    quotes, contract, hour = Quotes(SyntheticFeed(SEED)), BY_SYMBOL["COSUSDT"], AT // HOUR * HOUR
    assert quotes.premium(contract, hour - 1000).next_funding == hour
    assert quotes.premium(contract, hour + 1000).next_funding == hour + HOUR


def test_rest_and_the_truth_tell_the_same_mark_price(market: Handle, http: httpx.Client) -> None:
    told = http.get("/fapi/v1/premiumIndex", params={"symbol": "ETHUSDT"}).json()
    assert float(told["markPrice"]) == Truth(SEED).mark_price("ETHUSDT", market.now)
    assert float(told["markPrice"]) != Truth(SEED).mark_price("ETHUSDT", market.now + timedelta(seconds=3))


def test_the_day_is_that_of_the_candles() -> None:
    until = AT // 300_000 * 300_000
    rows = Truth(SEED).ohlcv("ETHUSDT", "5m", to_datetime(until - DAY), to_datetime(until))
    day = Quotes(SyntheticFeed(SEED)).day(BY_SYMBOL["ETHUSDT"], AT)
    assert (day.open, day.high, day.low) == (rows[0][1], max(row[2] for row in rows), min(row[3] for row in rows))
    assert day.trades == sum(row[7] for row in rows)


def test_the_time_of_streams_runs_on_from_where_a_frozen_clock_was_set() -> None:
    seconds = 10.0
    clock = Clock(1000, frozen=True, monotonic=lambda: seconds)
    seconds = 12.5
    assert (clock.now(), clock.stream_now()) == (1000, 3500)
    clock.move(9000)
    assert (clock.now(), clock.stream_now()) == (9000, 9000)
    clock.frozen = False
    seconds = 13.0
    assert clock.now() == clock.stream_now() == 9500
