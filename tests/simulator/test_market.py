"""The synthetic market: the same for ever, exact over timeframes, joined over days."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.grid import DAY, FIVE_MINUTES, HOUR, KLINE_INTERVALS, MINUTE, candle_end, candle_start, to_ms
from simulator.market import (
    CLOSE,
    COUNT,
    HIGH,
    LOW,
    OPEN,
    QUOTE,
    TAKER,
    TAKER_QUOTE,
    TIME,
    VALUE,
    VOLUME,
    Market,
    aggregate,
)
from simulator.symbols import BY_SYMBOL, CONTRACTS

MARKET = Market(11)
SPRING, AUTUMN = to_ms("2026-04-18"), to_ms("2026-10-15")
symbols = st.sampled_from(sorted(BY_SYMBOL))


def test_a_seed_gives_the_same_market_in_any_order_of_asking() -> None:
    btc, late, early = BY_SYMBOL["BTCUSDT"], to_ms("2026-08-02"), to_ms("2021-02-03")
    forward, backward = Market(3), Market(3)
    first = [forward.candles(btc, "5m", day, day + DAY) for day in (early, late)]
    second = [backward.candles(btc, "5m", day, day + DAY) for day in (late, early)]
    assert np.array_equal(first[0], second[1])
    assert np.array_equal(first[1], second[0])
    assert not np.array_equal(first[0], Market(4).candles(btc, "5m", early, early + DAY))


@settings(max_examples=40, deadline=None)
@given(symbol=symbols, interval=st.sampled_from(KLINE_INTERVALS), day=st.integers(SPRING // DAY, AUTUMN // DAY))
def test_every_timeframe_is_the_sum_of_its_minutes(symbol: str, interval: str, day: int) -> None:
    contract = BY_SYMBOL[symbol]
    start = candle_start(interval, day * DAY + 7 * HOUR)
    stop = candle_end(interval, start)
    direct = MARKET.candles(contract, interval, start, stop)
    minutes = MARKET.candles(contract, "1m", start, stop)
    assert np.array_equal(direct, aggregate(minutes, interval))
    if direct.size:
        candle = direct[:, 0]
        assert candle[HIGH] == minutes[HIGH].max()
        assert candle[LOW] == minutes[LOW].min()
        assert (candle[OPEN], candle[CLOSE]) == (minutes[OPEN, 0], minutes[CLOSE, -1])
        for row in (VOLUME, QUOTE, COUNT, TAKER, TAKER_QUOTE):
            assert candle[row] == minutes[row].sum()


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.symbol)
def test_candles_are_possible_ones(contract: object) -> None:
    assert contract in CONTRACTS
    end = min(contract.ends, AUTUMN)  # type: ignore[attr-defined]
    rows = MARKET.candles(contract, "5m", end - 30 * DAY, end)  # type: ignore[arg-type]
    assert rows.shape[1] > 0
    assert (rows[LOW] <= np.minimum(rows[OPEN], rows[CLOSE])).all()
    assert (rows[HIGH] >= np.maximum(rows[OPEN], rows[CLOSE])).all()
    assert (rows[1:] > 0).all()
    assert (rows[TAKER] <= rows[VOLUME]).all()
    assert (rows[LOW] * rows[VOLUME] <= rows[QUOTE]).all()
    assert (rows[QUOTE] <= rows[HIGH] * rows[VOLUME]).all()
    assert (rows[TAKER_QUOTE] <= rows[QUOTE]).all()
    assert (np.diff(rows[TIME]) == FIVE_MINUTES).all()
    most = 0.15 if contract.crash else 0.1  # type: ignore[attr-defined]
    assert (np.abs(rows[CLOSE] / rows[OPEN] - 1) < most).all()
    # Days join: each candle opens where the one before it closed.
    assert (rows[OPEN, 1:] == rows[CLOSE, :-1]).all()


def test_open_interest_value_is_open_interest_at_the_price_of_its_instant() -> None:
    sol = BY_SYMBOL["SOLUSDT"]
    metrics = MARKET.metrics(sol, SPRING, SPRING + 2 * DAY)
    before = MARKET.candles(sol, "5m", SPRING - FIVE_MINUTES, SPRING + 2 * DAY - FIVE_MINUTES)
    assert (metrics[VALUE] == metrics[1] * before[CLOSE]).all()
    assert (metrics[6] == before[TAKER]).all()
    assert (metrics[6] + metrics[7] == before[VOLUME]).all()


def test_the_running_candle_grows_into_the_closed_one() -> None:
    btc, opened = BY_SYMBOL["BTCUSDT"], to_ms("2026-10-15T12:00")
    closed = MARKET.candles(btc, "1h", opened, opened + 1)[:, 0]
    partial = MARKET.candles(btc, "1h", opened, opened + 1, opened + 34 * MINUTE + 30_000)[:, 0]
    assert partial[OPEN] == closed[OPEN]
    assert 0 < partial[VOLUME] < closed[VOLUME]
    assert partial[LOW] >= closed[LOW]
    assert partial[HIGH] <= closed[HIGH]
    at_the_end = MARKET.candles(btc, "1h", opened, opened + 1, opened + HOUR)[:, 0]
    assert np.array_equal(at_the_end, closed)


def test_nothing_trades_before_the_listing_or_after_the_end() -> None:
    btc, dead = BY_SYMBOL["BTCUSDT"], BY_SYMBOL["FTMUSDT"]
    first = MARKET.candles(btc, "1m", 0, to_ms("2019-09-09"))
    assert first[TIME, 0] == to_ms("2019-09-08T17:55")
    last = MARKET.candles(dead, "1m", to_ms("2026-06-30"), to_ms("2026-07-02"))
    assert last[TIME, -1] == to_ms("2026-06-30T08:59")
    assert not MARKET.metrics(dead, to_ms("2026-07-01"), AUTUMN).size


def test_years_of_five_minutes_leave_the_caches_bounded() -> None:
    market = Market(5)
    rows = market.candles(BY_SYMBOL["BTCUSDT"], "5m", to_ms("2023-10-15"), AUTUMN)
    assert rows.shape[1] == (AUTUMN - to_ms("2023-10-15")) // FIVE_MINUTES
    assert market.minutes.cache_info().currsize <= 128
