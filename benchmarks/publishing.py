"""Rows into the candles' hypertable: ours against inserting row by row and against a raw binary COPY.

Ours is what the pipeline does: archive bytes copied into staging behind their prefix, normalised, digested, manifest
written; then `pipeline.publish` with its ledger entries. The gate between the two is measured in `gating`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import cast
from uuid import uuid4

from psycopg import sql
from psycopg.types.json import Jsonb

from benchmarks import candles
from benchmarks.candles import TIMEFRAME, WINDOW, FactRow
from benchmarks.measurement import Measurement, timed
from perpflow import pipeline
from perpflow.batches import Batch
from perpflow.datasets import OHLCV
from perpflow.exchange.archive import Archive, ArchiveObject, FetchedObject
from perpflow.exchange.rest import Rest
from perpflow.fetching import Fetcher
from perpflow.issue import Issue
from perpflow.parsing import labels, rows_of
from perpflow.quality.verdict import Verdict
from perpflow.settings import Deployment
from perpflow.store import ledger, loader, manifests
from perpflow.store.database import Connection, columns, one, query, session
from perpflow.store.loader import StagingArea

#: 28 symbols' months are 249,984 rows, the size of a big batch.
SYMBOLS = candles.symbols(28)
ROUNDS = 3
ROWS_ONE_BY_ONE = 3_000
COLUMNS = (*(column.name for column in OHLCV.columns), "source")


@dataclass(frozen=True, slots=True)
class Prepared:
    """The batch in both forms, made once."""

    archived: dict[str, bytes]
    rows: list[FactRow]


@dataclass(frozen=True, slots=True)
class Rates:
    """Rows a second of one way to load, and the WAL that it wrote."""

    per_second: float
    wal_bytes: int


def prepare(symbols: tuple[str, ...] = SYMBOLS) -> Prepared:
    """The same candles as archive bytes and as Python rows."""
    archived = {symbol: candles.archive_csv(seed) for seed, symbol in enumerate(symbols)}
    return Prepared(archived, [row for symbol in symbols for row in candles.fact_rows(symbol, archived[symbol])])


def measure(deployment: Deployment) -> list[Measurement]:
    """The best of a few rounds of each way, so that a busy moment of the machine does not decide."""
    prepared = prepare()
    with session(deployment.database_url) as connection:
        rounds = [_round(connection, deployment, prepared) for _ in range(ROUNDS)]
    best = {name: max((each[name] for each in rounds), key=lambda rate: rate.per_second) for name in rounds[0]}
    return _report(len(prepared.rows), best)


def _round(connection: Connection, deployment: Deployment, prepared: Prepared) -> dict[str, Rates]:
    everything = len(prepared.rows)
    done = {}
    _empty(connection)
    done["one by one"] = _rate(connection, ROWS_ONE_BY_ONE, partial(_insert_one_by_one, connection, prepared.rows))
    _empty(connection)
    done["copy"] = _rate(connection, everything, partial(_copy_binary, connection, prepared.rows))
    _empty(connection)
    for name in ("new", "replay"):
        batch = Batch(f"benchmark {uuid4()}", "benchmark", (OHLCV.name,), SYMBOLS, WINDOW)
        done[f"stage {name}"] = _rate(connection, everything, partial(stage, connection, deployment, prepared, batch))
        let_pass(connection, batch)
        done[f"publish {name}"] = _rate(connection, everything, partial(pipeline.publish, deployment, batch))
    return done


def _report(rows: int, best: dict[str, Rates]) -> list[Measurement]:
    copy, one_by_one = best["copy"].per_second, best["one by one"].per_second
    new, replay = best["publish new"], best["publish replay"]
    both = 1 / (1 / best["stage new"].per_second + 1 / new.per_second)
    baselines = [
        Measurement(f"INSERT row by row with commit ({ROWS_ONE_BY_ONE:,} rows)", f"{one_by_one:,.0f} rows/s"),
        Measurement(f"raw binary COPY ({rows:,} rows)", f"{copy:,.0f} rows/s"),
    ]
    ours = [
        Measurement("stage (copy, normalise, count)", f"{best['stage new'].per_second:,.0f} rows/s"),
        Measurement("publish new rows, with ledger", f"{new.per_second:,.0f} rows/s, {new.wal_bytes / 1e6:.1f} MB WAL"),
        Measurement(
            "publish the same again", f"{replay.per_second:,.0f} rows/s, {replay.wal_bytes / 1e6:.2f} MB WAL", "no WAL"
        ),
    ]
    ratios = [
        Measurement("publish new : row by row", f"{new.per_second / one_by_one:.0f}", "at least 50"),
        Measurement("stage + publish new : binary COPY", f"{both / copy:.2f}", "at least 0.4"),
        Measurement("publish again : publish new", f"{replay.per_second / new.per_second:.1f}", "at least 2"),
    ]
    return baselines + ours + ratios


def _rate(connection: Connection, rows: int, act: Callable[[], object]) -> Rates:
    before = _wal_position(connection)
    with timed() as watch:
        act()
    return Rates(rows / watch.seconds, _wal_position(connection) - before)


def _wal_position(connection: Connection) -> int:
    row = connection.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint AS position").fetchone()
    assert row is not None
    return int(row["position"])


def _empty(connection: Connection) -> None:
    """A fresh hypertable without chunks, and a checkpoint so that each way starts from the same point of the WAL."""
    connection.execute("TRUNCATE ohlcv, coverage, data_versions")
    connection.execute("CHECKPOINT")


# --- the baselines


def _insert_one_by_one(connection: Connection, rows: list[FactRow]) -> None:
    places = sql.SQL(", ").join(sql.Placeholder() * len(COLUMNS))
    insert = sql.SQL("INSERT INTO ohlcv ({}) VALUES ({})").format(columns(COLUMNS), places)
    for row in rows[:ROWS_ONE_BY_ONE]:
        connection.execute(insert, row)


def _copy_binary(connection: Connection, rows: list[FactRow]) -> None:
    statement = sql.SQL("COPY ohlcv ({}) FROM STDIN (FORMAT binary)").format(columns(COLUMNS))
    types = ["text", "text", "timestamptz", *["float8"] * 6, "int8", "float8", "float8", "text"]
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


# --- ours


class _ArchiveInMemory:
    """Stands in for the archive's session: the network is not what is measured."""

    def __init__(self, archived: dict[str, bytes]) -> None:
        self._archived = {exchange_name(symbol): content for symbol, content in archived.items()}

    async def fetch(self, wanted: ArchiveObject, *, verify: bool = True) -> FetchedObject:
        content = rows_of(self._archived[wanted.exchange_symbol])
        first, last, rows = labels(content)
        return FetchedObject(wanted, content, Issue("0" * 64), first, last, rows)


def exchange_name(symbol: str) -> str:
    """How the exchange writes the symbol."""
    return symbol.replace("/", "")


def stage(connection: Connection, deployment: Deployment, prepared: Prepared, batch: Batch) -> int:
    """What `pipeline.stage` does with an archive that answers at once; returns the attempt's number."""
    ledger.ensure(connection, OHLCV, batch.symbols, (TIMEFRAME,))
    stage_id = manifests.claim(connection, batch)
    rows, evidence = asyncio.run(_fetch(deployment, prepared, batch, stage_id))
    contents = {OHLCV.name: {"rows": rows, "normalised": {}}}
    manifests.write(connection, batch, stage_id, contents, evidence)
    return stage_id


def let_pass(connection: Connection, batch: Batch) -> None:
    """Write the verdict of a gate that found nothing, with the digest that it takes."""
    stage_id = one(connection, query("manifest_read"), {"batch": batch.id})["stage_id"]
    digest = loader.digest(connection, OHLCV, stage_id)
    contents = {OHLCV.name: {"rows": digest.rows, "hash": digest.hash, "normalised": {}}}
    verdict = {OHLCV.name: Verdict(OHLCV.name, True, digest.rows, ()).to_json()}
    attempt = {"batch": batch.id, "stage_id": stage_id}
    connection.execute(query("manifest_verdict"), attempt | {"contents": Jsonb(contents), "verdict": Jsonb(verdict)})


async def _fetch(
    deployment: Deployment, prepared: Prepared, batch: Batch, stage_id: int
) -> tuple[int, dict[str, object]]:
    now = batch.window.end + timedelta(days=3)
    async with StagingArea.open(deployment.database_url, stage_id) as area:
        fetcher = Fetcher(
            cast(Rest, None),  # the archive has it all
            cast(Archive, _ArchiveInMemory(prepared.archived)),
            area,
            exchange_symbols={symbol: exchange_name(symbol) for symbol in batch.symbols},
            now=now,
            wanted={OHLCV.name: {(symbol, TIMEFRAME): [batch.window] for symbol in batch.symbols}},
        )
        rows, _ = (await fetcher.run())[OHLCV.name]
    return rows, pipeline.evidence_of(fetcher, now)
