"""Perpflow's Airflow plugin. For now it only warms the processes that tasks are forked from.

Cold, a task spends most of its time on imports: ccxt 5 s, Great Expectations 9 s, pandas 1.4 s. LocalExecutor forks
tasks from the scheduler and a Celery worker forks its own, so what these have imported is free in every task.
"""

from __future__ import annotations

import sys

from airflow.plugins_manager import AirflowPlugin

#: `airflow scheduler`, `airflow celery worker`: the first argument of the processes that fork tasks.
FORKING_COMMANDS = frozenset({"scheduler", "celery"})


def preload() -> None:
    """Import what staging and checking tasks need."""
    from airflow.providers.postgres.hooks import postgres  # noqa: F401
    from airflow.providers.redis.hooks import redis  # noqa: F401

    from perpflow import pipeline
    from perpflow.exchange import rest
    from perpflow.quality import validation

    rest.preload()
    validation.preload()
    pipeline.code_version()


if len(sys.argv) > 1 and sys.argv[1] in FORKING_COMMANDS:
    preload()


class PerpflowPlugin(AirflowPlugin):
    """Registers Perpflow with Airflow."""

    name = "perpflow"
