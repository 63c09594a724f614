"""`GET /fapi/v1/tradingSchedule`: a week of sessions of the markets that TradFi contracts follow, from the day before.

Shares: overnight, pre-market, regular and after hours on weekdays, nothing at weekends. Commodities: open on weekdays
but for the last hour of the day. Days are UTC, without daylight saving; sessions do not touch the contracts' prices.
"""

from __future__ import annotations

from simulator.grid import DAY, HOUR, MINUTE, to_datetime

_EQUITY = (
    ("OVERNIGHT", 0, 8 * HOUR),
    ("PRE_MARKET", 8 * HOUR, 13 * HOUR + 30 * MINUTE),
    ("REGULAR", 13 * HOUR + 30 * MINUTE, 20 * HOUR),
    ("AFTER_MARKET", 20 * HOUR, DAY),
)
_COMMODITY = (("REGULAR", 0, 23 * HOUR), ("NO_TRADING", 23 * HOUR, DAY))
_WEEKEND = (("NO_TRADING", 0, DAY),)
_DAYS = 7
_SATURDAY = 5


def trading_schedule(now: int) -> dict[str, object]:
    """The whole answer at `now` (ms UTC)."""
    yesterday = now // DAY * DAY - DAY
    days = [yesterday + number * DAY for number in range(_DAYS)]
    markets = {"EQUITY": _EQUITY, "COMMODITY": _COMMODITY}
    return {
        "updateTime": now,
        "marketSchedules": {
            market: {"sessions": [session for day in days for session in _sessions(day, weekday)]}
            for market, weekday in markets.items()
        },
    }


def _sessions(day: int, weekday: tuple[tuple[str, int, int], ...]) -> list[dict[str, object]]:
    parts = _WEEKEND if to_datetime(day).weekday() >= _SATURDAY else weekday
    return [{"startTime": day + start, "endTime": day + end, "type": kind} for kind, start, end in parts]
