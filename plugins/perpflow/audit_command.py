"""`python -m perpflow audit`: look at what was published since, and say how far every series is verified."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.table import Table

from perpflow.auditing import Audited, State
from perpflow.coverage_table import WIDTH, new_table, wide_console
from perpflow.store.verification import OpenFindings, Verified


def show(done: Audited, state: State, *, as_json: bool) -> int:
    """Print what was found and how far series are verified; returns an exit code: 1 where anything is disputed."""
    if as_json:
        sys.stdout.write(json.dumps(plain(done, state)) + "\n")
    else:
        console = wide_console(WIDTH)
        console.print(table(state.series) if state.series else "Nothing was published yet.")
        console.print(findings_table(state.findings) if state.findings else "No finding is open.")
        console.print(f"{done.found:,} new findings, {done.resolved:,} resolved.")
        for dataset in done.left:
            console.print(f"{dataset}: changed again and again meanwhile; the next run looks at what is left.")
    return 1 if state.is_disputed else 0


def plain(done: Audited, state: State) -> dict[str, Any]:
    """As JSON has it: instants as ISO text, UTC."""
    return {
        "found": done.found,
        "resolved": done.resolved,
        "left": list(done.left),
        "series": [plain_series(series) for series in state.series],
        "findings": [_plain_finding(finding) for finding in state.findings],
    }


def plain_series(series: Verified) -> dict[str, Any]:
    """A series with its instants as ISO text."""
    instants = {name: getattr(series, name).isoformat() for name in ("verified_from", "verified_until")}
    return {"dataset": series.dataset, "symbol": series.symbol, "series": series.series, **instants}


def _plain_finding(finding: OpenFindings) -> dict[str, Any]:
    names = ("audit", "dataset", "severity", "findings", "symbol", "series", "column", "detail")
    instants = {name: _iso(getattr(finding, name)) for name in ("time", "until")}
    return {**{name: getattr(finding, name) for name in names}, **instants}


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def table(found: Iterable[Verified]) -> Table:
    """One line for each series."""
    made = new_table("Verified (times are UTC)")
    for name in ("dataset", "symbol", "series", "verified from", "until", "of what is there until"):
        made.add_column(name, no_wrap=True)
    shown = ("", "")
    for series in found:
        subject = (series.dataset, series.symbol)
        if series.dataset != shown[0]:
            made.add_section()
        is_whole = series.verified_until == series.covered_until
        colour = "green" if is_whole else "yellow"
        made.add_row(
            *(name if name not in shown else "" for name in subject),
            series.series,
            _minute(series.verified_from),
            f"[{colour}]{_minute(series.verified_until)}[/]",
            _minute(series.covered_until),
        )
        shown = subject
    return made


def findings_table(found: Iterable[OpenFindings]) -> Table:
    """One line for each audit, dataset and severity, with the first finding as a sample."""
    made = new_table("Open findings")
    for name in ("audit", "dataset", "severity"):
        made.add_column(name, no_wrap=True)
    made.add_column("findings", justify="right", no_wrap=True)
    made.add_column("the first of them")
    for finding in found:
        colour = "bold red" if finding.severity == "critical" else "yellow"
        made.add_row(
            finding.audit,
            finding.dataset,
            f"[{colour}]{finding.severity}[/]",
            f"{finding.findings:,}",
            finding.sample,
        )
    return made


def _minute(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"
