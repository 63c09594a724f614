"""Airflow DAG check_health: looks at everything every few minutes, and tells whom it concerns."""

from __future__ import annotations

import logging
from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, dag, get_current_context, task

from perpflow.orchestration.defaults import LIVE_PRIORITY, START_DATE, default_args
from perpflow.settings import load_collection

log = logging.getLogger(__name__)

COLLECTION = load_collection()

HEALTH_DOC = """
### Is everything as it should be?

Every five minutes, unless collection.yaml says otherwise: services, disk, exchange, limits, the live stream, and by the
clock how current the data is, which nothing that waits for data would notice. The same as `python -m perpflow health`,
by the thresholds in the section `health` of collection.yaml. A database, Redis or exchange that is away is a finding,
not an end.

The task is red when a check is, and names each with its cause: who looks at Airflow only sees it there. The section
`alerts` says whom to tell by mail, webhook or Slack: once when something begins, again after a day, when it is over.
A recipient that could not be told makes the task red too; the others were told. The table `alerts` has what was told
when. XCom `findings` has what is not green. A run of `ingest_*` that was told as late is red here until it has ended.
"""

#: Longer than everything away at once takes.
TIMEOUT = timedelta(minutes=5)


@dag(
    schedule=CronTriggerTimetable(COLLECTION.health.schedule, timezone="UTC"),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=3 * TIMEOUT,
    default_args=default_args(0, LIVE_PRIORITY),
    tags={"perpflow"},
    doc_md=HEALTH_DOC,
)
def check_health() -> None:
    """Look at everything, and tell of it."""

    # Not tried again: the next run looks anew, and what is red stays red meanwhile.
    @task(retries=0, execution_timeout=TIMEOUT)
    def check() -> None:
        from perpflow.health.examination import examine
        from perpflow.health.watch import line
        from perpflow.orchestration import alerting
        from perpflow.orchestration.connections import deployment

        where = deployment()
        findings = examine(where) + alerting.late_findings(where.collection)
        for finding in findings:
            log.info("%s", line(finding))
        get_current_context()["ti"].xcom_push("findings", alerting.summary(findings))
        alerting.complain(findings, alerting.tell_of(findings, where.collection, where.database_url))

    check()


check_health()
