"""Windows, timeframes and their algebra, against models that count minutes and days."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perpflow.windows import (
    DAY,
    EPOCH,
    TIMEFRAMES,
    Timeframe,
    Window,
    days,
    from_ms,
    intersect,
    merge,
    month_of,
    months,
    next_month,
    pages,
    parse_instant,
    split,
    subtract,
    to_ms,
)

MINUTE = timedelta(minutes=1)
ORIGIN = datetime(2026, 1, 30, 23, 30, tzinfo=UTC)

instants = st.datetimes(datetime(2019, 9, 1), datetime(2031, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
timeframes = st.sampled_from(list(TIMEFRAMES.values()))


@st.composite
def windows(draw: st.DrawFn, longest: timedelta = timedelta(days=400)) -> Window:
    start = draw(instants)
    return Window(start, start + draw(st.timedeltas(timedelta(0), longest)))


@st.composite
def short_windows(draw: st.DrawFn) -> Window:
    """A few minutes around a month's end: small enough to count."""
    start = draw(st.integers(0, 60))
    return Window(ORIGIN + start * MINUTE, ORIGIN + (start + draw(st.integers(0, 20))) * MINUTE)


sets_of_windows = st.lists(short_windows(), max_size=8)


def minutes(found: Iterable[Window]) -> set[datetime]:
    """The model: the minutes that windows hold."""
    return {window.start + n * MINUTE for window in found for n in range(window.length // MINUTE)}


def assert_disjoint(found: list[Window]) -> None:
    """Ascending, none empty, none touching the next."""
    assert all(found)
    assert all(a.end < b.start for a, b in pairwise(found))


def assert_tiles(pieces: list[Window], start: datetime, end: datetime) -> None:
    """No overlap, no hole, no empty piece, from `start` to `end`."""
    assert all(pieces)
    assert [(a.end, b.start) for a, b in pairwise(pieces) if a.end != b.start] == []
    assert (pieces[0].start, pieces[-1].end) == (start, end) if pieces else start == end


# --- windows


@given(sets_of_windows)
def test_merging_keeps_the_minutes_and_leaves_no_two_windows_touching(found: list[Window]) -> None:
    merged = merge(found)
    assert minutes(merged) == minutes(found)
    assert_disjoint(merged)


@given(sets_of_windows, sets_of_windows)
def test_subtracting_leaves_the_minutes_of_the_one_without_the_other(a: list[Window], b: list[Window]) -> None:
    left = subtract(a, b)
    assert minutes(left) == minutes(a) - minutes(b)
    assert_disjoint(left)


@given(sets_of_windows, sets_of_windows)
def test_intersecting_leaves_the_minutes_of_both(a: list[Window], b: list[Window]) -> None:
    shared = intersect(a, b)
    assert minutes(shared) == minutes(a) & minutes(b)
    assert_disjoint(shared)


@given(sets_of_windows, sets_of_windows)
def test_what_is_shared_and_what_is_left_make_the_whole(a: list[Window], b: list[Window]) -> None:
    assert merge([*intersect(a, b), *subtract(a, b)]) == merge(a)


def test_a_window_holds_its_start_and_not_its_end() -> None:
    window = Window(ORIGIN, ORIGIN + DAY)
    assert ORIGIN in window
    assert ORIGIN + DAY not in window
    assert Window(ORIGIN, ORIGIN).intersect(window) is None
    assert not Window(ORIGIN, ORIGIN)


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="before it starts"):
        Window(ORIGIN, ORIGIN - MINUTE)


def test_a_window_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zones"):
        Window(ORIGIN.replace(tzinfo=None), ORIGIN)


# --- tiling


@given(windows(), st.integers(1, 14))
def test_splitting_at_months_tiles_the_window(window: Window, by_months: int) -> None:
    pieces = list(split(window, by_months))
    assert_tiles(pieces, window.start, window.end)
    assert all(piece.start == month_of(piece.start).start for piece in pieces[1:])
    assert all(len(list(months(piece))) <= by_months for piece in pieces)


@given(windows(timedelta(days=40)), timeframes, st.integers(1, 1500))
def test_pages_tile_the_window_and_hold_no_more_than_their_rows(window: Window, grid: Timeframe, rows: int) -> None:
    pieces = list(pages(window, grid, rows))
    assert_tiles(pieces, window.start, window.end)
    assert all(grid.count(piece) <= rows for piece in pieces)
    assert sum(map(grid.count, pieces)) == grid.count(window)


@example(Window(ORIGIN, ORIGIN))
@given(windows(timedelta(days=40)))
def test_days_and_months_are_whole_and_cover_the_window(window: Window) -> None:
    for wholes in (list(days(window)), list(months(window))):
        cover = [cut for whole in wholes if (cut := whole.intersect(window))]
        assert len(cover) == len(wholes)
        assert_tiles(cover, window.start, window.end)
    assert {day.length for day in days(window)} <= {DAY}
    assert all(day.start.timetz() == EPOCH.timetz() for day in days(window))
    assert all(month == month_of(month.start) for month in months(window))


# --- timeframes


@given(timeframes, instants)
def test_a_floor_is_the_last_grid_point_and_a_ceiling_the_next(grid: Timeframe, instant: datetime) -> None:
    floor, ceiling = grid.floor(instant), grid.ceil(instant)
    assert floor <= instant < grid.after(floor)
    assert ceiling == (floor if floor == instant else grid.after(floor))
    assert grid.floor(floor) == grid.ceil(floor) == floor
    assert grid.floor(grid.after(floor)) == grid.after(floor)


@given(timeframes, windows(timedelta(days=20)))
def test_counting_agrees_with_listing_the_points(grid: Timeframe, window: Window) -> None:
    points = list(grid.points(window))
    assert grid.count(window) == len(points)
    assert all(point in window and grid.floor(point) == point for point in points)
    assert all(grid.after(a) == b for a, b in pairwise(points))
    assert not points or not Window(window.start, points[0]) or grid.count(Window(window.start, points[0])) == 0


@pytest.mark.parametrize(
    ("name", "floor"),
    [
        ("1m", "2026-10-15T12:34:00"),
        ("3m", "2026-10-15T12:33:00"),
        ("5m", "2026-10-15T12:30:00"),
        ("15m", "2026-10-15T12:30:00"),
        ("30m", "2026-10-15T12:30:00"),
        ("1h", "2026-10-15T12:00:00"),
        ("2h", "2026-10-15T12:00:00"),
        ("4h", "2026-10-15T12:00:00"),
        ("6h", "2026-10-15T12:00:00"),
        ("8h", "2026-10-15T08:00:00"),
        ("12h", "2026-10-15T12:00:00"),
        ("1d", "2026-10-15T00:00:00"),
        ("3d", "2026-10-13T00:00:00"),
        ("1w", "2026-10-12T00:00:00"),
        ("1M", "2026-10-01T00:00:00"),
    ],
)
def test_every_timeframe_of_the_exchange_has_its_grid(name: str, floor: str) -> None:
    instant = datetime(2026, 10, 15, 12, 34, 56, 789000, tzinfo=UTC)
    assert TIMEFRAMES[name].floor(instant) == parse_instant(f"{floor}Z")


def test_there_are_no_other_timeframes() -> None:
    assert " ".join(TIMEFRAMES) == "1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M"


def test_weeks_begin_on_mondays_and_months_on_the_first() -> None:
    assert TIMEFRAMES["1w"].floor(datetime(2026, 10, 18, 23, 59, tzinfo=UTC)).weekday() == 0
    assert next_month(datetime(2024, 2, 29, 12, tzinfo=UTC)) == datetime(2024, 3, 1, tzinfo=UTC)
    assert next_month(datetime(2026, 12, 31, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)


# --- instants


@given(st.integers(0, to_ms(datetime(2255, 1, 1, tzinfo=UTC))))
def test_milliseconds_survive_both_ways(milliseconds: int) -> None:
    assert to_ms(from_ms(milliseconds)) == milliseconds


@given(instants)
def test_an_instant_survives_iso_text(instant: datetime) -> None:
    assert parse_instant(instant.isoformat()) == instant


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-04-18", datetime(2026, 4, 18, tzinfo=UTC)),
        (" 2026-04-18T12:00:00Z ", datetime(2026, 4, 18, 12, tzinfo=UTC)),
        ("2026-04-18T12:00:00+03:00", datetime(2026, 4, 18, 9, tzinfo=UTC)),
    ],
)
def test_dates_are_their_midnight_and_offsets_are_converted(text: str, instant: datetime) -> None:
    assert parse_instant(text) == instant


@pytest.mark.parametrize("text", ["2026-04-18T12:00:00", "2026-04-18 12:00", "yesterday", "18.04.2026", ""])
def test_text_that_is_no_utc_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"zone|Invalid"):
        parse_instant(text)


@given(
    st.sampled_from([TIMEFRAMES["5m"], TIMEFRAMES["1h"]]), instants, st.timedeltas(timedelta(0), timedelta(minutes=1))
)
def test_an_instant_snaps_to_the_nearest_point_within_the_tolerance(
    timeframe: Timeframe, instant: datetime, tolerance: timedelta
) -> None:
    floor = timeframe.floor(instant)
    near = [point for point in (floor, timeframe.after(floor)) if abs(instant - point) <= tolerance]
    assert timeframe.snap(instant, tolerance) == (near[0] if near else instant)


def test_an_instant_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond the calendar"):
        parse_instant("0001-01-01T00:00:00+14:00")
