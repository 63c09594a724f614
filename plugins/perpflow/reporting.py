"""What became of the batches of a run, and how far they are, from the load log."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from perpflow.batches import Batch, Plan
from perpflow.errors import BatchFaulty
from perpflow.estimating import remaining
from perpflow.settings import Deployment
from perpflow.store.database import one, query, session

log = logging.getLogger(__name__)

#: As many of a batch's symbols are named where one says what is wrong with it.
SYMBOLS_NAMED = 10


def progress(deployment: Deployment, batch: Batch, planned_at: datetime, of: int) -> str:
    """How far the batch's run is, for people: what of so many batches is published since it was planned.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with session(deployment.database_url) as connection:
        parameters = {"run": batch.run, "since": planned_at}
        done = int(one(connection, query("run_progress"), parameters)["batches"])
    return remaining(done, of, (datetime.now(UTC) - planned_at).total_seconds())


def report(deployment: Deployment, planned: Plan) -> list[dict[str, Any]]:
    """What became of the planned batches, from the load log; returns its entries.

    Raises:
        BatchFaulty: a batch was not published, rows were withheld that nobody has rejected yet, an archive object was
            left out, or a symbol was rejected. Names each; all other batches are published regardless.
    """
    with session(deployment.database_url) as connection:
        batches = [batch.id for batch in planned.batches]
        entries = connection.execute(query("versions_of_batches"), {"batches": batches}).fetchall()
    for entry in entries:
        log.info(
            "%(dataset)s %(symbols)s: %(staged)s staged, %(inserted)s new, %(updated)s changed, "
            "%(corrected)s of them corrected, %(quarantined)s quarantined, normalised %(normalised)s",
            entry,
        )
    faults = _faults(entries, planned)
    if faults:
        raise BatchFaulty(
            f"{len(faults)} faults:\n  " + "\n  ".join(faults),
            hint="\nEverything else is published. See `python -m perpflow quarantine list`, and the failed tasks' log.",
        )
    return entries


def _faults(entries: list[dict[str, Any]], planned: Plan) -> list[str]:
    published = {entry["batch"] for entry in entries}
    faults = [f"rejected {reason}" for reason in planned.rejected]
    faults += [f"not published: {batch.label} {batch.window}" for batch in planned.batches if batch.id not in published]
    for entry in entries:
        subject = f"{entry['dataset']} {_some(entry['symbols'])}".rstrip()
        withheld = [w for w in entry["warnings"] if w.get("withheld")]
        waiting = {w["expectation"]: w["withheld"] - w.get("rejected", 0) for w in withheld}
        if any(waiting.values()):
            # Where a row fails several things and some are rejected, these are as many as wait at most.
            undecided = entry["quarantined"] - max(w.get("rejected", 0) for w in withheld)
            rows = min(undecided, sum(waiting.values()))
            reasons = ", ".join(sorted(name for name, count in waiting.items() if count))
            faults.append(f"withheld: {rows} rows of {subject} ({reasons})")
        faults += [
            f"left out: {w['object']} ({w['verdict']}: {w['detail']})" for w in entry["warnings"] if "object" in w
        ]
    # One object may feed two datasets, and one batch both.
    return list(dict.fromkeys(faults))


def _some(symbols: list[str]) -> str:
    """The first of them: a batch of liquidations has hundreds, and which one is meant says the quarantine."""
    more = len(symbols) - SYMBOLS_NAMED
    return ", ".join(symbols[:SYMBOLS_NAMED]) + (f" and {more} more" if more > 0 else "")
