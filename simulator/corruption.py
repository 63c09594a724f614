"""Rows spoiled on request, the same way in the archive (with a checksum that fits) and on REST.

With `only=archive` REST gives them as they are: that is the first issue of a file, and removing the fault the next one.

A corruption names dataset (a kind of klines, `metrics` ...), symbol, UTC date, optionally interval, what to do,
and to how many rows (`count`, default 3). The rows are those from a quarter of the day on (06:00; of daily candles the
day's only row), so they are known beforehand whatever page or file is asked for. With `probability` they are that share
of the whole day's rows instead, drawn by the seed and each row's time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

import numpy as np

from simulator.feed import Feed, FundingRow, MetricRow
from simulator.grid import DAY, FIVE_MINUTES, MINUTE, longest, to_ms
from simulator.klines import KINDS, TRADED, KlineRow
from simulator.randomness import uniform
from simulator.symbols import BY_SYMBOL, Contract

Row = TypeVar("Row")

# Off-grid rows lie this far behind their instant: more than the tolerance of any dataset.
OFF_GRID_MS = 137_000


@dataclass(frozen=True, slots=True)
class Corruption:
    """One spoiled stretch: `count` rows of `dataset` of `symbol` on the UTC day starting at `day`."""

    id: int
    dataset: str
    symbol: str
    day: int
    what: str
    interval: str | None = None
    count: int = 3
    probability: float = 1.0
    seed: int = 0
    archive_only: bool = False

    def covers(self, time: int, step: int) -> bool:
        """Whether the row at `time` of a series with rows `step` apart is spoiled."""
        if self.probability < 1:
            chance = uniform(self.seed, self.id, "corrupt", np.array([time], dtype=np.int64))
            return self.day <= time < self.day + DAY and float(chance[0]) < self.probability
        if self.what in (*WHOLE_DAY, "missing"):
            return self.day <= time < self.day + DAY
        first = self.day + max(DAY // step // 4, 0) * step
        return first <= time < first + self.count * step and time < self.day + DAY


def _set(row: KlineRow, **fields: str) -> KlineRow:
    values = list(row)
    for name, value in fields.items():
        values[_KLINE_FIELDS[name]] = value
    return tuple(values)


_KLINE_FIELDS = {
    "time": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5, "close_time": 6, "quote": 7, "trades": 8,
    "taker": 9, "taker_quote": 10,
}  # fmt: skip


def _times(row: KlineRow, factor: str, *names: str) -> KlineRow:
    """The row with some of its fields multiplied."""
    return _set(row, **{name: _scaled(row[_KLINE_FIELDS[name]], factor) for name in names})


def _below(text: str) -> str:
    """Three percent less and a digit at least, also of a premium, which may be negative or next to nothing."""
    value = Decimal(text)
    digit = Decimal(1).scaleb(int(value.as_tuple().exponent))
    return f"{(value - max(abs(value) * Decimal('0.03'), digit)).quantize(digit):f}"


def _scaled(text: str, factor: str) -> str:
    value = Decimal(text) * Decimal(factor)
    return f"{value.quantize(Decimal(text))}"


def _inverted(text: str) -> str:
    return f"{(1 / Decimal(text)).quantize(Decimal(text))}"


KLINE_EDITS: dict[str, Callable[[KlineRow], list[KlineRow]]] = {
    "high_below_low": lambda row: [_set(row, high=_below(row[3]))],
    "negative_volume": lambda row: [_set(row, volume=f"-{row[5]}")],
    "taker_above_volume": lambda row: [_set(row, taker=_scaled(row[5], "1.5"))],
    "nan_price": lambda row: [_set(row, close="NaN")],
    "zero_price": lambda row: [_set(row, low="0")],
    "price_spike": lambda row: [_set(row, high=_scaled(row[2], "3"), close=_scaled(row[4], "3"))],
    "off_grid_time": lambda row: [_set(row, time=str(int(row[0]) + OFF_GRID_MS))],
    "conflicting_duplicate": lambda row: [row, _set(_times(row, "2", "volume", "quote"), close=row[3])],
    "missing": lambda row: [],
    "revised": lambda row: [_set(row, close=row[3] if row[4] != row[3] else row[2])],
    "null_open": lambda row: [_set(row, open="")],
    "null_close": lambda row: [_set(row, close="")],
    "null_volume": lambda row: [_set(row, volume="")],
    "null_trades": lambda row: [_set(row, trades="")],
    "swapped_high_low": lambda row: [_set(row, high=row[3], low=row[2])],
    "negative_price": lambda row: [_set(row, close=f"-{row[4]}")],
    "infinite_price": lambda row: [_set(row, high="Infinity")],
    "lone_close": lambda row: [_set(row, close=_scaled(row[4], "1.4"), high=_scaled(row[2], "1.4"))],
    "lone_wick": lambda row: [_set(row, high=_scaled(row[2], "2"))],
    "short_wick": lambda row: [_set(row, high=_scaled(row[2], "1.02"))],
    "price_unit": lambda row: [_times(row, "1000", "open", "high", "low", "close")],
    "volume_unit": lambda row: [_times(row, "1000", "volume", "taker")],
    "quote_unit": lambda row: [_times(row, "0.001", "quote")],
    "taker_quote_unit": lambda row: [_times(row, "0.001", "taker_quote")],
    "amounts_unit": lambda row: [_times(row, "1000", "volume", "quote", "taker", "taker_quote")],
    "no_trades": lambda row: [_set(row, trades="0")],
    "another_timeframe": lambda row: [_set(row, close_time=str(int(row[0]) + MINUTE - 1))],
    "hundredfold": lambda row: [_times(row, "10000", "open", "high", "low", "close")],
}
# What is done to prices alone can be done to every kind of kline.
PRICE_EDITS = (
    "high_below_low", "nan_price", "off_grid_time", "missing", "revised", "all_same_value", "null_open", "null_close",
    "swapped_high_low", "infinite_price", "lone_close", "price_unit", "another_timeframe", "hundredfold",
)  # fmt: skip
METRIC_EDITS: dict[str, Callable[[MetricRow], list[MetricRow]]] = {
    "negative_value": lambda row: [row._replace(open_interest=f"-{row.open_interest}")],
    "nan_value": lambda row: [row._replace(open_interest="NaN", top_account="NaN")],
    "negative_ratio": lambda row: [row._replace(top_account=f"-{row.top_account}")],
    "blank_ratio": lambda row: [row._replace(top_account="")],
    "value_spike": lambda row: [row._replace(open_interest=_scaled(row.open_interest, "50"))],
    "off_grid_time": lambda row: [row._replace(time=row.time + OFF_GRID_MS)],
    "conflicting_duplicate": lambda row: [
        row,
        row._replace(open_interest=_scaled(row.open_interest, "2"), top_account=_scaled(row.top_account, "2")),
    ],
    "missing": lambda row: [],
    # The price that the two amount to stays what it is.
    "revised": lambda row: [
        row._replace(
            open_interest=_scaled(row.open_interest, "1.01"),
            value=_scaled(row.value, "1.01"),
            top_account=_scaled(row.top_account, "1.01"),
        )
    ],
    "amount_unit": lambda row: [row._replace(open_interest=_scaled(row.open_interest, "1000"))],
    "value_unit": lambda row: [row._replace(value=_scaled(row.value, "0.001"))],
    "both_units": lambda row: [
        row._replace(open_interest=_scaled(row.open_interest, "1000"), value=_scaled(row.value, "1000"))
    ],
    "ratio_spike": lambda row: [row._replace(top_account=_scaled(row.top_account, "5"))],
    "ratio_turned": lambda row: [row._replace(global_account=_inverted(row.global_account))],
}
FUNDING_EDITS: dict[str, Callable[[FundingRow], list[FundingRow]]] = {
    "absurd_rate": lambda row: [row._replace(rate="5.00000000")],
    "nan_value": lambda row: [row._replace(rate="NaN")],
    "off_grid_time": lambda row: [row._replace(time=row.time + OFF_GRID_MS)],
    "conflicting_duplicate": lambda row: [row, row._replace(rate="0.00470000")],
    "missing": lambda row: [],
    "revised": lambda row: [row._replace(rate=f"{Decimal(row.rate) + Decimal('0.00000100')}")],
    "per_cent": lambda row: [row._replace(rate=_scaled(row.rate, "100"))],
    "other_sign": lambda row: [row._replace(rate=f"{-Decimal(row.rate)}")],
    "mark_unit": lambda row: [row._replace(mark=row.mark and _scaled(row.mark, "1000"))],
}
# Rows that say what other rows of the feed say: of which contract (None: the same), and how many rows before.
BORROWED: dict[str, tuple[str | None, int]] = {
    "shifted": (None, 1), "other_symbol": ("ETHUSDT", 0), "other_small_symbol": ("ALICEUSDT", 0),
}  # fmt: skip
# Done to the whole series instead of row by row; label_shift moves archive labels only.
WHOLE_DAY = ("all_same_value", "label_shift")
EDITS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(KINDS, (*PRICE_EDITS, *BORROWED)),
    TRADED: (*KLINE_EDITS, *BORROWED, "all_same_value"),
    "metrics": (*METRIC_EDITS, *BORROWED, *WHOLE_DAY),
    "fundingRate": (*FUNDING_EDITS, "all_same_value"),
}


def parse_corruption(number: int, spec: dict[str, object], probability: float, seed: int) -> Corruption:
    """A corruption out of a fault's JSON; ValueError names what is wrong."""
    dataset, what = str(spec.get("dataset")), str(spec.get("what"))
    if what not in EDITS.get(dataset, ()):
        raise ValueError(f"corrupt_rows: no {what!r} for dataset {dataset!r}; there is {EDITS}")
    if what in WHOLE_DAY and probability < 1:
        raise ValueError(f"corrupt_rows: {what!r} is done to a whole day, it takes no probability")
    interval, only = spec.get("interval"), spec.get("only")
    if only not in (None, "archive"):
        raise ValueError(f"corrupt_rows: only={only!r}; there is archive")
    return Corruption(
        number, dataset, str(spec["symbol"]), to_ms(str(spec["date"])), what,
        str(interval) if interval else None, int(str(spec.get("count", 3))), probability, seed, only is not None,
    )  # fmt: skip


class CorruptedFeed:
    """Another feed with corruptions on top; without any it costs nothing."""

    def __init__(self, feed: Feed, corruptions: list[Corruption] | None = None, *, archived: bool = False) -> None:
        self.feed = feed
        self.contracts: Sequence[Contract] = feed.contracts
        self.corruptions: list[Corruption] = [] if corruptions is None else corruptions
        self._archived = archived

    def as_archived(self) -> CorruptedFeed:
        """The same as the archive has it: with the corruptions that are its own."""
        return CorruptedFeed(self.feed, self.corruptions, archived=True)

    def matching(
        self, dataset: str, symbol: str, start: int, end: int, interval: str | None = None
    ) -> list[Corruption]:
        """The corruptions that touch `[start, end)` of a series, label shifts included."""
        return [
            spoil
            for spoil in self.corruptions
            if (spoil.dataset, spoil.symbol) == (dataset, symbol)
            and (self._archived or not spoil.archive_only)
            and spoil.interval in (None, interval)
            and spoil.day < end
            and start < spoil.day + DAY
        ]

    def kline_rows(
        self, contract: Contract, interval: str, start: int, end: int, now: int | None, kind: str = TRADED
    ) -> list[KlineRow]:
        """The feed's candles, spoiled."""
        rows = self.feed.kline_rows(contract, interval, start, end, now, kind)
        for spoil in self.matching(kind, contract.symbol, start, end, interval):
            if spoil.what == "all_same_value":
                model = self.feed.kline_rows(contract, interval, spoil.day, spoil.day + DAY, None, kind)[:1]
                rows = [_like(row, model[0]) if spoil.covers(int(row[0]), DAY) else row for row in rows]
            elif spoil.what in BORROWED:
                step = longest(interval)
                rows = [
                    _like(row, self._lent_kline(contract, spoil, interval, int(row[0]), kind))
                    if spoil.covers(int(row[0]), step)
                    else row
                    for row in rows
                ]
            else:
                rows = _edited(rows, KLINE_EDITS[spoil.what], spoil, lambda row: int(row[0]), longest(interval))
        return rows

    def metric_rows(self, contract: Contract, start: int, end: int) -> list[MetricRow]:
        """The feed's 5-minute statistics, spoiled (label shifts apart, which are the archive's)."""
        rows = self.feed.metric_rows(contract, start, end)
        for spoil in self.matching("metrics", contract.symbol, start, end):
            if spoil.what == "all_same_value":
                model = self.feed.metric_rows(contract, spoil.day, spoil.day + DAY)[0]
                rows = [model._replace(time=row.time) if spoil.covers(row.time, DAY) else row for row in rows]
            elif spoil.what in BORROWED:
                rows = [
                    self._lent_metric(contract, spoil, row.time)._replace(time=row.time)
                    if spoil.covers(row.time, FIVE_MINUTES)
                    else row
                    for row in rows
                ]
            elif spoil.what != "label_shift":
                rows = _edited(rows, METRIC_EDITS[spoil.what], spoil, lambda row: row.time, FIVE_MINUTES)
        return rows

    def _lent_kline(self, contract: Contract, spoil: Corruption, interval: str, time: int, kind: str) -> KlineRow:
        lender, before = BORROWED[spoil.what]
        at = time - before * longest(interval)
        return self.feed.kline_rows(BY_SYMBOL[lender] if lender else contract, interval, at, at + 1, None, kind)[0]

    def _lent_metric(self, contract: Contract, spoil: Corruption, time: int) -> MetricRow:
        lender, before = BORROWED[spoil.what]
        at = time - before * FIVE_MINUTES
        return self.feed.metric_rows(BY_SYMBOL[lender] if lender else contract, at, at + 1)[0]

    def funding_rows(self, contract: Contract, start: int, end: int) -> list[FundingRow]:
        """The feed's settlements, spoiled."""
        rows = self.feed.funding_rows(contract, start, end)
        for spoil in self.matching("fundingRate", contract.symbol, start, end):
            if spoil.what == "all_same_value":
                rows = [row._replace(rate="0.00030000") if spoil.covers(row.time, DAY) else row for row in rows]
            else:
                # A step of a day: the first settlement(s) of that day, whatever the interval.
                rows = _edited(rows, FUNDING_EDITS[spoil.what], spoil, lambda row: row.time // 1000 * 1000, DAY)
        return rows

    def shifts_labels(self, symbol: str, day: int) -> bool:
        """Whether the archive's metrics file of that day labels rows with the end of their five minutes."""
        return any(spoil.what == "label_shift" for spoil in self.matching("metrics", symbol, day, day + DAY))


def _like(row: KlineRow, model: KlineRow) -> KlineRow:
    """The model's values at the row's times."""
    return (row[0], *model[1:6], row[6], *model[7:])


def _edited(
    rows: Iterable[Row], edit: Callable[[Row], list[Row]], spoil: Corruption, time: Callable[[Row], int], step: int
) -> list[Row]:
    result: list[Row] = []
    for row in rows:
        result += edit(row) if spoil.covers(time(row), step) else [row]
    return result
