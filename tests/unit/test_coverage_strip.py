"""A strip shows where something is missing, and looks whole only where nothing is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpflow.coverage_strip import CELLS, SHADES, plain, strip, strips
from perpflow.coverage_summary import Hole, Reason, SeriesSummary
from perpflow.windows import Window

START = datetime(2026, 10, 1, tzinfo=UTC)
#: A cell of which is an hour.
WHOLE = Window(START, START + timedelta(hours=CELLS))


def hours(first: float, last: float) -> Window:
    return Window(START + timedelta(hours=first), START + timedelta(hours=last))


def series(*holes: Hole, life: Window | None = WHOLE) -> SeriesSummary:
    return SeriesSummary("open_interest", "SOL/USDT", "5m", life, START, WHOLE.end, 1, 2, 1, 0, holes, None)


def drawn(summary: SeriesSummary) -> tuple[str, dict[int, str]]:
    """The characters, and the colour of each that is not green."""
    assert summary.window is not None
    text = strip(summary, summary.window, WHOLE)
    colours = {at: str(span.style) for span in text.spans for at in range(span.start, span.end)}
    return text.plain, {at: colour for at, colour in colours.items() if colour != "green"}


def test_what_is_whole_is_full_and_green() -> None:
    assert drawn(series()) == (SHADES[-1] * CELLS, {})


def test_a_hole_is_yellow_where_its_reason_is_known_and_red_where_it_is_not() -> None:
    known, unknown = Hole(Reason.NO_SOURCE, (hours(3, 4),), 12), Hole(Reason.NOT_LOADED, (hours(70, 72),), 24)
    shades, colours = drawn(series(known, unknown))
    assert colours == {3: "yellow", 70: "bold red", 71: "bold red"}
    assert {at for at, shade in enumerate(shades) if shade == SHADES[0]} == {3, 70, 71}


@pytest.mark.parametrize(("missing", "shade"), [(0.01, "▓"), (0.5, "▒"), (0.9, "·")])
def test_a_cell_is_the_fuller_the_more_of_its_time_is_there(missing: float, shade: str) -> None:
    shades, _ = drawn(series(Hole(Reason.NO_SOURCE, (hours(5, 5 + missing),), 1)))
    assert shades[5] == shade


def test_outside_its_life_a_series_is_empty() -> None:
    shades, colours = drawn(series(life=hours(10, 20)))
    assert (shades, colours) == (" " * 10 + SHADES[-1] * 10 + " " * (CELLS - 20), {})


def test_points_that_are_lost_somewhere_are_red_and_full() -> None:
    shades, colours = drawn(series(Hole(Reason.LOST, (hours(0, 2),), 5)))
    assert (shades, colours) == (SHADES[-1] * CELLS, {0: "bold red", 1: "bold red"})


@given(st.lists(st.tuples(st.floats(0, CELLS - 1), st.floats(0.01, 1)), max_size=20))
def test_a_cell_is_whole_exactly_where_nothing_of_it_is_missing(holes: list[tuple[float, float]]) -> None:
    windows = tuple(hours(first, first + length) for first, length in holes)
    shades, _ = drawn(series(Hole(Reason.NO_SOURCE, windows, 1)))
    touched = [any(window.intersect(hours(at, at + 1)) for window in windows) for at in range(CELLS)]
    assert [shade == SHADES[-1] for shade in shades] == [not is_touched for is_touched in touched]


def test_series_without_a_life_have_no_strip() -> None:
    assert strips([series(life=None)]).row_count == 0
    assert strips([series(), series(life=hours(1, 2))]).row_count == 2


def test_a_series_as_plain_values_says_all_that_the_table_does() -> None:
    values = json.loads(json.dumps(plain(series(Hole(Reason.NO_SOURCE, (hours(3, 4),), 12)))))
    assert values["window"] == ["2026-10-01T00:00:00+00:00", "2026-10-04T00:00:00+00:00"]
    assert values["holes"] == [
        {
            "reason": "no_source",
            "explained": True,
            "points": 12,
            "windows": [["2026-10-01T03:00:00+00:00", "2026-10-01T04:00:00+00:00"]],
        }
    ]
    assert (values["complete"], values["missing"], values["recheck_at"]) == (True, 12, None)
