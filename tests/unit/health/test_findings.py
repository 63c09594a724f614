"""What figures mean: where green ends and red begins, for each check that judges figures."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from perpflow.datasets import DATASETS
from perpflow.exchange.shared_budget import AddressState
from perpflow.health.data import Newest, freshness_finding, missed_since
from perpflow.health.exchange import (
    ban_finding,
    budget_finding,
    circuit_finding,
    clock_finding,
    rate_finding,
)
from perpflow.health.finding import Finding, Level
from perpflow.health.services import redis_finding
from perpflow.monitoring import HealthSettings

NOW = datetime(2026, 10, 15, 12, 34, 56, tzinfo=UTC)
LIMITS = HealthSettings()
QUIET = AddressState(
    host="exchange",
    now=NOW,
    used={"weight": 0, "statistics": 0, "funding": 0},
    limits={"weight": 2400, "statistics": 1000, "funding": 500},
    others=0,
    blocked_by=None,
    blocked_until=None,
    failures=0,
    open_until=None,
    open_for=timedelta(0),
)


@pytest.mark.parametrize(
    ("seconds", "level"), [(0.9, Level.GREEN), (-0.9, Level.GREEN), (1.1, Level.YELLOW), (-90, Level.YELLOW)]
)
def test_a_clock_that_is_off_by_more_than_a_second_is_yellow(seconds: float, level: Level) -> None:
    assert clock_finding("url", timedelta(seconds=seconds), simulated=False, most_s=1).level is level


def test_a_simulated_exchange_may_live_in_another_year() -> None:
    found = clock_finding("url", timedelta(days=-400), simulated=True, most_s=1)
    assert found.level is Level.GREEN
    assert "400 days behind" in found.cause


@pytest.mark.parametrize(
    ("aof", "policy", "level", "advice"),
    [
        (1, "noeviction", Level.GREEN, ""),
        (0, "noeviction", Level.YELLOW, "Set appendonly yes in redis.conf."),
        (1, "allkeys-lru", Level.YELLOW, "Set maxmemory-policy noeviction in redis.conf."),
        (0, "volatile-ttl", Level.YELLOW, "Set appendonly yes and maxmemory-policy noeviction in redis.conf."),
    ],
)
def test_a_redis_that_may_lose_something_is_yellow(aof: int, policy: str, level: Level, advice: str) -> None:
    found = redis_finding({"redis_version": "8.0", "aof_enabled": aof, "maxmemory_policy": policy})
    assert (found.level, found.advice) == (level, advice)


@pytest.mark.parametrize(
    ("kind", "used", "others", "level"),
    [
        ("weight", 1139, 0, Level.GREEN),
        ("weight", 1140, 0, Level.YELLOW),
        ("weight", 1200, 1200, Level.YELLOW),
        ("weight", 1200, 1201, Level.RED),
        ("weight", 0, 2400, Level.GREEN),
        ("statistics", 475, 0, Level.YELLOW),
        ("statistics", 1001, 0, Level.RED),
        ("funding", 237, 0, Level.GREEN),
        ("funding", 501, 0, Level.RED),
    ],
)
def test_a_budget_is_yellow_when_our_share_is_nearly_spent_and_red_beyond_the_limit(
    kind: str, used: int, others: int, level: Level
) -> None:
    state = replace(QUIET, used={**QUIET.used, kind: used}, others=others)
    found = budget_finding(state, 0.5, LIMITS.budget_spent)
    assert found.level is level
    assert f"{kind} {used:,} of our" in found.cause


def test_one_budget_in_the_red_is_not_covered_by_one_in_the_yellow() -> None:
    found = budget_finding(
        replace(QUIET, used={"weight": 3000, "statistics": 490, "funding": 0}), 0.5, LIMITS.budget_spent
    )
    assert found.level is Level.RED


def test_a_ban_says_until_when_and_for_how_long() -> None:
    found = ban_finding(replace(QUIET, blocked_by="banned", blocked_until=NOW + timedelta(seconds=64)))
    assert found.level is Level.RED
    assert "banned until 2026-10-15 12:36:00 UTC, another 64 s" in found.cause
    limited = ban_finding(replace(QUIET, blocked_by="limited", blocked_until=NOW + timedelta(seconds=64)))
    assert limited.level is Level.YELLOW


def test_a_circuit_that_is_not_closed_says_since_when_and_what_comes_next() -> None:
    opened = replace(QUIET, failures=7, open_until=NOW + timedelta(seconds=4), open_for=timedelta(seconds=10))
    found = circuit_finding(opened)
    assert found.level is Level.RED
    assert "open, last opened 2026-10-15 12:34:50 UTC after 7 failures in a row; asked again in 4.0 s" in found.cause
    half = circuit_finding(replace(opened, open_until=NOW))
    assert half.level is Level.RED
    assert "half-open" in half.cause


@pytest.mark.parametrize(
    ("requests", "errors", "level"),
    [(100, 5, Level.GREEN), (100, 6, Level.YELLOW), (100, 20, Level.YELLOW), (100, 21, Level.RED), (20, 5, Level.RED),
     (19, 19, Level.GREEN)],
)  # fmt: skip
def test_error_rates_count_from_twenty_requests_on(requests: int, errors: int, level: Level) -> None:
    counts = {"requests.klines": requests, "errors.ExchangeUnavailable": errors, "retries": errors}
    found = rate_finding(counts, {}, LIMITS)
    assert found.level is level
    assert f"{errors} ExchangeUnavailable" in found.cause


def test_a_symbol_that_rest_does_not_know_is_told_and_no_failure() -> None:
    found = rate_finding({"requests.fundingRate": 100, "errors.UnknownSymbol": 90, "errors.RateLimited": 5}, {}, LIMITS)
    assert found.level is Level.GREEN
    assert "90 UnknownSymbol" in found.cause


def test_errors_that_are_over_are_yellow_for_an_hour() -> None:
    bad = {"requests.klines": LIMITS.fewest_requests, "errors.RateLimited": LIMITS.fewest_requests}
    assert rate_finding({"requests.klines": 100}, bad, LIMITS).level is Level.YELLOW


@pytest.mark.parametrize(
    ("schedule", "due"),
    [("*/5 * * * *", "2026-10-15T12:20:00+00:00"), ("7 * * * *", "2026-10-15T10:07:00+00:00"),
     ("0 0 * * *", "2026-10-13T00:00:00+00:00")],
)  # fmt: skip
def test_three_runs_of_the_schedule_may_fail_before_data_is_late(schedule: str, due: str) -> None:
    assert missed_since(schedule, NOW, LIMITS.missed_runs) == datetime.fromisoformat(due)


def at(symbol: str, minutes_late: int) -> Newest:
    due = NOW - timedelta(minutes=15)
    return Newest((symbol, "5m"), due - timedelta(minutes=minutes_late), due, NOW)


def found(newest: list[Newest], empty: list[tuple[str, str]]) -> Finding:
    return freshness_finding(DATASETS["ohlcv"], newest, empty)


def test_the_worst_of_the_late_series_is_named_with_their_number() -> None:
    said = found([at("A/USDT", 0), at("B/USDT", 60), at("C/USDT", 5)], [("D/USDT", "5m")])
    assert said.level is Level.RED
    assert "2 of 4 series are late; worst B/USDT 5m" in said.cause
    assert "1:15 h behind the exchange" in said.cause


def test_series_at_their_due_instant_are_current() -> None:
    assert found([at("A/USDT", 0), at("B/USDT", -10)], []).level is Level.GREEN


def test_what_was_never_collected_is_yellow() -> None:
    assert found([], [("A/USDT", "5m")]).level is Level.YELLOW
    some = found([at("B/USDT", 0)], [("A/USDT", "5m")])
    assert some.level is Level.YELLOW
    assert "A/USDT 5m" in some.cause


def test_what_was_not_collected_for_longer_than_a_run_looks_back_is_red() -> None:
    empty = [("A/USDT", "5m")]
    assert freshness_finding(DATASETS["ohlcv"], [], empty, overdue=True).level is Level.RED
    # Of one symbol among others nobody knows since when it is wanted; and where there is none, none is missed.
    assert freshness_finding(DATASETS["ohlcv"], [at("B/USDT", 0)], empty, overdue=True).level is Level.YELLOW
    assert freshness_finding(DATASETS["ohlcv"], [], [], overdue=True).level is Level.YELLOW
