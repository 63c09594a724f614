"""Rows as the exchange writes them: text fields with native millisecond times, before REST or archive dress them.

A `Feed` gives rows by symbol and half-open time range; `SyntheticFeed` renders the synthetic market,
`simulator.recorded.RecordedFeed` reads files, `simulator.corruption.CorruptedFeed` spoils the rows of another feed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from simulator.grid import HOUR
from simulator.klines import KINDS, TRADED, KlineRow, decimals, signed_decimals
from simulator.market import (
    BUY,
    GLOBAL_ACCOUNT,
    OPEN_INTEREST,
    RATIO_SCALE,
    SELL,
    TIME,
    TOP_ACCOUNT,
    TOP_POSITION,
    VALUE,
    Market,
)  # fmt: skip
from simulator.quirks import MARK_PRICE_FROM, Quirk, find
from simulator.randomness import hashed, uniform
from simulator.symbols import CONTRACTS, NO_DELIVERY, Contract


class MetricRow(NamedTuple):
    """One 5-minute instant: what the archive's metrics file holds, and the volumes that REST alone gives."""

    time: int
    open_interest: str
    value: str
    top_account: str
    top_position: str
    global_account: str
    taker_ratio: str
    buy: str
    sell: str


class FundingRow(NamedTuple):
    """One settlement; `time` with the exchange's jitter, `mark` empty where the exchange gives none."""

    time: int
    rate: str
    mark: str
    interval_hours: int


class Feed(Protocol):
    """Rows by symbol and half-open range of open time, instant or settlement time; ascending."""

    contracts: Sequence[Contract]

    def kline_rows(
        self, contract: Contract, interval: str, start: int, end: int, now: int | None, kind: str = TRADED
    ) -> list[KlineRow]:
        """Candles whose open time lies in `[start, end)`; `now` leaves the running candle unclosed."""

    def metric_rows(self, contract: Contract, start: int, end: int) -> list[MetricRow]:
        """5-minute statistics whose instant lies in `[start, end)`."""

    def funding_rows(self, contract: Contract, start: int, end: int) -> list[FundingRow]:
        """Settlements whose time (jitter included) lies in `[start, end)`."""


class SyntheticFeed:
    """Rows of the synthetic market, with the quirks that live in the data itself (zero or blank open interest)."""

    def __init__(self, seed: int, quirks: Sequence[Quirk] = (), contracts: Sequence[Contract] = CONTRACTS) -> None:
        self.contracts = contracts
        self.market = Market(seed, contracts=len(contracts))
        self.quirks = quirks
        self._jitters = any(quirk.name == "jitter" for quirk in quirks)
        self._blanks_marks = any(quirk.name == "blank_mark_price" for quirk in quirks)

    def kline_rows(
        self, contract: Contract, interval: str, start: int, end: int, now: int | None, kind: str = TRADED
    ) -> list[KlineRow]:
        """Candles whose open time lies in `[start, end)`; `now` leaves the running candle unclosed."""
        rows = KINDS[kind].rows(self.market, contract, interval, start, end, now)
        for quirk in find(self.quirks, "no_candles", kind, contract.symbol, start, end):
            rows = [row for row in rows if not (quirk.start <= int(row[0]) and int(row[6]) < quirk.end)]
        return rows

    def metric_rows(self, contract: Contract, start: int, end: int) -> list[MetricRow]:
        """5-minute statistics whose instant lies in `[start, end)`, zero and blank runs applied."""
        block = self.market.metrics(contract, start, end)
        price, size = contract.price_decimals, contract.quantity_decimals
        taker_ratio = np.rint(block[BUY] / block[SELL] * RATIO_SCALE).astype(np.int64)
        columns = (
            block[TIME].tolist(),
            decimals(block[OPEN_INTEREST], size),
            decimals(block[VALUE], price + size),
            *(decimals(block[row], 8) for row in (TOP_ACCOUNT, TOP_POSITION, GLOBAL_ACCOUNT)),
            decimals(taker_ratio, 8),
            decimals(block[BUY], size),
            decimals(block[SELL], size),
        )
        rows = [MetricRow(*row) for row in zip(*columns, strict=True)]
        return self._with_lost_open_interest(contract, rows, start, end)

    def _with_lost_open_interest(
        self, contract: Contract, rows: list[MetricRow], start: int, end: int
    ) -> list[MetricRow]:
        for quirk in find(self.quirks, ("zero_all", "zero_value", "blank"), "metrics", contract.symbol, start, end):
            lost = {"zero_all": ("0", "0"), "blank": ("", "")}.get(quirk.name)
            for index, row in enumerate(rows):
                if quirk.start <= row.time < quirk.end:
                    amount, value = lost or (row.open_interest, "0")
                    rows[index] = row._replace(open_interest=amount, value=value)
        return rows

    def funding_rows(self, contract: Contract, start: int, end: int) -> list[FundingRow]:
        """Settlements whose time (jitter included) lies in `[start, end)`."""
        if contract.delivery < NO_DELIVERY:
            return []
        grid = np.array(settlements(contract, start - 1000, end), dtype=np.int64)
        jitter = (hashed(self.market.seed, contract.number, "jitter", grid) % np.uint64(18)).astype(np.int64)
        times = grid + (jitter if self._jitters else 0)
        grid, times = grid[(times >= start) & (times < end)], times[(times >= start) & (times < end)]
        spread = uniform(self.market.seed, contract.number, "funding", grid) * 2 - 1
        rates = np.where(np.abs(spread) < 0.25, 10_000, np.rint((0.4 + spread) * 20_000)).astype(np.int64)
        return [
            FundingRow(time, rate, self._mark(contract, settled), contract.interval_hours(settled))
            for time, settled, rate in zip(times.tolist(), grid.tolist(), signed_decimals(rates, 8), strict=True)
        ]

    def _mark(self, contract: Contract, settled: int) -> str:
        """The mark price at a settlement, eight decimals, a touch off the traded price."""
        if self._blanks_marks and settled < MARK_PRICE_FROM:
            return ""
        traded = self.market.price_at(contract, settled) * 10 ** (8 - contract.price_decimals)
        shift = int(hashed(self.market.seed, contract.number, "mark", np.array([settled]))[0]) % 4001 - 2000
        return decimals(np.array([traded + traded * shift // 10_000_000]), 8)[0]


def settlements(contract: Contract, start: int, end: int) -> list[int]:
    """The funding settlements of a contract on the hour grid in `[start, end)`, after its schedule."""
    first = contract.funding_from or contract.listed + 1
    start, end = max(start, first), min(end, contract.ends)
    times: list[int] = []
    schedule = [*contract.funding, (end, 0)]
    for (since, hours), (until, _) in zip(schedule, schedule[1:], strict=False):
        step = hours * HOUR
        # A change counts after its instant: the settlement at `until` still closes an old interval.
        at = -(-max(start, since + 1) // step) * step
        times.extend(range(at, min(end, until + 1), step))
    return sorted(set(times))
