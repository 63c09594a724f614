"""A database with something to report of everything, put together by SQL: nothing is loaded, every number is known."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from perpflow.datasets import DATASETS
from perpflow.quality.suites import load_suite
from perpflow.store.database import Connection, to_multirange, to_range
from perpflow.windows import Window

DAY = date(2026, 11, 26)
MIDNIGHT = datetime(2026, 11, 26, tzinfo=UTC)
END = MIDNIGHT + timedelta(days=1)
#: Where every series begins: a hundred days, which are shown by month, and the last of them by day.
BEGINS = END - timedelta(days=100)
HOUR = timedelta(hours=1)


def fill(connection: Connection, symbols: tuple[str, ...] = ("SOL/USDT", "BTC/USDT", "ETH/USDT")) -> None:
    """Everything below: the first symbol has holes, the second withheld points, the third misses some upstream."""
    cover(connection, symbols)
    log_loads(connection, symbols)
    withhold(connection, symbols[0])
    correct(connection, symbols[0])
    compare(connection, symbols[0])


def cover(connection: Connection, symbols: tuple[str, ...]) -> None:
    """The ledger: series of 100 days that are whole but for what `_ledger_row` takes out of some."""
    for dataset, spec in DATASETS.items():
        for number, symbol in enumerate(symbols):
            for series in spec.series:
                _ledger_row(connection, dataset, symbol, series, number)


def _ledger_row(connection: Connection, dataset: str, symbol: str, series: str, number: int) -> None:
    hole = Window(BEGINS + 40 * timedelta(days=1), BEGINS + 43 * timedelta(days=1))
    held = Window(END - 5 * HOUR, END - 3 * HOUR)
    absent = Window(BEGINS + 70 * timedelta(days=1), BEGINS + 74 * timedelta(days=1))
    missing = dataset == "ohlcv" and number == 0
    whole = Window(BEGINS, END)
    ranges: dict[str, list[Window]] = {"missing_upstream": [], "quarantined": []}
    cut = hole if missing else None
    if dataset == "open_interest" and number == 1:
        cut, ranges["quarantined"] = held, [held]
    if dataset == "long_short_ratio" and number == 2:
        cut, ranges["missing_upstream"] = absent, [absent]
    present = [Window(whole.start, cut.start), Window(cut.end, whole.end)] if cut else [whole]
    connection.execute(
        "INSERT INTO coverage (dataset, symbol, series, available_from, present, missing_upstream, quarantined)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (
            dataset,
            symbol,
            series,
            BEGINS,
            to_multirange(present),
            to_multirange(ranges["missing_upstream"]),
            to_multirange(ranges["quarantined"]),
        ),
    )


def log_loads(connection: Connection, symbols: tuple[str, ...]) -> None:
    """The load log of the day, of the day before, and of the day after."""
    for hour in (-2, 0, 5, 12, 23, 24):
        for symbol in symbols:
            log_load(connection, "ohlcv", symbol, MIDNIGHT + hour * HOUR)
    log_load(connection, "open_interest", symbols[0], MIDNIGHT + HOUR, findings=[finding("open_interest", 0, 2)])
    names = [expectation.name for expectation in load_suite("ohlcv").expectations]
    repeated = names.index("no_candle_repeated_all_day")
    failed = [finding("ohlcv", 0, 3), finding("ohlcv", repeated, 288, severity="warning")]
    log_load(connection, "ohlcv", symbols[0], MIDNIGHT + 2 * HOUR, findings=failed)
    log_load(connection, "ohlcv", symbols[-1], MIDNIGHT + 3 * HOUR, findings=failed[:1])


def finding(dataset: str, number: int, rows: int, severity: str = "critical", sample: str = "") -> dict[str, Any]:
    """A finding of the gate about the suite's expectation of that number."""
    expectation = load_suite(dataset).expectations[number]
    return {
        "expectation": expectation.name,
        "rule": expectation.rule,
        "severity": severity,
        "columns": ", ".join(expectation.columns),
        "failing": rows,
        "withheld": rows if severity == "critical" else 0,
        "sample": [sample or "SOL/USDT 5m 2026-11-26 00:05:00+00 high=101.2 low=null"] * min(rows, 3),
        "reason": expectation.reason,
    }


def log_load(
    connection: Connection, dataset: str, symbol: str, at: datetime, findings: list[dict[str, Any]] | None = None
) -> None:
    """One entry of the load log, of 1,000 rows that were staged."""
    withheld = sum(one["withheld"] for one in findings or [])
    connection.execute(
        'INSERT INTO data_versions (batch, dataset, symbols, "window", sources, staged, inserted, updated, unchanged,'
        " quarantined, normalised, warnings, run, code_version, published_at)"
        " VALUES (%s, %s, %s, %s, %s, 1000, %s, 40, 100, %s, %s, %s, %s, 'test', %s)",
        (
            f"{dataset}|{symbol}|{at.isoformat()}|{len(findings or [])}",
            dataset,
            [symbol],
            to_range(Window(at - HOUR, at)),
            ["rest"],
            860 - withheld,
            withheld,
            Jsonb({"duplicates": 2}),
            Jsonb(findings or []),
            f"ingest_{dataset}|scheduled__{at.isoformat()}",
            at,
        ),
    )


def withhold(connection: Connection, symbol: str, at: datetime = MIDNIGHT + 2 * HOUR, rows: int = 5) -> None:
    """Rows in the quarantine: the first two fail two expectations; one is released that day, one rejected after it."""
    for number in range(rows):
        for expectation in ("high_above_low", "time_inside_window")[: 2 if number < 2 else 1]:
            reviewed, decision = {3: (at + HOUR, "released"), 4: (END + HOUR, "rejected")}.get(number, (None, None))
            connection.execute(
                'INSERT INTO quarantine (batch, dataset, symbol, series, time, expectation, "column", value, reason,'
                " source, origin, row, row_hash, quarantined_at, reviewed_at, decision)"
                " VALUES ('b', 'ohlcv', %s, '5m', %s, %s, 'high, low', '101.2, null', 'It is the highest.', 'archive',"
                " 'data/futures/um/daily/klines/SOLUSDT/5m/SOLUSDT-5m-2026-11-25.zip', '{}', %s, %s, %s, %s)",
                (symbol, MIDNIGHT + number * HOUR / 12, expectation, number, at, reviewed, decision),
            )


def correct(connection: Connection, symbol: str) -> None:
    """Two corrected rows of one file, a file that was left out, and one that was read in parts."""
    for number in range(2):
        connection.execute(
            "INSERT INTO corrections (dataset, symbol, series, time, old_row, new_row, batch, source, origin,"
            " corrected_at) VALUES ('ohlcv', %s, '5m', %s, %s, %s, 'b', 'archive', 'a/SOLUSDT-5m-2026-11-20.zip', %s)",
            (symbol, BEGINS + number * HOUR, Jsonb({"close": 1.5}), Jsonb({"close": 1.25}), MIDNIGHT + HOUR),
        )
    connection.execute(
        "INSERT INTO archive_objects (key, verdict, detail, read_at, mixed) VALUES"
        " ('a/SOLUSDT-metrics-2026-11-24.zip', 'wrong checksum', 'SHA-256 differs', %(at)s, false),"
        " ('a/SOLUSDT-5m-2026-11-20.zip', 'ok', NULL, %(at)s, true), ('a/whole.zip', 'ok', NULL, %(at)s, false)",
        {"at": MIDNIGHT + HOUR},
    )


def compare(connection: Connection, symbol: str) -> None:
    """A comparison of archive and REST that agrees, and one that does not."""
    for column, beyond in (("close", 0), ("volume", 4)):
        connection.execute(
            'INSERT INTO reconciliations (dataset, symbol, series, "column", "window", tolerance, agree, within,'
            " beyond, archive_only, rest_only, compared_at)"
            " VALUES ('ohlcv', %s, '5m', %s, %s, 0, 860, 0, %s, 1, 0, %s)",
            (symbol, column, to_range(Window(BEGINS, END)), beyond, MIDNIGHT),
        )
