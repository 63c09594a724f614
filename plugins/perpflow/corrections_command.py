"""`python -m perpflow corrections`: which values sources have changed since they first gave them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from perpflow.batches import LoadRequest
from perpflow.settings import Deployment
from perpflow.store import archive_objects
from perpflow.store.database import session
from perpflow.terminal import new_table, wide_console

#: What the table needs; narrower, it would cut off names and numbers.
TABLE_WIDTH = 160


def show(deployment: Deployment, asked: LoadRequest, *, most: int, as_json: bool) -> None:
    """Print the latest corrections of what is asked for, at most so many rows of facts.

    Raises:
        BadConfiguration: the start has not passed yet, by this machine's clock.
        StoreUnavailable: the database does not answer.
    """
    asked.require_past(deployment.collection, datetime.now(UTC))
    with session(deployment.database_url) as connection:
        found = archive_objects.corrections(connection, asked.datasets, asked.symbols, asked.start, most)
    if as_json:
        sys.stdout.write(json.dumps([plain(row) for row in found]) + "\n")
        return
    console = wide_console(TABLE_WIDTH)
    console.print(table(found) if found else "No source has changed what it first gave.")
    if len(found) == most:
        console.print(f"The latest {most} rows; --most shows more, and the table corrections has them all.")


def changes(row: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The columns that differ, each with the old value and the new one."""
    old, new = row["old_row"], row["new_row"]
    return {name: (old[name], new.get(name)) for name in old if old[name] is not None and old[name] != new.get(name)}


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A correction as JSON has it: instants as ISO text, UTC."""
    instants = {name: row[name].isoformat() for name in ("corrected_at", "time")}
    names = ("dataset", "symbol", "series", "source", "origin", "batch")
    differing = {name: {"old": old, "new": new} for name, (old, new) in changes(row).items()}
    return {**instants, **{name: row[name] for name in names}, "changes": differing}


def table(found: Iterable[dict[str, Any]]) -> Table:
    """One line for each value."""
    made = new_table("Corrections (times are UTC)")
    for name in ("corrected", "dataset", "symbol", "series", "time", "column"):
        made.add_column(name, no_wrap=True)
    for name in ("old", "new"):
        made.add_column(name, justify="right", no_wrap=True)
    # It alone gives way: a value that is cut off is none.
    made.add_column("origin", overflow="fold")
    for row in found:
        subject = [row["dataset"], row["symbol"], row["series"], f"{row['time']:%Y-%m-%d %H:%M}"]
        lines = [f"{row['corrected_at']:%Y-%m-%d %H:%M}", *subject]
        for column, (old, new) in changes(row).items():
            made.add_row(*lines, column, f"{old}", f"{new}", (row["origin"] or "").rpartition("/")[2])
            lines = [""] * len(lines)
    return made
