"""What the demo shows: phases with their times, and how far each run is. Bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from perpflow.coverage_table import WIDTH
from perpflow.terminal import new_table

# Without a terminal a line this often says that it goes on, and leaves a log that one can read.
PLAIN_LINE_EVERY_S = 5


def make_console() -> Console:
    """Standard output; as wide as the summary where it is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


@dataclass
class Display:
    """Phases on a console."""

    console: Console = field(default_factory=make_console)
    times: dict[str, float] = field(default_factory=dict)
    _bars: Progress | None = None
    _said_at: float = 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Show the phase while it lasts, and its time when it is done."""
        started = time.monotonic()
        if not self.console.is_terminal:
            self.console.print(f"{name} ...")
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(
            *columns, TextColumn("{task.fields[detail]}"), TimeElapsedColumn(), console=self.console,
            transient=True, disable=not self.console.is_terminal,
        ) as bars:  # fmt: skip
            self._bars = bars
            bars.add_task(name, total=None, detail="")
            self._said_at = started
            yield
        self.times[name] = time.monotonic() - started
        self.console.print(f"[green]done[/] {name} [dim]({self.times[name]:.0f} s)[/]")

    def progress(self, done: int, total: int | None, detail: str) -> None:
        """How far the phase is; `total` None while nobody knows."""
        if self._bars is None:
            return
        self._bars.update(self._bars.task_ids[0], completed=done, total=total, detail=detail)
        if not self.console.is_terminal and time.monotonic() - self._said_at > PLAIN_LINE_EVERY_S:
            self._said_at = time.monotonic()
            self.console.print(f"  {done} of {total if total is not None else '?'} {detail}")

    def show(self, *parts: RenderableType) -> None:
        """Print tables whole: on a narrow terminal long lines wrap, and nothing is cut off."""
        wide = Console(highlight=False, width=max(self.console.width, WIDTH))
        for part in parts:
            wide.print()
            wide.print(part)

    def times_table(self) -> Table:
        """What took how long."""
        table = new_table("Time")
        table.add_column("phase")
        table.add_column("seconds", justify="right")
        for name, seconds in self.times.items():
            table.add_row(name, f"{seconds:.0f}")
        table.add_section()
        table.add_row("all", f"{sum(self.times.values()):.0f}")
        return table
