"""When the markets are open that TradFi contracts follow: `GET /fapi/v1/tradingSchedule`. Pure.

The exchange tells a week of sessions, from the day before, for shares (`EQUITY`) and commodities (`COMMODITY`): these
are the `underlyingType` of exchangeInfo. Sessions of the type NO_TRADING are closed. Times are milliseconds, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perpflow.errors import StructurallyBad
from perpflow.windows import Window, from_ms, merge

CLOSED = "NO_TRADING"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A market's sessions: the time of which the exchange has told, and the part of it without trading."""

    market: str
    known: list[Window]
    closed: list[Window]


def schedules(answer: Mapping[str, Any]) -> list[Schedule]:
    """The schedule of each market of an answer.

    Raises:
        StructurallyBad: it has no markets, or a session without a type or with impossible times.
    """
    try:
        return [_schedule(market, told["sessions"]) for market, told in answer["marketSchedules"].items()]
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise StructurallyBad(
            f"tradingSchedule does not look as documented ({type(error).__name__}: {error}).",
            hint="Compare the exchange's documentation with exchange/schedule.py.",
        ) from error


def _schedule(market: str, sessions: list[Mapping[str, Any]]) -> Schedule:
    told = [(s["type"], Window(from_ms(int(s["startTime"])), from_ms(int(s["endTime"])))) for s in sessions]
    return Schedule(
        market, merge(window for _, window in told), merge(window for kind, window in told if kind == CLOSED)
    )
