"""The task that writes a day's report, and the link from its run to the page."""

from __future__ import annotations

import logging
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import BaseOperator, Context, conf
from airflow.sdk.bases.operatorlink import BaseOperatorLink

log = logging.getLogger(__name__)

#: Where the plugin's pages are mounted in the API server; and what the UI calls the page that shows them.
URL_PREFIX = "/perpflow/quality"
UI_ROUTE = "market-data-quality"
#: The task's result that names its page.
PAGE = "page"


class QualityReportLink(BaseOperatorLink):
    """The button of a task instance that opens its page."""

    name = "Quality report"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The page that the task instance has written; empty where it has written none.

        Args:
            ti_key: in a task that has just ended, its instance; that is when Airflow asks, and keeps the answer.
        """
        page = ti_key.xcom_pull(task_ids=operator.task_id, key=PAGE)
        return address_of(str(page)) if page else ""


def address_of(page: str) -> str:
    """Where the API server serves a file of the reports' folder."""
    base = str(conf.get("api", "base_url", fallback="") or "")
    return f"{base.rstrip('/')}{URL_PREFIX}/{page}"


class QualityReportOperator(BaseOperator):
    """Writes the report of the form's day, or of the last one that was over when the run was due."""

    operator_extra_links = (QualityReportLink(),)

    def execute(self, context: Context) -> dict[str, Any]:
        """Write page and list, then Data Docs if they are asked for; returns the day in a few numbers.

        Raises:
            StoreUnavailable: the database does not answer.
            BadSuite: a suite is missing or broken, which Data Docs need; the page is written.
            BadConfiguration: the form's day is none, or the reports' folder can't be written to.
        """
        from perpflow.orchestration.connections import deployment
        from perpflow.reports.day import day_asked
        from perpflow.reports.failed_expectations import write_data_docs
        from perpflow.reports.writing import write_report

        due = context["dag_run"].run_after or datetime.now(UTC)
        day, known = day_asked(context["params"].get("day"), due), deployment()
        written = write_report(known, day)
        # Before Data Docs: where these fail, the page is there, and the task links to it.
        context["ti"].xcom_push(PAGE, written.page.name)
        if context["params"].get("data_docs"):
            log.info("Data Docs: %s", write_data_docs(known, day) or "no load of that day has failed an expectation")
        log.info("%s: %s", day, written.headline)
        log.info("The report: %s, in the UI %s", written.page, address_of(written.page.name))
        return asdict(written.summary) | {"day": day.isoformat()}
