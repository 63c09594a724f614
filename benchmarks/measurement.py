"""A measured figure, and the table of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the table: what was measured, its figure, and what it should be (empty: informative)."""

    subject: str
    figure: str
    target: str = ""


@dataclass(slots=True)
class Stopwatch:
    """Seconds between entering and leaving `timed()`."""

    seconds: float = field(default=0.0)


@contextmanager
def timed() -> Iterator[Stopwatch]:
    """Time a block: `with timed() as watch: ...; watch.seconds`."""
    watch = Stopwatch()
    began = time.perf_counter()
    try:
        yield watch
    finally:
        watch.seconds = time.perf_counter() - began


def print_table(measurements: list[Measurement], seconds: float) -> None:
    """All figures, with the machine that they belong to."""
    load = os.getloadavg()[0]
    table = Table(title=f"{os.cpu_count()} cores, load {load:.1f} at the end, {seconds:.0f} s in all")
    table.add_column("measured")
    table.add_column("figure", justify="right")
    table.add_column("should be", justify="right")
    for measurement in measurements:
        table.add_row(measurement.subject, measurement.figure, measurement.target)
    Console().print(table)
