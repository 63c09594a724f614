"""A miniature of the soak: a few kills, a few loads, and everything holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random

import pytest

from perpflow import pipeline
from perpflow.batches import LoadRequest
from perpflow.windows import Window
from soak import house as houses
from soak.house import House
from soak.market import AUTUMN, drawn
from soak.stream_campaign import Form, StreamCampaign
from soak.tally import Tally
from soak.worker_campaign import WorkerCampaign
from soak.workers import Worker, preloaded
from tests.loading import utc

pytestmark = pytest.mark.timeout(600)
SPAN = Window(utc("2026-10-10"), AUTUMN.end)
KILLS = 6
STREAM_FORM = Form(25.0, 0, {"only stream": 1, "redis": 1, "drop": 1}, {"drain": 2}, subscribed=0.8)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with preloaded():
        with houses.opened("test", seed=7) as opened:
            yield opened
        assert opened.left_running() == []
        houses.discard(opened)


def test_a_kill_counts_only_where_the_step_was_at_work(house: House) -> None:
    day = LoadRequest(("open_interest",), ("SOL/USDT",), utc("2026-10-13"), utc("2026-10-14"), "kill")
    (batch,) = pipeline.plan(house.deployment, day).batches
    slow = house.exchange.add_fault("latency", ms=60_000, match=".zip")
    assert Worker("stage", pipeline.stage, house.deployment, batch, house.worker_log).killed(after_s=0.2)
    house.exchange.remove_fault(slow)
    ended = Worker("stage", pipeline.stage, house.deployment, batch, house.worker_log)
    assert not ended.killed(after_s=120)
    outcome, _ = Worker("check", pipeline.check, house.deployment, batch, house.worker_log).outcome()
    assert outcome.error is None
    assert {name: verdict.rows for name, verdict in outcome.value.items()} == {"open_interest": 288}


def test_a_step_that_fails_says_how(house: House) -> None:
    nowhere = house.deployment.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/none"})
    request = LoadRequest(("open_interest",), ("SOL/USDT",), SPAN.start, SPAN.end, "nowhere")
    outcome, _ = Worker("plan", pipeline.plan, nowhere, request, house.worker_log).outcome()
    assert (outcome.error, outcome.transient) == ("StoreUnavailable", True)


def test_a_few_kills_leave_whole_tables(house: House) -> None:
    market = drawn(Random("market"), ("SOL/USDT",), (SPAN,))
    tally = Tally(KILLS)
    found = WorkerCampaign(house, market, tally, seed=7, until=time.monotonic() + 300).run()
    assert [(check.subject, check.faults) for check in found if not check.holds] == []
    assert tally.killed >= KILLS
    assert tally.done["publish"] >= 3
    assert tally.struck["re-issued"] == len(market.first_issues) >= 3


@pytest.mark.usefixtures("house")  # for the process that drains are forked from
def test_a_killed_stream_and_its_redis_leave_every_liquidation_there() -> None:
    tally = Tally(1)
    with houses.opened("test-stream", seed=7) as house:
        found = StreamCampaign(house, tally, seed=7, form=STREAM_FORM).run()
    assert [(check.subject, check.faults) for check in found if not check.holds] == []
    houses.discard(house)


def test_the_same_seed_draws_the_same_market_and_loads() -> None:
    symbols, spans = ("SOL/USDT", "BTC/USDT"), (SPAN,)
    one, same, other = (drawn(Random(seed), symbols, spans) for seed in (1, 1, 2))
    assert one == same != other
    assert one.covering_loads(Random(3)) == same.covering_loads(Random(3))


@pytest.mark.parametrize("seed", range(20))
def test_the_loads_that_cover_a_market_overlap_and_leave_nothing_out(seed: int) -> None:
    market = drawn(Random(seed), ("SOL/USDT",), (Window(utc("2026-08-04"), utc("2026-08-21")), SPAN))
    windows = sorted(load.window for load in market.covering_loads(Random(seed)))
    for span in market.spans:
        own = [window for window in windows if window.intersect(span)]
        assert (own[0].start, own[-1].end) == (span.start, span.end)
        assert all(before.end > after.start for before, after in zip(own, own[1:], strict=False))
