"""The synthetic market: every price, volume and statistic as a pure function of (seed, symbol, day).

Integers throughout (prices in 10**-price_decimals, quantities in 10**-quantity_decimals, quote volumes in the product
of both), so that aggregation is exact: an hour is its twelve 5-minute candles to the last digit. A day's end points
come from a closed form, its inside from a Brownian bridge, so days join without a jump and any day is computed alone.
Blocks are cached in bounded LRU caches (about 90 MB when all are full).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from simulator.grid import DAY, FIVE_MINUTES, HOUR, MINUTE, Ints, candle_end, candle_start, candle_starts
from simulator.randomness import Floats, day_generator, level
from simulator.symbols import Contract

# Row indices of a candle block, an int64 array of shape (10, candles).
TIME, OPEN, HIGH, LOW, CLOSE, VOLUME, QUOTE, COUNT, TAKER, TAKER_QUOTE = range(10)
# Row indices of a metrics block, an int64 array of shape (8, instants); ratios count in 10**-8.
OPEN_INTEREST, VALUE, TOP_ACCOUNT, TOP_POSITION, GLOBAL_ACCOUNT, BUY, SELL = range(1, 8)

RATIO_SCALE = 10**8
_MINUTES = 1440
_FIVES = 288
_RATIOS = {TOP_ACCOUNT: "top_account", TOP_POSITION: "top_position", GLOBAL_ACCOUNT: "global_account"}
_RATIO_CENTRES = {"top_account": 1.4, "top_position": 1.7, "global_account": 1.2}


def aggregate(block: Ints, interval: str) -> Ints:
    """Candles of `interval` out of finer candles (shape (10, n), ascending): shape (10, m)."""
    if not block.shape[1]:
        return block
    starts = candle_starts(interval, block[TIME])
    first = np.concatenate(([0], np.flatnonzero(np.diff(starts)) + 1))
    last = np.concatenate((first[1:] - 1, [block.shape[1] - 1]))
    merged = np.add.reduceat(block, first, axis=1)
    merged[TIME], merged[OPEN], merged[CLOSE] = starts[first], block[OPEN, first], block[CLOSE, last]
    merged[HIGH] = np.maximum.reduceat(block[HIGH], first)
    merged[LOW] = np.minimum.reduceat(block[LOW], first)
    return merged


class Market:
    """One seed's market. Days are counted from 1970-01-01; blocks are shared, callers must not write into them."""

    def __init__(self, seed: int, contracts: int = 0) -> None:
        self.seed = seed
        # Who is asked for today and yesterday of all contracts in turn need not draw each of them anew.
        self.minutes = lru_cache(maxsize=max(128, 2 * contracts))(self._minutes)
        self.fives = lru_cache(maxsize=2048)(self._fives)
        self.whole_day = lru_cache(maxsize=16_384)(self._whole_day)
        self.metrics_day = lru_cache(maxsize=1024)(self._metrics_day)

    def candles(self, contract: Contract, interval: str, start: int, end: int, now: int | None = None) -> Ints:
        """Candles whose open time lies in `[start, end)`, shape (10, n); `now` cuts the last one short (unclosed)."""
        start = max(start, candle_start(interval, contract.listed))
        end = min(end, contract.ends if now is None else min(contract.ends, now + 1))
        if start >= end:
            return np.empty((10, 0), dtype=np.int64)
        first, last = candle_start(interval, start), candle_end(interval, end - 1)
        rows = aggregate(self._finer(contract, interval, first, last, now), interval)
        return rows[:, (rows[TIME] >= start) & (rows[TIME] < end)]

    def _finer(self, contract: Contract, interval: str, first: int, last: int, now: int | None) -> Ints:
        if interval in ("1d", "3d", "1w", "1M"):
            block_of = self.whole_day
        else:
            block_of = self.minutes if interval in ("1m", "3m") else self.fives
        first_day, last_day = max(first, contract.listed) // DAY, (min(last, contract.ends) - 1) // DAY
        today = last_day + 1 if now is None else now // DAY
        blocks = [block_of(contract, day) for day in range(first_day, min(last_day + 1, today))]
        if now is not None and first_day <= today <= last_day:
            blocks.append(self._until(contract, now))
        rows = np.concatenate(blocks, axis=1)
        return rows[:, (rows[TIME] >= first) & (rows[TIME] < last)] if block_of != self.whole_day else rows

    def _until(self, contract: Contract, now: int) -> Ints:
        """Today's minutes up to `now`; the running minute has only opened and traded its share of the volume."""
        rows = self.minutes(contract, now // DAY)
        rows = rows[:, rows[TIME] <= now].copy()
        if rows.shape[1] and rows[TIME, -1] + MINUTE > now:
            elapsed = now - rows[TIME, -1]
            rows[VOLUME:, -1] = rows[VOLUME:, -1] * elapsed // MINUTE
            rows[HIGH : CLOSE + 1, -1] = rows[OPEN, -1]
            rows[QUOTE, -1] = rows[OPEN, -1] * rows[VOLUME, -1]
            rows[TAKER_QUOTE, -1] = rows[OPEN, -1] * rows[TAKER, -1]
        return rows

    def price_at(self, contract: Contract, at: int) -> int:
        """The price at an instant of the 5-minute grid, in price units; 0 before listing and after the end."""
        rows = self.fives(contract, at // DAY)
        found = np.flatnonzero(rows[TIME] == at)
        return int(rows[OPEN, found[0]]) if found.size else 0

    def _minutes(self, contract: Contract, day: int) -> Ints:
        random = day_generator(self.seed, contract.number, "candles", day)
        shape = random.standard_normal((5, _MINUTES))
        path = self._price_path(contract, day, shape[0])
        rows = np.empty((10, _MINUTES), dtype=np.int64)
        rows[TIME] = day * DAY + np.arange(_MINUTES) * MINUTE
        rows[OPEN], rows[CLOSE] = path[:-1], path[1:]
        _put_wicks(rows, contract, shape[1:3])
        _put_volumes(rows, contract, shape[3:5], float(level(self.seed, contract.number, "volume", day, 0.04)))
        return rows[:, (rows[TIME] >= contract.listed) & (rows[TIME] < contract.ends)]

    def _price_path(self, contract: Contract, day: int, steps: Floats) -> Ints:
        """Prices at the 1441 minute marks of a day, both midnights included."""
        ends = [float(level(self.seed, contract.number, "price", at, contract.daily_move)) for at in (day, day + 1)]
        logs = _bridge(ends[0], ends[1], steps * contract.daily_move / np.sqrt(_MINUTES))
        logs += _crash(contract, day * DAY + np.arange(_MINUTES + 1) * MINUTE)
        units = contract.price * 10**contract.price_decimals / contract.tick
        ticks: Ints = np.maximum(np.rint(np.exp(logs) * units), 1).astype(np.int64)
        return ticks * contract.tick

    def _fives(self, contract: Contract, day: int) -> Ints:
        return aggregate(self.minutes(contract, day), "5m")

    def _whole_day(self, contract: Contract, day: int) -> Ints:
        return aggregate(self.fives(contract, day), "1d")

    def metrics(self, contract: Contract, start: int, end: int) -> Ints:
        """Metrics of the 5-minute instants in `[start, end)`, shape (8, n), ascending."""
        start, end = max(start, contract.first_metrics), min(end, contract.ends)
        if start >= end or not contract.has_metrics:
            return np.empty((8, 0), dtype=np.int64)
        days = range(start // DAY, (end - 1) // DAY + 1)
        rows = np.concatenate([self.metrics_day(contract, day) for day in days], axis=1)
        return rows[:, (rows[TIME] >= start) & (rows[TIME] < end)]

    def _metrics_day(self, contract: Contract, day: int) -> Ints:
        """Each instant measures the price at it and the taker volumes of the five minutes before it."""
        candles = np.concatenate((self.fives(contract, day - 1)[:, -1:], self.fives(contract, day)), axis=1)
        before, at = candles[:, :-1], candles[:, 1:]
        slot = at[TIME] % DAY // FIVE_MINUTES
        rows = np.empty((8, at.shape[1]), dtype=np.int64)
        rows[TIME] = at[TIME]
        rows[OPEN_INTEREST] = self._open_interest(contract, day)[slot]
        rows[VALUE] = rows[OPEN_INTEREST] * at[OPEN]
        for index, name in _RATIOS.items():
            rows[index] = self._ratio(contract, name, day)[slot]
        rows[BUY] = np.maximum(before[TAKER], 1)
        rows[SELL] = np.maximum(before[VOLUME] - before[TAKER], 1)
        return rows

    def _open_interest(self, contract: Contract, day: int) -> Ints:
        logs = self._walk(contract, "open_interest", day, spread=0.02, step=0.0008)
        amounts: Ints = np.rint(np.exp(logs) * contract.open_interest * 10**contract.quantity_decimals).astype(np.int64)
        return amounts

    def _ratio(self, contract: Contract, name: str, day: int) -> Ints:
        logs = self._walk(contract, name, day, spread=0.03, step=0.002)
        ratios: Ints = np.rint(np.exp(logs) * _RATIO_CENTRES[name] * RATIO_SCALE).astype(np.int64)
        return ratios

    def _walk(self, contract: Contract, name: str, day: int, spread: float, step: float) -> Floats:
        ends = [float(level(self.seed, contract.number, name, at, spread)) for at in (day, day + 1)]
        steps = day_generator(self.seed, contract.number, name, day).standard_normal(_FIVES)
        return _bridge(ends[0], ends[1], steps * step)[:-1]


def _bridge(first: float, last: float, steps: Floats) -> Floats:
    """A random walk of len(steps) + 1 points tied to both ends exactly."""
    share = np.arange(1, steps.size + 1) / steps.size
    walk = np.cumsum(steps)
    inner = first + (last - first) * share + walk - walk[-1] * share
    inner[-1] = last
    return np.concatenate(([first], inner))


def _crash(contract: Contract, times: Ints) -> Floats:
    """By how much, in logarithms, a crash has moved the price at each instant: at first fast, then ever more slowly."""
    if contract.crash is None:
        return np.zeros(times.size)
    begins, left = contract.crash
    moved: Floats = np.log(left) * np.sqrt(np.clip((times - begins) / HOUR, 0, 1))
    return moved


def _put_wicks(rows: Ints, contract: Contract, shape: Floats) -> None:
    size = np.abs(shape) * contract.daily_move / np.sqrt(_MINUTES) * 0.6
    reach = np.rint(size * rows[OPEN] / contract.tick).astype(np.int64) * contract.tick
    rows[HIGH] = np.maximum(rows[OPEN], rows[CLOSE]) + reach[0]
    rows[LOW] = np.maximum(np.minimum(rows[OPEN], rows[CLOSE]) - reach[1], contract.tick)


def _put_volumes(rows: Ints, contract: Contract, shape: Floats, day_level: float) -> None:
    """Volume, trades and taker shares; the mean price lies inside the candle, so low*volume <= quote <= high*volume."""
    usual = contract.minute_volume * 10**contract.quantity_decimals
    stir = 1 + (rows[HIGH] - rows[LOW]) / rows[OPEN] / contract.daily_move * 8
    rows[VOLUME] = np.maximum(np.rint(usual * np.exp(0.5 * shape[0] + day_level) * stir), 2).astype(np.int64)
    rows[TAKER] = (rows[VOLUME] * np.clip(0.5 + 0.09 * shape[1], 0.1, 0.9)).astype(np.int64)
    mean = (rows[OPEN] + rows[HIGH] + rows[LOW] + rows[CLOSE]) // 4
    rows[QUOTE], rows[TAKER_QUOTE] = rows[VOLUME] * mean, rows[TAKER] * mean
    rows[COUNT] = 1 + (rows[VOLUME] / usual * 180).astype(np.int64)
