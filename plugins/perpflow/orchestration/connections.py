"""Where everything is, as Airflow knows it: the connections `perpflow_db` and `perpflow_redis`.

Connections come from AIRFLOW_CONN_*, the UI or a secrets backend alike; the exchange's addresses from PERPFLOW_*_URL.
"""

from __future__ import annotations

from perpflow.settings import Deployment, deployment_from_environment

DATABASE_CONNECTION = "perpflow_db"
REDIS_CONNECTION = "perpflow_redis"


def deployment() -> Deployment:
    """The deployment of the running task. Only inside a task: a DAG file asks for no connection when it is parsed.

    Raises:
        AirflowNotFoundException: a connection is not defined.
        BadConfiguration: collection.yaml is not valid.
    """
    from airflow.providers.postgres.hooks.postgres import PostgresHook
    from airflow.providers.redis.hooks.redis import RedisHook

    # The hook speaks SQLAlchemy's dialect of URLs; psycopg wants PostgreSQL's own.
    database = PostgresHook(postgres_conn_id=DATABASE_CONNECTION).sqlalchemy_url.set(drivername="postgresql")
    return deployment_from_environment(
        database_url=database.render_as_string(hide_password=False),
        redis_url=RedisHook.get_connection(REDIS_CONNECTION).get_uri(),
    )
