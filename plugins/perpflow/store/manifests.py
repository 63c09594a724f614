"""Manifests of staged batches: who is at work on a batch, what was staged, and what the gate said of it.

Staging is emptied by a crash of the database; its manifests are not, and publishing compares the two.
"""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from perpflow.batches import Batch
from perpflow.errors import BatchSuperseded
from perpflow.store.database import Connection, one, query, to_range


def is_published(connection: Connection, batch: Batch) -> bool:
    """Whether the load log knows the batch."""
    return connection.execute(query("versions_of_batch"), {"batch": batch.id}).fetchone() is not None


def claim(connection: Connection, batch: Batch) -> int:
    """Begin an attempt at the batch; returns its number."""
    parameters = {
        "batch": batch.id,
        "datasets": list(batch.datasets),
        "symbols": list(batch.symbols),
        "window": to_range(batch.window),
        "run": batch.run,
    }
    return int(one(connection, query("manifest_claim"), parameters)["stage_id"])


def write(
    connection: Connection, batch: Batch, stage_id: int, contents: dict[str, Any], evidence: dict[str, Any]
) -> None:
    """The last act of staging: say what is there, and what the sources answered.

    Raises:
        BatchSuperseded: another attempt has claimed the batch meanwhile.
    """
    values = {"contents": Jsonb(contents), "evidence": Jsonb(evidence)}
    _change(connection, batch, stage_id, "manifest_write", values)


def write_verdict(
    connection: Connection, batch: Batch, stage_id: int, verdict: dict[str, Any], contents: dict[str, Any]
) -> None:
    """What the gate said, and the digests of the rows as it left them.

    Raises:
        BatchSuperseded: another attempt has claimed the batch meanwhile.
    """
    values = {"verdict": Jsonb(verdict), "contents": Jsonb(contents)}
    _change(connection, batch, stage_id, "manifest_verdict", values)


def read(connection: Connection, batch: Batch) -> dict[str, Any] | None:
    """The batch's manifest: `stage_id`, `contents`, `evidence`, `verdict`; None where nobody has claimed the batch."""
    return connection.execute(query("manifest_read"), {"batch": batch.id}).fetchone()


def lock(connection: Connection, batch: Batch) -> dict[str, Any] | None:
    """The same, held until the transaction ends."""
    return connection.execute(query("manifest_lock"), {"batch": batch.id}).fetchone()


def delete(connection: Connection, batch: Batch) -> None:
    """Forget it; part of the publish transaction."""
    connection.execute(query("manifest_delete"), {"batch": batch.id})


def _change(connection: Connection, batch: Batch, stage_id: int, name: str, values: dict[str, Any]) -> None:
    parameters = {"batch": batch.id, "stage_id": stage_id, **values}
    if connection.execute(query(name), parameters).rowcount == 0:
        raise BatchSuperseded(f"another attempt has begun to stage batch {batch.id}.", window=batch.window)
