"""Minutes that were listened to, against the definition, minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpflow.listening_summary import SETTLES_AFTER, ListeningSummary, since_first, summarise
from perpflow.windows import Window, merge

START = datetime(2026, 10, 15, 12, tzinfo=UTC)
MINUTE, TWO_SECONDS = timedelta(minutes=1), timedelta(seconds=2)


def window(start_s: float, end_s: float) -> Window:
    return Window(START + timedelta(seconds=start_s), START + timedelta(seconds=end_s))


def spans(most_s: int) -> st.SearchStrategy[Window]:
    edges = st.tuples(*[st.integers(0, most_s * 2)] * 2).map(sorted)
    return edges.map(lambda pair: window(pair[0] / 2, pair[1] / 2))


def by_definition(listened: list[Window], minute: datetime) -> bool:
    return any(part.start <= minute and minute + MINUTE + TWO_SECONDS <= part.end for part in merge(listened))


@given(st.lists(spans(900), max_size=6), spans(900))
def test_a_minute_counts_where_somebody_listened_until_two_seconds_after_it(
    listened: list[Window], looked_at: Window
) -> None:
    found = summarise(listened, looked_at)
    minutes = [START + n * MINUTE for n in range(16)]
    whole = [m for m in minutes if looked_at.start <= m and m + MINUTE <= looked_at.end]
    assert found.minutes == len(whole)
    assert found.heard == sum(by_definition(listened, minute) for minute in whole)
    for minute in whole:
        assert any(minute in stretch for stretch in found.silent) != by_definition(listened, minute)
    assert list(found.silent) == merge(found.silent)


@pytest.mark.parametrize(("end_s", "heard"), [(122, 2), (121.999, 1), (61.9, 0), (1, 0)])
def test_the_end_of_listening_counts_two_seconds_less(end_s: float, heard: int) -> None:
    assert summarise([window(0, end_s)], window(0, 180)).heard == heard


def test_two_connections_that_overlap_are_one_time_of_listening() -> None:
    both = [window(0, 95), window(90, 302)]
    assert summarise(both, window(0, 300)) == ListeningSummary(window(0, 300), ())


def test_what_was_never_listened_to_has_no_summary() -> None:
    assert since_first([], now=START) is None


def test_minutes_count_from_the_first_that_was_listened_to_to_those_that_have_settled() -> None:
    now = START + 10 * MINUTE
    found = since_first([window(30, 500)], now=now, at_most=timedelta(days=1))
    assert found == ListeningSummary(window(60, 480), ())
    assert found.window.end == now - SETTLES_AFTER
    assert (found.minutes, found.heard) == (7, 7)


def test_no_further_back_than_is_asked_for() -> None:
    found = since_first([window(0, 60)], now=START + 100 * MINUTE, at_most=10 * MINUTE)
    assert found == ListeningSummary(window(5400, 5880), (window(5400, 5880),))


def test_of_what_waits_to_be_drained_nothing_is_said() -> None:
    found = since_first([window(0, 242)], now=START + 20 * MINUTE, waits=16 * MINUTE)
    assert found == ListeningSummary(window(0, 240), ())


def test_where_nothing_has_settled_yet_there_is_no_minute() -> None:
    found = since_first([window(30, 95)], now=START + 2 * MINUTE)
    assert found is not None
    assert (found.minutes, found.heard, found.silent) == (0, 0, ())
