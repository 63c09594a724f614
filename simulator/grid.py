"""The exchange's time grid: intervals, candle starts, days and months, all in integer milliseconds UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

SECOND = 1_000
MINUTE = 60 * SECOND
FIVE_MINUTES = 5 * MINUTE
HOUR = 60 * MINUTE
DAY = 24 * HOUR

FIXED_INTERVALS: dict[str, int] = {
    "1m": MINUTE, "3m": 3 * MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE,
    "1h": HOUR, "2h": 2 * HOUR, "4h": 4 * HOUR, "6h": 6 * HOUR, "8h": 8 * HOUR, "12h": 12 * HOUR,
    "1d": DAY, "3d": 3 * DAY,
}  # fmt: skip
KLINE_INTERVALS: tuple[str, ...] = (*FIXED_INTERVALS, "1w", "1M")
STATISTIC_PERIODS: dict[str, int] = {
    period: FIXED_INTERVALS[period] for period in ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
}
# 1970-01-01 was a Thursday; weekly candles start on Monday.
_FIRST_MONDAY = 4 * DAY
_LONGEST = {"1w": 7 * DAY, "1M": 31 * DAY}


def to_ms(moment: datetime | date | str) -> int:
    """Milliseconds UTC of an aware datetime, a date (its midnight) or an ISO string (naive means UTC)."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def to_datetime(ms: int) -> datetime:
    """The aware UTC datetime of a millisecond time, exact to the millisecond."""
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)


def to_date(ms: int) -> date:
    """The UTC day that a millisecond time falls on."""
    return to_datetime(ms).date()


def longest(interval: str) -> int:
    """The longest that one candle of `interval` can last, in milliseconds (a month: 31 days)."""
    return FIXED_INTERVALS.get(interval) or _LONGEST[interval]


def candle_starts(interval: str, times: Ints) -> Ints:
    """The open time of the candle of `interval` that each time falls in; shape as given."""
    if interval in FIXED_INTERVALS:
        return times - times % FIXED_INTERVALS[interval]
    if interval == "1w":
        return times - (times - _FIRST_MONDAY) % (7 * DAY)
    return times.astype("datetime64[ms]").astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)


def candle_start(interval: str, time: int) -> int:
    """The open time of the candle of `interval` that holds `time`."""
    return int(candle_starts(interval, np.array([time], dtype=np.int64))[0])


def candle_ends(interval: str, starts: Ints) -> Ints:
    """Where each candle ends (exclusive), given its open time; shape as given."""
    if interval != "1M":
        return starts + longest(interval)
    return candle_starts("1M", starts + 31 * DAY)


def candle_end(interval: str, time: int) -> int:
    """The exclusive end of the candle of `interval` that holds `time`."""
    starts = candle_starts(interval, np.array([time], dtype=np.int64))
    return int(candle_ends(interval, starts)[0])


def month_bounds(month: str) -> tuple[int, int]:
    """First millisecond of `YYYY-MM` and of the month after it."""
    first = to_ms(f"{month}-01")
    return first, candle_end("1M", first)


def months_between(first: int, last: int) -> list[str]:
    """`YYYY-MM` of every month that `[first, last)` touches, ascending."""
    months, at = [], candle_start("1M", first)
    while at < last:
        months.append(f"{to_date(at):%Y-%m}")
        at = candle_end("1M", at)
    return months
