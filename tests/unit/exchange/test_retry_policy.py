"""What is tried again and after exactly how long; nobody sleeps."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from perpflow.errors import (
    AccessDenied,
    ExchangeUnavailable,
    IpBanned,
    ObjectDamaged,
    PerpflowError,
    RateLimited,
    RequestRejected,
    StructurallyBad,
    UnknownSymbol,
)
from perpflow.exchange.retry_policy import PATIENCE_S, Retry, delay_s, is_retryable

DOWN = ExchangeUnavailable("down.")
LIMITED = RateLimited("slow down.", retry_after_s=17)
BANNED = IpBanned("banned.", banned_until=datetime(2026, 10, 15, tzinfo=UTC), retry_after_s=120)


@pytest.mark.parametrize("error", [DOWN, LIMITED, ObjectDamaged("cut.")])
def test_what_may_pass_is_tried_again(error: PerpflowError) -> None:
    assert is_retryable(error)


@pytest.mark.parametrize(
    "error",
    [
        AccessDenied("no."),
        RequestRejected("no."),
        UnknownSymbol("no."),
        StructurallyBad("no."),
        ValueError("bug"),
        BANNED,
        RateLimited("come back tomorrow.", retry_after_s=PATIENCE_S + 1),
    ],
)
def test_what_cannot_pass_or_lasts_too_long_is_not(error: Exception) -> None:
    assert not is_retryable(error)


def test_delays_double_up_to_thirty_seconds() -> None:
    assert [delay_s(attempt, DOWN, 0.0) for attempt in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


def test_jitter_takes_up_to_half_away() -> None:
    assert delay_s(3, DOWN, 0.5) == 3.0


def test_the_exchanges_own_delay_counts() -> None:
    assert delay_s(1, LIMITED, 0.25) == 17.25


class Flaky:
    """Fails with the given errors in turn, then returns "done"."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    def retry(self) -> Retry:
        return Retry(sleep=self.sleep, jitter=lambda: 0.5)


async def test_a_passing_failure_is_waited_out() -> None:
    flaky = Flaky(DOWN, LIMITED, DOWN)
    assert await flaky.retry()(flaky) == "done"
    assert flaky.slept == [0.75, 17.5, 3.0]


async def test_the_fifth_failure_goes_up_as_it_is() -> None:
    flaky = Flaky(*[DOWN] * 9)
    with pytest.raises(ExchangeUnavailable) as caught:
        await flaky.retry()(flaky)
    assert caught.value is DOWN
    assert (flaky.calls, flaky.slept) == (5, [0.75, 1.5, 3.0, 6.0])


async def test_a_permanent_failure_goes_up_at_once() -> None:
    flaky = Flaky(UnknownSymbol("no."))
    with pytest.raises(UnknownSymbol):
        await flaky.retry()(flaky)
    assert (flaky.calls, flaky.slept) == (1, [])


async def test_a_lambda_that_returns_an_awaitable_is_awaited() -> None:
    flaky = Flaky(DOWN)
    assert await flaky.retry()(lambda: flaky()) == "done"
