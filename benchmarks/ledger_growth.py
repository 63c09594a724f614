"""The ledger's size after many increments, against a table with a row per run, series and window.

Ten thousand increments of five minutes, 35 days, are written as publishing writes them: row locks, `coverage_publish`,
the load log's entry, one transaction each. The log is folded at the end of each simulated day, which keeps a week of
it. Sizes are of tables with all their indexes, as they lie there with whatever dead rows autovacuum has left, and
rewritten without any.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from psycopg import sql

from benchmarks.measurement import Measurement
from perpflow.datasets import OHLCV
from perpflow.settings import Deployment
from perpflow.store import ledger
from perpflow.store.database import Connection, one, session
from perpflow.store.loader import Loaded
from perpflow.windows import Window

SYMBOLS = tuple(f"COIN{number:02d}/USDT" for number in range(10))
KEYS = tuple((symbol, series) for symbol in SYMBOLS for series in OHLCV.series)
INCREMENT, KEPT = timedelta(minutes=5), timedelta(days=7)
INCREMENTS_A_DAY = timedelta(days=1) // INCREMENT
LOOKED_AT = (100, 1_000, 2_500, 10_000)
ROWS = 84
TABLES = {"coverage": "coverage", "log": "data_versions", "baseline": "loaded"}

# The log's clock is the simulated one.
PREPARE = """
TRUNCATE coverage, data_versions;
ALTER TABLE data_versions ALTER COLUMN published_at SET DEFAULT current_setting('benchmark.now')::timestamptz;
CREATE TABLE loaded (
    run text NOT NULL, dataset text NOT NULL, symbol text NOT NULL, series text NOT NULL, "window" tstzrange NOT NULL,
    PRIMARY KEY (dataset, symbol, series, "window")
)
"""
CLEAR_AWAY = """
DROP TABLE loaded;
ALTER TABLE data_versions ALTER COLUMN published_at SET DEFAULT now();
TRUNCATE coverage, data_versions
"""
SIZE = "SELECT pg_total_relation_size(%(table)s::text::regclass) AS bytes"
CONTENT = "SELECT sum(pg_column_size(c.*)) AS bytes FROM coverage c"

Sizes = dict[str, int]


def measure(deployment: Deployment) -> list[Measurement]:
    """Bytes of each table after a hundred, a thousand and ten thousand increments."""
    with session(deployment.database_url) as connection:
        connection.execute(sql.SQL(PREPARE))
        found, began = {}, datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - LOOKED_AT[-1] * INCREMENT
        ledger.ensure(connection, OHLCV, SYMBOLS, OHLCV.series)
        for number in range(1, LOOKED_AT[-1] + 1):
            _increment(connection, number, began)
            if number in LOOKED_AT:
                found[number] = _sizes(connection)
        packed = _packed(connection)
        connection.execute(sql.SQL(CLEAR_AWAY))
    return _report(found, packed)


def _report(found: dict[int, Sizes], packed: Sizes) -> list[Measurement]:
    def line(name: str) -> str:
        return " / ".join(f"{found[number][name] / 1024:,.0f}" for number in LOOKED_AT) + " kB"

    def growth(name: str, since: int) -> str:
        return f"{found[LOOKED_AT[-1]][name] / found[since][name]:.2f}"

    after = f"after {' / '.join(f'{number:,}' for number in LOOKED_AT)} increments of {len(KEYS)} series"
    log = f"{packed['log'] / 1024:,.0f} kB, {packed['log rows']:,} rows of {LOOKED_AT[-1]:,}"
    return [
        Measurement(f"a row per run, series and window, {after}", line("baseline")),
        Measurement(f"coverage, {after}", line("coverage")),
        Measurement("coverage at the end, rewritten", f"{packed['coverage'] / 1024:,.0f} kB"),
        Measurement(f"load log, a week of it kept, {after}", line("log")),
        Measurement("load log at the end, rewritten", log),
        Measurement("a row per window, 10,000 : 100 increments", growth("baseline", 100)),
        Measurement("content of coverage, 10,000 : 100 increments", growth("content", 100), "1.00"),
        Measurement("load log, 10,000 : 2,500 increments", growth("log", 2_500), "at most 1.25"),
    ]


def _increment(connection: Connection, number: int, began: datetime) -> None:
    """What publishing writes beside the facts, and the same into the other table; at the end of a day, the upkeep."""
    window = Window(began + (number - 1) * INCREMENT, began + number * INCREMENT)
    run = f"ingest_ohlcv|scheduled__{window.end.isoformat()}"
    connection.execute("SELECT set_config('benchmark.now', %s, false)", [window.end.isoformat()])
    with connection.transaction():
        ledger.lock(connection, OHLCV, SYMBOLS)
        ledger.describe(
            connection, OHLCV, 0, window=window, answered={}, now=window.end, covered={key: [window] for key in KEYS}
        )
        ledger.record_version(
            connection,
            OHLCV,
            Loaded(staged=ROWS, inserted=ROWS, updated=0, corrected=0, quarantined=0, sources=("rest",)),
            batch=f"{run}|klines|{SYMBOLS[0]}+{len(SYMBOLS) - 1}",
            symbols=SYMBOLS,
            window=window,
            run=run,
            normalised={},
            warnings=[],
            code_version="benchmark",
        )
    with connection.cursor() as cursor:
        insert = "INSERT INTO loaded VALUES (%s, %s, %s, %s, tstzrange(%s, %s))"
        cursor.executemany(insert, [(run, OHLCV.name, *key, window.start, window.end) for key in KEYS])
    if number % INCREMENTS_A_DAY == 0:
        ledger.fold_log(connection, datetime.now(UTC) - window.end + KEPT)


def _sizes(connection: Connection) -> Sizes:
    sizes = {name: one(connection, sql.SQL(SIZE).format(), {"table": table})["bytes"] for name, table in TABLES.items()}
    return sizes | {"content": one(connection, sql.SQL(CONTENT).format(), {})["bytes"]}


def _packed(connection: Connection) -> Sizes:
    connection.execute("VACUUM FULL coverage")
    connection.execute("VACUUM FULL data_versions")
    rows = one(connection, sql.SQL("SELECT count(*) AS rows FROM data_versions").format(), {})["rows"]
    return _sizes(connection) | {"log rows": rows}
