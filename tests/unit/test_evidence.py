"""Files whose labels prove what they cover: told from those that have to be looked through, row by row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpflow.exchange.archive import ArchiveObject, FetchedObject
from perpflow.fetching import regular_window
from perpflow.parsing import labels, order
from perpflow.windows import TIMEFRAMES, Window, to_ms

DAY = Window(datetime(2026, 9, 20, tzinfo=UTC), datetime(2026, 9, 21, tzinfo=UTC))
HOURS = [to_ms(DAY.start) + hour * 3_600_000 for hour in range(24)]


def lines(labels_: list[int | str]) -> bytes:
    return b"\n".join(f"{label},1.5,2".encode() for label in labels_)


def window_of(labels_: list[int | str]) -> Window | None:
    content = lines(labels_)
    first, last, rows = labels(content)
    wanted = ArchiveObject("klines", "daily", "SOLUSDT", "1h", DAY)
    _, ascends = order(content)
    fetched = FetchedObject(wanted, content, "", None, None, first, last, rows)
    return regular_window(fetched, TIMEFRAMES["1h"]) if ascends else None


@given(st.lists(st.integers(10**12, 10**13 - 1), min_size=1, max_size=50))
def test_order_is_what_comparing_neighbours_gives(times: list[int]) -> None:
    backward = sum(after < before for before, after in pairwise(times))
    assert order(lines(list(times))) == (backward, times == sorted(set(times)))


@pytest.mark.parametrize("content", [b"", b"1", b"12,1\n3,1", b"1,1\n23,1", b"1\n2", b",1\n,2"])
def test_what_cannot_be_compared_as_text_does_not_ascend(content: bytes) -> None:
    assert order(content) == (0, False)


def test_a_whole_day_covers_the_day() -> None:
    assert window_of(list(HOURS)) == DAY


def test_a_day_that_begins_or_ends_inside_covers_what_it_has() -> None:
    assert window_of(list(HOURS[6:18])) == Window(DAY.start + timedelta(hours=6), DAY.start + timedelta(hours=18))


@pytest.mark.parametrize(
    "odd",
    [
        HOURS[:5] + HOURS[6:],
        HOURS[:5] + HOURS[4:],
        [HOURS[1], HOURS[0], *HOURS[2:]],
        [*HOURS, HOURS[-1] + 3_600_000],
        [HOURS[0] + 1000, *HOURS[1:]],
        [],
        ["2026-09-20 00:00:00"],
    ],
    ids=["a hole", "a repeat", "unsorted", "a row of the next day", "off the grid", "no rows", "text labels"],
)
def test_a_file_with_anything_odd_proves_nothing(odd: list[int | str]) -> None:
    assert window_of(odd) is None
