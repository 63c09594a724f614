"""When the markets of TradFi contracts are open."""

from __future__ import annotations

from typing import Any

import pytest

from perpflow.errors import StructurallyBad
from perpflow.exchange.schedule import Schedule, schedules
from perpflow.windows import Window, from_ms

HOUR_MS = 3_600_000


def session(start: int, end: int, kind: str) -> dict[str, Any]:
    return {"startTime": start * HOUR_MS, "endTime": end * HOUR_MS, "type": kind}


def hours(start: int, end: int) -> Window:
    return Window(from_ms(start * HOUR_MS), from_ms(end * HOUR_MS))


def test_sessions_without_trading_are_closed_and_all_of_them_are_known() -> None:
    told = [session(0, 8, "OVERNIGHT"), session(8, 16, "REGULAR"), session(16, 20, "NO_TRADING")]
    told.append(session(20, 24, "NO_TRADING"))
    answer = {"updateTime": 1, "marketSchedules": {"EQUITY": {"sessions": told}, "COMMODITY": {"sessions": []}}}
    assert schedules(answer) == [
        Schedule("EQUITY", [hours(0, 24)], [hours(16, 24)]),
        Schedule("COMMODITY", [], []),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"marketSchedules": []},
        {"marketSchedules": {"EQUITY": {}}},
        {"marketSchedules": {"EQUITY": {"sessions": [{"startTime": 1, "endTime": 2}]}}},
        {"marketSchedules": {"EQUITY": {"sessions": [session(2, 1, "REGULAR")]}}},
        {"marketSchedules": {"EQUITY": {"sessions": [session(0, 10**12, "REGULAR")]}}},
        {"marketSchedules": {"EQUITY": {"sessions": [{"startTime": "x", "endTime": 2, "type": "REGULAR"}]}}},
    ],
)
def test_an_answer_of_another_shape_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(StructurallyBad, match="tradingSchedule"):
        schedules(answer)
