"""Publishing a batch: its rows, its ledger entries and what they say of archive objects, in one transaction.

The caller begins the transaction, and makes good what it is told is not so: rows to stage, or to check, again.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from perpflow import releasing
from perpflow.batches import Batch
from perpflow.exchange.archive import object_of
from perpflow.proof import answered_in, covered_in, windows_of
from perpflow.reissues import accounted_in
from perpflow.specs import DatasetSpec, StreamedSpec
from perpflow.store import archive_objects, ledger, loader, manifests
from perpflow.store.database import Connection, query
from perpflow.store.loader import Digest
from perpflow.windows import subtract

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


def digests_of(connection: Connection, batch: Batch, manifest: dict[str, Any]) -> dict[str, Digest] | None:
    """The digests of the staged rows by dataset; None where they are not what the manifest says."""
    digests = {spec.name: loader.digest(connection, spec, manifest["stage_id"]) for spec in batch.specs}
    whole = all(digest.fits(manifest["contents"][name]) for name, digest in digests.items())
    return digests if whole else None


def publish_batch(connection: Connection, batch: Batch) -> tuple[list[dict[str, Any]], bool]:
    """Publish what the gate let pass, within the caller's transaction.

    Returns:
        The batch's entries in the load log, and whether they are this call's: another may have published it before.

    Raises:
        StagedRowsLost: what the manifest says is not staged, or was never checked.
        VerdictOutdated: it has to be checked again.
    """
    connection.execute(query("publish_begin"), {"batch": batch.id})
    releasing.hold_reviews(connection)
    done = connection.execute(query("versions_of_batch"), {"batch": batch.id}).fetchall()
    if done:
        return done, False
    manifest = manifests.lock(connection, batch)
    if manifest is None or manifest["verdict"] is None:
        raise StagedRowsLost(batch.id)
    digests = digests_of(connection, batch, manifest)
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
