"""Pages over series with holes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulator.paging import first_rows, last_rows

times = st.sets(st.integers(0, 400), max_size=120).map(sorted)


@given(times, st.integers(0, 400), st.integers(0, 400), st.integers(1, 40))
def test_pages_are_the_first_and_the_last_rows_of_the_range(series: list[int], a: int, b: int, limit: int) -> None:
    start, stop = sorted((a, b))

    def fetch(first: int, until: int) -> list[int]:
        return [time for time in series if first <= time < until]

    inside = fetch(start, stop)
    assert first_rows(fetch, start, stop, limit, 1) == inside[:limit]
    assert last_rows(fetch, start, stop, limit, 1) == inside[-limit:]
