"""Whole tables as they have to be, from the simulator's truth: each point from the best source that has it.

Tests compare with it, and the soak after its kills.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from perpflow.datasets import DATASETS, STATISTICS_REACH
from perpflow.windows import DAY, TIMEFRAMES, Timeframe, Window, days, month_of
from simulator.truth import Truth
from tests.loading import EXCHANGE_SYMBOLS, Row, facts, utc


@dataclass(frozen=True, slots=True)
class Expected:
    """What a load at `now` finds of a truth. Unified symbols; rows as `tests.loading.facts` gives them."""

    truth: Truth
    now: datetime

    def archived(self, kind: str, symbol: str, interval: str | None = None) -> set[date]:
        """The days that archive files hold, daily and monthly ones."""
        keys = self.truth.published(kind, EXCHANGE_SYMBOLS[symbol], self.now, interval)
        return {day.start.date() for key in keys for day in days(_period(key))}

    def rows(self, dataset: str, symbol: str, window: Window, timeframes: tuple[str, ...] = ()) -> list[Row]:
        """A dataset's, whichever it is; of candles those timeframes, or all of the table's."""
        spec = DATASETS[dataset]
        if not spec.series_in_key:
            found: list[Row] = getattr(self, dataset)(symbol, window)
            return found
        return [row for name in timeframes or spec.series for row in self.candles(dataset, symbol, name, window)]

    def ohlcv(self, symbol: str, timeframe: str, window: Window) -> list[Row]:
        """Closed candles of trades."""
        return self.candles("ohlcv", symbol, timeframe, window)

    def candles(self, dataset: str, symbol: str, timeframe: str, window: Window) -> list[Row]:
        """Closed candles of any kind."""
        files = self.archived(DATASETS[dataset].archive.kind, symbol, timeframe)
        asked = (EXCHANGE_SYMBOLS[symbol], timeframe, window.start, window.end)
        found: Sequence[Row] = (
            self.truth.ohlcv(*asked) if dataset == "ohlcv" else self.truth.price_candles(dataset, *asked)
        )
        closed = [row for row in found if TIMEFRAMES[timeframe].after(row[0]) <= min(self.now, window.end)]
        return [(symbol, timeframe, *row, _source(row[0], files)) for row in closed]

    def open_interest(self, symbol: str, window: Window) -> list[Row]:
        """Points that the archive has, and what REST has of the others."""
        return self._best(
            symbol,
            window,
            {
                source: self.truth.open_interest(EXCHANGE_SYMBOLS[symbol], window.start, window.end, source)
                for source in ("archive", "rest")
            },
        )

    def long_short_ratio(self, symbol: str, window: Window) -> list[Row]:
        """The archive's eight decimals, or REST's four with shares and volumes."""
        return self._best(
            symbol,
            window,
            {
                source: self.truth.long_short_ratio(EXCHANGE_SYMBOLS[symbol], window.start, window.end, source)
                for source in ("archive", "rest")
            },
        )

    def _best(self, symbol: str, window: Window, by_source: dict[str, list[Row]]) -> list[Row]:
        files, edge = self.archived("metrics", symbol), self.now - STATISTICS_REACH
        end = min(window.end, TIMEFRAMES["5m"].floor(self.now))
        archive = {row[0]: row for row in by_source["archive"] if _source(row[0], files) == "archive"}
        rest = {row[0]: row for row in by_source["rest"] if row[0] >= edge and row[0] not in archive}
        found = [(row, "archive") for row in archive.values()] + [(row, "rest") for row in rest.values()]
        return sorted((symbol, *row, source) for row, source in found if row[0] < end)

    def funding_rate(self, symbol: str, window: Window) -> list[Row]:
        """Settlements; the archive has no mark price."""
        files = self.archived("fundingRate", symbol)
        end = min(window.end, self.now - DATASETS["funding_rate"].settles_after)
        rows: list[Row] = []
        for time, rate, mark, hours in self.truth.funding_rate(EXCHANGE_SYMBOLS[symbol], window.start, end):
            source = _source(time, files)
            rows.append((symbol, time, rate, None if source == "archive" else mark, hours, source))
        return rows


def _source(time: datetime, archived: set[date]) -> str:
    return "archive" if time.date() in archived else "rest"


def _period(key: str) -> Window:
    label = re.search(r"(\d{4}-\d\d)(-\d\d)?\.zip$", key)
    assert label is not None
    month, day = label.groups()
    return Window(utc(month + day), utc(month + day) + DAY) if day else month_of(utc(f"{month}-01"))


def settled_points(grid: Timeframe, span: Window) -> list[datetime]:
    """The grid points of the periods that have ended within the span."""
    return [point for point in grid.points(span) if grid.after(point) <= span.end]


def stored_points(url: str, dataset: str) -> dict[tuple[str, str], set[datetime]]:
    """Stored instants by (symbol, series); of the ratios, those that are not null."""
    points: dict[tuple[str, str], set[datetime]] = {}
    for row in facts(url, dataset):
        values = dict(zip((column.name for column in DATASETS[dataset].columns), row, strict=False))
        if dataset == "long_short_ratio":
            names = [name for name in DATASETS[dataset].series if values[name] is not None]
        else:
            names = [values.get("timeframe", "5m")]
        for name in names:
            points.setdefault((row[0], name), set()).add(values["time"])
    return points
