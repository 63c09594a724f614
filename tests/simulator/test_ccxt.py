"""An unmodified ccxt, its URLs changed and nothing else, works against the simulator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import ccxt.async_support as ccxt
import pytest

from simulator.grid import DAY, HOUR, to_ms
from simulator.process import Handle

NOW = to_ms("2026-10-15T12:34:56")


@pytest.fixture
async def exchange(market: Handle) -> AsyncIterator[Any]:
    """ccxt's binanceusdm pointed at the simulator."""
    client = ccxt.binanceusdm({"enableRateLimit": False})
    for name in ("fapiPublic", "fapiPublicV2", "fapiPublicV3"):
        client.urls["api"][name] = f"{market.url}/fapi/v1"
    client.urls["api"]["fapiData"] = f"{market.url}/futures/data"
    yield client
    await client.close()


async def test_markets_load(exchange: Any) -> None:
    markets = await exchange.load_markets()
    assert {"BTC/USDT:USDT", "1000PEPE/USDT:USDT", "NEW/USDT:USDT"} <= set(markets)
    assert markets["SOL/USDT:USDT"]["swap"] is True
    assert markets["SOL/USDT:USDT"]["precision"] == {"price": 0.01, "amount": 1.0, "base": 1e-08, "quote": 1e-08}
    assert [market["symbol"] for market in markets.values() if market["future"]] == ["BTC/USDT:USDT-261225"]


async def test_candles_come_back(exchange: Any) -> None:
    since = to_ms("2026-09-01")
    rows = await exchange.fetch_ohlcv("SOL/USDT:USDT", "5m", since=since, limit=1000)
    assert [row[0] for row in rows] == [since + step * 300_000 for step in range(1000)]
    assert all(low <= min(first, last) <= max(first, last) <= high for _, first, high, low, last, _ in rows)


async def test_open_interest_history_is_sorted_by_ccxt(exchange: Any) -> None:
    rows = await exchange.fetch_open_interest_history("BTC/USDT:USDT", "5m", since=NOW - DAY, limit=100)
    times = [row["timestamp"] for row in rows]
    assert len(times) == 100
    assert times == sorted(times)
    assert all(row["openInterestAmount"] > 0 for row in rows)
    with pytest.raises(ccxt.BadRequest, match="startTime"):
        await exchange.fetch_open_interest_history("BTC/USDT:USDT", "5m", since=NOW - 35 * DAY)


async def test_funding_history_comes_back(exchange: Any) -> None:
    rows = await exchange.fetch_funding_rate_history("ALICE/USDT:USDT", since=to_ms("2026-07-19T08:00"), limit=5)
    assert [round((row["timestamp"] - rows[0]["timestamp"]) / HOUR) for row in rows] == [0, 8, 16, 20, 24]
    with pytest.raises(ccxt.ExchangeError, match="000002"):
        await exchange.fetch_funding_rate_history("BTC/USDT:USDT", limit=1001)


async def test_implicit_statistics_come_back(exchange: Any) -> None:
    query = {"symbol": "BTCUSDT", "period": "5m", "limit": 500}
    for method in ("TopLongShortPositionRatio", "TopLongShortAccountRatio", "GlobalLongShortAccountRatio"):
        rows = await getattr(exchange, f"fapiDataGet{method}")(query)
        assert len(rows) == 500
        assert set(rows[0]) == {"symbol", "longAccount", "longShortRatio", "shortAccount", "timestamp"}
    taker = await exchange.fapiDataGetTakerlongshortRatio(query)
    assert set(taker[0]) == {"buySellRatio", "sellVol", "buyVol", "timestamp"}


async def test_errors_become_ccxts(exchange: Any, market: Handle) -> None:
    with pytest.raises(ccxt.BadSymbol):
        await exchange.fapiPublicGetKlines({"symbol": "NOPE", "interval": "5m"})
    with pytest.raises(ccxt.BadRequest):
        await exchange.fapiPublicGetKlines({"symbol": "BTCUSDT", "interval": "7m"})
    assert await exchange.fetch_time() == NOW
