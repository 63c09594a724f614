"""What a correct collector would have stored, computed from the seed without a server: tests compare whole tables.

Rows are tuples of typed values in the column order of each method's docstring, ascending, over half-open ranges of
aware UTC datetimes; floats are what the exchange's decimal text parses to. Symbols in exchange form (`SOLUSDT`).
`source` is `"archive"`, `"archive_monthly"` (monthly kline files alone) or `"rest"`. What lies beyond a source's reach
in time (not yet published, more than 30 days old on REST) is the caller's business: see `published`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from simulator.archive import SyntheticArchive
from simulator.corruption import CorruptedFeed
from simulator.feed import MetricRow, SyntheticFeed, settlements
from simulator.grid import FIVE_MINUTES, HOUR, longest, to_datetime, to_ms
from simulator.klines import KINDS, TRADED
from simulator.market import (
    CLOSE,
    COUNT,
    HIGH,
    LOW,
    OPEN,
    OPEN_INTEREST,
    QUOTE,
    TAKER,
    TAKER_QUOTE,
    TIME,
    VALUE,
    VOLUME,
)  # fmt: skip
from simulator.quirks import NO_OPEN_INTEREST, QUIRKS, find, instants, without_archive_row
from simulator.quotes import premium
from simulator.statistics import long_share, rounded
from simulator.symbols import BY_SYMBOL, Contract

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: The kind of kline by Perpflow's name of the dataset.
CANDLES = {"ohlcv": TRADED, "mark_price": "markPriceKlines", "premium_index": "premiumIndexKlines"}

PriceCandleRow = tuple[datetime, float, float, float, float]
OhlcvRow = tuple[datetime, float, float, float, float, float, float, int, float, float]
OpenInterestRow = tuple[datetime, float, float]
FundingRateRow = tuple[datetime, float, float | None, int]
LongShortRow = tuple[
    datetime, float | None, float | None, float | None, float | None, float | None, float | None, float | None,
    float | None, float | None,
]  # fmt: skip
# The metrics field of each series of ratios.
_RATIOS = {
    "top_position": "top_position", "top_account": "top_account", "global_account": "global_account",
    "taker_volume": "taker_ratio",
}  # fmt: skip


class Truth:
    """The tables of one seed; `quirks` False for a server started with `--no-quirks`."""

    def __init__(self, seed: int = 7, *, quirks: bool = True) -> None:
        self.quirks = QUIRKS if quirks else ()
        self._feed = SyntheticFeed(seed, self.quirks)
        self._archive = SyntheticArchive(CorruptedFeed(self._feed), seed, self.quirks)

    def ohlcv(self, symbol: str, timeframe: str, start: datetime, end: datetime) -> list[OhlcvRow]:
        """Closed candles by open time: (time, open, high, low, close, volume, quote_volume, trade_count,
        taker_buy_volume, taker_buy_quote_volume). Bound `end` yourself by what had closed."""
        contract = BY_SYMBOL[symbol]
        block = self._feed.market.candles(contract, timeframe, to_ms(start), to_ms(end))
        price, size = contract.price_decimals, contract.quantity_decimals
        scaled = {row: price for row in (OPEN, HIGH, LOW, CLOSE)} | {VOLUME: size, TAKER: size}
        scaled |= {QUOTE: price + size, TAKER_QUOTE: price + size}
        columns: list[list[datetime] | list[float] | list[int]] = [_times(block[TIME].tolist())]
        for row in (OPEN, HIGH, LOW, CLOSE, VOLUME, QUOTE, COUNT, TAKER, TAKER_QUOTE):
            columns.append(_floats(block[row].tolist(), scaled[row]) if row in scaled else block[row].tolist())
        return list(zip(*columns, strict=True))

    def price_candles(
        self, dataset: str, symbol: str, timeframe: str, start: datetime, end: datetime
    ) -> list[PriceCandleRow]:
        """Of a kind of candles without volumes: (time, open, high, low, close), otherwise as `ohlcv`."""
        contract, kind = BY_SYMBOL[symbol], CANDLES[dataset]
        rows = self._feed.kline_rows(contract, timeframe, to_ms(start), to_ms(end), None, kind)
        return [
            (to_datetime(int(time)), float(first), float(high), float(low), float(last))
            for time, first, high, low, last, *_ in rows
        ]

    def open_interest(
        self, symbol: str, start: datetime, end: datetime, source: str | None = None
    ) -> list[OpenInterestRow]:
        """(time, open_interest, open_interest_value); zero and blank points are no points.

        With a source named, the points which that source lacks are left out too.
        """
        contract, first, last = BY_SYMBOL[symbol], to_ms(start), to_ms(end)
        block = self._feed.market.metrics(contract, first, last)
        lost = set(self._lost(contract, "open_interest", source, first, last))
        columns = (
            block[TIME].tolist(),
            _floats(block[OPEN_INTEREST].tolist(), contract.quantity_decimals),
            _floats(block[VALUE].tolist(), contract.price_decimals + contract.quantity_decimals),
        )
        return [
            (to_datetime(time), amount, value) for time, amount, value in zip(*columns, strict=True) if time not in lost
        ]

    def funding_rate(self, symbol: str, start: datetime, end: datetime) -> list[FundingRateRow]:
        """(time on the hour, funding_rate, mark_price or None, interval_hours of the interval that ends there)."""
        contract = BY_SYMBOL[symbol]
        rows = self._feed.funding_rows(contract, to_ms(start), to_ms(end))
        return [
            (
                to_datetime(row.time // HOUR * HOUR),
                float(row.rate),
                float(row.mark) if row.mark else None,
                row.interval_hours,
            )
            for row in rows
        ]

    def long_short_ratio(
        self, symbol: str, start: datetime, end: datetime, source: str = "archive"
    ) -> list[LongShortRow]:
        """(time, top_position, top_account, global_account, taker_volume, top_position_long_share,
        top_account_long_share, global_account_long_share, taker_buy_volume, taker_sell_volume).

        Ratios have eight decimals from the archive and four from REST; the last five are None from the archive.
        Instants which the source lacks are left out; a single ratio that it lacks is None.
        """
        contract, first, last = BY_SYMBOL[symbol], to_ms(start), to_ms(end)
        lost = set(self._lost(contract, "long_short_ratio", source, first, last))
        blank = self._blank_ratios(contract, first, last) if source == "archive" else {}
        return [
            _rest_ratios(row) if source == "rest" else _archive_ratios(row, blank.get(row.time, set()))
            for row in self._feed.metric_rows(contract, first, last)
            if row.time not in lost
        ]

    def _blank_ratios(self, contract: Contract, start: int, end: int) -> dict[int, set[str]]:
        """The metrics fields that are blank in the archive, by instant."""
        blank: dict[int, set[str]] = {}
        for quirk in find(self.quirks, "blank_ratios", "metrics", contract.symbol, start, end):
            for time in instants([quirk], start, end):
                blank.setdefault(time, set()).update(quirk.columns)
        return blank

    def mark_price(self, symbol: str, time: datetime) -> float:
        """The mark price at an instant, as premiumIndex and the streams of mark prices tell it."""
        return float(premium(self._feed, BY_SYMBOL[symbol], to_ms(time)).mark)

    def missing(
        self, dataset: str, symbol: str, source: str, start: datetime, end: datetime, timeframe: str | None = None,
        series: str | None = None,
    ) -> list[datetime]:  # fmt: skip
        """The instants (candles: open times) that a source lacks because of quirks, ascending.

        `dataset` as Perpflow names it: candles (need `timeframe`), open_interest, funding_rate, long_short_ratio (with
        a `series` those of one ratio, without one those that lack all four). A checksum that never fits counts as well.
        """
        contract, first, last = BY_SYMBOL[symbol], to_ms(start), to_ms(end)
        lost = self._lost(contract, dataset, source, first, last, timeframe)
        if series and source == "archive":
            blank = self._blank_ratios(contract, first, last)
            lost += [time for time, fields in blank.items() if _RATIOS[series] in fields]
        return _times(sorted(set(lost)))

    def _lost(
        self, contract: Contract, dataset: str, source: str | None, start: int, end: int, timeframe: str | None = None
    ) -> list[int]:
        symbol = contract.symbol
        if dataset in CANDLES:
            if source != "archive_monthly" or timeframe is None:
                return []
            lacking = find(self.quirks, "monthly_lacks_day", CANDLES[dataset], symbol, start, end, timeframe)
            return instants(lacking, start, end, longest(timeframe))
        if dataset == "funding_rate":
            return []
        lacking = find(self.quirks, "wrong_checksum", "metrics", symbol, start, end) if source == "archive" else []
        if dataset == "open_interest":
            lacking += find(self.quirks, NO_OPEN_INTEREST, "metrics", symbol, start, end)
            if source == "rest":
                lacking += find(self.quirks, "rest_hole", "openInterestHist", symbol, start, end)
        rowless = without_archive_row(self.quirks, symbol, start, end) if source == "archive" else []
        return sorted({*rowless, *instants(lacking, start, end, FIVE_MINUTES)})

    def published(self, dataset: str, symbol: str, now: datetime, interval: str | None = None) -> list[str]:
        """The keys of all zips of an archive series (klines with `interval`, metrics, fundingRate) at `now`."""
        contract = BY_SYMBOL[symbol]
        return [
            file.key
            for granularity in ("daily", "monthly")
            for file in self._archive.files(granularity, dataset, contract, interval, to_ms(now))
        ]

    def available_from(self, dataset: str, symbol: str, timeframe: str = "5m") -> datetime:
        """The first instant that any source has: first candle, first metrics instant or first settlement."""
        contract = BY_SYMBOL[symbol]
        if dataset in CANDLES:
            kind = CANDLES[dataset]
            begins = max(contract.listed, KINDS[kind].begins)
            rows = self._feed.kline_rows(contract, timeframe, begins - longest(timeframe), begins + 1, None, kind)
            return to_datetime(int(rows[0][0]))
        if dataset == "funding_rate":
            return to_datetime(settlements(contract, contract.listed, contract.ends)[0])
        return to_datetime(contract.first_metrics)


def _archive_ratios(row: MetricRow, blank: set[str]) -> LongShortRow:
    position, account, everyone, taker = (
        None if field in blank else float(getattr(row, field)) for field in _RATIOS.values()
    )
    return to_datetime(row.time), position, account, everyone, taker, None, None, None, None, None


def _rest_ratios(row: MetricRow) -> LongShortRow:
    ratios = row.top_position, row.top_account, row.global_account
    position, account, everyone, taker = (float(rounded(ratio)) for ratio in (*ratios, row.taker_ratio))
    long_position, long_account, long_everyone = (float(long_share(ratio)) for ratio in ratios)
    volumes = float(rounded(row.buy)), float(rounded(row.sell))
    return (
        to_datetime(row.time), position, account, everyone, taker, long_position, long_account, long_everyone, *volumes,
    )  # fmt: skip


def _times(values: Sequence[int]) -> list[datetime]:
    return [_EPOCH + timedelta(milliseconds=value) for value in values]


def _floats(values: list[int], places: int) -> list[float]:
    """Python divides integers correctly rounded, so this equals parsing the decimal text."""
    scale = 10**places
    return [value / scale for value in values]
