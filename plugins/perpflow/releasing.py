"""Releasing: rows that a person has let out of the quarantine become batches, and those go the way of every batch.

They are staged from the quarantine itself, as they came. The gate excuses each from what it was released from, and from
nothing else; publishing moves their instants in the ledger, and marks the decision as carried out, in one transaction.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from perpflow.batches import ALL_CONTRACTS, MOST_BATCHES, Batch, Plan
from perpflow.datasets import TABLES
from perpflow.quality import gate
from perpflow.specs import DatasetSpec, StreamedSpec
from perpflow.store import manifests
from perpflow.store.database import Connection, columns, from_multirange, one, query
from perpflow.store.loader import points_view, staging_table
from perpflow.windows import Window

#: A window is half-open: its end lies just after the last row.
JUST_AFTER = timedelta(milliseconds=1)


def plan(connection: Connection, run: str, reviews: tuple[str, ...] | None = None) -> Plan:
    """Batches of what is released and not yet published, a dataset's month each; of all reviews where none is named.

    A review's batch has the same id whoever plans it: what is published already is not published again.
    """
    parameters = {"reviews": None if reviews is None else list(reviews)}
    found = connection.execute(query("review_batches"), parameters).fetchall()
    planned = Plan([_batch(row, run) for row in found[:MOST_BATCHES]])
    if len(found) > MOST_BATCHES:
        planned.notes.append(f"{len(found) - MOST_BATCHES} more months of released rows are left to the next run")
    return planned


def _batch(row: dict[str, Any], run: str) -> Batch:
    spec, window = TABLES[row["dataset"]], Window(row["first"], row["last"] + JUST_AFTER)
    # Whoever publishes what was streamed holds the one row that the ledger has for all contracts.
    symbols = (ALL_CONTRACTS,) if isinstance(spec, StreamedSpec) else tuple(row["symbols"])
    name = f"{row['review']}|{spec.name}|{row['month']:%Y-%m}"
    return Batch(name, run, (spec.name,), symbols, window, review=row["review"])


def stage(connection: Connection, batch: Batch) -> dict[str, int]:
    """Stage the batch's released rows, under a new attempt; returns staged rows by dataset.

    Raises:
        BatchSuperseded: another attempt has claimed the batch meanwhile.
    """
    (spec,) = batch.specs
    stage_id = manifests.claim(connection, batch)
    parameters = _of(batch) | {"stage_id": stage_id, "is_streamed": isinstance(spec, StreamedSpec)}
    parameters["origins"] = [row["origin"] for row in connection.execute(query("review_origins"), parameters)]
    brought = tuple(row["name"] for row in connection.execute(query("review_columns"), parameters))
    statement = query(
        "review_stage", staging=staging_table(spec), columns=columns(brought), values=columns(brought, of="r")
    )
    connection.execute(statement, parameters)
    rows = int(one(connection, query("stage_count", staging=staging_table(spec)), parameters)["count"])
    evidence = _evidence(connection, spec, batch, parameters)
    manifests.write(connection, batch, stage_id, {spec.name: {"rows": rows, "normalised": {}}}, evidence)
    return {spec.name: rows}


def _of(batch: Batch) -> dict[str, Any]:
    """What its rows are found by."""
    return {
        "review": batch.review,
        "dataset": batch.datasets[0],
        "start": batch.window.start,
        "end": batch.window.end,
    }


def _evidence(connection: Connection, spec: DatasetSpec, batch: Batch, staged: dict[str, Any]) -> dict[str, Any]:
    """What publishing must know, as plain values for the manifest. Nobody was asked for anything, least of all when."""
    symbols = connection.execute(query("review_staged_symbols", staging=staging_table(spec)), staged).fetchall()
    return {
        # On the exchange's clock, as everything in the ledger: it can't be earlier.
        "now": batch.window.end.isoformat(),
        "origins": staged["origins"],
        "objects": [],
        "symbols": [row["symbol"] for row in symbols],
        "answered": [] if isinstance(spec, StreamedSpec) else _answered(connection, spec, staged),
        "covered": {},
        "listened": [],
        "unreadable": [],
    }


def _answered(connection: Connection, spec: DatasetSpec, staged: dict[str, Any]) -> list[dict[str, Any]]:
    """Each row answers for its own point, and tells of no other: that counts where no grid says what is to come."""
    found = connection.execute(query("stage_cover", points=points_view(spec)), staged)
    return [
        {"dataset": spec.name, "symbol": row["symbol"], "series": row["series"], "by_any": _edges(row), "by_all": []}
        for row in found
    ]


def _edges(row: dict[str, Any]) -> list[list[str]]:
    return [[window.start.isoformat(), window.end.isoformat()] for window in from_multirange(row["present"])]


def settle(connection: Connection, batch: Batch, stage_id: int) -> None:
    """Mark what the batch has carried out, and reject what it has replaced; part of the publish transaction.

    Its staged rows are still there.
    """
    (spec,) = batch.specs
    parameters = _of(batch) | {"stage_id": stage_id, "key": key_in_row(spec)}
    displace = query(
        "review_displace", staging=staging_table(spec), same_row=gate.same_row(spec), rival=query("review_rival")
    )
    connection.execute(displace, parameters)
    connection.execute(query("review_settle"), parameters)


def key_in_row(spec: DatasetSpec) -> list[str]:
    """Of the key, what the quarantine has no columns for."""
    return [name for name in spec.key if name not in ("symbol", "timeframe", "time")]


def hold_reviews(connection: Connection) -> None:
    """Let no decision be recorded until this transaction, which publishes, has ended."""
    connection.execute(query("review_hold"))


def would_publish_rejected(connection: Connection, spec: DatasetSpec, stage_id: int, window: Window) -> bool:
    """Whether a person has rejected a staged row since the gate let it pass; part of the publish transaction."""
    found = gate.find_rejected(connection, spec, window) > 0
    if found:
        statement = query("review_rejected_staged", staging=staging_table(spec), same_row=gate.same_row(spec))
        found = bool(one(connection, statement, {"stage_id": stage_id})["found"])
    connection.execute(query("gate_rejected_drop"))
    return found
