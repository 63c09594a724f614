"""A day's report as one HTML page that needs nothing else: no network, no script. Its template is in `include/reports`.

What a universe has too much of is cut to the worst, and the rest is counted: a page is read in a minute, and stays far
below two megabytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from perpflow.corrections_command import changes
from perpflow.datasets import TABLES
from perpflow.health.finding import span
from perpflow.include import include_path
from perpflow.reports import plots
from perpflow.reports.completeness import Cells, Points, Series, axes, cells, total
from perpflow.reports.facts import MOST, Facts, Summary
from perpflow.store.database import Row
from perpflow.windows import Window

#: As many symbols of a dataset have a line of their own where there are more of them than that, and something is amiss.
MOST_LINES = 8


def render(facts: Facts) -> str:
    """The page."""
    summary = Summary.of(facts)
    return (
        environment()
        .get_template("quality_report.html")
        .render(
            summary=summary,
            kept=asdict(summary) | {"day": summary.day.isoformat()},
            headline=headline(summary),
            facts=facts,
            most=MOST,
            coverage=coverage(facts.series),
            completeness=completeness(facts.series),
            worst=worst_series(facts.series),
            staged=staged(facts.loads),
            failures_plot=plots.failures(facts.failures[:MOST]) if facts.failures else None,
            hours_plot=plots.by_hour(facts.by_hour, facts.window.start) if facts.by_hour else None,
        )
    )


@cache
def environment() -> Environment:
    """Of the templates: whatever is put into them is escaped, and a name that is not there is an error."""
    made = Environment(
        loader=FileSystemLoader(include_path() / "reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "percent": percent, "instant": instant, "title": title, "rows": rows_of}
    made.filters |= {"changed": changed, "window": window_of, "counted": counted, "shorter": shorter, "file": file_name}
    return made


def headline(summary: Summary) -> str:
    """What a person needs to know, in one sentence."""
    if not summary.symbols:
        return "Nothing has been collected yet."
    said = [
        counted(summary.symbols, "symbol"),
        counted(summary.datasets, "dataset"),
        f"{percent(summary.share)} complete",
    ]
    if summary.never_loaded:
        said.append(f"{summary.never_loaded:,} series never loaded")
    if not summary.staged:
        said.append("nothing was loaded on the day")
    if summary.failed:
        said.append(f"{counted(summary.failed, 'failure')} at the gate")
    said.append(f"{counted(summary.waiting, 'row')} {'waits' if summary.waiting == 1 else 'wait'} for review")
    if summary.late:
        said.append(f"{counted(summary.late, 'dataset')} {'is' if summary.late == 1 else 'are'} late")
    if summary.audits:
        said.append(f"{counted(summary.audits, 'finding')} of audits {'is' if summary.audits == 1 else 'are'} open")
    return ", ".join(said)


# --- coverage and completeness


def coverage(series: list[Series]) -> list[Markup]:
    """The heat maps: the whole time, and where that is by months also the last days."""
    return [plots.heat_map(_groups(series, edges), edges) for edges in axes(series)]


def _groups(series: list[Series], edges: list[datetime]) -> list[tuple[str, list[tuple[str, Cells]]]]:
    """By dataset the lines of a heat map, each a name and its cells: all symbols where they are few, else the worst.

    The symbols without a line of their own have one together, the last.
    """
    shown = []
    ordered = sorted(series, key=lambda one: (_order(one.dataset), one.symbol))
    for dataset, of_dataset in groupby(ordered, key=lambda one: one.dataset):
        by_symbol = {s: list(g) for s, g in groupby(of_dataset, key=lambda one: one.symbol)}
        names = sorted(by_symbol, key=lambda symbol: (*_badness(by_symbol[symbol]), symbol))
        lines = (
            names if len(names) <= MOST_LINES else [n for n in names if _badness(by_symbol[n]) < (0, 0)][:MOST_LINES]
        )
        drawn = [(name, cells(by_symbol[name], edges)) for name in lines]
        rest = [name for name in names if name not in lines]
        if rest:
            others = [one for name in rest for one in by_symbol[name]]
            drawn.append((f"{len(rest):,} {'others' if lines else 'symbols'}", cells(others, edges)))
        shown.append((title(dataset), drawn))
    return shown


def _badness(series: Iterable[Series]) -> tuple[int, int, int]:
    """The worst first: what is missing, then what is quarantined, then what no source has."""
    points = total(series)
    return -points.missing, -points.quarantined, -points.absent


def completeness(series: list[Series]) -> list[dict[str, Any]]:
    """A line for each series of each dataset, all symbols together."""
    found = []
    for (dataset, name), alike in groupby(
        sorted(series, key=lambda one: (_order(one.dataset), _rank(one), one.name)),
        key=lambda one: (one.dataset, one.name),
    ):
        of_series = list(alike)
        symbols = [one for one in of_series if one.life]
        found.append({"dataset": dataset, "series": name, "symbols": len(symbols), "points": total(of_series)})
    return found


def _order(dataset: str) -> int:
    return list(TABLES).index(dataset)


def _rank(one: Series) -> int:
    names = TABLES[one.dataset].series
    return names.index(one.name) if one.name in names else len(names)


def worst_series(series: list[Series]) -> dict[str, Any]:
    """Those with the most holes or withheld points, and how many there are of them."""
    faulty = [one for one in series if one.points.missing or one.points.quarantined]
    faulty.sort(key=lambda one: (*_badness([one]), one.dataset, one.symbol, one.name))
    shown = [{"series": one, "holes": one.missing} for one in faulty[:MOST]]
    return {"shown": shown, "of": len(faulty), "points": total(faulty[MOST:]) if faulty[MOST:] else Points()}


def staged(loads: list[Row]) -> Mapping[str, int]:
    """The rows that a day's loads have staged, by dataset."""
    found: dict[str, int] = {}
    for row in loads:
        found[row["dataset"]] = found.get(row["dataset"], 0) + row["staged"]
    return found


# --- how values are written


def number(value: float | None) -> str:
    """`1,234`; a dash for nothing."""
    return "–" if value is None else f"{value:,}"


def percent(share: float) -> str:
    """`99.98 %`, rounded down: only what is whole is 100 %."""
    return "100 %" if share >= 1 else f"{int(share * 10_000) / 100:.2f} %"


def instant(value: datetime | None) -> str:
    """`2026-11-27 00:05`, UTC; a dash for nothing."""
    return "–" if value is None else f"{value:%Y-%m-%d %H:%M}"


def counted(count: int, what: str) -> str:
    """`1 row`, `1,234 rows`."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def title(dataset: str) -> str:
    """What a dataset is called."""
    return TABLES[dataset].title if dataset in TABLES else dataset


def rows_of(sample: Iterable[str] | None) -> list[str]:
    """Sample rows, each short enough for a page."""
    return [shorter(str(row)) for row in sample or ()]


def shorter(text: str | None, most: int = 240) -> str:
    """A text as long as there is room for."""
    text = text or ""
    return text if len(text) <= most else text[: most - 1] + "…"


def file_name(key: str | None) -> str:
    """The last part of an archive file's key."""
    return shorter((key or "–").rpartition("/")[2], 80)


def changed(row: Row) -> str:
    """The columns of a correction that differ, old and new."""
    return shorter("; ".join(f"{name}: {old} → {new}" for name, (old, new) in changes(row).items()))


def window_of(windows: list[Window]) -> str:
    """The first of some windows, and how many more there are."""
    if not windows:
        return "–"
    first = windows[0]
    more = f" and {len(windows) - 1:,} more" if len(windows) > 1 else ""
    return f"{instant(first.start)}, {span(first.length)}{more}"
