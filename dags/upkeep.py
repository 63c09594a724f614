"""Airflow DAGs that keep the store in order: migrate_database brings its schema up to date."""

from __future__ import annotations

from airflow.sdk import dag, task

from perpflow.orchestration.defaults import START_DATE, default_args

MIGRATE_DOC = """
### Migrate the market database

Applies the SQL files under `include/sql` that are not applied yet: plain ones everywhere, hypertables where TimescaleDB
is, community SQL where its licence is. Run it once after installing, and after each update; running it again does
nothing.
"""


@dag(schedule=None, start_date=START_DATE, default_args=default_args(), tags={"perpflow"}, doc_md=MIGRATE_DOC)
def migrate_database() -> None:
    """Bring the market database's schema up to date."""

    @task
    def migrate() -> list[str]:
        from perpflow import pipeline
        from perpflow.orchestration.connections import deployment

        return pipeline.migrate(deployment())

    migrate()


migrate_database()
