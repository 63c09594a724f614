"""The report's plots, drawn by matplotlib as SVG that stands in the page itself.

Colours are roles, which the page's style gives for light and dark: matplotlib is told placeholders, replaced in
what it writes. Of its text it keeps the letters, so that the page's font shows and nothing of it is mathematics.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from io import StringIO
from itertools import groupby
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from perpflow.reports.completeness import Cells
from perpflow.store.database import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: From this part of a cell on it is drawn in the darker tone.
MUCH = 0.05
#: What a cell may be, worst last; a cell is drawn as the worst that there is of it. The names are roles of colours.
STATES = ("present", "absent-little", "absent", "quarantined-little", "quarantined", "missing-little", "missing")
#: Placeholders for roles: colours that nobody would draw with.
_ROLES = {
    role: f"#{0x010203 + number:06x}"
    for number, role in enumerate((*STATES, "text", "line", "critical", "warning", "good", "card"))
}
_HATCHES = {"quarantined": "....", "missing": "////"}
#: As much room there is for an expectation.
MOST_WORDS = 58
#: More letters of a name would leave no room for the plot.
LONGEST_NAME = 26

_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "font.size": 9.0,
    "font.family": "sans-serif",
    **{name: _ROLES["text"] for name in ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")},
    "axes.edgecolor": _ROLES["line"],
    "grid.color": _ROLES["line"],
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "hatch.linewidth": 0.8,
}
#: Inches; the page makes it as wide as there is room, and lets it scroll where that would make it too small to read.
WIDTH = 10.0
ROW = 0.2


def heat_map(groups: Sequence[tuple[str, Sequence[tuple[str, Cells]]]], edges: Sequence[datetime]) -> Markup:
    """A line for each series or symbol of each group (a dataset), a cell for each time between two edges."""
    lines = sum(len(rows) + 1 for _, rows in groups)
    with matplotlib.rc_context(_STYLE):
        longest = max(len(shortened(name)) for _, rows in groups for name, _ in rows)
        figure, axes = _axes(lines * ROW + 0.3, left=0.2 + 0.075 * longest)
        columns = len(edges) - 1
        axes.set(xlim=(0, columns), ylim=(lines, 0))
        labels: list[tuple[float, str]] = []
        stretches: dict[str, list[tuple[int, int, int]]] = {state: [] for state in STATES}
        line = 0
        for title, rows in groups:
            axes.text(0, line + 0.75, title, fontweight="bold", va="baseline")
            for number, (name, row) in enumerate(rows, line + 1):
                labels.append((number + 0.5, shortened(name)))
                first = 0
                for state, alike in groupby(states(row)):
                    last = first + len(list(alike))
                    if state is not None:
                        stretches[state].append((number, first, last))
                    first = last
            line += len(rows) + 1
        for state, drawn in stretches.items():
            if drawn:
                axes.add_patch(_patch(state, drawn))
        axes.set_yticks([place for place, _ in labels], [name for _, name in labels])
        _label_times(axes, edges)
        for side in axes.spines.values():
            side.set_visible(False)
        return _svg(figure, f"Coverage from {edges[0]:%Y-%m-%d} to {edges[-1]:%Y-%m-%d}, UTC")


def states(row: Cells) -> list[str | None]:
    """What each cell is drawn as: the worst of it, lighter where it is but a little; None outside of its life."""
    found: list[str | None] = []
    parts = zip(row.life, row.absent, row.quarantined, row.missing, strict=True)
    for life, *faults in parts:
        state = None if not life else "present"
        for name, seconds in zip(("absent", "quarantined", "missing"), faults, strict=True):
            # Sums of floating point numbers; no point lasts less than a second.
            if seconds >= 1:
                state = name if seconds >= MUCH * life else f"{name}-little"
        found.append(state)
    return found


def shortened(name: str) -> str:
    """A name as long as there is room for."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _patch(state: str, stretches: Iterable[tuple[int, int, int]]) -> PathPatch:
    """All that is drawn as one state. The worst two are hatched as well: not everybody tells these colours apart."""
    hatch = _HATCHES.get(state)
    edge = _ROLES["card"] if hatch else "none"
    return PathPatch(_bars(stretches), facecolor=_ROLES[state], edgecolor=edge, linewidth=0.0, hatch=hatch)


def _bars(stretches: Iterable[tuple[int, int, int]]) -> Path:
    """One path for all stretches (line, first cell, cell after the last) of a colour, which makes the smallest file."""
    points = [
        (column, line + edge)
        for line, first, last in stretches
        for column, edge in ((first, 0.1), (last, 0.1), (last, 0.9), (first, 0.9), (first, 0.1))
    ]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * (len(points) // 5)
    return Path(points, codes)


def _label_times(axes: Axes, edges: Sequence[datetime]) -> None:
    """Below every so many cells when they begin: days, or months."""
    by_month = len(edges) > 2 and (edges[1] - edges[0]).days > 1
    columns = len(edges) - 1
    step = next(
        step for step in ((1, 3, 6, 12, 24) if by_month else (1, 2, 7, 14)) if columns / step <= 13 or step >= 14
    )
    first = next((n for n, edge in enumerate(edges) if by_month and (edge.month - 1) % min(step, 12) == 0), 0)
    # One that begins at the right edge would be cut off there.
    places = range(first, max(columns - columns // 20, 1), step)
    form = "%Y-%m" if by_month else "%d %b"
    axes.set_xticks(list(places), [f"{edges[place]:{form}}" for place in places], ha="left")


def failures(found: Sequence[Row]) -> Markup:
    """A bar for each expectation that rows have failed, on a logarithmic scale: one row and a million are both seen."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(len(found) * 0.26 + 0.1, left=4.4, below=0.05)
        places = numpy.arange(len(found))
        rows = numpy.array([row["failing"] for row in found], dtype=float)
        colours = [_ROLES["critical" if row["severity"] == "critical" else "warning"] for row in found]
        # From one half, so that a single row has a bar.
        axes.barh(places, rows - 0.5, left=0.5, height=0.62, color=colours)
        axes.set_xscale("log")
        axes.set(ylim=(len(found) - 0.4, -0.6), xlim=(0.5, max(rows.max() * 4, 10)))
        axes.set_yticks(list(places), [_label(row) for row in found])
        axes.set_xticks([])
        axes.set_xticks([], minor=True)
        for place, number in enumerate(rows.tolist()):
            axes.text(number * 1.08, place, f"{number:,.0f}", va="center")
        _only_line(axes, "left")
        return _svg(figure, "Rows that failed, by expectation; logarithmic")


def _label(row: Row) -> str:
    text = f"{row['dataset']}, {in_words(row['expectation'])}"
    return text if len(text) <= MOST_WORDS else text[: MOST_WORDS - 1] + "…"


def in_words(expectation: str) -> str:
    """`high, close: pair values a to be greater than b`; what a suite has named itself without its underscores."""
    named = re.fullmatch(r"expect_(?:column_)?(\w+)\((.*)\)", expectation)
    text = f"{named[2].replace(',', ', ')}: {named[1]}" if named else expectation
    return text.replace("_", " ")


def by_hour(found: Sequence[Row], start: datetime) -> Markup:
    """Rows that were new and rows that have changed, by the hour of their publication."""
    hours = [int((row["hour"].astimezone(UTC) - start).total_seconds() // 3600) for row in found]
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(1.7, left=0.9)
        new = numpy.array([row["inserted"] for row in found], dtype=float)
        changed = numpy.array([row["updated"] for row in found], dtype=float)
        axes.bar(hours, new, width=0.8, align="edge", color=_ROLES["present"])
        axes.bar(hours, changed, width=0.8, align="edge", bottom=new, color=_ROLES["good"])
        axes.set(xlim=(0, 24), ylim=(0, max((new + changed).max() * 1.1, 1)))
        axes.set_xticks(range(0, 24, 3), [f"{hour:02}:00" for hour in range(0, 24, 3)], ha="left")
        axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(3, integer=True))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.grid(axis="y", linewidth=0.5)
        axes.set_axisbelow(True)
        _only_line(axes, "bottom")
        return _svg(figure, "Rows published, by hour")


def sparkline(
    values: Sequence[float], role: str, title: str, *, least: float = 0.0, most: float | None = None
) -> Markup:
    """A line without scales, the last value marked; `values` in the order of time."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.6, 0.75))
        axes = figure.add_axes((0.0, 0.05, 1.0, 0.9))
        places = range(len(values))
        axes.plot(places, values, color=_ROLES[role], linewidth=1.6, solid_joinstyle="round")
        axes.plot(places[-1:], values[-1:], color=_ROLES[role], marker="o", markersize=4.5)
        top = max([*values, least]) if most is None else most
        low = min([*values, least])
        room = (top - low) * 0.12 or 1.0
        axes.set(xlim=(-0.5, max(len(values) - 0.5, 1)), ylim=(low - room, top + room))
        axes.set_axis_off()
        return _svg(figure, title)


def _axes(height: float, *, left: float, below: float = 0.28) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height))
    return figure, figure.add_axes(
        (left / WIDTH, below / height, (WIDTH - left - 0.1) / WIDTH, 1 - (below + 0.02) / height)
    )


def _only_line(axes: Axes, side: str) -> None:
    for name, line in axes.spines.items():
        line.set_visible(name == side)


def _svg(figure: Figure, title: str) -> Markup:
    """The figure as an element of a page: the same text for the same figure, always."""
    written = StringIO()
    with matplotlib.rc_context({"svg.hashsalt": title}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=metadata)
    text = written.getvalue()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # Names of groups come again in every figure, and nothing refers to them; the page's own font, at its size.
    text = re.sub(r'<g id="\w+">', "<g>", text)
    text = re.sub(r"font: ([^;'\"]*?)\d[\d.]*px [^;\"]*", _font, text)
    for role, placeholder in _ROLES.items():
        text = text.replace(placeholder, f"var(--{role})")
    # Its size is the page's business; a style inside of it would be the whole page's.
    text = re.sub(r"<style.*?</style>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    # Markup of matplotlib's making, which escapes the names in it; titles are ours.
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1))  # noqa: S704


def _font(found: re.Match[str]) -> str:
    return f"font-size: {_STYLE['font.size']}px" + (
        "; font-weight: 700" if "700" in found[1] or "bold" in found[1] else ""
    )
