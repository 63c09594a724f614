"""The use cases: plan, stage, check, publish, report. What Airflow's tasks and the command line call. No Airflow here.

Write, audit, publish: rows are staged under an attempt's id, checked by the gate where they lie, and published in one
transaction together with the ledger entries that describe them. Each step may be killed at any instruction and run
again: staging starts a new attempt, checking starts afresh, publishing is done once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from perpflow import draining, releasing
from perpflow.batches import Batch, LoadRequest, Plan
from perpflow.counters import COUNTS
from perpflow.datasets import DATASETS, TABLES
from perpflow.errors import BadSuite, StoreUnavailable
from perpflow.exchange.archive import object_of
from perpflow.fetching import Fetcher, Reading
from perpflow.planning import Planner, wanted_of
from perpflow.proof import evidence_of
from perpflow.publishing import FATES, StagedRowsLost, VerdictOutdated, digests_of, publish_batch
from perpflow.quality import gate
from perpflow.quality.suites import load_suite
from perpflow.quality.verdict import Verdict
from perpflow.sessions import counts_exported, exchange_sessions
from perpflow.settings import Deployment
from perpflow.specs import DatasetSpec
from perpflow.store import archive_objects, ledger, loader, manifests, migrations
from perpflow.store.database import Connection, query, session
from perpflow.store.loader import StagingArea
from perpflow.store.received import RECLAIM_AFTER_S
from perpflow.symbols import Symbols, Synced

log = logging.getLogger(__name__)

#: A crash of the database empties staging; staging again twice in one publish means that something else is wrong.
MOST_RESTAGINGS = 2
#: As many holes that REST is about to forget are named in the log; the asset event has them all.
ALARMS_NAMED = 20


# --- migrate


def migrate(deployment: Deployment) -> list[str]:
    """Bring the market database's schema up to date; returns the migrations that ran.

    Raises:
        MigrationChanged: an applied migration was edited.
        StoreUnavailable: the database does not answer.
    """
    with session(deployment.database_url) as connection:
        return migrations.migrate(connection)


# --- the load log


def fold_log(deployment: Deployment) -> dict[str, int]:
    """Fold the load log's entries that are older than collection.yaml says; returns how many went into how many.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    keep = timedelta(days=deployment.collection.load_log_days)
    with session(deployment.database_url) as connection:
        folded, written = ledger.fold_log(connection, keep)
    log.info("%d entries of the load log that are older than %d days became %d", folded, keep.days, written)
    return {"folded": folded, "into": written}


# --- symbols


def sync_symbols(deployment: Deployment) -> Synced:
    """Bring the table `symbols` up to date, delisted contracts included, and end the ledger's series of those.

    Raises:
        Transient, Permanent: exchange, archive or database do not answer, or not as documented.
    """

    async def run() -> Synced:
        async with exchange_sessions(deployment, live=False) as (rest, archive):
            with session(deployment.database_url) as connection:
                symbols = Symbols(rest, archive, connection)
                synced = await symbols.sync()
                for spec in DATASETS.values():
                    await symbols.set_ends(spec)
                return synced

    return asyncio.run(run())


def recognised(deployment: Deployment, request: LoadRequest) -> tuple[LoadRequest, list[str]]:
    """The request without the symbols by name that there never were, and of each of those that it is none.

    Raises:
        Transient, Permanent: as `sync_symbols`, where the table `symbols` does not know one.
    """

    async def run(symbols: tuple[str, ...]) -> tuple[LoadRequest, list[str]]:
        async with exchange_sessions(deployment, live=True) as (rest, archive):
            with session(deployment.database_url) as connection:
                known, unknown = await Symbols(rest, archive, connection).recognised(symbols)
        return replace(request, symbols=known), unknown

    named = request.symbols if request.symbols != ("all",) else None
    return (request, []) if named is None else asyncio.run(run(named))


# --- plan


def plan(deployment: Deployment, request: LoadRequest) -> Plan:
    """Batches for every gap of the request. Rejects unknown symbols; the others go on.

    Raises:
        Transient: exchange or database do not answer.
    """
    return asyncio.run(_planned(deployment, lambda planner: planner.history(request), live=False))


def plan_repair(deployment: Deployment, request: LoadRequest, *, estimates: bool = False) -> Plan:
    """Batches for the holes in what the ledger knows; holes that REST is about to forget are warned of and counted.

    With `estimates` the plan says what it takes.

    Raises:
        Transient: exchange or database do not answer.
    """
    with counts_exported(deployment):
        planned = asyncio.run(
            _planned(deployment, lambda planner: planner.repair(request, estimates=estimates), live=False)
        )
        for alarm in planned.alarms:
            COUNTS.count(f"alarms.{alarm.dataset}")
    for alarm in planned.alarms[:ALARMS_NAMED]:
        log.warning("%s", alarm)
    if len(planned.alarms) > ALARMS_NAMED:
        log.warning("and so it is with %d more series", len(planned.alarms) - ALARMS_NAMED)
    return planned


def plan_reissued(deployment: Deployment, request: LoadRequest) -> Plan:
    """Batches of the archive files that were issued again since they were read.

    Raises:
        Transient: exchange or database do not answer.
    """
    return asyncio.run(_planned(deployment, lambda planner: planner.reissued(request), live=False))


def plan_increment(deployment: Deployment, dataset: str, run: str, symbols_per_task: int | None = None) -> Plan:
    """Batches from each configured series' watermark to now, of so many symbols each; None: as many as fit a run.

    Raises:
        Transient: exchange or database do not answer.
    """
    return asyncio.run(
        _planned(deployment, lambda planner: planner.increment(dataset, run, symbols_per_task), live=True)
    )


async def _planned(deployment: Deployment, make: Callable[[Planner], Awaitable[Plan]], *, live: bool) -> Plan:
    """What a planner makes, once staging is swept."""
    async with exchange_sessions(deployment, live=live) as (rest, archive):
        with session(deployment.database_url) as connection:
            loader.sweep(connection, TABLES.values())
            return await make(Planner(rest, archive, connection, deployment.collection))


def plan_drain(deployment: Deployment, run: str, reclaim_after_s: float = RECLAIM_AFTER_S) -> Plan:
    """Batches of the liquidations that wait to be drained, and of what dead batches have left for so long.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with session(deployment.database_url) as connection:
        loader.sweep(connection, TABLES.values())
    return asyncio.run(draining.plan(deployment, run, reclaim_after_s))


# --- stage


def stage(deployment: Deployment, batch: Batch) -> dict[str, int]:
    """Fetch what the ledger lacks of the batch into staging, under a new attempt; returns staged rows by dataset.

    Raises:
        BadSuite: nothing of one of its datasets can be published; found before anything is asked for.
        Transient, Permanent: a source, the database or the data failed; nothing of this attempt can be published.
        BatchSuperseded: another attempt has claimed the batch meanwhile.
    """
    return asyncio.run(_stage(deployment, batch))


async def _stage(deployment: Deployment, batch: Batch) -> dict[str, int]:
    with session(deployment.database_url) as connection:
        if manifests.is_published(connection, batch):
            log.info("%s is published already; nothing to stage", batch.label)
            return {}
        for name in batch.datasets:
            load_suite(name)
        if batch.review is not None:
            return releasing.stage(connection, batch)
        if batch.is_streamed:
            return await draining.stage(connection, deployment, batch)
        stage_id = manifests.claim(connection, batch)
        async with (
            exchange_sessions(deployment, live=batch.live) as (rest, archive),
            StagingArea.open(deployment.database_url, stage_id) as area,
        ):
            now = await rest.now()
            fetcher = Fetcher(
                rest,
                archive,
                area,
                exchange_symbols=_exchange_symbols(connection),
                now=now,
                wanted=wanted_of(connection, batch, deployment.collection, now),
                reading=_reading(connection, deployment, batch),
            )
            staged = await fetcher.run()
        contents = {name: {"rows": rows, "normalised": counts} for name, (rows, counts) in staged.items()}
        manifests.write(connection, batch, stage_id, contents, evidence_of(fetcher, now))
    return {name: rows for name, (rows, _) in staged.items()}


def _reading(connection: Connection, deployment: Deployment, batch: Batch) -> Reading:
    return Reading(
        only=tuple(filter(None, map(object_of, batch.objects))),
        left_alone=archive_objects.left_alone(connection),
        accepts_wrong_checksums=deployment.collection.exchange.accepts_wrong_checksums,
    )


def _exchange_symbols(connection: Connection) -> dict[str, str]:
    return {row["symbol"]: row["exchange_symbol"] for row in connection.execute(query("symbols_read"))}


# --- check


def check(deployment: Deployment, batch: Batch) -> dict[str, Verdict]:
    """Run the gate over the staged batch and write its verdict into the manifest; returns the verdicts by dataset.

    Stages the batch again itself if the staged rows are gone.

    Raises:
        BadSuite: a suite is missing or broken, or could not be evaluated; nothing is published then.
        Transient: the database does not answer, or staging again failed.
    """
    with counts_exported(deployment), session(deployment.database_url) as connection:
        if manifests.is_published(connection, batch):
            log.info("%s is published already; nothing to check", batch.label)
            return {}
        manifest = _whole_manifest(connection, deployment, batch)
        verdicts = _verdicts(connection, deployment, batch, manifest)
        contents = {spec.name: _marked(connection, spec, manifest) for spec in batch.specs}
        verdict = {name: verdict.to_json() for name, verdict in verdicts.items()}
        manifests.write_verdict(connection, batch, manifest["stage_id"], verdict, contents)
    return verdicts


def _whole_manifest(connection: Connection, deployment: Deployment, batch: Batch) -> dict[str, Any]:
    """The batch's manifest, its rows verified to be there; staged again where they are not."""
    left = MOST_RESTAGINGS
    while True:
        manifest = manifests.read(connection, batch)
        if manifest is not None and manifest["contents"] is not None and digests_of(connection, batch, manifest):
            return manifest
        if not left:
            raise StoreUnavailable(
                f"the staged rows of batch {batch.id} vanish again and again.",
                window=batch.window,
                hint="Look for crashes of PostgreSQL, or for a second worker on the same batch.",
            )
        left -= 1
        log.warning("%s: the staged rows are gone; staging again", batch.label)
        stage(deployment, batch)


def _verdicts(
    connection: Connection, deployment: Deployment, batch: Batch, manifest: dict[str, Any]
) -> dict[str, Verdict]:
    try:
        return {
            spec.name: gate.check(connection, deployment.database_url, spec.name, manifest["stage_id"], batch.window)
            for spec in batch.specs
        }
    except BadSuite:
        # An expectation whose rows vanish between two of its questions fails as if it were broken.
        for spec in batch.specs:
            _marked(connection, spec, manifest)
        raise


def _marked(connection: Connection, spec: DatasetSpec, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest's entry with the digest of the rows as the gate left them: it marks what it withholds.

    Raises:
        StoreUnavailable: they are no longer all there.
    """
    digest = loader.digest(connection, spec, manifest["stage_id"])
    entry: dict[str, Any] = manifest["contents"][spec.name]
    if digest.rows != entry["rows"]:
        raise StoreUnavailable(
            f"{entry['rows']} rows were staged and {digest.rows} are left after the check.",
            dataset=spec.name,
            hint="PostgreSQL has crashed meanwhile, or another attempt has begun; run the task again.",
        )
    return entry | {"hash": digest.hash}


# --- publish


def publish(deployment: Deployment, batch: Batch) -> dict[str, dict[str, int]]:
    """Publish what the gate let pass, with its ledger entries, in one transaction; returns counts by dataset.

    A batch that is published already is left alone. Where the staged rows are gone, or were never checked, they are
    staged and checked again here; where one was rejected since they were, they are checked again.

    Raises:
        BadSuite: they have to be checked again, and a suite is missing or broken.
        Transient: the database does not answer, another attempt has taken over, or staging again failed.
        Permanent: staging again failed for good.
    """
    with counts_exported(deployment), session(deployment.database_url) as connection:
        entries, by_us = _published(connection, deployment, batch)
        if by_us:
            _count(entries)
        loader.vacuum_staging(connection, batch.specs)
        if batch.is_streamed:
            asyncio.run(draining.done(deployment, batch))
    shown = ("staged", *FATES, "corrected")
    return {entry["dataset"]: {name: entry[name] for name in shown} for entry in entries}


def _published(connection: Connection, deployment: Deployment, batch: Batch) -> tuple[list[dict[str, Any]], bool]:
    """Publish it, as `publish_batch` does; what can't be published as it is staged and checked again before."""
    left = MOST_RESTAGINGS
    while True:
        try:
            with connection.transaction():
                return publish_batch(connection, batch)
        except (StagedRowsLost, VerdictOutdated) as error:
            if not left:
                raise StoreUnavailable(
                    f"rows of batch {batch.id} vanish or are rejected, again and again, before they are published.",
                    window=batch.window,
                    hint="Look for crashes of PostgreSQL, or for somebody who rejects them; then run the task again.",
                ) from error
        left -= 1
        check(deployment, batch)


def _count(entries: list[dict[str, Any]]) -> None:
    """Count what has just been published: rows by what became of them, and what was normalised, by kind."""
    for entry in entries:
        for fate in (*FATES, "corrected"):
            COUNTS.count(f"rows.{entry['dataset']}.{fate}", entry[fate])
        for kind, times in entry["normalised"].items():
            COUNTS.count(f"normalised.{entry['dataset']}.{kind}", times)
