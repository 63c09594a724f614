"""The environment that Airflow's processes get."""

from __future__ import annotations

import runpy
import stat
import sys
from pathlib import Path

import pytest

from perpflow.embedded.airflow_settings import (
    METADATA_TUNING,
    AirflowMemory,
    ExchangeAddress,
    environment,
    recall,
    remember,
)
from perpflow.embedded.errors import ServiceError
from perpflow.embedded.state import CHECKOUT, AirflowDatabase, Database, Redis, Services

OURS = Services(
    Database("postgresql://perpflow:secret@127.0.0.1:20001/perpflow", running=True),
    AirflowDatabase("postgresql://perpflow:secret@127.0.0.1:20001/airflow", running=True),
    Redis("redis://:secret@127.0.0.1:20002/0", running=True),
)
LIVE = ExchangeAddress()


@pytest.fixture(autouse=True)
def _no_airflow_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CORE__PARALLELISM", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def variables(exchange: ExchangeAddress = LIVE, services: Services = OURS) -> dict[str, str]:
    return environment(Path("/state/airflow"), AirflowMemory(port=20003), services, exchange)


def test_everything_is_ours_whatever_the_caller_s_airflow_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIRFLOW_HOME", "AIRFLOW__CORE__DAGS_FOLDER", "AIRFLOW_CONFIG", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"):
        monkeypatch.setenv(name, "/somebody/elses")
    told = variables()
    assert "/somebody/elses" not in told.values()
    assert told["AIRFLOW__CORE__DAGS_FOLDER"] == str(CHECKOUT / "dags")
    assert told["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].startswith("postgresql+psycopg2://perpflow:secret@")


def test_what_only_tunes_gives_way_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    assert variables()["AIRFLOW__CORE__PARALLELISM"] == "5"
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "16")
    assert variables()["AIRFLOW__CORE__PARALLELISM"] == "16"


def test_connections_come_from_the_services() -> None:
    told = variables()
    assert told["AIRFLOW_CONN_PERPFLOW_DB"] == OURS.database.url
    assert told["AIRFLOW_CONN_PERPFLOW_REDIS"] == OURS.redis.url


def test_tasks_ask_the_exchange_that_was_chosen_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERPFLOW_REST_URL", "http://other")
    simulated = ExchangeAddress.of_simulator("http://127.0.0.1:1")
    assert variables(simulated)["PERPFLOW_REST_URL"] == "http://127.0.0.1:1"
    assert "PERPFLOW_REST_URL" not in variables(LIVE)
    assert ExchangeAddress.from_environment().rest_url == "http://other"


def test_a_proxy_is_not_asked_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert variables()["NO_PROXY"] == "example.org,127.0.0.1,localhost"


def test_an_external_database_needs_a_place_for_airflow_s_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    external = Services(
        Database("postgresql://far/away", running=True), AirflowDatabase(None, running=False), OURS.redis
    )
    with pytest.raises(ServiceError, match="AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"):
        variables(services=external)
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql+psycopg2://far/metadata")
    told = variables(services=external)
    assert told["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == "postgresql+psycopg2://far/metadata"
    assert METADATA_TUNING.items() <= variables().items()
    assert not METADATA_TUNING.keys() & told.keys()


@pytest.mark.parametrize(
    ("command", "asks"),
    [(["scheduler", "--skip-serve-logs"], ["options"]), (["db", "migrate"], []), (["api-server"], []), ([], [])],
)
def test_the_scheduler_alone_asks_for_an_end_of_idle_transactions(
    command: list[str], asks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (named,) = METADATA_TUNING.values()
    module, _, name = named.rpartition(".")
    monkeypatch.setattr(sys, "argv", ["airflow", *command])
    assert list(runpy.run_module(module)[name]) == asks


def test_secrets_are_made_once_and_kept_private(tmp_path: Path) -> None:
    file = tmp_path / "airflow.json"
    made = recall(file)
    remember(file, made)
    assert recall(file) == made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert recall(tmp_path / "other.json").jwt_secret != made.jwt_secret
