"""`python -m perpflow reconcile`: whether archive and REST agree about what both have."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.table import Table

from perpflow.reconciling import Reconciled
from perpflow.terminal import new_table, wide_console

#: What the table needs; narrower, it would cut off names and numbers.
TABLE_WIDTH = 180


def show(found: Iterable[Reconciled], *, as_json: bool) -> None:
    """Print how many points agree, differ within and beyond the tolerance, and which source alone has."""
    found = list(found)
    if as_json:
        sys.stdout.write(json.dumps([plain(one) for one in found]) + "\n")
        return
    console = wide_console(TABLE_WIDTH)
    console.print(table(found) if found else "Nothing to compare: no day of these was loaded that both have.")


def plain(one: Reconciled) -> dict[str, Any]:
    """As JSON has it: the window as ISO text, UTC."""
    window = {"start": one.window.start.isoformat(), "end": one.window.end.isoformat()}
    return {name: value for name, value in asdict(one).items() if name != "window"} | window


def table(found: Iterable[Reconciled]) -> Table:
    """One line for each column of a series."""
    made = new_table("Archive and REST (times are UTC)")
    for name in ("dataset", "symbol", "series", "column", "from", "to"):
        made.add_column(name, no_wrap=True)
    for name in ("tolerance", "agree", "within", "beyond", "archive only", "REST only"):
        made.add_column(name, justify="right", no_wrap=True)
    for one in found:
        beyond = f"[bold red]{one.beyond:,}[/]" if one.beyond else "0"
        window = (f"{instant:%Y-%m-%d %H:%M}" for instant in (one.window.start, one.window.end))
        counts = (f"{one.agree:,}", f"{one.within:,}", beyond, f"{one.archive_only:,}", f"{one.rest_only:,}")
        made.add_row(one.dataset, one.symbol, one.series, one.column, *window, f"{one.tolerance:g}", *counts)
    return made
