"""Pages of rows over half-open ranges: forward from a start, or backward from an end, over holes of any length.

One turn is enough on a whole series; where rows are missing, as in recorded files, each further turn looks twice as
far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Row = TypeVar("Row")
Fetch = Callable[[int, int], list[Row]]


def first_rows(fetch: Fetch[Row], start: int, stop: int, limit: int, step: int) -> list[Row]:
    """The first `limit` rows of `[start, stop)`; `step` is the usual distance of two rows in milliseconds."""
    rows: list[Row] = []
    reach = (limit + 1) * step
    while len(rows) < limit and start < stop:
        until = min(stop, start + reach)
        rows += fetch(start, until)
        start, reach = until, reach * 2
    return rows[:limit]


def last_rows(fetch: Fetch[Row], start: int, stop: int, limit: int, step: int) -> list[Row]:
    """The last `limit` rows of `[start, stop)`, ascending."""
    rows: list[Row] = []
    reach = (limit + 1) * step
    while len(rows) < limit and start < stop:
        since = max(start, stop - reach)
        rows = fetch(since, stop) + rows
        stop, reach = since, reach * 2
    return rows[-limit:]
