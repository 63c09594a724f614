"""Sound rows of every dataset as staging holds them, and a gate to put them before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from psycopg import sql

from perpflow.datasets import DATASETS
from perpflow.quality.gate import check
from perpflow.quality.verdict import Verdict
from perpflow.store.database import Connection
from perpflow.windows import TIMEFRAMES, Window, to_ms

START = datetime(2026, 4, 17, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(days=2))
STAGE_IDS = count(1)
FIVE = timedelta(minutes=5)
RATIOS = ("top_position", "top_account", "global_account", "taker_volume")
Row = dict[str, Any]


def candle(time: datetime, timeframe: str = "5m", n: int = 0, **changes: Any) -> Row:
    """A sound candle; `n` makes it different from its neighbours."""
    return {
        "source": "archive",
        "symbol": "SOL/USDT",
        "timeframe": timeframe,
        "open_time_ms": to_ms(time),
        "close_time_ms": to_ms(TIMEFRAMES[timeframe].after(time)) - 1,
        "open": 100.0 + n / 100,
        "high": 102.0 + n / 100,
        "low": 99.0 + n / 100,
        "close": 101.0 + n / 100,
        "volume": 10.0 + n,
        "quote_volume": (10.0 + n) * (100.5 + n / 100),
        "trade_count": 7,
        "taker_buy_volume": 4.0,
        "taker_buy_quote_volume": 4.0 * (100.5 + n / 100),
        **changes,
    }


def mark(time: datetime, n: int = 0, **changes: Any) -> Row:
    """A sound candle of something that is not traded."""
    whole = candle(time, n=n)
    kept = ("source", "symbol", "timeframe", "open_time_ms", "close_time_ms", "open", "high", "low", "close")
    return {**{name: whole[name] for name in kept}, "no_volume": "0 ", "sample_count": "300", **changes}


def premium(time: datetime, n: int = 0, **changes: Any) -> Row:
    """A sound candle of premiums, a share of the index."""
    prices = {"open": 1e-4, "high": 3e-4, "low": -2e-4, "close": 2e-4}
    return {**mark(time), **{name: price + n * 1e-7 for name, price in prices.items()}, **changes}


def interest(time: datetime, n: int = 0, **changes: Any) -> Row:
    """A sound point of open interest."""
    return {
        "source": "archive",
        "symbol": "SOL/USDT",
        "series": "5m",
        "create_time": time.replace(tzinfo=None),
        "reported_open_interest": 5000.0 + n,
        "reported_open_interest_value": 500000.0 + n,
        **changes,
    }


def funding(time: datetime, n: int = 0, **changes: Any) -> Row:
    """A sound settlement."""
    return {
        "source": "rest",
        "symbol": "SOL/USDT",
        "series": "settlement",
        "funding_time_ms": to_ms(time),
        "funding_rate": 0.0001,
        "mark_price": 150.0 + n,
        "interval_hours": 8,
        **changes,
    }


def ratios(time: datetime, n: int = 0, **changes: Any) -> Row:
    """A sound archive row of all four ratios."""
    return {
        "source": "archive",
        "symbol": "SOL/USDT",
        "series": "metrics",
        "create_time": time.replace(tzinfo=None),
        "top_position": 1.5 + n / 1000,
        "top_account": 1.4 + n / 1000,
        "global_account": 1.3 + n / 1000,
        "taker_volume": 0.9 + n / 1000,
        **changes,
    }


CANDLES = [spec.name for spec in DATASETS.values() if spec.series_in_key]
MAKERS = {
    "ohlcv": candle,
    "open_interest": interest,
    "funding_rate": funding,
    "long_short_ratio": ratios,
    "mark_price": mark,
    "premium_index": premium,
}


def day(dataset: str, start: datetime = START) -> list[Row]:
    """A complete, sound UTC day."""
    step = timedelta(hours=8) if dataset == "funding_rate" else FIVE
    return [MAKERS[dataset](start + n * step, n=n) for n in range(timedelta(days=1) // step)]


def moved(dataset: str, row: Row, by: timedelta) -> Row:
    """The row at another time, as the wire would say it."""
    shift = by // timedelta(milliseconds=1)
    milliseconds = {name: value + shift for name, value in row.items() if name.endswith("_ms") and value is not None}
    instants = {name: value + by for name, value in row.items() if name == "create_time"}
    return row | milliseconds | instants


#: Rules about days: dataset, name, and the values of a day that hangs.
SET_RULES = [
    (
        "ohlcv",
        "no_candle_repeated_all_day",
        dict.fromkeys(("open", "high", "low", "close"), 100.0)
        | {"volume": 10.0, "quote_volume": 1000.0, "taker_buy_quote_volume": 400.0},
    ),
    ("open_interest", "no_open_interest_repeated_all_day", {"reported_open_interest": 5000.0}),
    *[("long_short_ratio", f"no_{name}_repeated_all_day", {name: 1.0}) for name in RATIOS],
]
#: The same of days that may also be those of a contract that is halted: they are told, and let pass.
SET_WARNINGS = [
    ("mark_price", "no_candle_repeated_all_day", dict.fromkeys(("open", "high", "low", "close"), 100.0)),
    ("premium_index", "no_candle_repeated_all_day", dict.fromkeys(("open", "high", "low", "close"), 1e-4)),
]


#: The contracts that rows are of, as the exchange names them.
CONTRACTS = {"SOL/USDT": "SOLUSDT", "X": "XUSDT"}
#: One that had ended before any row.
ENDED = "ENDED/USDT"
KNOW = """
    INSERT INTO symbols (symbol, exchange_symbol, base, quote, contract_type, status, delisted_at)
    VALUES (%s, %s, '', 'USDT', 'PERPETUAL', 'TRADING', %s) ON CONFLICT DO NOTHING"""
#: Rules about rows and what stands beside them, here or in the tables: test_gate_neighbours breaks each.
NEIGHBOUR_RULES = {
    *(("ohlcv", name) for name in ("no_lone_spike", "no_lone_wick", "moves_are_usual", "candles_follow_one_another")),
    ("ohlcv", "trades_where_there_is_volume"),
    *(("mark_price", name) for name in ("no_lone_spike", "moves_are_usual", "candles_follow_one_another")),
    ("premium_index", "premium_is_usual"),
    *(("open_interest", name) for name in ("value_fits_the_candles", "value_fits_the_day", "no_lone_jump")),
    ("open_interest", "changes_are_usual"),
    *(("funding_rate", name) for name in ("mark_price_fits_the_candles", "rate_fits_its_history")),
    ("funding_rate", "interval_is_the_reported_one"),
    *(("long_short_ratio", f"no_lone_jump_of_{name}") for name in RATIOS[:3]),
    ("liquidations", "price_fits_the_candles"),
}


class Gate:
    """Stages rows and checks them; `origin` numbers the rows, so that tests can name them."""

    def __init__(self, connection: Connection, url: str, dataset: str) -> None:
        self.connection, self.url, self.dataset = connection, url, dataset
        for symbol, name in CONTRACTS.items():
            connection.execute(KNOW, [symbol, name, None])
        connection.execute(KNOW, [ENDED, "ENDEDUSDT", START])
        self.stage_id = next(STAGE_IDS)
        self.table = sql.Identifier("staging", dataset)

    def stage(self, rows: list[Row]) -> None:
        for origin, row in enumerate(rows):
            whole = {"stage_id": self.stage_id, "origin": origin, **row}
            insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                self.table,
                sql.SQL(", ").join(map(sql.Identifier, whole)),
                sql.SQL(", ").join(sql.Placeholder() * len(whole)),
            )
            self.connection.execute(insert, list(whole.values()))

    def publish(self, table: str, rows: list[Row]) -> None:
        """Put facts beside what is staged."""
        for row in rows:
            insert = sql.SQL("INSERT INTO {} ({}, source) VALUES ({}, 'archive')").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, row)),
                sql.SQL(", ").join(sql.Placeholder() * len(row)),
            )
            self.connection.execute(insert, list(row.values()))

    def check(self, window: Window = WINDOW) -> Verdict:
        return check(self.connection, self.url, self.dataset, self.stage_id, window)

    def withheld(self) -> dict[int, list[str]]:
        found = sql.SQL("SELECT origin, withheld FROM {} WHERE stage_id = %s AND withheld IS NOT NULL ORDER BY 1")
        rows = self.connection.execute(found.format(self.table), [self.stage_id]).fetchall()
        return {row["origin"]: row["withheld"] for row in rows}
