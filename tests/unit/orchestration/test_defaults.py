"""What Airflow is told of a failed task: when to try again, or that it is of no use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk import RetryAction

from perpflow.errors import BadConfiguration, CircuitOpen, ExchangeUnavailable, IpBanned, PerpflowError, RateLimited
from perpflow.orchestration.defaults import RETRY_POLICY, SPREAD_S, default_args

UNTIL = datetime(2026, 10, 15, tzinfo=UTC)


def test_a_permanent_error_fails_its_task_at_once() -> None:
    assert RETRY_POLICY.evaluate(BadConfiguration("no."), 1, 4).action is RetryAction.FAIL


@pytest.mark.parametrize(
    "error",
    [
        IpBanned("418.", banned_until=UNTIL, retry_after_s=7200),
        RateLimited("429.", retry_after_s=7200),
        CircuitOpen("open.", retry_after_s=7200),
    ],
)
def test_a_task_comes_back_when_what_stopped_it_is_over_and_not_with_all_others(error: PerpflowError) -> None:
    decisions = [RETRY_POLICY.evaluate(error, 1, 4) for _ in range(50)]
    assert {decision.action for decision in decisions} == {RetryAction.RETRY}
    delays = [decision.retry_delay for decision in decisions if decision.retry_delay is not None]
    assert len(set(delays)) == 50
    assert timedelta(seconds=7200) < min(delays) < max(delays) <= timedelta(seconds=7200 + SPREAD_S)


@pytest.mark.parametrize("error", [ExchangeUnavailable("503."), RuntimeError("a bug")])
def test_everything_else_is_tried_again_as_the_task_says(error: Exception) -> None:
    assert RETRY_POLICY.evaluate(error, 1, 4).action is RetryAction.DEFAULT


def test_how_often_a_task_is_tried_again_is_a_setting() -> None:
    assert default_args(retries=9)["retries"] == 9
