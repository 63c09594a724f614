"""`symbols: all`: what filters leave of it, whose turn it is where the limits do not let all be asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from perpflow import pipeline
from perpflow.batches import MOST_OF_AN_INCREMENT
from perpflow.exchange import retry_policy
from perpflow.health import data as health_data
from perpflow.settings import Deployment
from perpflow.store import ledger
from perpflow.store.database import session
from perpflow.symbols import known_contracts
from simulator.process import Handle
from tests.loading import EAGER, deployment_of, load, request, run_batch, utc

NOW = utc("2026-10-15T12:34:56")
#: What the simulated exchange lists then.
LISTED = {f"{base}/USDT" for base in ("1000PEPE", "ALICE", "BTC", "COS", "ETH", "ICP", "ICX", "NEW", "SOL", "TSLA")}
LISTED |= {"币安人生/USDT"}


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once; how long they wait has tests of its own."""
    monkeypatch.setattr(retry_policy, "FIRST_DELAY_S", 0.001)


@pytest.fixture
def of_all(empty_database_url: str, exchange: Handle) -> Any:
    """Makes a deployment that collects `all`, filtered: `of_all(exclude=[...])`."""
    exchange.set_now(NOW)
    exchange.clear_faults()
    return lambda **filters: deployment_of(empty_database_url, exchange, symbols="all", **filters)


def slow(deployment: Deployment, rate_share: float) -> Deployment:
    """The same with a smaller share of the limits."""
    exchange = EAGER.model_copy(update={"rate_share": rate_share})
    return deployment.model_copy(update={"collection": deployment.collection.model_copy(update={"exchange": exchange})})


def planned(deployment: Deployment, dataset: str) -> list[str]:
    plan = pipeline.plan_increment(deployment, dataset, "now")
    return [symbol for batch in plan.batches for symbol in batch.symbols]


def collected_by_health(deployment: Deployment) -> set[str]:
    with session(deployment.database_url) as connection:
        return set(health_data._collected(connection, deployment.collection))


# --- filters


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ({}, LISTED),
        ({"contract_types": ["TRADIFI_PERPETUAL"]}, {"TSLA/USDT"}),
        ({"contract_types": ["PERPETUAL"], "exclude": ["SOL/USDT"]}, LISTED - {"TSLA/USDT", "SOL/USDT"}),
        ({"quote": ["USDT", "USDC"]}, LISTED),
        ({"quote": "USDC"}, set()),
        ({"statuses": ["SETTLING"]}, set()),
    ],
)
def test_an_increment_of_all_takes_what_the_filters_leave_and_health_expects_the_same(
    of_all: Any, filters: dict[str, Any], left: set[str]
) -> None:
    deployment = of_all(**filters)
    assert set(planned(deployment, "funding_rate")) == left
    assert collected_by_health(deployment) == left


def test_a_history_of_all_is_filtered_by_type_and_keeps_those_that_are_gone_whatever_their_status(of_all: Any) -> None:
    deployment = of_all(contract_types=["PERPETUAL"], statuses=["SETTLING"], exclude=["SOL/USDT"])
    pipeline.sync_symbols(deployment)
    wanted = request("all", "2026-06-20", "2026-06-21", datasets=("funding_rate",), symbols=("all",))
    symbols = {symbol for batch in pipeline.plan(deployment, wanted).batches for symbol in batch.symbols}
    assert symbols == LISTED - {"TSLA/USDT", "SOL/USDT", "NEW/USDT"} | {"FTM/USDT"}


def test_repair_and_coverage_leave_out_what_all_leaves_out(of_all: Any) -> None:
    funding = ("funding_rate",)
    deployment = of_all(contract_types=["TRADIFI_PERPETUAL"], start="2026-08-01")
    for symbol in ("SOL/USDT", "TSLA/USDT"):
        load(deployment, request("once", "2026-10-10", "2026-10-12", datasets=funding, symbols=(symbol,)))
    plan = pipeline.plan_repair(deployment, request("repair", symbols=("all",), datasets=funding))
    assert {symbol for batch in plan.batches for symbol in batch.symbols} == {"TSLA/USDT"}
    with session(deployment.database_url) as connection:
        known = known_contracts(connection)
    assert deployment.collection.collected(known.values()) == {"TSLA/USDT"}


def test_a_history_of_all_has_those_that_were_gone_before_the_start_of_other_datasets(of_all: Any) -> None:
    begins = {"funding_rate": {"start": "2021-05-01"}}
    deployment = of_all(start="2026-01-01", exclude=sorted(LISTED), datasets=begins)
    plan = pipeline.plan(deployment, request("history", symbols=("all",), datasets=("funding_rate",)))
    assert "ICP/USDT#SETTLED" in {symbol for batch in plan.batches for symbol in batch.symbols}
    plan = pipeline.plan(deployment, request("history", symbols=("all",), datasets=("open_interest",)))
    assert "ICP/USDT#SETTLED" not in {symbol for batch in plan.batches for symbol in batch.symbols}


# --- rotation


def test_an_increment_that_can_ask_for_all_takes_all_and_remembers_no_turns(of_all: Any) -> None:
    deployment = of_all()
    plan = pipeline.plan_increment(deployment, "open_interest", "now")
    assert {symbol for batch in plan.batches for symbol in batch.symbols} == LISTED
    assert plan.notes == []
    with session(deployment.database_url) as connection:
        assert connection.execute("SELECT 1 FROM turns").fetchall() == []


def test_where_the_limits_allow_some_symbols_only_each_has_its_turn_before_any_has_a_second_one(of_all: Any) -> None:
    # Open interest may ask 5.1 times in five minutes then; two days are two pages.
    deployment = slow(of_all(), 0.02)
    runs = [planned(deployment, "open_interest") for _ in range(6)]
    assert [len(run) for run in runs] == [2, 2, 2, 2, 2, 2]
    assert len({symbol for run in runs[:5] for symbol in run}) == 10
    assert {symbol for run in runs for symbol in run} == LISTED


def test_a_plan_says_how_many_wait_and_for_how_long_at_most(of_all: Any) -> None:
    plan = pipeline.plan_increment(slow(of_all(), 0.02), "open_interest", "now")
    (note,) = plan.notes
    assert note == (
        "open_interest: 2 of 11 symbols this time, those that have waited longest; "
        "the limits let each have its turn within 25 minutes"
    )


def test_who_waits_is_asked_for_everything_since_its_last_turn(of_all: Any, exchange: Handle) -> None:
    deployment = of_all(exclude=sorted(LISTED - {"SOL/USDT", "BTC/USDT"}))
    for batch in pipeline.plan_increment(deployment, "open_interest", "first").batches:
        run_batch(deployment, batch)
    seldom = slow(deployment, 0.005)
    for hours in (1, 2, 3):
        exchange.set_now(NOW + timedelta(hours=hours))
        (batch,) = pipeline.plan_increment(seldom, "open_interest", f"after {hours} h").batches
        run_batch(deployment, batch)
    with session(deployment.database_url) as connection:
        ends = {row.symbol: row.present for row in ledger.read(connection, ("open_interest",))}
    latest = {symbol: windows[-1].end for symbol, windows in ends.items()}
    assert sorted(latest.values()) == [utc("2026-10-15T14:30"), utc("2026-10-15T15:30")]
    assert all(windows[-1].start < NOW for windows in ends.values())


def test_what_is_left_to_the_next_turn_is_no_work_for_repairs(of_all: Any, exchange: Handle) -> None:
    deployment = of_all()
    asked = request("day", NOW - timedelta(days=1), datasets=("long_short_ratio",))
    for batch in pipeline.plan(deployment, asked).batches:
        run_batch(deployment, batch)
    exchange.set_now(NOW + timedelta(minutes=90))
    repair = request("repair", NOW - timedelta(days=1), datasets=("long_short_ratio",), symbols=None)
    assert pipeline.plan_repair(deployment, repair).batches != []
    # One of eleven symbols every quarter of an hour.
    assert pipeline.plan_repair(slow(deployment, 0.005), repair).batches == []


# --- batches


def test_the_symbols_of_an_increment_share_tasks_where_they_would_be_too_many(
    of_all: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perpflow.batches.MOST_OF_AN_INCREMENT", 3)
    batches = pipeline.plan_increment(of_all(), "funding_rate", "now").batches
    assert len(LISTED) < MOST_OF_AN_INCREMENT
    assert [len(batch.symbols) for batch in batches] == [4, 4, 3]
