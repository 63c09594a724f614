"""Jobs that run together: of failures that come together the gravest is told, and nothing is left running."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import permutations

import pytest

from perpflow.errors import AccessDenied, ExchangeUnavailable, IpBanned, RateLimited
from perpflow.fetching import IN_FLIGHT, bounded

BANNED = IpBanned("418.", banned_until=datetime(2026, 10, 15, tzinfo=UTC), retry_after_s=7200)
LIMITED = RateLimited("429.", retry_after_s=60)
AWAY = ExchangeUnavailable("503.")
DENIED = AccessDenied("451.")
ACCIDENT = RuntimeError("a bug")


async def failing(error: Exception) -> None:
    """Fails in its first step, in which all that run together fail: nobody is cancelled before."""
    raise error


@pytest.mark.parametrize(
    ("gravest", "lesser"),
    [(BANNED, [LIMITED, AWAY, ACCIDENT]), (DENIED, [BANNED, AWAY, ACCIDENT]), (LIMITED, [AWAY, ACCIDENT])],
    ids=["a ban", "a refusal for good", "a limit"],
)
async def test_of_failures_that_come_together_the_gravest_is_raised(
    gravest: Exception, lesser: list[Exception]
) -> None:
    for order in permutations([gravest, *lesser]):
        with pytest.raises(type(gravest)) as raised:
            await bounded(failing(error) for error in order)
        assert raised.value is gravest
        assert isinstance(raised.value.__cause__, BaseExceptionGroup)
        assert set(raised.value.__cause__.exceptions) == {gravest, *lesser}


async def test_a_failure_ends_those_under_way_and_begins_none_of_the_others() -> None:
    done: list[str] = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            done.append("ended")

    async def never() -> None:
        done.append("begun")

    jobs = [*(endless() for _ in range(IN_FLIGHT - 1)), failing(AWAY), *(never() for _ in range(3))]
    with pytest.raises(ExchangeUnavailable):
        await bounded(jobs)
    assert done == ["ended"] * (IN_FLIGHT - 1)
