"""The coverage summary for people: a table of series, and a line for every hole with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from perpflow.coverage_summary import Hole, Reason, SeriesSummary
from perpflow.terminal import new_table
from perpflow.windows import Window

#: What the table needs; narrower, it would cut off names and numbers.
WIDTH = 136
# A hole that consists of more stretches than this is described by its extent.
MOST_WINDOWS_SHOWN = 3


def render(summaries: Iterable[SeriesSummary]) -> RenderableType:
    """The table, and below it the holes; `WIDTH` columns wide."""
    summaries = list(summaries)
    lines = [Padding(line, (0, 0, 0, 2)) for line in explain(summaries)]
    heading = Text("Missing, and why", style="bold") if lines else Text("Nothing is missing.", style="bold green")
    return Group(table(summaries), heading, *lines)


def table(summaries: Iterable[SeriesSummary]) -> Table:
    """One row per series; times are UTC. Where nothing can be expected beforehand (funding) stands a dash."""
    made = new_table("Coverage (times are UTC)")
    for name in ("dataset", "symbol", "series", "from", "to"):
        made.add_column(name, no_wrap=True)
    for name in ("rows", "expected", "missing", "archive", "REST", "withheld"):
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
    yield "-" if summary.expected is None else f"{summary.expected:,}"
    colour = "green" if not summary.holes else "yellow" if summary.complete else "bold red"
    yield f"[{colour}]{summary.missing:,}[/]"
    yield f"{summary.archive:,}"
    yield f"{summary.rest:,}"
    yield f"{summary.withheld:,}"


def explain(summaries: Iterable[SeriesSummary]) -> Iterator[Text]:
    """A line for each hole: how many points, where, why, and what happens next. Series with the same hole share it."""
    series_of: dict[tuple[str, str, Hole, str], list[str]] = {}
    for summary in summaries:
        for hole in summary.holes:
            key = (summary.dataset, summary.symbol, hole, _why(hole, summary))
            series_of.setdefault(key, []).append(summary.series)
    for (dataset, symbol, hole, why), series in series_of.items():
        points = "" if hole.points is None else f"{hole.points:,} points "
        text = Text(f"{dataset} {symbol} {', '.join(series)}: {points}{where(hole.windows)}: ")
        yield text.append(why, style="yellow" if hole.reason.explains else "bold red")


def _why(hole: Hole, summary: SeriesSummary) -> str:
    if hole.reason in {Reason.NO_SOURCE, Reason.FORGOTTEN} and summary.recheck_at is not None:
        return f"{hole.reason}; asked again from {summary.recheck_at:%Y-%m-%d}"
    return str(hole.reason)


def where(windows: Sequence[Window]) -> str:
    """A few stretches of time one by one, many by their number and extent; UTC."""
    if len(windows) <= MOST_WINDOWS_SHOWN:
        return ", ".join(_span(window) for window in windows)
    return f"in {len(windows)} stretches within {_span(Window(windows[0].start, windows[-1].end))}"


def _span(window: Window) -> str:
    same_day = window.start.date() == window.end.date()
    return f"{_instant(window.start)} to {window.end:{'%H:%M' if same_day else '%Y-%m-%d %H:%M'}}"


def _instant(instant: datetime | None) -> str:
    return "-" if instant is None else f"{instant:%Y-%m-%d %H:%M}"
