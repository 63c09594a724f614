"""Rules about whole days: what hangs or holds too much is withheld by the day, and what proves nothing is not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from perpflow.windows import TIMEFRAMES, Window
from tests.staged_rows import (
    CANDLES,
    MAKERS,
    SET_RULES,
    SET_WARNINGS,
    START,
    Row,
    candle,
    day,
    funding,
    moved,
)


@pytest.mark.parametrize(("dataset", "name", "constant"), SET_RULES)
def test_a_day_that_hangs_is_withheld_and_its_neighbours_are_not(
    gates: Any, dataset: str, name: str, constant: Row
) -> None:
    gate = gates(dataset)
    hanging = [{**row, **constant} for row in day(dataset)]
    other_symbol = [{**row, "symbol": "X"} for row in day(dataset)]
    gate.stage([*hanging, *day(dataset, START + timedelta(days=1)), *other_symbol])
    verdict = gate.check()
    assert [(f.expectation, f.rule, f.withheld) for f in verdict.findings] == [(name, "set", 288)]
    assert list(gate.withheld()) == list(range(288))


@pytest.mark.parametrize(("dataset", "name", "constant"), SET_WARNINGS)
def test_a_day_that_may_be_halted_is_told_and_not_withheld(gates: Any, dataset: str, name: str, constant: Row) -> None:
    gate, short = gates(dataset), gates(dataset)
    gate.stage([*({**row, **constant} for row in day(dataset)), *day(dataset, START + timedelta(days=1))])
    verdict = gate.check()
    assert [(f.expectation, f.severity, f.failing, f.withheld) for f in verdict.findings] == [(name, "warning", 288, 0)]
    assert (verdict.passed, gate.withheld()) == (True, {})
    short.stage([{**row, **constant} for row in day(dataset)[:143]])
    assert short.check().findings == ()


@pytest.mark.parametrize("points", [287, 144])
@pytest.mark.parametrize(("dataset", "name", "constant"), SET_RULES)
def test_points_that_are_missing_do_not_let_a_day_that_hangs_through(
    gates: Any, dataset: str, name: str, constant: Row, points: int
) -> None:
    gate = gates(dataset)
    hanging = [{**row, **constant} for row in day(dataset)]
    gate.stage([*hanging[: points // 2], *hanging[-(points - points // 2) :]])
    gate.check()
    assert gate.withheld() == dict.fromkeys(range(points), [name])


@pytest.mark.parametrize("points", [143, 12])
@pytest.mark.parametrize(("dataset", "name", "constant"), SET_RULES)
def test_one_value_in_less_than_half_of_the_day_proves_nothing(
    gates: Any, dataset: str, name: str, constant: Row, points: int
) -> None:
    gate = gates(dataset)
    gate.stage([{**row, **constant} for row in day(dataset)[:points]])
    assert gate.check().passed


@pytest.mark.parametrize(("dataset", "name", "constant"), SET_RULES)
def test_half_of_a_day_that_two_sources_give_is_no_whole_one(
    gates: Any, dataset: str, name: str, constant: Row
) -> None:
    gate = gates(dataset)
    rows = [{**row, **constant} for row in day(dataset)[:143]]
    gate.stage([{**row, "source": source} for row in rows for source in ("archive", "rest")])
    assert gate.check().passed


@pytest.mark.parametrize(
    ("timeframe", "candles", "withheld"),
    [("1m", 720, True), ("1m", 719, False), ("1h", 12, True), ("1h", 11, False), ("2h", 12, True), ("4h", 6, False)],
)
def test_half_of_a_day_has_as_many_candles_as_its_timeframe_gives_and_no_less_than_twelve(
    gates: Any, timeframe: str, candles: int, withheld: bool
) -> None:
    gate = gates("ohlcv")
    points = list(TIMEFRAMES[timeframe].points(Window(START, START + timedelta(days=1))))[:candles]
    gate.stage([candle(point, timeframe) for point in points])
    gate.check()
    assert gate.withheld() == dict.fromkeys(range(candles) if withheld else [], ["no_candle_repeated_all_day"])


def test_a_day_without_trades_or_with_constant_funding_is_no_fault(gates: Any) -> None:
    halted = dict.fromkeys(("open", "high", "low", "close"), 5.0)
    halted |= dict.fromkeys(("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"), 0.0)
    candles, settlements = gates("ohlcv"), gates("funding_rate")
    candles.stage([{**row, **halted, "trade_count": 0} for row in day("ohlcv")])
    settlements.stage([funding(START + n * timedelta(hours=1), interval_hours=1) for n in range(24)])
    assert candles.check().passed
    assert settlements.check().passed


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        *((name, "no_more_candles_than_the_day_holds") for name in CANDLES),
        ("open_interest", "no_more_points_than_the_day_holds"),
        ("long_short_ratio", "no_more_points_than_the_day_holds"),
    ],
)
def test_a_day_with_more_instants_than_its_grid_is_withheld_whole(gates: Any, dataset: str, name: str) -> None:
    gate = gates(dataset)
    rows = day(dataset)
    beside = moved(dataset, MAKERS[dataset](START, n=999), timedelta(minutes=2))
    gate.stage([*rows, beside, *day(dataset, START + timedelta(days=1))])
    gate.check()
    assert {origin for origin, names in gate.withheld().items() if name in names} == set(range(289))


def test_a_day_of_settlements_off_the_hour_is_withheld_whole(gates: Any) -> None:
    gate = gates("funding_rate")
    rows = [funding(START + n * timedelta(minutes=30), interval_hours=1) for n in range(48)]
    gate.stage([*rows, *day("funding_rate", START + timedelta(days=1))])
    gate.check()
    name = "no_more_settlements_than_the_day_holds"
    assert {origin for origin, names in gate.withheld().items() if name in names} == set(range(48))
