"""Half-open UTC windows, timeframes and paging. Pure: no clock, no I/O.

Every window is `[start, end)` in aware UTC. A timeframe is one of the exchange's kline intervals
(GET /fapi/v1/klines, parameter `interval`); weeks start on Monday, months on the first, days at 00:00 UTC.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The first Monday of the epoch: the exchange's weekly candles open on Mondays.
FIRST_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, order=True, slots=True)
class Window:
    """The half-open span `[start, end)`; both aware, UTC.

    Raises:
        ValueError: an edge is naive, or the end lies before the start.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError(f"window [{self.start}, {self.end}) needs time zones; use UTC")
        if self.end < self.start:
            raise ValueError(f"window ends at {self.end.isoformat()}, before it starts at {self.start.isoformat()}")

    def __str__(self) -> str:
        return f"[{self.start:%Y-%m-%dT%H:%M:%SZ}, {self.end:%Y-%m-%dT%H:%M:%SZ})"

    def __bool__(self) -> bool:
        return self.start < self.end

    @property
    def length(self) -> timedelta:
        """How long it lasts."""
        return self.end - self.start

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end

    def intersect(self, other: Window) -> Window | None:
        """What both share, or None where that is nothing."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Window(start, end) if start < end else None


@dataclass(frozen=True, slots=True)
class Timeframe:
    """One of the exchange's periods. `length` is None for the calendar month, which has no fixed one."""

    name: str
    length: timedelta | None
    origin: datetime = EPOCH

    def floor(self, instant: datetime) -> datetime:
        """The latest grid point at or before `instant`."""
        if self.length is None:
            return datetime(instant.year, instant.month, 1, tzinfo=UTC)
        return instant - (instant - self.origin) % self.length

    def snap(self, instant: datetime, tolerance: timedelta) -> datetime:
        """The nearest grid point where it lies within the tolerance, else the instant itself; as staging does it."""
        point = self.floor(instant + tolerance)
        return point if abs(instant - point) <= tolerance else instant

    def after(self, point: datetime) -> datetime:
        """The grid point that follows grid point `point`."""
        if self.length is None:
            return next_month(point)
        return point + self.length

    def ceil(self, instant: datetime) -> datetime:
        """The earliest grid point at or after `instant`."""
        floor = self.floor(instant)
        return floor if floor == instant else self.after(floor)

    def count(self, window: Window) -> int:
        """How many grid points lie in `window`."""
        first, last = self.ceil(window.start), self.ceil(window.end)
        if self.length is None:
            return (last.year - first.year) * 12 + last.month - first.month
        return max((last - first) // self.length, 0)

    def points_window(self, window: Window) -> Window | None:
        """The periods of the grid points in `window`, None where there is none: a sliver between two holds no point."""
        start, end = self.ceil(window.start), self.ceil(window.end)
        return Window(start, end) if start < end else None

    def widened(self, window: Window) -> Window:
        """The whole periods that `window` touches."""
        return Window(self.floor(window.start), self.ceil(window.end))

    def points(self, window: Window) -> Iterator[datetime]:
        """The grid points in `window`, ascending."""
        point = self.ceil(window.start)
        while point < window.end:
            yield point
            point = self.after(point)


def _fixed(name: str, **length: int) -> Timeframe:
    return Timeframe(name, timedelta(**length))


#: Every kline interval of the exchange's futures API, shortest first.
TIMEFRAMES: dict[str, Timeframe] = {
    t.name: t
    for t in (
        *(_fixed(f"{n}m", minutes=n) for n in (1, 3, 5, 15, 30)),
        *(_fixed(f"{n}h", hours=n) for n in (1, 2, 4, 6, 8, 12)),
        *(_fixed(f"{n}d", days=n) for n in (1, 3)),
        Timeframe("1w", timedelta(weeks=1), FIRST_MONDAY),
        Timeframe("1M", None),
    )
}


def from_ms(milliseconds: int) -> datetime:
    """The instant of a wire timestamp (integer milliseconds since the epoch, UTC)."""
    return EPOCH + milliseconds * MILLISECOND


#: The last wire timestamp that a `datetime` can hold, in the year 9999; microseconds taken for milliseconds are beyond.
LATEST_MS = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MILLISECOND


def to_ms(instant: datetime) -> int:
    """The wire timestamp of an instant; sub-millisecond parts are cut off."""
    return (instant - EPOCH) // MILLISECOND


def parse_instant(text: str) -> datetime:
    """A UTC instant from `2026-04-18` or `2026-04-18T12:00:00Z` (any explicit offset is converted).

    Raises:
        ValueError: not ISO 8601, or a time of day without a zone.
    """
    instant = datetime.fromisoformat(text.strip())
    if instant.tzinfo is None:
        if len(text.strip()) > len("2026-04-18"):
            raise ValueError(f"{text!r} has no time zone; write {text.strip()}Z for UTC")
        instant = instant.replace(tzinfo=UTC)
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} lies beyond the calendar") from error


def start_of_day(instant: datetime) -> datetime:
    """00:00 UTC of the instant's day."""
    return instant.replace(hour=0, minute=0, second=0, microsecond=0)


def next_month(instant: datetime) -> datetime:
    """00:00 UTC on the first of the month after the instant's."""
    first = datetime(instant.year, instant.month, 1, tzinfo=UTC)
    return first + timedelta(days=calendar.monthrange(first.year, first.month)[1])


def month_of(instant: datetime) -> Window:
    """The UTC calendar month around the instant."""
    return Window(datetime(instant.year, instant.month, 1, tzinfo=UTC), next_month(instant))


def days(window: Window) -> Iterator[Window]:
    """The whole UTC days that touch `window`, ascending; an empty window touches none."""
    day = start_of_day(window.start)
    while window and day < window.end:
        yield Window(day, day + DAY)
        day += DAY


def months(window: Window) -> Iterator[Window]:
    """The whole UTC months that touch `window`, ascending; an empty window touches none."""
    month = month_of(window.start)
    while window and month.start < window.end:
        yield month
        month = month_of(month.end)


def split(window: Window, by_months: int) -> Iterator[Window]:
    """`window` cut at every `by_months`-th month boundary: the pieces tile it without overlap or hole."""
    # Most holes lie within a month, and a universe has tens of thousands of them.
    if window and window.end <= next_month(window.start):
        yield window
        return
    pieces = list(months(window))
    for i in range(0, len(pieces), by_months):
        group = pieces[i : i + by_months]
        cut = window.intersect(Window(group[0].start, group[-1].end))
        if cut:
            yield cut


def pages(window: Window, timeframe: Timeframe, rows: int) -> Iterator[Window]:
    """`window` cut so that no piece holds more than `rows` grid points; the pieces tile it."""
    start = window.start
    while start < window.end:
        end = timeframe.ceil(start)
        if timeframe.length is None:
            for _ in range(rows):
                end = timeframe.after(end)
        else:
            end += rows * timeframe.length
        yield Window(start, min(end, window.end))
        start = end


def merge(windows: Iterable[Window]) -> list[Window]:
    """The same instants as disjoint, non-adjacent windows, ascending."""
    merged: list[Window] = []
    for window in sorted(w for w in windows if w):
        if merged and window.start <= merged[-1].end:
            merged[-1] = Window(merged[-1].start, max(merged[-1].end, window.end))
        else:
            merged.append(window)
    return merged


def subtract(windows: Iterable[Window], taken: Iterable[Window]) -> list[Window]:
    """What of `windows` no window of `taken` covers; disjoint, ascending."""
    left: list[Window] = []
    cover = merge(taken)
    for window in merge(windows):
        start = window.start
        for cut in cover:
            if cut.end <= start or cut.start >= window.end:
                continue
            if cut.start > start:
                left.append(Window(start, cut.start))
            start = max(start, cut.end)
        if start < window.end:
            left.append(Window(start, window.end))
    return left


def intersect(windows: Iterable[Window], others: Iterable[Window]) -> list[Window]:
    """What both sets of windows share; disjoint, ascending."""
    second = merge(others)
    shared = (a.intersect(b) for a in merge(windows) for b in second)
    return [window for window in shared if window]
