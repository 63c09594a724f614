"""Where everything is, as Airflow knows it: the connections `perpflow_db` and, if there is one, `perpflow_redis`.

Connections come from AIRFLOW_CONN_*, the UI or a secrets backend alike; the exchange's addresses from PERPFLOW_*_URL.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from perpflow.settings import Deployment, deployment_from_environment

DATABASE_CONNECTION = "perpflow_db"
REDIS_CONNECTION = "perpflow_redis"

if TYPE_CHECKING:
    from airflow.providers.postgres.hooks.postgres import PostgresHook
    from airflow.sdk import Connection

log = logging.getLogger(__name__)


def deployment() -> Deployment:
    """The deployment of the running task. Only inside a task: a DAG file asks for no connection when it is parsed.

    Raises:
        AirflowNotFoundException: the connection `perpflow_db` is not defined.
        BadConfiguration: collection.yaml is not valid.
    """
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    return deployment_from_environment(
        database_url=_conninfo(PostgresHook(postgres_conn_id=DATABASE_CONNECTION)),
        redis_url=_redis_url(),
    )


def _redis_url() -> str | None:
    from airflow.providers.redis.hooks.redis import RedisHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return _url_of_redis(RedisHook.get_connection(REDIS_CONNECTION))
    except AirflowNotFoundException:
        log.warning(
            "There is no connection %s: the exchange's limits are kept per process, each with its part of the share, "
            "and a ban is known to the process alone that met it.",
            REDIS_CONNECTION,
        )
        return None


def _url_of_redis(connection: Connection) -> str:
    """The connection as Redis' clients read it, with what Airflow's form keeps in its extra: the database, and TLS.

    Not its URI as it stands: that packs the whole extra into one parameter, which no client knows.
    """
    extra = connection.extra_dejson
    is_secure = connection.conn_type == "rediss" or str(extra.get("ssl")).lower() == "true"
    secrets = [quote(text or "", safe="") for text in (connection.login, connection.password)]
    account = f"{':'.join(secrets)}@" if any(secrets) else ""
    address = f"{account}{connection.host or 'localhost'}:{connection.port or 6379}"
    database = connection.schema if extra.get("db") in (None, "") else extra["db"]
    url = f"{'rediss' if is_secure else 'redis'}://{address}/{database or 0}"
    # Without TLS its options mean nothing, and clients refuse them.
    options = {name: value for name, value in extra.items() if name.startswith("ssl_") and value not in (None, "")}
    return f"{url}?{urlencode(options)}" if is_secure and options else url


def _conninfo(hook: PostgresHook) -> str:
    """The connection as libpq takes it, with all that its extra says and libpq knows: TLS, timeouts, options.

    Not the hook's URL as it stands: SQLAlchemy's dialect writes spaces as libpq does not read them.
    """
    from psycopg.conninfo import make_conninfo
    from psycopg.pq import Conninfo

    url = hook.sqlalchemy_url
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    address = {"user": url.username, "password": url.password, "host": url.host, "port": url.port}
    said = {**address, "dbname": url.database, **url.query, **hook.connection.extra_dejson}
    return make_conninfo(**{key: value for key, value in said.items() if key in known and value not in (None, "")})
