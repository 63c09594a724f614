"""Perpflow's Airflow plugin: reports inside the UI, and warm processes for tasks to be forked from.

Cold, a task spends most of its time on imports: ccxt 5 s, Great Expectations 9 s, pandas 1.4 s. LocalExecutor forks
tasks from the scheduler and a Celery worker forks its own, so what these have imported is free in every task.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from perpflow.orchestration.quality_report import UI_ROUTE, URL_PREFIX, QualityReportLink

#: `airflow scheduler`, `airflow celery worker`: the first argument of the processes that fork tasks.
FORKING_COMMANDS = frozenset({"scheduler", "celery"})
#: `airflow api-server`, whose workers keep its arguments.
SERVING_COMMANDS = frozenset({"api-server"})


def preload() -> None:
    """Import what staging and checking tasks need."""
    from airflow.providers.postgres.hooks import postgres  # noqa: F401
    from airflow.providers.redis.hooks import redis  # noqa: F401

    # The use cases, and with them what they are made of.
    from perpflow import pipeline, publishing  # noqa: F401
    from perpflow.exchange import rest
    from perpflow.quality import validation

    rest.preload()
    validation.preload()
    publishing.code_version()


if len(sys.argv) > 1 and sys.argv[1] in FORKING_COMMANDS:
    preload()


def report_pages() -> list[dict[str, Any]]:
    """The app that serves reports, where it can be of use: nobody else needs to import what it is made of."""
    if not SERVING_COMMANDS.intersection(sys.argv[1:2]):
        return []
    from perpflow.orchestration.report_pages import app

    return [{"app": app(), "url_prefix": URL_PREFIX, "name": "Market data quality"}]


class PerpflowPlugin(AirflowPlugin):
    """Registers Perpflow with Airflow."""

    name = "perpflow"
    fastapi_apps = report_pages()
    external_views: ClassVar = [
        {
            "name": "Market data quality",
            "href": f"{URL_PREFIX}/",
            "destination": "nav",
            "category": "browse",
            "url_route": UI_ROUTE,
        }
    ]
    operator_extra_links: ClassVar = [QualityReportLink()]
