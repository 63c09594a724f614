"""Whether archive and REST agree about the days that both have: asked anew, compared value by value, reported.

The store can't tell: the archive's values have overwritten REST's. So both are asked for the same days, go through the
same normalisation into staging, and are compared there. Nothing is published, averaged or repaired: which of two values
is true, nobody knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import sql

from perpflow.batches import Batch, LoadRequest
from perpflow.contracts import Contract
from perpflow.datasets import DATASETS, MONTH_PUBLISHED_AFTER, STATISTICS_REACH, by_archive_kind
from perpflow.errors import BatchFaulty
from perpflow.exchange.archive import object_of
from perpflow.fetching import Fetcher, Wanted
from perpflow.sessions import exchange_sessions
from perpflow.settings import Collection, Deployment
from perpflow.specs import LoadedSpec
from perpflow.store import ledger, loader, manifests, turns
from perpflow.store.database import Connection, columns, query, session, to_multirange, to_range
from perpflow.store.ledger import SeriesKey
from perpflow.store.loader import StagingArea
from perpflow.symbols import known_contracts
from perpflow.windows import DAY, Window, intersect, merge, month_of, start_of_day

#: REST gives statistics for thirty days; the day in which it ends is left out.
MOST_DAYS = STATISTICS_REACH // DAY
#: Of `all` so many symbols are compared in a run, others in the next: thirty days of one cost some 200 requests.
SYMBOLS_A_RUN = 20
#: What their turns are kept under, beside those of datasets.
TURNS = "reconcile"
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One column of a series: how many of its points archive and REST agree about.

    `within` differ by no more than the tolerance, `beyond` by more; `sample` holds the first of these.
    """

    dataset: str
    symbol: str
    series: str
    column: str
    window: Window
    tolerance: float
    agree: int
    within: int
    beyond: int
    archive_only: int
    rest_only: int
    sample: list[dict[str, Any]]


def reconcile(deployment: Deployment, request: LoadRequest, days: int) -> list[Reconciled]:
    """Compare the last so many whole days, of the symbols asked for, or of those of collection.yaml.

    Datasets of which the archive has months alone are compared over the latest month.

    Raises:
        BadConfiguration: the symbols are unknown.
        Transient, Permanent: exchange or database do not answer, or not as documented.
    """
    return asyncio.run(_reconcile(deployment, request, min(days, MOST_DAYS)))


async def _reconcile(deployment: Deployment, request: LoadRequest, days: int) -> list[Reconciled]:
    found: list[Reconciled] = []
    async with exchange_sessions(deployment, live=False) as (rest, archive):
        now = await rest.now()
        with session(deployment.database_url) as connection:
            contracts = known_contracts(connection)
            names = {symbol: contract.exchange_symbol for symbol, contract in contracts.items()}
            symbols = _symbols(connection, request, deployment.collection, contracts.values())
            for symbol in symbols:
                for group in by_archive_kind(request.datasets):
                    wanted = _wanted(connection, group, symbol, deployment.collection, now, days)
                    if any(wanted.values()):
                        batch = _batch(request, group, symbol, wanted)
                        stage_id = manifests.claim(connection, batch)
                        async with StagingArea.open(deployment.database_url, stage_id) as area:
                            fetcher = Fetcher(rest, archive, area, exchange_symbols=names, now=now, wanted=wanted)
                            await fetcher.both()
                        found += _compared(connection, fetcher, batch, stage_id)
            # Once all were compared: who tries again compares the same, and sees what has differed.
            turns.take(connection, TURNS, tuple(symbols), now)
    return found


def _symbols(
    connection: Connection, request: LoadRequest, collection: Collection, contracts: Iterable[Contract]
) -> list[str]:
    """Those asked for that the ledger has met; of all of them those whose turn is longest ago."""
    met = sorted({row.symbol for row in ledger.bounds(connection, request.datasets)})
    asked = collection.symbols if request.symbols is None else request.symbols
    if asked not in ("all", ("all",)):
        return [symbol for symbol in met if symbol in asked]
    collected = collection.collected(contracts).intersection(met)
    taken_at = turns.read(connection, TURNS, tuple(collected))
    return sorted(collected, key=lambda symbol: (taken_at.get(symbol, NEVER), symbol))[:SYMBOLS_A_RUN]


def _wanted(
    connection: Connection, group: tuple[str, ...], symbol: str, collection: Collection, now: datetime, days: int
) -> Wanted:
    """What of the days the ledger has of each series, whatever its source.

    Where the archive has files of months alone (funding), the latest month that it should have, whatever the days.
    """
    today = start_of_day(now)
    period = Window(today - days * DAY, today)
    if all(DATASETS[name].archive.granularities == ("monthly",) for name in group):
        period = month_of(month_of(now - MONTH_PUBLISHED_AFTER).start - DAY)
    rows = ledger.read(connection, group, (symbol,))
    wanted: Wanted = {name: {} for name in group}
    for row in rows:
        windows = intersect([period], row.present) if row.series in collection.series(row.dataset) else []
        if windows:
            wanted[row.dataset][symbol, row.series] = windows
    return wanted


def _batch(request: LoadRequest, group: tuple[str, ...], symbol: str, wanted: Wanted) -> Batch:
    windows = merge(window for of_series in wanted.values() for series in of_series.values() for window in series)
    name = f"{request.run}|{request.made_at:%Y%m%dT%H%M%S.%f}|{group[0]}|{symbol}|reconcile"
    return Batch(name, request.run, group, (symbol,), Window(windows[0].start, windows[-1].end))


def _compared(connection: Connection, fetcher: Fetcher, batch: Batch, stage_id: int) -> list[Reconciled]:
    """Compare in one transaction with forgetting what was staged."""
    found = []
    with connection.transaction():
        for name, of_series in fetcher.wanted.items():
            spec = DATASETS[name]
            both = {key: given for key in of_series if (given := _given_by_both(fetcher, name, key))}
            parameters = {
                "stage_id": stage_id,
                "start": batch.window.start - timedelta(days=1),
                "end": batch.window.end + timedelta(days=1),
                "window": to_range(batch.window),
                "symbols": [symbol for symbol, _ in both],
                "series": [series for _, series in both],
                "compared": [to_multirange(windows) for windows in both.values()],
                "dataset": name,
            }
            if both:
                found += [_reconciled(row) for row in connection.execute(_comparison(spec), parameters)]
            loader.delete_staged(connection, spec, stage_id)
        manifests.delete(connection, batch)
    loader.vacuum_staging(connection, batch.specs)
    return found


def _given_by_both(fetcher: Fetcher, dataset: str, key: SeriesKey) -> list[Window]:
    """The time of a series' files that the archive has and that were fit for use, as far as REST answered for it.

    A file that is not there yet says nothing about its day; nor does REST about a contract that it no longer knows.
    """
    evidence, kind = fetcher.evidence, DATASETS[dataset].archive.kind
    if (dataset, key) in evidence.unknown:
        return []
    objects = filter(None, (object_of(origin.name) for origin in evidence.origins))
    files = [found.period for found in objects if found.kind == kind and found.interval in (None, key[1])]
    return intersect(merge(files), merge(evidence.rest.get((dataset, key), [])))


def _comparison(spec: LoadedSpec) -> sql.Composed:
    values = [
        query("reconcile_value", title=sql.Literal(name), column=sql.Identifier(name), tolerance=sql.Literal(tolerance))
        for name, tolerance in spec.comparable.items()
    ]
    series = sql.Identifier("timeframe") if spec.series_in_key else sql.Literal(spec.series_of_rows)
    return query(
        "reconcile",
        archive=loader.staged_rows(spec, "archive"),
        rest=loader.staged_rows(spec, "rest"),
        key=columns(spec.key),
        series=series,
        ledger_series=sql.SQL('v."column"') if spec.partial_rows else series,
        values=sql.SQL(", ").join(values),
    )


def _reconciled(row: dict[str, Any]) -> Reconciled:
    window = row["window"]
    return Reconciled(**row | {"window": Window(window.lower, window.upper)})


def complain(found: Iterable[Reconciled]) -> None:
    """Say what does not agree.

    Raises:
        BatchFaulty: values differ by more than their tolerance; names series, column, instants and both values.
    """
    faults = [
        f"{one.dataset} {one.symbol} {one.series} {one.column}: {one.beyond} points differ by more than "
        f"{one.tolerance:g}: "
        + ", ".join(f"{at['time']} archive {at['archive']:.10g}, REST {at['rest']:.10g}" for at in one.sample)
        for one in found
        if one.beyond
    ]
    if faults:
        raise BatchFaulty(
            f"archive and REST disagree, {len(faults)} columns:\n  " + "\n  ".join(faults),
            hint="\nNothing was changed: the tables hold the archive's values. See the table reconciliations.",
        )
