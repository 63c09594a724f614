"""Rotation: whoever waits has a turn, in order, within the time that was said, and what is taken fits the budget."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpflow.costing import cost, page_cost
from perpflow.datasets import DATASETS
from perpflow.rotation import (
    LONGEST_RUN,
    Due,
    allowance,
    demand,
    interval,
    longest_wait,
    nth_run,
    runs_of_a_round,
    turn,
)
from perpflow.settings import Collection, DatasetSettings, ExchangeSettings
from perpflow.specs import Budget
from perpflow.windows import TIMEFRAMES, Window

NOW = datetime(2026, 10, 15, 12, 34, 56, tzinfo=UTC)
#: A page of the statistics endpoints: who is asked again within it costs one request for each series.
PAGE = timedelta(hours=41, minutes=40)
STATISTICS = [name for name, spec in DATASETS.items() if spec.rest[0].budget == "statistics"]
UNIVERSE = 550

shares = st.floats(0.1, 1)


def collection(rate_share: float = 0.5, live_reserve: float = 0.2, **changes: object) -> Collection:
    asked = {"exchange": ExchangeSettings(rate_share=rate_share, live_reserve=live_reserve)} | changes
    return Collection.model_validate({"symbols": "all"} | asked)


def due(symbol: str, minutes: float, **costs: int) -> Due:
    return Due(symbol, NOW - timedelta(minutes=minutes), {budget: units for budget, units in costs.items()})  # type: ignore[misc]


# --- whose turn it is


def test_who_has_waited_longest_goes_first_and_what_is_taken_fits() -> None:
    waiting = [due("young", 5, statistics=4), due("old", 60, statistics=4), due("middle", 30, statistics=4)]
    assert turn(waiting, {"statistics": 8.5}).taken == ("old", "middle")
    assert turn(waiting, {"statistics": 8.5}).waiting == ("young",)


def test_everybody_has_a_turn_at_once_where_the_budget_allows_it() -> None:
    waiting = [due(f"{n}", n, weight=2) for n in range(10)]
    assert turn(waiting, {"weight": 20.0}).waiting == ()


def test_who_costs_more_than_all_there_is_has_a_turn_all_the_same_and_alone() -> None:
    waiting = [due("dear", 60, statistics=72), due("cheap", 30, statistics=1)]
    assert turn(waiting, {"statistics": 10.0}).taken == ("dear",)


def test_nobody_is_passed_over_for_somebody_cheaper() -> None:
    waiting = [due("first", 60, statistics=4), due("dear", 30, statistics=8), due("cheap", 10, statistics=1)]
    assert turn(waiting, {"statistics": 6.0}).taken == ("first",)


def test_each_budget_counts_for_itself() -> None:
    waiting = [due("a", 3, weight=1, statistics=4), due("b", 2, weight=1, statistics=4), due("c", 1, weight=1)]
    assert turn(waiting, {"weight": 100.0, "statistics": 7.0}).taken == ("a",)


def test_nobody_waits_where_nothing_is_due() -> None:
    assert turn([], {"statistics": 1.0}).taken == ()


# --- what a run may spend


@given(shares, st.floats(0, 0.9))
@settings(max_examples=25)
def test_all_increments_together_stay_within_the_share_and_leave_backfill_something(
    rate_share: float, live_reserve: float
) -> None:
    asked = collection(rate_share, live_reserve)
    per_minute: dict[Budget, float] = {"weight": 0, "statistics": 0, "funding": 0}
    for spec in DATASETS.values():
        minutes = min(interval(asked.schedule(spec.name), NOW), LONGEST_RUN) / timedelta(minutes=1)
        for budget, units in allowance(spec, asked, NOW).items():
            per_minute[budget] += units / minutes
    of_all = {"weight": 2400.0, "statistics": 200.0, "funding": 100.0}
    for budget, units in per_minute.items():
        planned = max(live_reserve, 0.75 * (1 - live_reserve))
        assert units == pytest.approx(of_all[budget] * rate_share * planned)


def test_datasets_of_one_budget_wait_alike() -> None:
    waits = [longest_wait(DATASETS[name], collection(), UNIVERSE, NOW) for name in STATISTICS]
    runs = [runs_of_a_round(DATASETS[name], collection(), UNIVERSE, NOW) for name in STATISTICS]
    assert len(set(runs)) == 1
    assert max(waits) < timedelta(minutes=90)


def test_a_dataset_that_is_switched_off_leaves_its_part_to_the_others() -> None:
    off = collection(datasets={"long_short_ratio": DatasetSettings(enabled=False)})
    spec = DATASETS["open_interest"]
    assert allowance(spec, off, NOW)["statistics"] == pytest.approx(1000 * 0.5 * 0.6)
    assert allowance(spec, collection(), NOW)["statistics"] < 1000 * 0.5 * 0.6


def test_candles_and_funding_of_a_universe_need_less_than_may_be_spent_on_them() -> None:
    for name, spec in DATASETS.items():
        if name in STATISTICS:
            continue
        runs_an_hour = timedelta(hours=1) / interval(collection().schedule(name), NOW)
        for budget, units in demand(spec, collection(), NOW).items():
            assert UNIVERSE * units <= allowance(spec, collection(), NOW)[budget] * runs_an_hour, name


@pytest.mark.parametrize("name", DATASETS)
def test_a_few_symbols_never_wait(name: str) -> None:
    assert longest_wait(DATASETS[name], collection(0.1), 10, NOW) == timedelta(0)


def test_a_candle_of_a_day_is_asked_for_once_a_day() -> None:
    only_days = collection(datasets={"ohlcv": DatasetSettings(timeframes=("1d",))})
    assert demand(DATASETS["ohlcv"], only_days, NOW)["weight"] == pytest.approx(1 / 24)


def test_a_schedule_is_measured_from_run_to_run_whenever_it_is_asked() -> None:
    assert interval("*/5 * * * *", NOW) == interval("*/5 * * * *", NOW.replace(minute=35, second=0))
    assert interval("0 3 * * *", NOW) == timedelta(days=1)
    assert nth_run("*/15 * * * *", NOW, 2) == NOW.replace(minute=0, second=0, hour=13)


# --- the promise: nobody waits longer than what is said


def simulated(
    name: str, asked: Collection, runs: int, costs: Mapping[str, int]
) -> tuple[list[timedelta], dict[str, int]]:
    """How long symbols waited for their turns, and how often each had one; all of them have something at every run."""
    spec, budget = DATASETS[name], DATASETS[name].rest[0].budget
    every, allowed = interval(asked.schedule(name), NOW), allowance(spec, asked, NOW)
    since = dict.fromkeys(costs, NOW)
    waits, turns = [], dict.fromkeys(costs, 0)
    for run in range(1, runs + 1):
        now = NOW + run * every
        taken = turn([Due(symbol, since[symbol], {budget: costs[symbol]}) for symbol in costs], allowed).taken
        for symbol in taken:
            waits.append(now - since[symbol])
            since[symbol], turns[symbol] = now, turns[symbol] + 1
    waits += [NOW + runs * every - instant for instant in since.values()]
    return waits, turns


@given(st.sampled_from([*DATASETS]), st.integers(10, 1000), shares, st.data())
@settings(max_examples=12)
def test_no_symbol_ever_waits_longer_than_was_said_and_each_has_its_turn(
    name: str, symbols: int, rate_share: float, data: st.DataObject
) -> None:
    spec, asked = DATASETS[name], collection(rate_share)
    most = sum(page_cost(spec, series) for series in asked.series(name))
    units = data.draw(st.lists(st.integers(1, most), min_size=7, max_size=7))
    costs = {f"{n}": units[n % 7] for n in range(symbols)}
    round_of = runs_of_a_round(spec, asked, symbols, NOW)
    waits, turns = simulated(name, asked, 6 * round_of, costs)
    assert max(waits) <= round_of * interval(asked.schedule(name), NOW)
    assert min(turns.values()) >= 6


@pytest.mark.parametrize(("name", "symbols"), [("open_interest", UNIVERSE), ("long_short_ratio", 1000)])
@pytest.mark.parametrize("rate_share", [0.1, 1.0])
def test_for_weeks_nobody_waits_so_long_that_a_page_does_not_hold_what_has_come(
    name: str, symbols: int, rate_share: float
) -> None:
    spec, asked = DATASETS[name], collection(rate_share)
    costs = {f"{n}": len(asked.series(name)) for n in range(symbols)}
    runs = timedelta(weeks=2) // interval(asked.schedule(name), NOW)
    waits, turns = simulated(name, asked, runs, costs)
    assert max(waits) <= runs_of_a_round(spec, asked, symbols, NOW) * interval(asked.schedule(name), NOW) < PAGE
    assert min(turns.values()) >= 1


# --- what asking costs


def test_a_page_of_statistics_is_one_request_and_a_point_more_is_another() -> None:
    spec, start = DATASETS["open_interest"], datetime(2026, 10, 1, tzinfo=UTC)
    assert cost(spec, "5m", [Window(start, start + PAGE)]) == 1
    assert cost(spec, "5m", [Window(start, start + PAGE + timedelta(minutes=5))]) == 2


def test_holes_that_a_page_can_hold_cost_one_request() -> None:
    start, five = datetime(2026, 10, 1, tzinfo=UTC), TIMEFRAMES["5m"]
    holes = [Window(start + timedelta(hours=n), start + timedelta(hours=n, minutes=5)) for n in range(24)]
    assert five.count(holes[0]) == 1
    assert cost(DATASETS["open_interest"], "5m", holes) == 1


def test_candles_cost_what_their_number_costs() -> None:
    spec, start = DATASETS["ohlcv"], datetime(2026, 10, 1, tzinfo=UTC)
    assert cost(spec, "5m", [Window(start, start + timedelta(minutes=5))]) == 1
    assert cost(spec, "5m", [Window(start, start + timedelta(hours=12))]) == 2
    assert cost(spec, "5m", [Window(start, start + timedelta(days=2))]) == 3


def test_funding_costs_what_leads_in_to_it_as_well() -> None:
    start = datetime(2026, 10, 1, tzinfo=UTC)
    assert cost(DATASETS["funding_rate"], "settlement", [Window(start, start + timedelta(hours=1))]) == 2
