"""What all of Perpflow's DAGs share: retries, timeouts, pools, tags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

#: Before the exchange's first futures candle; only the time-table's anchor, nothing is scheduled for the past.
START_DATE = datetime(2019, 9, 1, tzinfo=UTC)

ARCHIVE_POOL = "perpflow_archive"
REST_POOL = "perpflow_rest"

#: A permanent error fails its task at once; everything else is tried again, ever more slowly.
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[RetryRule(exception="perpflow.errors.Permanent", action=RetryAction.FAIL, reason="trying again cannot help")]
)


#: What keeps data current goes before every backfill: tasks of a history weigh 1 to 5, and kept all slots for hours.
LIVE_PRIORITY = 100


def default_args(priority: int = 1) -> dict[str, Any]:
    """Task defaults: five tries with exponential backoff from 20 s to 10 min, and a permanent error ends it."""
    return {
        "owner": "perpflow",
        "priority_weight": priority,
        # What is nearest to the end goes first: batches are finished one by one, so data is there early, staging stays
        # small and a run that dies has published most of what it had fetched.
        "weight_rule": "upstream",
        "retries": 4,
        "retry_delay": timedelta(seconds=20),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "retry_policy": RETRY_POLICY,
        "execution_timeout": timedelta(minutes=30),
    }
