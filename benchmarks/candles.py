"""A batch of candles as the archive writes them: one CSV for each symbol's month of 5m candles, a random walk."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import numpy as np

from perpflow.windows import Window, from_ms, to_ms

TIMEFRAME = "5m"
PERIOD_MS = 5 * 60 * 1000
WINDOW = Window(datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC))
ROWS_PER_SYMBOL = WINDOW.length // timedelta(milliseconds=PERIOD_MS)

#: A row of the fact table: symbol, timeframe, time, values, source.
FactRow = tuple[str, str, datetime, float, float, float, float, float, float, int, float, float, str]


def symbols(count: int) -> tuple[str, ...]:
    """Names of a small universe."""
    return tuple(f"COIN{number:02d}/USDT" for number in range(count))


def archive_csv(seed: int) -> bytes:
    """A month of 5m candles, twelve columns, without a header."""
    random = np.random.default_rng(seed)
    closes = 150 * np.exp(np.cumsum(random.normal(0, 0.001, ROWS_PER_SYMBOL)))
    opens = np.concatenate(([150.0], closes[:-1]))
    spread = random.uniform(0, 0.002, ROWS_PER_SYMBOL)
    highs, lows = np.maximum(opens, closes) * (1 + spread), np.minimum(opens, closes) * (1 - spread)
    volumes = random.uniform(100, 100_000, ROWS_PER_SYMBOL)
    times = to_ms(WINDOW.start) + np.arange(ROWS_PER_SYMBOL) * PERIOD_MS
    rows = zip(times.tolist(), opens, highs, lows, closes, volumes, strict=True)
    return b"".join(_line(*row) for row in rows)


def _line(time: int, opened: float, high: float, low: float, close: float, volume: float) -> bytes:
    prices = f"{opened:.4f},{high:.4f},{low:.4f},{close:.4f}"
    quote = volume * close
    sums = f"{quote:.5f},{int(volume) // 40},{volume * 0.45:.3f},{quote * 0.45:.5f}"
    return f"{time},{prices},{volume:.3f},{time + PERIOD_MS - 1},{sums},0\n".encode()


def fact_rows(symbol: str, archived: bytes) -> list[FactRow]:
    """The same candles as Python rows of the fact table, for the baselines."""
    return [_fact_row(symbol, row) for row in csv.reader(io.StringIO(archived.decode()))]


def _fact_row(symbol: str, row: list[str]) -> FactRow:
    opened, high, low, close, volume = (float(value) for value in row[1:6])
    quote, taker, taker_quote = float(row[7]), float(row[9]), float(row[10])
    time = from_ms(int(row[0]))
    return symbol, TIMEFRAME, time, opened, high, low, close, volume, quote, int(row[8]), taker, taker_quote, "archive"
