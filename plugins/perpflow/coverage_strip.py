"""The coverage summary as a strip of colours for each series, all of them on one line of time; and as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from rich.table import Table
from rich.text import Text

from perpflow.coverage_summary import Reason, SeriesSummary
from perpflow.terminal import new_table
from perpflow.windows import Window, intersect, merge

#: A strip is so many characters long.
CELLS = 72
#: From a cell of which nothing is there to one that is whole.
SHADES = "·░▒▓█"
#: Of these the ledger knows how many, and not which: they colour a strip, and leave it full.
_NOWHERE = frozenset({Reason.LOST, Reason.ORPHANED})


def strips(summaries: Iterable[SeriesSummary]) -> Table:
    """A strip for each series, from the first instant of any of them to the last.

    The fuller a cell, the more of its time is there. It is yellow where something is missing for a known reason, red
    where nobody knows why, and empty where the series has no life.
    """
    lives = [(summary, summary.window) for summary in summaries if summary.window is not None]
    made = new_table("Over time (green: all is there; yellow: the reason is known; red: it is not)")
    for name in ("dataset", "symbol", "series"):
        made.add_column(name, no_wrap=True)
    if not lives:
        return made
    whole = Window(min(life.start for _, life in lives), max(life.end for _, life in lives))
    first, last = (f"{instant:%Y-%m-%d %H:%M}" for instant in (whole.start, whole.end))
    made.add_column(first + last.rjust(CELLS - len(first)), no_wrap=True)
    for summary, life in lives:
        made.add_row(summary.dataset, summary.symbol, summary.series, strip(summary, life, whole))
    return made


def strip(summary: SeriesSummary, life: Window, whole: Window) -> Text:
    """`CELLS` characters for the time of `whole`."""
    step = (whole.end - whole.start) / CELLS
    missing = merge(w for hole in summary.holes if hole.reason not in _NOWHERE for w in hole.windows)
    unexplained = merge(w for hole in summary.holes if not hole.reason.explains for w in hole.windows)
    drawn = Text()
    for number in range(CELLS):
        cell = Window(whole.start + number * step, whole.start + (number + 1) * step).intersect(life)
        if cell is None:
            drawn.append(" ")
            continue
        lacks = sum((gap.end - gap.start for gap in intersect([cell], missing)), timedelta(0))
        share = 1 - lacks / (cell.end - cell.start)
        # Only what is whole looks whole.
        shade = SHADES[-1] if not lacks else SHADES[min(int(share * (len(SHADES) - 1)), len(SHADES) - 2)]
        drawn.append(shade, "bold red" if intersect([cell], unexplained) else "yellow" if lacks else "green")
    return drawn


def plain(summary: SeriesSummary) -> dict[str, Any]:
    """A series as values that JSON knows; instants in ISO 8601, UTC."""
    window = summary.window
    return {
        "dataset": summary.dataset,
        "symbol": summary.symbol,
        "series": summary.series,
        "window": _span(window) if window else None,
        "first": _instant(summary.first),
        "last": _instant(summary.last),
        "rows": summary.rows,
        "expected": summary.expected,
        "missing": summary.missing,
        "withheld": summary.withheld,
        "archive": summary.archive,
        "rest": summary.rest,
        "complete": summary.complete,
        "recheck_at": _instant(summary.recheck_at),
        "holes": [
            {
                "reason": hole.reason.name.lower(),
                "explained": hole.reason.explains,
                "points": hole.points,
                "windows": [_span(each) for each in hole.windows],
            }
            for hole in summary.holes
        ],
    }


def _span(window: Window) -> list[str]:
    return [window.start.isoformat(), window.end.isoformat()]


def _instant(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
