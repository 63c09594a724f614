"""The UTC month that a run of history_<dataset> is for, and when its files are there.

The timetable's data interval is the calendar month, so that a backfill from January to March makes three runs with
those names. A scheduled run begins when its month ends, days before the archive has published it: the run waits, not
the timetable, in a sensor that holds no slot meanwhile and needs no triggerer.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator, Context

from perpflow.datasets import MONTH_PUBLISHED_AFTER
from perpflow.windows import Window, month_of

#: One interval a month, from its first instant to the next month's.
MONTHLY = "0 0 1 * *"


def month_of_run(context: Context) -> Window:
    """The month of a run: its data interval, or without one (no logical date) the latest that was over when it began.

    So a run triggered by hand is always for the month before its date, as Airflow does it with a date, too.
    """
    start = context.get("data_interval_start")
    if start is not None:
        return month_of(start)
    this_month = month_of(context["dag_run"].run_after.astimezone(UTC))
    return month_of(this_month.start - timedelta(days=1))


class ArchiveSensor(BaseSensorOperator):
    """Waits until the archive has published a run's month; only scheduled runs do: who asks for a month means now."""

    def __init__(self, **arguments: Any) -> None:
        # An hour more or less is nothing to a month. It may wait for longer than it ever has to: a scheduler that was
        # down for days just goes on.
        limits: dict[str, Any] = {"poke_interval": 3600, "timeout": timedelta(days=14).total_seconds()}
        super().__init__(mode="reschedule", **limits | arguments)

    def poke(self, context: Context) -> bool:
        """Whether the run may go on."""
        if context["dag_run"].run_type != "scheduled":
            return True
        return datetime.now(UTC) >= month_of_run(context).end + MONTH_PUBLISHED_AFTER
