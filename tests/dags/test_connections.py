"""Airflow's connections as tasks see them: what is said of the database reaches libpq, and Redis may be left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict
from redis.asyncio import Connection, SSLConnection
from redis.asyncio.connection import parse_url

ROOT = Path(__file__).resolve().parents[2]

#: What a task gets, in a fresh interpreter: Airflow reads connections from the environment there as in a worker.
ASK = "from perpflow.orchestration.connections import deployment; print(deployment().model_dump_json())"
PASSWORD = "a b+c%2F@:/?#&='\\ü"
QUOTED = "a%20b%2Bc%252F%40%3A%2F%3F%23%26%3D%27%5C%C3%BC"


def ask(home: Path, **connections: str) -> tuple[dict[str, Any], str]:
    """The deployment of a task with these connections, and what it logged."""
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "plugins"), *sys.path]),
    }
    named = {f"AIRFLOW_CONN_PERPFLOW_{name.upper()}": value for name, value in connections.items()}
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env=os.environ | settings | named,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    *log, answer = done.stdout.strip().splitlines()
    return json.loads(answer), "\n".join([*log, done.stderr])


def asked_of_libpq(home: Path, database: str) -> dict[str, Any]:
    found, _ = ask(home, db=database, redis="redis://redis:6379/0")
    return conninfo_to_dict(found["database_url"])


URI = (
    f"postgresql://market:{QUOTED}@db.example:6432/perpflow"
    "?sslmode=verify-full&sslrootcert=/etc/ssl/our%20ca.pem&connect_timeout=3&keepalives_idle=30"
    "&options=-c%20statement_timeout%3D5min&cursor=dictcursor"
)
EXTRA = {
    "sslmode": "verify-full",
    "sslrootcert": "/etc/ssl/our ca.pem",
    "connect_timeout": 3,
    "keepalives_idle": 30,
    "options": "-c statement_timeout=5min",
    "cursor": "dictcursor",
}
PARTS = {
    "conn_type": "postgres",
    "login": "market",
    "password": PASSWORD,
    "host": "db.example",
    "port": 6432,
    "schema": "perpflow",
}


#: The hook's own way to add to an address, which it wants as text.
ADDED = {"sqlalchemy_query": {key: str(value) for key, value in EXTRA.items()}}


@pytest.mark.parametrize(
    "database",
    [URI, json.dumps({**PARTS, "extra": EXTRA}), json.dumps({**PARTS, "extra": ADDED})],
    ids=["URI", "JSON", "sqlalchemy_query"],
)
def test_whatever_libpq_knows_of_a_connection_reaches_it(tmp_path: Path, database: str) -> None:
    told = asked_of_libpq(tmp_path, database)
    assert told == {
        "user": "market",
        "password": PASSWORD,
        "host": "db.example",
        "port": "6432",
        "dbname": "perpflow",
        "sslmode": "verify-full",
        "sslrootcert": "/etc/ssl/our ca.pem",
        "connect_timeout": "3",
        "keepalives_idle": "30",
        "options": "-c statement_timeout=5min",
    }


def test_a_socket_and_a_service_need_no_host(tmp_path: Path) -> None:
    told = asked_of_libpq(tmp_path, "postgresql:///perpflow?host=/run/postgresql&service=market")
    assert told == {"dbname": "perpflow", "host": "/run/postgresql", "service": "market"}


def test_redis_is_taken_from_its_connection(tmp_path: Path) -> None:
    found, log = ask(tmp_path, db="postgresql://db/perpflow", redis="redis://:s%40cret@redis:6379/0")
    assert found["redis_url"] == "redis://:s%40cret@redis:6379/0"
    assert "perpflow_redis" not in log


#: Airflow's form fills all of these in, whether or not somebody has touched them.
UNTOUCHED = {"db": 3, "ssl": False, "ssl_cert_reqs": "required", "ssl_ca_certs": "", "ssl_check_hostname": False}
TLS = {"ssl_cert_reqs": "required", "ssl_ca_certs": "/etc/ssl/our ca.pem", "ssl_check_hostname": False}
SECURE = {"db": 3, "ssl": True} | TLS


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        ({"extra": UNTOUCHED}, {"host": "redis", "port": 6380, "db": 3}),
        ({"extra": SECURE}, {"host": "redis", "port": 6380, "db": 3} | TLS),
        ({"schema": "2", "login": "market"}, {"host": "redis", "port": 6380, "db": 2, "username": "market"}),
        ({"password": PASSWORD}, {"host": "redis", "port": 6380, "db": 0, "password": PASSWORD}),
    ],
    ids=["form", "TLS", "database and user", "password"],
)
def test_what_the_form_of_a_redis_connection_says_reaches_the_client(
    tmp_path: Path, connection: dict[str, Any], expected: dict[str, Any]
) -> None:
    told = json.dumps({"conn_type": "redis", "host": "redis", "port": 6380} | connection)
    found, _ = ask(tmp_path, db="postgresql://db/perpflow", redis=told)
    read = dict(parse_url(found["redis_url"]))
    make = read.pop("connection_class", Connection)
    assert read == expected
    # It takes all of that: what a connection does not know it refuses here.
    assert isinstance(make(**read), SSLConnection) is ("ssl_ca_certs" in expected)


def test_without_redis_tasks_go_on_and_a_warning_says_what_that_means(tmp_path: Path) -> None:
    found, log = ask(tmp_path, db="postgresql://db/perpflow")
    assert found["redis_url"] is None
    assert "no connection perpflow_redis" in log
    assert "limits are kept per process" in log
