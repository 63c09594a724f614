"""What the check of audits says: red where anything is disputed or rows wait for a day, yellow where for hours."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from perpflow.health.audits import audits_finding
from perpflow.health.finding import Level
from perpflow.monitoring import HealthSettings
from tests.loading import utc

NOTHING: dict[str, Any] = {
    "findings": 0, "disputed": 0, "audits": [], "waiting": 0, "since": None, "oldest": None, "datasets": []
}  # fmt: skip
DISPUTED = {"findings": 3, "disputed": 2, "audits": ["cross_timeframe"]}
WAITING = {
    "waiting": 5,
    "since": utc("2026-10-11T06:00"),
    "oldest": timedelta(hours=4),
    "datasets": ["mark_price", "ohlcv"],
}


@pytest.mark.parametrize(("found", "level", "said"), [
    ({}, Level.GREEN, "no critical finding is open"),
    (WAITING, Level.YELLOW, "5 series wait for their audits, the first since 2026-10-11 06:00 UTC"),
    (WAITING | {"oldest": timedelta(hours=24, seconds=1)}, Level.RED, "5 series wait for their audits"),
    (DISPUTED, Level.RED, "3 critical findings are open, in 2 series (cross_timeframe)"),
    (DISPUTED | WAITING, Level.RED, "3 critical findings"),
])  # fmt: skip
def test_what_is_found_has_its_level_and_its_cause(found: dict[str, Any], level: Level, said: str) -> None:
    finding = audits_finding(NOTHING | found, HealthSettings())
    assert (finding.level, said in finding.cause) == (level, True)


def test_who_waits_is_told_which_dags_to_switch_on() -> None:
    assert "audit_mark_price, audit_ohlcv" in audits_finding(NOTHING | WAITING, HealthSettings()).advice
