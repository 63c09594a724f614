"""What the market says at an instant between two candles: price, mark price with funding, the last 24 hours.

Inside a minute the price goes straight from the candle's open to its close, so it never leaves the candle. REST's
premiumIndex and the streams' mark price are the same function of time.
"""

from __future__ import annotations

from typing import NamedTuple

from simulator.feed import Feed
from simulator.grid import DAY, FIVE_MINUTES, HOUR, MINUTE
from simulator.klines import KlineRow
from simulator.symbols import Contract


class Premium(NamedTuple):
    """Mark price and funding of a contract as text; delivery contracts have neither rate nor settlement (0)."""

    mark: str
    index_price: str
    settle: str
    rate: str
    next_funding: int


class DayStatistics(NamedTuple):
    """Open, high, low, volume, quote volume and trades of the five-minute candles of the last 24 hours."""

    open: float
    high: float
    low: float
    volume: float
    quote_volume: float
    trades: int


def minute_ends(feed: Feed, contract: Contract, minute: int) -> tuple[float, float]:
    """Open and close of the candle that opens at `minute`; the contract's usual price where there is none."""
    rows = feed.kline_rows(contract, "1m", minute, minute + 1, None)
    return (float(rows[0][1]), float(rows[0][4])) if rows else (contract.price, contract.price)


def premium(feed: Feed, contract: Contract, at: int) -> Premium:
    """Mark price and coming settlement at an instant, read from the feed."""
    return _premium(_between(minute_ends(feed, contract, at // MINUTE * MINUTE), at), _coming(feed, contract, at))


def _between(ends: tuple[float, float], at: int) -> float:
    return ends[0] + (ends[1] - ends[0]) * (at % MINUTE) / MINUTE


def _coming(feed: Feed, contract: Contract, at: int) -> tuple[str, int]:
    """The running estimate of the rate, and the time, of the next settlement."""
    coming = feed.funding_rows(contract, at + 1, at + 9 * HOUR)[:1]
    return (coming[0].rate, coming[0].time // MINUTE * MINUTE) if coming else ("", 0)


def _premium(price: float, coming: tuple[str, int]) -> Premium:
    return Premium(f"{price:.8f}", f"{price * 0.9997:.8f}", f"{price * 0.9998:.8f}", *coming)


class Quotes:
    """The same for many instants of one minute: the candle and the coming settlement are read once per minute."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self._minutes: dict[str, tuple[int, tuple[float, float], tuple[str, int]]] = {}
        self._days: dict[str, tuple[int, DayStatistics]] = {}

    def _minute(self, contract: Contract, at: int) -> tuple[int, tuple[float, float], tuple[str, int]]:
        minute = at // MINUTE * MINUTE
        known = self._minutes.get(contract.symbol)
        if known is None or known[0] != minute:
            known = minute, minute_ends(self.feed, contract, minute), _coming(self.feed, contract, minute + MINUTE - 1)
            self._minutes[contract.symbol] = known
        return known

    def price(self, contract: Contract, at: int) -> float:
        """The price at an instant."""
        return _between(self._minute(contract, at)[1], at)

    def premium(self, contract: Contract, at: int) -> Premium:
        """Mark price and coming settlement at an instant."""
        _, ends, coming = self._minute(contract, at)
        return _premium(_between(ends, at), coming)

    def day(self, contract: Contract, at: int) -> DayStatistics:
        """The 24 hours before the last five-minute mark."""
        until = at // FIVE_MINUTES * FIVE_MINUTES
        known = self._days.get(contract.symbol)
        if known is None or known[0] != until:
            known = until, _statistics(contract, self.feed.kline_rows(contract, "5m", until - DAY, until, None))
            self._days[contract.symbol] = known
        return known[1]


def _statistics(contract: Contract, rows: list[KlineRow]) -> DayStatistics:
    if not rows:
        return DayStatistics(contract.price, contract.price, contract.price, 0.0, 0.0, 0)
    return DayStatistics(
        float(rows[0][1]), max(float(row[2]) for row in rows), min(float(row[3]) for row in rows),
        sum(float(row[5]) for row in rows), sum(float(row[7]) for row in rows), sum(int(row[8]) for row in rows),
    )  # fmt: skip
