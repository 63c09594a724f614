"""Airflow DAG that tells people how good the data is: quality_report writes a page a day."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag

from perpflow.orchestration.defaults import START_DATE, default_args
from perpflow.orchestration.quality_report import QualityReportOperator
from perpflow.settings import load_collection

REPORT_DOC = """
### How good is the data?

Once a day, or by form: one page about a UTC day, with what was loaded and checked on it, which expectations failed and
why, what waits in the quarantine, what was corrected; and how complete and how fresh everything is. The task's button
*Quality report* opens it; *Browse, Market data quality* lists all days; the files are in the folder `PERPFLOW_REPORTS`.

A day that is told again gets a new page in place of the old one; the others stay as they were. With *Data Docs* the
day's failed batches also get pages of Great Expectations. `python -m perpflow report` does the same outside Airflow.
"""

#: When the last increments of the day before are through.
AFTER_MIDNIGHT = "40 0 * * *"


@dag(
    schedule=CronTriggerTimetable(AFTER_MIDNIGHT, timezone="UTC"),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(load_collection().airflow.task_retries),
    params={
        "day": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Day (UTC)",
            description="Left empty: the last one that was over when the run was due.",
        ),
        "data_docs": Param(
            False,
            type="boolean",
            title="Data Docs",
            description="Also a page of Great Expectations for each batch of the day that failed something.",
        ),
    },
    tags={"perpflow"},
    doc_md=REPORT_DOC,
)
def quality_report() -> None:
    """Write the page of a day."""
    QualityReportOperator(task_id="write", execution_timeout=timedelta(minutes=15))


quality_report()
