"""The budget that all processes on an address share, in a real Redis: scripts, clock and restarts are its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from perpflow import embedded
from perpflow.counters import Counts
from perpflow.errors import BadConfiguration, CircuitOpen, ExchangeUnavailable, IpBanned, RateLimited
from perpflow.exchange import limiter as limiter_module
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.shared_budget import TRAVEL_S, SharedBudget, read_state, state_key, window_key
from perpflow.exchange.weight_budget import FIRST_OPEN_S, OPEN_AFTER, Penalty, Refusal, Share, WeightBudget
from perpflow.specs import Budget
from perpflow.store.cache import open_redis

ALL = Share(1.0, live=True)
HALF = Share(0.5, live=True)
_numbers = count(1)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url) as client:
        yield client


@pytest.fixture
def host() -> str:
    """A host that no other test asks."""
    return f"exchange-{next(_numbers)}"


async def refusals(budget: SharedBudget, kind: Budget, weight: int, share: Share, times: int) -> list[Refusal | None]:
    return [await budget.ask(kind, weight, share) for _ in range(times)]


async def test_a_request_is_let_go_until_the_share_is_spent_whoever_asks(redis: Redis, host: str) -> None:
    first, second = (SharedBudget(redis, "office", host) for _ in range(2))
    half = Share(0.5, live=True)
    assert await refusals(first, "weight", 100, half, 6) == [None] * 6
    assert await refusals(second, "weight", 100, half, 6) == [None] * 6
    for budget in (first, second):
        refusal = await budget.ask("weight", 1, half)
        assert refusal is not None
        assert refusal.obstacle == "budget"
        assert 50 < refusal.wait_s <= 60 + TRAVEL_S


@pytest.mark.parametrize(
    "damage",
    [
        {"blocked_until": "99999999999999"},
        {"blocked_until": "99999999999999", "blocked_by": "limited"},
        {"blocked_until": "1e300", "blocked_by": "banned"},
        {"blocked_until": "abc"},
        {"open_until": "1e300"},
    ],
)
async def test_what_no_process_has_written_is_an_error_of_redis_and_each_process_is_on_its_own(
    redis: Redis, host: str, damage: dict[str, str]
) -> None:
    await redis.hset(state_key("office", host), mapping=damage)
    shared, counts = SharedBudget(redis, "office", host), Counts()
    with pytest.raises(RedisError):
        await shared.ask("weight", 1, ALL)
    async with Limiter(host, shared=shared, counts=counts).request("time", "weight", 1):
        pass
    assert counts.take("test")["redis_away"] == 1


async def test_another_address_another_host_and_another_budget_have_windows_of_their_own(
    redis: Redis, host: str
) -> None:
    assert await SharedBudget(redis, "office", host).ask("weight", 2400, ALL) is None
    assert await SharedBudget(redis, "office", host).ask("statistics", 1000, ALL) is None
    assert await SharedBudget(redis, "office", host).ask("funding", 500, ALL) is None
    assert await SharedBudget(redis, "home", host).ask("weight", 2400, ALL) is None
    assert await SharedBudget(redis, "office", f"{host}.other").ask("weight", 2400, ALL) is None
    assert await SharedBudget(redis, "office", host).ask("weight", 1, ALL) is not None


async def test_backfill_leaves_the_reserve_to_live_work(redis: Redis, host: str) -> None:
    budget = SharedBudget(redis, "office", host)
    backfill, live = Share(0.5, 0.2), Share(0.5, 0.2, live=True)
    assert await refusals(budget, "weight", 96, backfill, 10) == [None] * 10
    assert await budget.ask("weight", 1, backfill) is not None
    assert await budget.ask("weight", 240, live) is None
    assert await budget.ask("weight", 1, live) is not None


async def test_what_has_left_the_window_may_be_spent_again(redis: Redis, host: str) -> None:
    budget = SharedBudget(redis, "office", host)
    assert await budget.ask("weight", 2000, ALL) is None
    assert await budget.ask("weight", 400, ALL) is None
    key = window_key("office", host, "weight")
    # The server's clock cannot be moved; what it has written down can.
    (oldest, at), _ = await redis.zrange(key, 0, -1, withscores=True)
    await redis.zadd(key, {oldest: at - (59 + TRAVEL_S) * 1000})
    refusal = await budget.ask("weight", 100, ALL)
    assert refusal is not None
    assert 0 < refusal.wait_s <= 1
    await redis.zadd(key, {oldest: at - (60 + TRAVEL_S) * 1000})
    assert await budget.ask("weight", 2000, ALL) is None


async def test_windows_do_not_stay_in_redis_when_nobody_asks(redis: Redis, host: str) -> None:
    await SharedBudget(redis, "office", host).ask("funding", 1, ALL)
    assert 0 < await redis.pttl(window_key("office", host, "funding")) <= (300 + TRAVEL_S) * 1000


async def test_what_others_use_on_the_address_is_left_to_them_at_once(redis: Redis, host: str) -> None:
    budget, half = SharedBudget(redis, "office", host), Share(0.5, live=True)
    assert await budget.ask("weight", 100, half) is None
    await budget.answered(2100)
    assert await budget.ask("weight", 60, half) is None
    refusal = await budget.ask("weight", 1, half)
    assert refusal is not None
    assert refusal.wait_s <= 60


@pytest.mark.parametrize("used", [None, -1, 0, 40])
async def test_a_counter_that_is_absent_or_below_ours_changes_nothing(
    redis: Redis, host: str, used: int | None
) -> None:
    budget = SharedBudget(redis, "office", host)
    await budget.ask("weight", 40, ALL)
    await budget.answered(used)
    assert await budget.ask("weight", 2360, ALL) is None


async def test_an_announced_limit_holds_for_all(redis: Redis, host: str) -> None:
    first, second = (SharedBudget(redis, "office", host) for _ in range(2))
    await first.adopt("weight", 6000)
    assert await second.ask("weight", 3000, Share(0.5, live=True)) is None
    with pytest.raises(BadConfiguration, match="a request of weight 3001 exceeds the 3000 that may be spent"):
        await second.ask("weight", 3001, Share(0.5, live=True))


@pytest.mark.parametrize("obstacle", ["limited", "banned"])
async def test_a_penalty_stops_everybody_and_a_shorter_one_does_not_shorten_it(
    redis: Redis, host: str, obstacle: str
) -> None:
    told, others = (SharedBudget(redis, "office", host) for _ in range(2))
    await told.answered(penalty=Penalty(90, obstacle))  # type: ignore[arg-type]
    await told.answered(penalty=Penalty(5, "limited"))
    for kind in ("weight", "statistics", "funding", None):
        refusal = await others.ask(kind, 1, ALL)  # type: ignore[arg-type]
        assert refusal is not None
        assert refusal.obstacle == obstacle
        assert 80 < refusal.wait_s <= 90


async def test_a_circuit_opens_after_failures_in_a_row_lets_one_probe_through_and_closes_by_it(
    redis: Redis, host: str
) -> None:
    budgets = [SharedBudget(redis, "office", host) for _ in range(OPEN_AFTER)]
    opened = [await budget.failed() for budget in budgets]
    assert opened == [None] * (OPEN_AFTER - 1) + [FIRST_OPEN_S]
    refusal = await budgets[0].ask("weight", 1, ALL)
    assert refusal is not None
    assert refusal.obstacle == "open"
    await redis.hset(state_key("office", host), "open_until", "1")
    answers = await asyncio.gather(*(budget.ask("weight", 1, ALL) for budget in budgets))
    assert answers.count(None) == 1
    assert {answer.obstacle for answer in answers if answer} == {"probing"}
    await budgets[0].answered()
    assert await refusals(budgets[1], "weight", 1, ALL, 3) == [None] * 3


async def test_a_probe_that_fails_opens_the_circuit_for_twice_as_long(redis: Redis, host: str) -> None:
    budget = SharedBudget(redis, "office", host)
    for _ in range(OPEN_AFTER):
        await budget.failed()
    # Failures of requests that were on their way prove nothing new.
    assert await budget.failed() is None
    await redis.hset(state_key("office", host), "open_until", "1")
    assert await budget.ask(None, 0, ALL) is None
    assert await budget.failed() == 2 * FIRST_OPEN_S


async def test_a_circuit_never_opens_for_longer_than_it_may(redis: Redis, host: str) -> None:
    budget = SharedBudget(redis, "office", host, longest_open_s=7.0)
    opened = [await budget.failed() for _ in range(OPEN_AFTER)]
    for _ in range(2):
        await redis.hset(state_key("office", host), "open_until", "1")
        opened.append(await budget.failed())
    assert opened[-3:] == [FIRST_OPEN_S, 7.0, 7.0]


async def test_an_answer_between_failures_keeps_the_circuit_closed(redis: Redis, host: str) -> None:
    budget = SharedBudget(redis, "office", host)
    for _ in range(3 * OPEN_AFTER):
        assert await budget.failed() is None
        await budget.answered()


#: Asks as fast as it may for a while, and says when it was let go.
ASKING = """
import asyncio, json, sys, time
from perpflow.exchange import limiter as limiter_module
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.shared_budget import SharedBudget
from perpflow.exchange.weight_budget import Share, WeightBudget
from perpflow.store.cache import open_redis

async def main():
    async with open_redis(sys.argv[1]) as redis:
        shared = SharedBudget(redis, "office", sys.argv[2])
        limiter = Limiter(sys.argv[2], share=Share(1.0, live=True), local=WeightBudget(), shared=shared)
        let_go = 0
        async def ask():
            nonlocal let_go
            while True:
                async with limiter.request("request", "weight", 1):
                    let_go += 1
        tasks = [asyncio.create_task(ask()) for _ in range(4)]
        await asyncio.wait(tasks, timeout=2)
        print(json.dumps(let_go))

asyncio.run(main())
"""


async def test_processes_together_never_spend_more_than_the_share_and_leave_nothing_of_it(
    redis: Redis, redis_url: str, host: str
) -> None:
    await SharedBudget(redis, "office", host).adopt("weight", 500)
    line = [sys.executable, "-c", ASKING, redis_url, host]
    ours = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    running = [await asyncio.create_subprocess_exec(*line, stdout=subprocess.PIPE, env=ours) for _ in range(4)]
    said = [(await process.communicate())[0] for process in running]
    assert sum(map(json.loads, said)) == 500


# --- sessions


def limiter_of(
    shared: SharedBudget | None, local: WeightBudget | None = None, counts: Counts | None = None, share: Share = ALL
) -> Limiter:
    return Limiter("exchange", share=share, local=local, shared=shared, counts=counts or Counts())


async def ask(limiter: Limiter, error: Exception | None = None, used: int | None = None) -> None:
    async with limiter.request("klines", "weight", 2) as sent:
        sent.used_weight = used
        if error is not None:
            raise error


BANNED = {"banned_until": None, "retry_after_s": 77.0}


async def test_a_ban_met_by_one_session_stops_the_others_before_they_send_anything(redis: Redis, host: str) -> None:
    first, second = (limiter_of(SharedBudget(redis, "office", host)) for _ in range(2))
    with pytest.raises(IpBanned, match="418"):
        await ask(first, IpBanned("418.", banned_until=None, retry_after_s=77.0))  # type: ignore[arg-type]
    for session in (first, second):
        with pytest.raises(IpBanned, match=r"banned this address for another 7\d s; nothing was sent") as refused:
            await ask(session)
        assert 70 < refused.value.retry_after_s <= 77


async def test_a_limit_that_lasts_longer_than_a_task_should_wait_is_left_to_its_retries(
    redis: Redis, host: str
) -> None:
    shared = SharedBudget(redis, "office", host)
    await shared.answered(penalty=Penalty(3600, "limited"))
    with pytest.raises(RateLimited, match="nothing was sent") as refused:
        await ask(limiter_of(shared))
    assert 3500 < refused.value.retry_after_s <= 3600


async def test_an_open_circuit_is_an_error_at_once_that_says_when_to_come_back(redis: Redis, host: str) -> None:
    shared = SharedBudget(redis, "office", host)
    failing, other = limiter_of(shared), limiter_of(shared)
    for _ in range(OPEN_AFTER):
        with pytest.raises(ExchangeUnavailable, match="reset"):
            await ask(failing, ExchangeUnavailable("reset."))
    with pytest.raises(CircuitOpen, match="nothing was sent") as refused:
        await ask(other)
    assert 0 < refused.value.retry_after_s <= FIRST_OPEN_S


@pytest.mark.parametrize("together", [True, False], ids=["in Redis", "without"])
async def test_who_comes_while_a_probe_is_under_way_waits_for_what_comes_of_it(
    redis: Redis, host: str, together: bool
) -> None:
    now, waited, counts = 1000.0, asyncio.Event(), Counts()

    async def sleep(_: float) -> None:
        waited.set()
        await asyncio.sleep(0)

    local, shared = WeightBudget(clock=lambda: now), SharedBudget(redis, "office", host) if together else None
    prober, other = (
        Limiter("exchange", share=ALL, local=local, shared=shared, sleep=sleep, counts=c) for c in (Counts(), counts)
    )
    for _ in range(OPEN_AFTER):
        with pytest.raises(ExchangeUnavailable, match="reset"):
            await ask(prober, ExchangeUnavailable("reset."))
    now += FIRST_OPEN_S
    await redis.hset(state_key("office", host), "open_until", "1")
    async with prober.request("klines", "weight", 2):
        waiting = asyncio.create_task(ask(other))
        await waited.wait()
        assert counts.take("test").keys() == {"waited_ms"}
    await waiting
    assert counts.take("test")["requests.klines"] == 1


async def test_requests_weight_and_errors_are_counted_by_name(redis: Redis, host: str) -> None:
    counts = Counts()
    session = limiter_of(SharedBudget(redis, "office", host), counts=counts)
    await ask(session)
    with pytest.raises(ExchangeUnavailable):
        await ask(session, ExchangeUnavailable("503."))
    assert counts.take("test") == {"requests.klines": 2, "weight": 4, "errors.ExchangeUnavailable": 1}
    assert counts.take("test") == {}


async def test_without_redis_a_process_keeps_to_its_part_and_says_so_once_in_a_while(
    caplog: pytest.LogCaptureFixture, host: str
) -> None:
    async with open_redis("redis://127.0.0.1:9/0") as nowhere:
        local = WeightBudget(processes=4)
        session = limiter_of(SharedBudget(nowhere, "office", host), local, share=HALF)
        await ask(session)
        await ask(session)
    assert local._windows["weight"].used(local._clock()) == 4
    (said,) = [record.message for record in caplog.records if record.name.startswith("perpflow.")]
    assert "Redis does not answer" in said


async def test_a_ban_met_while_redis_was_away_is_told_when_it_is_back(redis: Redis, host: str) -> None:
    local, shared = WeightBudget(), SharedBudget(redis, "office", host)
    async with open_redis("redis://127.0.0.1:9/0") as nowhere:
        with pytest.raises(IpBanned, match="418"):
            await ask(
                limiter_of(SharedBudget(nowhere, "office", host), local, share=HALF),
                IpBanned("418.", banned_until=None, retry_after_s=77.0),  # type: ignore[arg-type]
            )
    assert await shared.ask(None, 0, ALL) is None
    with pytest.raises(IpBanned, match="nothing was sent"):
        await ask(limiter_of(shared, local))
    refusal = await shared.ask(None, 0, ALL)
    assert refusal is not None
    assert (refusal.obstacle, 70 < refusal.wait_s <= 77) == ("banned", True)


async def test_what_was_spent_together_is_remembered_alone(redis: Redis, host: str) -> None:
    local = WeightBudget(processes=4)
    session = limiter_of(SharedBudget(redis, "office", host), local)
    for _ in range(300):
        await ask(session)
    assert local.ask("weight", 2, ALL) == Refusal("budget", pytest.approx(60, abs=30))


async def test_what_was_spent_alone_is_counted_by_all_when_redis_is_back(redis: Redis, host: str) -> None:
    together = [limiter_of(SharedBudget(redis, "office", host), WeightBudget(8), share=HALF) for _ in range(8)]
    async with open_redis("redis://127.0.0.1:9/0") as nowhere:
        for limiter in together:
            alone = limiter_of(SharedBudget(nowhere, "office", host), limiter._local, share=HALF)
            for _ in range(62):
                async with alone.request("openInterestHist", "statistics", 1):
                    pass
    shared = SharedBudget(redis, "office", host)
    for limiter in together:
        async with limiter.request("archive"):
            pass
    asked = await refusals(shared, "statistics", 1, HALF, 6)
    assert [refusal and refusal.obstacle for refusal in asked] == [None, None, None, None, "budget", "budget"]
    assert asked[-1] is not None
    assert 290 < asked[-1].wait_s <= 300 + TRAVEL_S
    assert (await read_state(redis, "office", host)).used["statistics"] == 500


async def test_what_could_not_be_told_is_told_later(redis: Redis, host: str) -> None:
    local = WeightBudget()
    async with open_redis("redis://127.0.0.1:9/0") as nowhere:
        await ask(limiter_of(SharedBudget(nowhere, "office", host), local, share=HALF))
        await ask(limiter_of(SharedBudget(nowhere, "office", host), local, share=HALF))
    assert (await read_state(redis, "office", host)).used["weight"] == 0
    await ask(limiter_of(SharedBudget(redis, "office", host), local))
    assert (await read_state(redis, "office", host)).used["weight"] == 6


@pytest.fixture
def own_state(tmp_path: Path) -> Iterator[Path]:
    """Services of this test's own, which it may kill."""
    yield tmp_path
    embedded.discard(tmp_path)


async def test_ban_clock_circuit_and_spending_outlive_a_kill_of_redis(own_state: Path, host: str) -> None:
    services = embedded.start(own_state)
    assert services.redis.url
    async with open_redis(services.redis.url) as redis:
        budget = SharedBudget(redis, "office", host)
        assert await budget.ask("statistics", 1000, ALL) is None
        await budget.answered(penalty=Penalty(500, "banned"))
        for _ in range(OPEN_AFTER):
            await budget.failed()
        pid = int((await redis.info("server"))["process_id"])
        before = await redis.hgetall(state_key("office", host))
    os.kill(pid, signal.SIGKILL)
    again = embedded.start(own_state)
    assert again.redis.url
    async with open_redis(again.redis.url) as redis:
        assert await redis.hgetall(state_key("office", host)) == before
        refusal = await SharedBudget(redis, "office", host).ask(None, 0, ALL)
        assert refusal is not None
        assert refusal.obstacle == "banned"
        assert await redis.zcard(window_key("office", host, "statistics")) == 1


# --- reading it


async def test_who_waits_alone_goes_on_as_soon_as_redis_is_back(
    own_state: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiter_module, "REDIS_AWAY_S", 0.5)
    services = embedded.start(own_state)
    async with open_redis(services.redis.url) as redis:
        pid = int((await redis.info("server"))["process_id"])
        session = limiter_of(SharedBudget(redis, "office", host), WeightBudget(8))
        os.kill(pid, signal.SIGKILL)
        # All of the limits: who has lost the others has nothing to spend for a whole window.
        asking = asyncio.create_task(ask(session))
        while not session._is_alone():
            await asyncio.sleep(0)
        await asyncio.to_thread(embedded.start, own_state)
        async with asyncio.timeout(20):
            await asking
        assert (await read_state(redis, "office", host)).used["weight"] == 2


async def test_the_state_of_a_host_that_nobody_has_asked_is_quiet(redis: Redis, host: str) -> None:
    state = await read_state(redis, "office", host)
    assert (state.circuit, state.blocked_until, state.failures, state.others) == ("closed", None, 0, 0)
    assert state.used == {"weight": 0, "statistics": 0, "funding": 0}
    assert state.limits == {"weight": 2400, "statistics": 1000, "funding": 500}
    assert not await redis.exists(state_key("office", host))


async def test_reading_the_state_says_what_was_spent_and_told_and_changes_nothing(redis: Redis, host: str) -> None:
    budget = SharedBudget(redis, "office", host)
    await budget.adopt("weight", 3000)
    for kind, weight in (("weight", 40), ("weight", 2), ("funding", 3)):
        assert await budget.ask(kind, weight, ALL) is None  # type: ignore[arg-type]
    await budget.answered(100, Penalty(90, "limited"))
    for _ in range(OPEN_AFTER):
        await budget.failed()
    before = await redis.hgetall(state_key("office", host))
    state = await read_state(redis, "office", host)
    assert state.used == {"weight": 42, "statistics": 0, "funding": 3}
    assert (state.limits["weight"], state.others) == (3000, 58)
    assert state.blocked_by == "limited"
    assert state.blocked_until is not None
    assert 80 < (state.blocked_until - state.now).total_seconds() <= 90
    assert (state.circuit, state.failures) == ("open", OPEN_AFTER)
    assert state.open_for.total_seconds() == FIRST_OPEN_S
    assert await redis.hgetall(state_key("office", host)) == before


async def test_what_has_left_the_exchange_s_own_window_is_not_said_to_be_used(redis: Redis, host: str) -> None:
    budget, key = SharedBudget(redis, "office", host), window_key("office", host, "weight")
    for weight in (40, 2):
        await budget.ask("weight", weight, ALL)
    (oldest, at), _ = await redis.zrange(key, 0, -1, withscores=True)
    # The server's clock cannot be moved; what it has written down can.
    await redis.zadd(key, {oldest: at - 60_000})
    assert (await read_state(redis, "office", host)).used["weight"] == 2
