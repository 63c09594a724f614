"""What a campaign did and what came of it, as tables."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from soak.checks import Check
from soak.tally import Tally

#: So that whoever waits, a person or CI, sees that something happens.
PROGRESS_EVERY_S = 30.0


@contextmanager
def progress(console: Console, tally: Tally) -> Iterator[None]:
    """Print every half minute what has been done so far."""
    over, began = Event(), time.monotonic()

    def tell() -> None:
        while not over.wait(PROGRESS_EVERY_S):
            done, errors = tally.done.total(), tally.errors.total()
            seconds = time.monotonic() - began
            console.print(f"  {seconds:.0f} s: {tally.killed} kills, {done} steps done, {errors} ended with an error")

    teller = Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def show(console: Console, title: str, tally: Tally, checks: list[Check], seconds: float) -> None:
    """Kills, errors, faults of the exchange, then the checks with what differs."""
    console.print(f"\n[bold]{title}[/], {seconds:.0f} s")
    console.print(_counts(tally))
    console.print(_checks(checks))
    for check in checks:
        for fault in check.faults:
            console.print(f"[red]{escape(check.subject)}: {escape(fault)}[/]", soft_wrap=True)


def _counts(tally: Tally) -> Table:
    table = Table()
    table.add_column("what")
    table.add_column("in all", justify="right")
    table.add_column("of these")
    errors = Counter({f"{error} in {step}": times for (step, error), times in tally.errors.items()})
    for name, counter in (
        ("killed while at work", tally.kills),
        ("killed too late, the step had ended", tally.late),
        ("steps that ended by themselves", tally.done),
        ("steps that ended with an error", errors),
        ("other trouble that struck", tally.struck),
    ):
        details = ", ".join(f"{key} {times:,}" for key, times in sorted(counter.items()))
        table.add_row(name, f"{counter.total():,}", details)
    return table


def _checks(checks: list[Check]) -> Table:
    table = Table()
    table.add_column("must hold")
    table.add_column("")
    for check in checks:
        table.add_row(escape(check.subject), "[green]holds[/]" if check.holds else "[bold red]DOES NOT HOLD[/]")
    return table
