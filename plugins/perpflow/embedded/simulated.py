"""The simulated house: services, exchange and Airflow of their own, in `<state>/simulated`.

Invented data never lies beside the real: `make demo` and `make up EXCHANGE=simulator` use this folder, `make up` the
one above. The demo may therefore empty its databases, and whatever it does, it can't touch what was collected.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from perpflow.embedded.airflow_settings import EXCHANGE_VARIABLES
from perpflow.embedded.state import AIRFLOW_DATABASE, MARKET_DATABASE, Services, StateFolder, default_state_dir

#: Variables that name somebody's servers; nothing of theirs may be emptied, or filled with invented data.
EXTERNAL = ("PERPFLOW_DATABASE_URL", "PERPFLOW_REDIS_URL", *EXCHANGE_VARIABLES)


def simulated_state_dir() -> Path:
    """Where everything of the simulated house is."""
    return default_state_dir().resolve() / "simulated"


@contextmanager
def without_external_servers() -> Iterator[None]:
    """Use our own servers alone, whatever the environment names."""
    named = {name: os.environ.pop(name) for name in EXTERNAL if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(named)


def empty_databases(state_dir: Path, services: Services) -> None:
    """Drop and make again the market database and Airflow's, and empty Redis: nothing of an earlier run is left."""
    memory = StateFolder(state_dir).recall()
    if memory is None or services.database.external or services.redis.external:
        raise RuntimeError("only the embedded services may be emptied")
    with psycopg.connect(memory.database_url("postgres") or "", autocommit=True) as connection:
        for name in (MARKET_DATABASE, AIRFLOW_DATABASE):
            database = sql.Identifier(name)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(database))
    if memory.timescaledb is not None:
        with psycopg.connect(services.database.url or "", autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    _empty_redis(services.redis.url or "")


def _empty_redis(url: str) -> None:
    import redis

    with redis.Redis.from_url(url) as client:
        client.flushall()
