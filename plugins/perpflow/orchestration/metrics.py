"""This process's counters as Airflow's metrics: StatsD or OpenTelemetry, whichever `[metrics]` switches on."""

from __future__ import annotations

from airflow.sdk import Context
from airflow.sdk.observability.stats import Stats

from perpflow.counters import COUNTS


def export_counts(_context: Context) -> None:
    """Add what the task has counted to the metrics `perpflow.<counter>`; for tasks' callbacks.

    Where metrics are off Airflow drops them at once.
    """
    for name, amount in COUNTS.take("airflow").items():
        Stats.incr(f"perpflow.{name}", amount)
