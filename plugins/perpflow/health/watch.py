"""Showing what was found: a table on a terminal, lines elsewhere, JSON for monitors; once, or again and again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from perpflow.health.examination import examine
from perpflow.health.finding import Finding, Level, worst
from perpflow.settings import Deployment
from perpflow.terminal import new_table

Show = Callable[[list[Finding]], None]

STYLES = {Level.GREEN: "green", Level.YELLOW: "yellow", Level.RED: "bold red"}


def watch(deployment: Deployment, *, every_s: float | None, as_json: bool) -> int:
    """Examine and show, every so many seconds until Ctrl-C where that is given; returns the last exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C before anything was found.
        BadConfiguration: an address of the deployment is none.
    """
    code: int | None = None
    with _shown(as_json, again=every_s is not None) as show:
        try:
            while True:
                findings = examine(deployment)
                # Before it is shown: who has read a line and then presses Ctrl-C means that look.
                code = exit_code(findings)
                show(findings)
                if every_s is None:
                    return code
                time.sleep(every_s)
        except KeyboardInterrupt:
            if code is None:
                raise
            return code


def exit_code(findings: list[Finding]) -> int:
    """1 where anything is red."""
    return 1 if worst(findings) is Level.RED else 0


@contextmanager
def _shown(as_json: bool, *, again: bool) -> Iterator[Show]:
    console = Console()
    if as_json:
        yield lambda findings: print(to_json(findings, datetime.now(UTC)), flush=True)
    elif not console.is_terminal:
        yield Changes().show
    elif not again:
        yield lambda findings: console.print(table(findings))
    else:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda findings: live.update(table(findings), refresh=True)


class Changes:
    """Prints a line for each finding whose level is not what it was; at first for all of them."""

    def __init__(self) -> None:
        self._levels: dict[str, Level] = {}

    def show(self, findings: list[Finding]) -> None:
        """Print what has changed since the last time."""
        for finding in findings:
            if self._levels.get(finding.title) is not finding.level:
                print(line(finding), flush=True)
        # What a check no longer mentions is new when it comes back.
        self._levels = {finding.title: finding.level for finding in findings}


def line(finding: Finding) -> str:
    """A finding on one line."""
    said = f"{finding.level!s:<6} {finding.title}: {finding.cause}"
    return f"{said}. {finding.advice}" if finding.advice else said


def to_json(findings: list[Finding], at: datetime) -> str:
    """All findings as one line of JSON."""
    checks = [finding.to_json() for finding in findings]
    return json.dumps({"level": str(worst(findings)), "at": at.isoformat(timespec="seconds"), "checks": checks})


def table(findings: list[Finding]) -> Table:
    """All findings as a table."""
    made = new_table(f"Health at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
    for name in ("", "check", "what is", "what to do"):
        made.add_column(name)
    for finding in findings:
        level = Text(str(finding.level), style=STYLES[finding.level])
        made.add_row(level, finding.title, Text(finding.cause), Text(finding.advice))
    return made
