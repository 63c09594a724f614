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
from datetime import datetime, timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from perpflow import draining, releasing
from perpflow.batches import Batch, LoadRequest, Plan
from perpflow.counters import COUNTS
from perpflow.datasets import DATASETS, TABLES
from perpflow.errors import BadSuite, StoreUnavailable
from perpflow.exchange.archive import object_of
from perpflow.fetching import Fetcher, Reading
from perpflow.planning import Planner, wanted_of
from perpflow.proof import answered_in, covered_in, evidence_of, windows_of
from perpflow.quality import gate
from perpflow.quality.suites import load_suite
from perpflow.quality.verdict import Verdict
from perpflow.reissues import accounted_in
from perpflow.sessions import counts_exported, exchange_sessions
from perpflow.settings import Deployment
from perpflow.specs import DatasetSpec, StreamedSpec
from perpflow.store import archive_objects, ledger, loader, manifests, migrations
from perpflow.store.database import Connection, query, session
from perpflow.store.loader import Digest, StagingArea
from perpflow.store.received import RECLAIM_AFTER_S
from perpflow.symbols import Symbols, Synced
from perpflow.windows import subtract

log = logging.getLogger(__name__)

#: A crash of the database empties staging; staging again twice in one publish means that something else is wrong.
MOST_RESTAGINGS = 2
#: As many holes that REST is about to forget are named in the log; the asset event has them all.
ALARMS_NAMED = 20
#: What becomes of staged rows, by the load log's columns; together they are all of them.
FATES = ("inserted", "updated", "unchanged", "quarantined")


class StagedRowsLost(Exception):
    """Staging does not hold what the manifest says: the database has crashed, or another attempt has begun."""


class VerdictOutdated(Exception):
    """A person has rejected a staged row since the gate let it pass."""


@cache
def code_version() -> str:
    """The package's version, for the load log."""
    try:
        return version("perpflow")
    except PackageNotFoundError:
        return "source"


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
    for _ in range(MOST_RESTAGINGS):
        manifest = manifests.read(connection, batch)
        if manifest is not None and manifest["contents"] is not None and _digests(connection, batch, manifest):
            return manifest
        log.warning("%s: the staged rows are gone; staging again", batch.label)
        stage(deployment, batch)
    raise StoreUnavailable(
        f"the staged rows of batch {batch.id} vanish again and again.",
        window=batch.window,
        hint="Look for crashes of PostgreSQL, or for a second worker on the same batch.",
    )


def _digests(connection: Connection, batch: Batch, manifest: dict[str, Any]) -> dict[str, Digest] | None:
    """The digests of the staged rows by dataset; None where they are not what the manifest says."""
    digests = {spec.name: loader.digest(connection, spec, manifest["stage_id"]) for spec in batch.specs}
    whole = all(digest.fits(manifest["contents"][name]) for name, digest in digests.items())
    return digests if whole else None


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
        Transient: the database does not answer, or staging again failed.
    """
    with counts_exported(deployment), session(deployment.database_url) as connection:
        for _ in range(MOST_RESTAGINGS):
            try:
                with connection.transaction():
                    entries, by_us = _publish(connection, batch)
                break
            except (StagedRowsLost, VerdictOutdated):
                check(deployment, batch)
        else:
            raise StoreUnavailable(f"the staged rows of batch {batch.id} vanish again and again.", window=batch.window)
        if by_us:
            _count(entries)
        loader.vacuum_staging(connection, batch.specs)
        if batch.is_streamed:
            asyncio.run(draining.done(deployment, batch))
    shown = ("staged", *FATES, "corrected")
    return {entry["dataset"]: {name: entry[name] for name in shown} for entry in entries}


def _count(entries: list[dict[str, Any]]) -> None:
    """Count what has just been published: rows by what became of them, and what was normalised, by kind."""
    for entry in entries:
        for fate in (*FATES, "corrected"):
            COUNTS.count(f"rows.{entry['dataset']}.{fate}", entry[fate])
        for kind, times in entry["normalised"].items():
            COUNTS.count(f"normalised.{entry['dataset']}.{kind}", times)


def _publish(connection: Connection, batch: Batch) -> tuple[list[dict[str, Any]], bool]:
    """The batch's entries in the load log, and whether they are this call's: another may have published it before."""
    connection.execute(query("publish_begin"), {"batch": batch.id})
    releasing.hold_reviews(connection)
    done = connection.execute(query("versions_of_batch"), {"batch": batch.id}).fetchall()
    if done:
        return done, False
    manifest = manifests.lock(connection, batch)
    if manifest is None or manifest["verdict"] is None:
        raise StagedRowsLost(batch.id)
    digests = _digests(connection, batch, manifest)
    if digests is None:
        raise StagedRowsLost(batch.id)
    if any(releasing.would_publish_rejected(connection, s, manifest["stage_id"], batch.window) for s in batch.specs):
        raise VerdictOutdated(batch.id)
    for spec in batch.specs:
        _publish_dataset(connection, batch, spec, manifest, digests[spec.name])
    objects = manifest["evidence"]["objects"]
    if batch.objects:
        objects = _read_again(connection, batch, manifest["evidence"])
    archive_objects.record(connection, objects, reread=bool(batch.objects))
    manifests.delete(connection, batch)
    return connection.execute(query("versions_of_batch"), {"batch": batch.id}).fetchall(), True


def _read_again(connection: Connection, batch: Batch, evidence: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that were read again; `mixed` where rows have come meanwhile, which may be of an earlier issue.

    The series are locked: nobody publishes rows of them now.
    """
    read = {
        (entry["dataset"], entry["symbol"], entry["series"]): windows_of(entry["windows"])
        for entry in evidence["wanted"]
    }
    rows = ledger.read(connection, batch.datasets, batch.symbols)
    named = {wanted.key: wanted for wanted in map(object_of, batch.objects) if wanted}
    now = datetime.fromisoformat(evidence["now"])

    def is_mixed(key: str) -> bool:
        known = accounted_in(named[key], rows, now)
        return any(subtract(windows, read.get(series, [])) for series, windows in known.items())

    return [entry | {"mixed": is_mixed(entry["key"])} for entry in evidence["objects"]]


def _publish_dataset(
    connection: Connection, batch: Batch, spec: DatasetSpec, manifest: dict[str, Any], staged: Digest
) -> None:
    stage_id, evidence = manifest["stage_id"], manifest["evidence"]
    findings = manifest["verdict"][spec.name]["findings"]
    symbols = tuple(evidence.get("symbols", batch.symbols))
    if isinstance(spec, StreamedSpec):
        # Nobody plans for its row in the ledger: it may not be there yet.
        ledger.ensure(connection, spec, batch.symbols, spec.series)
    ledger.lock(connection, spec, batch.symbols)
    loaded = loader.publish_rows(
        connection,
        spec,
        stage_id,
        staged,
        window=batch.window,
        symbols=symbols,
        batch=batch.id,
        origins=evidence["origins"],
    )
    # A release is no word of the source; and of what a stream gave there is no other issue.
    if batch.review is None and not isinstance(spec, StreamedSpec):
        loader.supersede_waiting(connection, spec, stage_id, window=batch.window, symbols=symbols, batch=batch.id)
    loader.quarantine_rows(connection, spec, stage_id, batch=batch.id, origins=evidence["origins"], findings=findings)
    if isinstance(spec, StreamedSpec):
        loader.quarantine_unreadable(connection, spec, evidence["unreadable"], batch=batch.id, symbol=batch.symbols[0])
        loaded = loaded.with_unreadable(len(evidence["unreadable"]))
        ledger.listen(connection, spec, batch.symbols[0], windows_of(evidence["listened"]))
        connection.execute(query("received_delete"), {"batch": batch.id})
    else:
        ledger.describe(
            connection,
            spec,
            stage_id,
            window=batch.window,
            answered=answered_in(evidence, spec),
            now=datetime.fromisoformat(evidence["now"]),
            covered=covered_in(evidence, spec) if loaded.quarantined == 0 else None,
            changed=loaded.inserted + loaded.updated > 0,
        )
    ledger.record_version(
        connection,
        spec,
        loaded,
        batch=batch.id,
        symbols=symbols,
        window=batch.window,
        run=batch.run,
        normalised=manifest["contents"][spec.name]["normalised"],
        warnings=_warnings(findings, evidence),
        code_version=code_version(),
    )
    if batch.review is not None:
        releasing.settle(connection, batch, stage_id)
    loader.delete_staged(connection, spec, stage_id)


def _warnings(findings: list[dict[str, Any]], evidence: dict[str, Any]) -> list[dict[str, Any]]:
    """What a person should see of a batch: every finding, frames that nobody can read, archive objects left out."""
    left_out = [
        {"object": entry["key"], "verdict": entry["verdict"], "detail": entry["detail"]}
        for entry in evidence["objects"]
        if entry["verdict"] not in (archive_objects.OK, archive_objects.ACCEPTED)
    ]
    frames = evidence.get("unreadable", [])
    unreadable = {
        "expectation": "frame_is_readable",
        "severity": "critical",
        "failing": len(frames),
        "withheld": len(frames),
        "sample": [frame["reason"] for frame in frames[:1]],
    }
    return [*findings, *([unreadable] if frames else []), *left_out]
