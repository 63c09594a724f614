"""What REST is asked for: parts of a window that it can answer, pages, limits and their weight."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpflow.datasets import FUNDING_RATE, OHLCV, OPEN_INTEREST
from perpflow.errors import StructurallyBad
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.rest import OPENING, Page, Rest, answerable, klines_weight, request_weight
from perpflow.windows import TIMEFRAMES, Timeframe, Window, to_ms

NOW = datetime(2026, 10, 15, 12, 34, 56, tzinfo=UTC)
KLINES, STATISTICS, FUNDING = OHLCV.rest[0], OPEN_INTEREST.rest[0], FUNDING_RATE.rest[0]
FIVE = TIMEFRAMES["5m"]


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("limit", "weight"), [(1, 1), (99, 1), (100, 2), (499, 2), (500, 5), (1000, 5), (1001, 10), (1500, 10)]
)
def test_candles_cost_by_their_limit(limit: int, weight: int) -> None:
    assert klines_weight(limit) == request_weight(KLINES, limit) == weight


def test_statistics_and_funding_cost_one() -> None:
    assert request_weight(STATISTICS, 500) == request_weight(FUNDING, 1000) == 1


class TestAnswerable:
    def test_an_open_candle_is_not_asked_for(self) -> None:
        asked = Window(instant("2026-10-15T12:00"), instant("2026-10-15T13:00"))
        found = answerable(KLINES, asked, FIVE, NOW)
        assert found == Window(asked.start, instant("2026-10-15T12:30"))

    def test_a_measurement_is_asked_for_up_to_now(self) -> None:
        asked = Window(instant("2026-10-15T12:00"), instant("2026-10-15T13:00"))
        assert answerable(STATISTICS, asked, FIVE, NOW) == Window(asked.start, NOW)
        assert answerable(FUNDING, asked, None, NOW) == Window(asked.start, NOW)

    def test_statistics_older_than_the_reach_are_not_asked_for(self) -> None:
        assert STATISTICS.reach is not None
        found = answerable(STATISTICS, Window(instant("2020-01-01"), NOW), FIVE, NOW)
        assert found == Window(NOW - STATISTICS.reach, NOW)

    def test_nothing_is_asked_for_before_the_exchange_opened(self) -> None:
        assert answerable(FUNDING, Window(instant("1970-01-01"), NOW), None, NOW) == Window(OPENING, NOW)

    @pytest.mark.parametrize("edges", [("2026-10-15T13:00", "2026-10-16"), ("2026-10-15T12:30", "2026-10-15T12:35")])
    def test_a_window_that_lies_ahead_needs_no_request(self, edges: tuple[str, str]) -> None:
        assert answerable(KLINES, Window(instant(edges[0]), instant(edges[1])), FIVE, NOW) is None


class Recording(Rest):
    """Answers from a list of settlement times instead of asking; remembers what was asked."""

    def __init__(self, times: list[int], *, deaf: bool = False) -> None:
        super().__init__(limiter=Limiter("exchange"), concurrency=3)
        self.times = times
        self.deaf = deaf
        self.asked: list[tuple[Window, int]] = []

    async def _page(
        self, source: object, exchange_symbol: str, timeframe: Timeframe | None, window: Window, limit: int
    ) -> Page:
        self.asked.append((window, limit))
        start, end = (0 if self.deaf else to_ms(window.start)), to_ms(window.end)
        return Page(window, [{"fundingTime": time} for time in self.times if start <= time < end][:limit])


async def collect(rest: Rest, window: Window, timeframe: Timeframe | None) -> list[Page]:
    source = KLINES if timeframe else FUNDING
    return [page async for page in rest.pages(source, "SOLUSDT", "5m", window, timeframe, NOW)]


@given(st.integers(0, 5000), st.integers(0, 60 * 24 * 14), st.sampled_from([FIVE, TIMEFRAMES["1h"], TIMEFRAMES["1M"]]))
async def test_pages_tile_the_window_within_the_endpoints_limit(
    offset: int, minutes: int, timeframe: Timeframe
) -> None:
    start = instant("2026-09-01") + timedelta(minutes=offset)
    rest = Recording([])
    pages = await collect(rest, Window(start, start + timedelta(minutes=minutes)), timeframe)
    assert [(page.window, timeframe.count(page.window)) for page in pages] == rest.asked
    assert all(0 < limit <= KLINES.page_rows for _, limit in rest.asked)
    assert all(one.window.end == two.window.start for one, two in pairwise(pages))
    total = timeframe.count(Window(start, min(start + timedelta(minutes=minutes), timeframe.floor(NOW))))
    assert sum(limit for _, limit in rest.asked) == total


async def test_settlements_are_continued_after_the_last_row_until_a_page_is_not_full() -> None:
    start = instant("2026-01-01")
    times = [to_ms(start + timedelta(hours=hour)) + 7 for hour in range(2500)]
    rest = Recording(times)
    pages = await collect(rest, Window(start, instant("2026-06-01")), None)
    assert [row["fundingTime"] for page in pages for row in page.rows] == times
    assert [len(page.rows) for page in pages] == [1000, 1000, 500]
    assert to_ms(pages[1].window.start) == times[999] + 1
    assert (pages[0].window.start, pages[-1].window.end) == (start, instant("2026-06-01"))


async def test_an_endpoint_that_repeats_its_first_page_for_ever_is_found_out() -> None:
    start = instant("2026-01-01")
    rest = Recording([to_ms(start + timedelta(hours=hour)) for hour in range(1000)], deaf=True)
    with pytest.raises(StructurallyBad, match="SOLUSDT .* a full page ends at"):
        await collect(rest, Window(start, instant("2026-06-01")), None)


async def test_a_full_page_without_times_is_refused() -> None:
    rest = Recording([])

    async def nameless(*_: object) -> Page:
        return Page(Window(NOW, NOW), [{}] * FUNDING.page_rows)

    rest._page = nameless  # type: ignore[method-assign]
    with pytest.raises(StructurallyBad, match="a row has no time 'fundingTime'"):
        await collect(rest, Window(instant("2026-01-01"), NOW), None)


async def test_pages_ahead_are_called_off_when_the_reader_leaves() -> None:
    rest = Recording([])
    walk = rest.pages(KLINES, "SOLUSDT", "5m", Window(instant("2026-01-01"), NOW), FIVE, NOW)
    await anext(walk)
    await walk.aclose()
    assert len(rest.asked) <= 3
