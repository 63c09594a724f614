"""The coverage summary for people: a table of series, and a line for every hole with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from perpflow.coverage_summary import Hole, Reason, SeriesSummary
from perpflow.windows import Window

# A hole that consists of more stretches than this is described by its extent.
MOST_WINDOWS_SHOWN = 3


def render(summaries: Iterable[SeriesSummary]) -> RenderableType:
    """The table, and below it the holes."""
    summaries = list(summaries)
    lines = [line for summary in summaries for line in explain(summary)]
    heading = Text("Missing, and why", style="bold") if lines else Text("Nothing is missing.", style="bold green")
    return Group(table(summaries), Text(), heading, *lines)


def table(summaries: Iterable[SeriesSummary]) -> Table:
    """One row per series; times are UTC."""
    made = Table("dataset", "symbol", "series", "from", "to", title="Coverage", title_justify="left")
    for name in ("rows", "expected", "missing", "archive/REST", "withheld"):
        made.add_column(name, justify="right", no_wrap=True)
    shown: tuple[str, str] = ("", "")
    for summary in summaries:
        subject = (summary.dataset, summary.symbol)
        if summary.dataset != shown[0]:
            made.add_section()
        made.add_row(*(name if name not in shown else "" for name in subject), *_cells(summary))
        shown = subject
    return made


def _cells(summary: SeriesSummary) -> Iterator[str]:
    yield summary.series
    yield _instant(summary.first)
    yield _instant(summary.last)
    yield f"{summary.rows:,}"
    yield "as answered" if summary.expected is None else f"{summary.expected:,}"
    colour = "green" if not summary.holes else "yellow" if summary.complete else "bold red"
    yield f"[{colour}]{summary.missing:,}[/]"
    yield f"{summary.archive:,}/{summary.rest:,}"
    yield f"{summary.withheld:,}"


def explain(summary: SeriesSummary) -> Iterator[Text]:
    """A line for each hole of a series: how many points, where, why, and what happens next."""
    for hole in summary.holes:
        text = Text(f"  {summary.dataset} {summary.symbol} {summary.series}: ")
        text.append(f"{'' if hole.points is None else f'{hole.points:,} points '}{_where(hole)}: ")
        text.append(_why(hole, summary), style="yellow" if hole.reason.explains else "bold red")
        yield text


def _why(hole: Hole, summary: SeriesSummary) -> str:
    if hole.reason is Reason.NO_SOURCE and summary.recheck_at is not None:
        return f"{hole.reason}; asked again from {summary.recheck_at:%Y-%m-%d}"
    return str(hole.reason)


def _where(hole: Hole) -> str:
    if len(hole.windows) <= MOST_WINDOWS_SHOWN:
        return ", ".join(_span(window) for window in hole.windows)
    extent = Window(hole.windows[0].start, hole.windows[-1].end)
    return f"in {len(hole.windows)} stretches within {_span(extent)}"


def _span(window: Window) -> str:
    same_day = window.start.date() == window.end.date()
    return f"{_instant(window.start)} to {window.end:{'%H:%M' if same_day else '%Y-%m-%d %H:%M'}}"


def _instant(instant: datetime | None) -> str:
    return "-" if instant is None else f"{instant:%Y-%m-%d %H:%M}"
