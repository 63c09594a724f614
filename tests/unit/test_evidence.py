"""Files whose labels prove what they cover, told from those that have to be looked through or that prove nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpflow.datasets import FUNDING_RATE
from perpflow.evidence import LONGEST_INTERVAL_H, regular_window, settlements, unbroken_windows
from perpflow.exchange.archive import ArchiveObject, FetchedObject
from perpflow.issue import Issue
from perpflow.parsing import backward_steps, label_column, labels
from perpflow.windows import LATEST_MS, TIMEFRAMES, Window, intersect, merge, to_ms

DAY = Window(datetime(2026, 9, 20, tzinfo=UTC), datetime(2026, 9, 21, tzinfo=UTC))
HOURS = [to_ms(DAY.start) + hour * 3_600_000 for hour in range(24)]


def lines(labels_: list[int | str]) -> bytes:
    return b"\n".join(f"{label},1.5,2".encode() for label in labels_)


def window_of(labels_: list[int | str], timeframe: str = "1h") -> Window | None:
    return regular_window(label_column(lines(labels_)), DAY, TIMEFRAMES[timeframe])


@given(st.lists(st.integers(10**12, 10**13 - 1), min_size=1, max_size=50))
def test_labels_are_the_first_column_and_steps_backward_are_counted(times: list[int]) -> None:
    column = label_column(lines(list(times)))
    assert column is not None
    assert column.astype(int).tolist() == times
    assert backward_steps(column) == sum(after < before for before, after in pairwise(times))


@pytest.mark.parametrize("content", [b"", b"1", b"12,1\n3,1", b"1,1\n23,1", b"1\n2", b",1\n,2"])
def test_what_cannot_be_compared_as_text_has_no_order(content: bytes) -> None:
    assert label_column(content) is None
    assert backward_steps(None) == 0


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
        [HOURS[0], HOURS[0] + 1_800_000, *HOURS[2:]],
        [hour + 1000 for hour in HOURS],
        [],
        ["2026-09-20 00:00:00"],
        [hour * 1000 for hour in HOURS],
    ],
    ids=[
        "a hole",
        "a repeat",
        "unsorted",
        "a row of the next day",
        "the first off the grid",
        "one between the grid's points",
        "all off the grid",
        "no rows",
        "text labels",
        "microseconds",
    ],
)
def test_a_file_with_anything_odd_proves_nothing(odd: list[int | str]) -> None:
    assert window_of(odd) is None


# --- settlements

MONTH = Window(datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))


def settled(*rows: tuple[int, int]) -> list[Window]:
    """What a month's file with these rows proves: hours since its beginning, and the interval beside each."""
    assert FUNDING_RATE.settles_on is not None
    jitter = 7
    lines_ = [f"{to_ms(MONTH.start) + hour * 3_600_000 + jitter},{interval},0.0001" for hour, interval in rows]
    content = "\n".join(lines_).encode()
    wanted = ArchiveObject("fundingRate", "monthly", "SOLUSDT", None, MONTH)
    fetched = FetchedObject(wanted, content, Issue(""), *labels(content))
    return unbroken_windows(fetched, FUNDING_RATE, FUNDING_RATE.settles_on)


def span(first: int, end: int) -> Window:
    return Window(MONTH.start + timedelta(hours=first), MONTH.start + timedelta(hours=end))


EVERY_8 = [(hour, 8) for hour in range(0, 720, 8)]


def test_a_month_whose_settlements_are_an_interval_apart_is_whole() -> None:
    assert settled(*EVERY_8) == [MONTH]
    assert settled(*reversed(EVERY_8)) == [MONTH]


def test_what_lies_between_settlements_further_apart_is_not_proven() -> None:
    lacking = [row for row in EVERY_8 if row[0] not in (80, 88)]
    assert settled(*lacking) == [span(0, 73), span(96, 720)]


def test_a_file_that_begins_late_or_ends_early_says_nothing_of_the_rest() -> None:
    assert settled(*EVERY_8[3:-3]) == [span(24, 689)]


@pytest.mark.parametrize(("named", "proven"), [(8, [MONTH]), (4, [span(0, 393), span(400, 720)])])
def test_where_an_interval_becomes_shorter_the_shorter_one_proves(named: int, proven: list[Window]) -> None:
    before = [(hour, 8) for hour in range(0, 400, 8)]
    after = [(hour, 4) for hour in range(404, 720, 4)]
    assert settled(*before, (400, named), *after) == proven


def test_a_settlement_that_lacks_where_the_interval_becomes_shorter_is_not_called_proven() -> None:
    before = [(hour, 8) for hour in range(0, 401, 8)]
    after = [(hour, 4) for hour in range(408, 720, 4)]
    assert settled(*before, *after) == [span(0, 401), span(408, 720)]


def test_a_month_of_which_one_settlement_cannot_be_read_is_not_whole() -> None:
    beyond = (LATEST_MS - to_ms(MONTH.start)) // 3_600_000 + 1
    assert settled(*EVERY_8[:10], (beyond, 8), *EVERY_8[11:]) == [span(0, 73), span(88, 720)]


@pytest.mark.parametrize("absurd", [LONGEST_INTERVAL_H + 1, 10**15])
def test_a_month_of_which_one_interval_is_absurd_is_not_whole(absurd: int) -> None:
    assert settled(*EVERY_8[:10], (80, absurd), *EVERY_8[11:]) == [span(0, 73), span(88, 720)]


def test_no_rows_and_rows_without_an_interval_prove_nothing() -> None:
    assert settled() == []
    content = b"1788220800000,,0.1"
    fetched = FetchedObject(
        ArchiveObject("fundingRate", "monthly", "SOLUSDT", None, MONTH), content, Issue(""), *labels(content)
    )
    assert unbroken_windows(fetched, FUNDING_RATE, TIMEFRAMES["1h"]) == []


@given(st.sets(st.sampled_from(EVERY_8), min_size=1))
def test_nothing_is_proven_where_a_settlement_lacks(kept: set[tuple[int, int]]) -> None:
    proven = settled(*kept)
    absent = [span(hour, hour + 1) for hour, _ in set(EVERY_8) - kept]
    assert intersect(proven, absent) == []
    assert intersect(proven, [span(hour, hour + 1) for hour, _ in kept]) == merge(span(h, h + 1) for h, _ in kept)


@pytest.mark.parametrize(
    "line",
    [
        b"1790000000000",
        b"",
        "1790000000000,²,0.1".encode(),
        b"\xff,8,0.1",
        b"x,8,0.1",
        b"1790000000000,169,0.1",
        b"1790000000000,999999999999999,0.1",
        b"1790000000000," + b"9" * 5000,
        b"9" * 5000 + b",8,0.1",
    ],
    ids=lambda line: repr(line[:40]),
)
def test_a_settlement_that_cannot_be_read_is_left_to_the_gate(line: bytes) -> None:
    sound = f"{to_ms(DAY.start)},8,0.0001".encode()
    held = FetchedObject(
        ArchiveObject("fundingRate", "monthly", "X", None, DAY), line + b"\n" + sound, Issue(""), "", "", 2
    )
    assert list(settlements(held, FUNDING_RATE)) == [(DAY.start, timedelta(hours=8))]
