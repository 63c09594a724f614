"""Planning every gap of a large ledger: one statement over one row per series, against two designs that others use.

The ledger holds 550 symbols of ten series, a year of each with a few holes. The baselines find the same holes, which is
checked: in a table with a row for each loaded window, a day each, the gaps between neighbours by `lead`; and by the
ledger's own statement for a series, asked once for each of them.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from random import Random
from typing import Any

from benchmarks.measurement import Measurement, timed
from perpflow import pipeline
from perpflow.batches import LoadRequest
from perpflow.datasets import DATASETS
from perpflow.exchange import rest
from perpflow.settings import Collection, Deployment, ExchangeSettings
from perpflow.settling import settled
from perpflow.specs import LoadedSpec
from perpflow.store import ledger
from perpflow.store.database import Connection, session, to_multirange
from perpflow.store.ledger import SeriesKey
from perpflow.windows import Window, subtract
from simulator.process import Handle, running

SYMBOLS, SYMBOLS_PER_TASK = 550, 50
PLANNED = ("ohlcv", "open_interest", "long_short_ratio")
YEAR = timedelta(days=365)
#: The simulated exchange makes up the listing of hundreds of contracts on the same cores.
PATIENCE_S = 300
FEWEST_HOLES, MOST_HOLES = 2, 10
RUN = "benchmark planning"

LOADED_WINDOWS = """
CREATE TEMP TABLE loaded AS
SELECT dataset, symbol, series, greatest(lower(held), day) AS start, least(upper(held), day + interval '1 day') AS until
FROM coverage, unnest(present) AS held,
     generate_series(date_trunc('day', lower(held)), upper(held) - interval '1 second', interval '1 day') AS day
"""
BETWEEN_NEIGHBOURS = """
SELECT dataset, symbol, series, until, following
FROM (SELECT dataset, symbol, series, until,
             lead(start) OVER (PARTITION BY dataset, symbol, series ORDER BY start) AS following FROM loaded) neighbours
WHERE following > until
"""


def measure(stores: Deployment) -> list[Measurement]:
    """Seconds of each way, and the whole plans: what the one statement is part of."""
    rest.preload()
    # Of the alarms that holes of the last month raise.
    logging.getLogger(pipeline.__name__).setLevel(logging.ERROR)
    with running(symbols=SYMBOLS) as exchange, session(stores.database_url) as connection:
        exchange.set_limits(weight=1_000_000)
        patient = Collection(symbols="all", exchange=ExchangeSettings(timeout_s=PATIENCE_S))
        deployment = stores.model_copy(
            update={"rest_url": exchange.url, "archive_url": exchange.url, "collection": patient}
        )
        pipeline.sync_symbols(deployment)
        series, holes = len(_wanted(exchange)) * SYMBOLS, _fill(connection, exchange)
        with timed() as one_statement:
            found = ledger.holes(connection, _wanted(exchange), now=exchange.now)
        with timed() as by_series:
            asked = _series_by_series(connection, exchange)
        rows, by_neighbours_s = _by_neighbours(connection, holes)
        assert found == asked, "both find the same"
        with timed() as repair:
            planned = pipeline.plan_repair(
                deployment, LoadRequest(PLANNED, ("all",), None, None, RUN, symbols_per_task=SYMBOLS_PER_TASK)
            )
        assert planned.batches
        with timed() as increments:
            for name in PLANNED:
                pipeline.plan_increment(deployment, name, RUN, SYMBOLS_PER_TASK)
        connection.execute("TRUNCATE coverage, symbols, symbol_history")
    subject = f"{series:,} series, a year each, {holes:,} holes"
    return [
        Measurement(f"{subject}: a row per loaded window ({rows:,}), by lead()", f"{by_neighbours_s:.2f} s"),
        Measurement(f"{subject}: a statement per series", f"{by_series.seconds:.2f} s"),
        Measurement("planning all gaps: one statement", f"{one_statement.seconds:.2f} s", "under 2 s"),
        Measurement("planning all gaps: the whole plan of repair_gaps", f"{repair.seconds:.2f} s", "under 2 s"),
        Measurement("planning all gaps: the three increments, one after another", f"{increments.seconds:.2f} s"),
        Measurement("a row per loaded window : one statement", f"{by_neighbours_s / one_statement.seconds:.0f}"),
        Measurement("a statement per series : one statement", f"{by_series.seconds / one_statement.seconds:.0f}"),
    ]


def _wanted(exchange: Handle) -> dict[tuple[str, str], Window]:
    """From when to when points are wanted, by dataset and series; a year that has settled."""
    now = exchange.now
    spans = {
        (name, series): settled(DATASETS[name], series, now - YEAR, now, now)
        for name in PLANNED
        for series in DATASETS[name].series
    }
    return {key: span for key, span in spans.items() if span}


def _fill(connection: Connection, exchange: Handle) -> int:
    """A ledger row for each series; returns how many holes they have."""
    random = Random(7)  # noqa: S311 - the same holes in every run
    connection.execute("TRUNCATE coverage")
    listed = "SELECT symbol FROM symbols WHERE status = 'TRADING' AND quote = 'USDT' ORDER BY symbol LIMIT %s"
    names = [row["symbol"] for row in connection.execute(listed, [SYMBOLS])]
    assert len(names) == SYMBOLS
    count, rows = 0, []
    for (dataset, series), span in _wanted(exchange).items():
        for symbol in names:
            holes = _holes(random, DATASETS[dataset], series, span)
            count += len(holes)
            rows.append((dataset, symbol, series, span.start, to_multirange(subtract([span], holes))))
    with connection.cursor() as cursor:
        insert = "INSERT INTO coverage (dataset, symbol, series, available_from, present) VALUES (%s, %s, %s, %s, %s)"
        cursor.executemany(insert, rows)
    connection.execute("VACUUM ANALYZE coverage")
    return count


def _holes(random: Random, spec: LoadedSpec, series: str, span: Window) -> list[Window]:
    """A few holes of a point up to a day's, one in each of as many equal parts of the span, so that none touch."""
    length = timeframe.length if (timeframe := spec.timeframe_of(series)) else None
    assert length is not None
    number = random.randint(FEWEST_HOLES, MOST_HOLES)
    part = span.length // length // number
    holes = []
    for i in range(number):
        points = random.randint(1, max(timedelta(days=1) // length, 1))
        start = span.start + length * (i * part + random.randint(1, part - points - 1))
        holes.append(Window(start, start + length * points))
    return holes


def _series_by_series(connection: Connection, exchange: Handle) -> dict[str, dict[SeriesKey, list[Window]]]:
    found: dict[str, dict[SeriesKey, list[Window]]] = {name: {} for name in PLANNED}
    wanted = _wanted(exchange)
    for row in ledger.read(connection, PLANNED):
        spans = {(row.symbol, row.series): wanted[row.dataset, row.series]}
        found[row.dataset] |= ledger.gaps(connection, DATASETS[row.dataset], spans, now=exchange.now)
    return found


def _by_neighbours(connection: Connection, holes: int) -> tuple[int, float]:
    """How many rows the other table has, and how long it takes to find the same holes in it."""
    connection.execute(LOADED_WINDOWS)
    connection.execute("CREATE INDEX ON loaded (dataset, symbol, series, start)")
    connection.execute("VACUUM ANALYZE loaded")
    counted: Any = connection.execute("SELECT count(*) AS rows FROM loaded").fetchone()
    with timed() as watch:
        found = connection.execute(BETWEEN_NEIGHBOURS).fetchall()
    assert len(found) == holes
    connection.execute("DROP TABLE loaded")
    return int(counted["rows"]), watch.seconds
