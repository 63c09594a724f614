"""What all of Perpflow's DAGs share: retries, timeouts, pools, tags."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Context, RetryDecision, RetryPolicy

from perpflow.errors import Permanent, Transient
from perpflow.orchestration.metrics import export_counts

#: Before the exchange's first futures candle; only the time-table's anchor, nothing is scheduled for the past.
START_DATE = datetime(2019, 9, 1, tzinfo=UTC)

ARCHIVE_POOL = "perpflow_archive"
REST_POOL = "perpflow_rest"
STREAM_POOL = "perpflow_stream"
#: Airflow's own, for what asks nobody outside.
DEFAULT_POOL = "default_pool"

# Tasks that wait for the same ban must not all come back in the same second.
SPREAD_S = 10.0


class RetryAsToldPolicy(RetryPolicy):
    """A permanent error fails its task at once; a ban, a limit or an open circuit is tried again when it ends.

    Everything else is tried again by the task's own delays, ever more slowly.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide by the error's root and by what it says of when to come back."""
        if isinstance(exception, Permanent):
            return RetryDecision.fail("trying again cannot help")
        if isinstance(exception, Transient) and exception.retry_after_s is not None:
            # Spreads tasks, hides nothing.
            wait = timedelta(seconds=exception.retry_after_s + random.uniform(1.0, SPREAD_S))  # noqa: S311
            return RetryDecision.retry(wait, f"{type(exception).__name__}: not before it ends")
        return RetryDecision.default()


RETRY_POLICY = RetryAsToldPolicy()


#: What keeps data current goes before every backfill: tasks of a history weigh 1 to 5, and kept all slots for hours.
LIVE_PRIORITY = 100
#: What REST forgets in time goes before what the archive has for ever.
REPAIR_PRIORITY = 20


def default_args(retries: int, priority: int = 1) -> dict[str, Any]:
    """Task defaults: tried again with exponential backoff from 20 s to 10 min; a permanent error ends it."""
    return {
        "owner": "perpflow",
        "priority_weight": priority,
        # What is nearest to the end goes first: batches are finished one by one, so data is there early, staging stays
        # small and a run that dies has published most of what it had fetched.
        "weight_rule": "upstream",
        "retries": retries,
        "retry_delay": timedelta(seconds=20),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "retry_policy": RETRY_POLICY,
        "execution_timeout": timedelta(minutes=30),
        # Called in the task's own process, where its counters are, whichever way its body has ended.
        "on_success_callback": export_counts,
        "on_retry_callback": export_counts,
        "on_failure_callback": export_counts,
    }
