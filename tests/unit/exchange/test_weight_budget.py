"""No window of the budget's length ever holds more than the limit, whatever is asked when; the clock is moved."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpflow.errors import BadConfiguration, StructurallyBad
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.weight_budget import (
    FIRST_OPEN_S,
    LIMITS,
    OPEN_AFTER,
    Penalty,
    Share,
    WeightBudget,
    announced_limits,
)
from perpflow.specs import Budget


class MovedClock:
    """A clock that sleeping moves; sleepers take turns, because a budget lets one request at a time wait."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, until)


class SessionBudget:
    """A session's limiter and the process's budget behind it, on one moved clock."""

    def __init__(self, clock: MovedClock, share: float = 1.0, processes: int = 1) -> None:
        self.share = Share(share, live=True)
        self.local = WeightBudget(processes, clock=clock)
        self.limiter = Limiter("exchange", share=self.share, local=self.local, sleep=clock.sleep)

    async def acquire(self, kind: Budget, weight: int) -> None:
        async with self.limiter.request("request", kind, weight):
            pass

    def allowance(self, kind: Budget) -> int:
        return self.local.allowance(kind, self.share)


def budget_of(clock: MovedClock, share: float = 1.0, processes: int = 1) -> SessionBudget:
    return SessionBudget(clock, share, processes)


async def spend(budget: SessionBudget, clock: MovedClock, kind: Budget, weight: int, times: int) -> list[float]:
    """When each of so many requests was let go."""
    instants = []
    for _ in range(times):
        await budget.acquire(kind, weight)
        instants.append(clock.now - 1000.0)
    return instants


@pytest.mark.parametrize(("kind", "most"), [("weight", 2400), ("statistics", 1000), ("funding", 500)])
def test_the_share_is_divided_among_the_processes(kind: Budget, most: int) -> None:
    clock = MovedClock()
    assert budget_of(clock).allowance(kind) == most
    assert budget_of(clock, share=0.5, processes=4).allowance(kind) == most // 8


async def test_a_full_window_waits_until_its_oldest_spending_expires() -> None:
    clock = MovedClock()
    assert await spend(budget_of(clock), clock, "weight", 1000, 5) == [0, 0, 60, 60, 120]


async def test_there_is_no_burst_after_a_pause_within_a_window() -> None:
    clock = MovedClock()
    budget = budget_of(clock)
    await budget.acquire("weight", 1)
    clock.now += 59
    await spend(budget, clock, "weight", 2399, 1)
    assert await spend(budget, clock, "weight", 2, 1) == [119]


async def test_budgets_do_not_wait_for_each_other() -> None:
    clock = MovedClock()
    budget = budget_of(clock)
    await budget.acquire("weight", 2400)
    await budget.acquire("statistics", 1000)
    await budget.acquire("funding", 500)
    assert clock.now == 1000.0


async def test_who_comes_first_goes_first_even_if_a_later_one_would_fit() -> None:
    clock = MovedClock()
    budget = budget_of(clock)
    await budget.acquire("weight", 2000)
    went: list[int] = []

    async def ask(weight: int) -> None:
        await budget.acquire("weight", weight)
        went.append(weight)

    await asyncio.gather(ask(1500), ask(10), ask(20))
    assert went == [1500, 10, 20]


async def test_a_request_that_can_never_fit_is_refused() -> None:
    budget = budget_of(MovedClock(), share=0.01, processes=4)
    with pytest.raises(BadConfiguration, match="a request of weight 25 exceeds the 24 that may be spent"):
        await budget.acquire("weight", 25)


async def test_what_all_together_may_send_each_alone_may_send_one_at_a_time() -> None:
    clock = MovedClock()
    budget = budget_of(clock, share=0.01, processes=64)
    assert budget.allowance("funding") == 0
    assert await spend(budget, clock, "funding", 1, 3) == [0, 300, 600]


async def test_who_has_just_lost_the_others_leaves_room_for_all_that_they_may_have_spent() -> None:
    clock = MovedClock()
    budget = budget_of(clock, share=0.9, processes=10)
    budget.local.lost()
    assert (budget.allowance("statistics"), budget.allowance("weight")) == (9, 23)
    clock.now += 60
    # A minute does not reach back to when all counted together any more, five minutes do.
    assert (budget.allowance("statistics"), budget.allowance("weight")) == (9, 216)
    budget.local.lost()
    clock.now += 240
    assert budget.allowance("statistics") == 90


async def test_what_does_not_fit_beside_the_others_waits_until_they_no_longer_count() -> None:
    clock = MovedClock()
    budget = budget_of(clock, share=1.0, processes=4)
    budget.local.lost()
    clock.now += 10
    assert await spend(budget, clock, "weight", 2, 2) == [60, 60]


def test_what_is_told_is_told_once_and_only_while_it_counts() -> None:
    clock = MovedClock()
    local = WeightBudget(clock=clock)
    share = Share(1.0, live=True)
    local.ask("weight", 2, share)
    local.ask("statistics", 1, share)
    clock.now += 61
    local.ask("weight", 5, share)
    untold = local.take_untold()
    assert [(spent.kind, spent.weight, local.age_s(spent)) for spent in untold] == [
        ("statistics", 1, 61),
        ("weight", 5, 0),
    ]
    assert local.take_untold() == []
    local.ask("funding", 1, share)
    local.give_back_untold(untold)
    assert [spent.kind for spent in local.take_untold()] == ["statistics", "weight", "funding"]


@pytest.mark.parametrize(("share", "reserve"), [(0.0, 0.2), (1.5, 0.2), (0.5, 1.0), (0.5, -0.1)])
def test_a_share_that_cannot_be_is_refused(share: float, reserve: float) -> None:
    with pytest.raises(BadConfiguration, match="cannot be"):
        Share(share, reserve)


def test_a_budget_for_no_process_is_refused() -> None:
    with pytest.raises(BadConfiguration):
        WeightBudget(0)


async def test_a_penalty_stops_every_budget_until_it_ends() -> None:
    clock = MovedClock()
    budget = budget_of(clock)
    budget.local.answered(penalty=Penalty(90, "limited"))
    budget.local.answered(penalty=Penalty(30, "limited"))
    await budget.acquire("funding", 1)
    assert clock.now == 1090.0


async def test_a_penalty_that_comes_while_somebody_waits_holds_for_them_too() -> None:
    clock = MovedClock()
    budget = budget_of(clock)
    await budget.acquire("weight", 2400)
    waiting = asyncio.create_task(budget.acquire("weight", 1))
    await asyncio.sleep(0)
    budget.local.answered(penalty=Penalty(200, "limited"))
    await waiting
    assert clock.now == 1200.0


async def test_what_others_use_on_the_address_is_left_to_them() -> None:
    clock = MovedClock()
    budget = budget_of(clock, share=0.5)
    await budget.acquire("weight", 100)
    budget.local.answered(2100)
    await budget.acquire("weight", 60)
    assert clock.now == 1000.0
    await budget.acquire("weight", 1)
    assert clock.now == 1060.0


async def test_use_by_others_is_forgotten_after_a_minute_without_news() -> None:
    clock = MovedClock()
    budget = budget_of(clock)
    budget.local.answered(100_000)
    await budget.acquire("weight", 1)
    assert clock.now == 1060.0


@pytest.mark.parametrize("used", [None, -1, 0, 40])
async def test_a_counter_that_is_absent_or_below_ours_changes_nothing(used: int | None) -> None:
    clock = MovedClock()
    budget = budget_of(clock)
    await budget.acquire("weight", 40)
    budget.local.answered(used)
    await budget.acquire("weight", 2360)
    assert clock.now == 1000.0


async def test_the_weight_limit_is_taken_from_the_exchange() -> None:
    budget = budget_of(MovedClock(), share=0.5)
    orders = {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300}
    weight = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}
    await budget.limiter.adopt([orders, weight])
    assert budget.allowance("weight") == 3000
    assert budget.allowance("statistics") == 500


WEIGHT = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400}


def test_the_strictest_of_several_weight_limits_counts() -> None:
    hourly = WEIGHT | {"interval": "HOUR", "limit": 60_000}
    assert announced_limits([hourly, WEIGHT]) == announced_limits([WEIGHT, hourly]) == {"weight": 1000}
    assert announced_limits([]) == {}


@pytest.mark.parametrize(
    "limits",
    [
        None,
        [None],
        [{}],
        [WEIGHT | {"interval": "FORTNIGHT"}],
        [WEIGHT | {"limit": "many"}],
        [WEIGHT | {"intervalNum": 0}],
        [WEIGHT | {"limit": 0}],
        [WEIGHT | {"limit": -2400}],
        [WEIGHT | {"limit": 1, "interval": "DAY"}],
        [WEIGHT | {"limit": -2400, "intervalNum": -1}],
    ],
    ids=str,
)
def test_limits_that_are_not_written_as_documented_are_an_error_of_ours(limits: Any) -> None:
    with pytest.raises(StructurallyBad, match="rateLimits does not look as documented"):
        announced_limits(limits)


def test_one_budget_serves_event_loops_one_after_another() -> None:
    clock = MovedClock()
    local = WeightBudget(clock=clock)

    async def crowd() -> None:
        session = Limiter("exchange", share=Share(1.0, live=True), local=local, sleep=clock.sleep)
        await asyncio.gather(*(ask(session) for _ in range(8)))

    async def ask(session: Limiter) -> None:
        async with session.request("request", "funding", 100):
            pass

    asyncio.run(crowd())
    asyncio.run(crowd())
    assert clock.now == 1900.0


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["weight", "statistics", "funding"]),
    share=st.floats(0.05, 1.0),
    arrivals=st.lists(st.tuples(st.floats(0, 200), st.integers(1, 25), st.integers(1, 40)), max_size=40),
)
def test_no_window_ever_holds_more_than_the_limit(
    kind: Budget, share: float, arrivals: list[tuple[float, int, int]]
) -> None:
    clock = MovedClock()
    budget = budget_of(clock, share)
    spent: list[tuple[float, int]] = []

    async def run() -> None:
        for pause, weight, times in arrivals:
            clock.now += pause
            for _ in range(times):
                await budget.acquire(kind, weight)
                spent.append((clock.now, weight))

    asyncio.run(run())
    _, length = LIMITS[kind]
    for start, _ in spent:
        assert sum(weight for at, weight in spent if start <= at < start + length) <= budget.allowance(kind)


def test_a_circuit_never_opens_for_longer_than_it_may() -> None:
    clock = MovedClock()
    budget = WeightBudget(longest_open_s=7.0, clock=clock)
    opened = [budget.failed() for _ in range(OPEN_AFTER)]
    for _ in range(2):
        clock.now += 60
        opened.append(budget.failed())
    assert opened[-3:] == [FIRST_OPEN_S, 7.0, 7.0]
