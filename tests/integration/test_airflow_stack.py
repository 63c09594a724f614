"""Airflow's processes without Docker: secrets, logins, deaths, and that a stop leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from perpflow import embedded
from perpflow.embedded import airflow_stack, processes
from perpflow.embedded.airflow_client import AirflowClient
from perpflow.embedded.airflow_runs import await_dags
from perpflow.embedded.airflow_settings import ExchangeAddress, pools
from perpflow.embedded.airflow_stack import AirflowStack
from perpflow.embedded.demo import Demo
from perpflow.embedded.demo_display import Display
from perpflow.embedded.errors import ServiceError

pytestmark = pytest.mark.timeout(600)
NOWHERE = ExchangeAddress.of_simulator("http://127.0.0.1:9")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("stack with a space")
    try:
        yield folder
    finally:
        AirflowStack(folder).stop()
        embedded.discard(folder)


@pytest.fixture(scope="module")
def stack(state: Path) -> AirflowStack:
    made = AirflowStack(state, triggerer=False)
    made.start(embedded.start(state), NOWHERE)
    return made


def test_every_file_with_a_secret_is_its_owner_s_alone(stack: AirflowStack) -> None:
    names = ("airflow.json", "passwords.json", "airflow.cfg")
    assert [stat.S_IMODE((stack.home / name).stat().st_mode) for name in names] == [0o600] * 3


def test_the_dag_processor_reads_our_dags_from_the_checkout(stack: AirflowStack) -> None:
    with AirflowClient(stack.url, stack.password) as client:
        await_dags(client, {"migrate_database", "load_history"})
        assert client.import_errors() == []


def test_pools_have_the_slots_that_the_collection_gives_them(stack: AirflowStack) -> None:
    with AirflowClient(stack.url, stack.password) as client:
        client.ensure_pools({name: 1 for name in pools()})
        client.ensure_pools(pools())
        found = {pool["name"]: pool["slots"] for pool in client._pages("pools", "pools")}
    assert pools().items() <= found.items()


def test_nobody_gets_in_without_the_password(stack: AirflowStack) -> None:
    assert httpx.get(f"{stack.url}/api/v2/dags", trust_env=False).status_code == httpx.codes.UNAUTHORIZED
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        AirflowClient(stack.url, "wrong")


def test_it_listens_on_loopback_alone(stack: AirflowStack) -> None:
    connections = [c for pid in stack.pids() for c in psutil.Process(pid).net_connections("inet")]
    assert {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_a_killed_scheduler_is_noticed_and_its_workers_are_ended_with_the_rest(stack: AirflowStack) -> None:
    scheduler = json.loads((stack.home / "processes.json").read_text())["pids"]["scheduler"]
    os.kill(scheduler, signal.SIGKILL)
    assert processes.end([scheduler], signal.SIGKILL, timeout_s=10) == []
    assert not stack.running
    started = stack.pids()
    assert started
    stack.stop()
    assert stack.pids() == []
    assert not any(processes.is_alive(pid) for pid in started)


def test_a_daemon_that_dies_is_named_with_its_log_and_takes_the_others_down(
    stack: AirflowStack, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(airflow_stack.DAEMONS, "dag-processor", ["no-such-command"])
    broken = AirflowStack(state, triggerer=False)
    assert broken.password == stack.password
    with pytest.raises(ServiceError, match=r"(?s)dag-processor: ended while starting.*no-such-command"):
        broken.start(embedded.start(state), NOWHERE)
    assert broken.pids() == []


def test_stopping_what_never_ran_is_fine(tmp_path: Path) -> None:
    AirflowStack(tmp_path).stop()


def test_a_demo_that_cannot_stop_airflow_stops_the_rest_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERPFLOW_HOME", str(tmp_path))
    demo = Demo(1, Display())
    demo.exchange.start()
    servers = embedded.start(demo.state)
    try:
        assert servers.running
        demo.airflow.home.mkdir()
        (demo.airflow.home / "processes.json").write_text("cut short by a full di")
        with pytest.raises(json.JSONDecodeError):
            demo.stop(services=True)
        assert demo.exchange.pids() == []
        assert not embedded.status(demo.state).running
    finally:
        demo.exchange.stop()
        embedded.discard(demo.state)
