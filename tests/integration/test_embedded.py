"""The embedded services with real servers, in state folders of their own."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from perpflow import embedded
from perpflow.embedded import processes
from perpflow.embedded.errors import ServiceError
from perpflow.embedded.state import Services


@pytest.fixture(autouse=True)
def _no_external_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PERPFLOW_DATABASE_URL", "PERPFLOW_REDIS_URL", "PERPFLOW_HOME"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder for this module; its programs come from the checkout's cache."""
    folder = tmp_path_factory.mktemp("state with a space")
    yield folder
    embedded.discard(folder)


@pytest.fixture
def running(state: Path) -> Services:
    return embedded.start(state)


def server_pids(services: Services) -> tuple[int, int]:
    assert services.database.data
    assert services.redis.data
    postmaster = int(Path(services.database.data, "postmaster.pid").read_text().split("\n")[0])
    return postmaster, int(Path(services.redis.data, "redis.pid").read_text())


def query(url: str | None, statement: str) -> list[tuple[object, ...]]:
    assert url
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def redis_client(services: Services) -> "redis.Redis":
    assert services.redis.url
    return redis.Redis.from_url(services.redis.url)


def run_command(state: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    # The command line in a process of its own, as a user or make runs it.
    return subprocess.run(
        [sys.executable, "-m", "perpflow", "services", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PERPFLOW_HOME": str(state)} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_started_twice_gives_the_same_servers(running: Services, state: Path) -> None:
    pids = server_pids(running)
    assert embedded.start(state) == running == embedded.status(state)
    assert server_pids(running) == pids


def test_market_and_airflow_databases_are_there_and_owned(running: Services) -> None:
    for url, name in ((running.database.url, "perpflow"), (running.airflow_database.url, "airflow")):
        assert query(url, "SELECT current_database(), current_user") == [(name, "perpflow")]


def test_status_tells_the_truth_about_timescaledb(running: Services) -> None:
    installed = query(running.database.url, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    assert installed == ([(running.database.timescaledb,)] if running.database.timescaledb else [])
    assert (running.database.timescaledb is None) == (running.database.timescaledb_missing is not None)
    assert bool(running.warnings and "without TimescaleDB" in running.warnings[-1]) == (not installed)
    query(running.database.url, "CREATE TABLE IF NOT EXISTS tick (time timestamptz NOT NULL, price float8)")
    create = "SELECT create_hypertable('tick', by_range('time', interval '7 days'), if_not_exists => true)"
    if running.database.timescaledb is None:
        with pytest.raises(psycopg.errors.UndefinedFunction):
            query(running.database.url, create)
        return
    query(running.database.url, create)
    query(
        running.database.url,
        "INSERT INTO tick SELECT t, 1 FROM generate_series(timestamptz '2026-01-01', '2026-03-01', '1 hour') t",
    )
    assert query(running.database.url, "SELECT count(*) > 5 FROM show_chunks('tick')") == [(True,)]


def test_settings_are_in_force(running: Services) -> None:
    wanted = {"wal_compression": "pglz", "fsync": "on", "TimeZone": "UTC", "max_locks_per_transaction": "256"}
    for name, value in wanted.items():
        assert query(running.database.url, f"SHOW {name}") == [(value,)]
    with redis_client(running) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_nobody_else_gets_in(running: Services, state: Path) -> None:
    assert running.database.url
    assert running.redis.url
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(running.database.url, password="wrong")
    without_password = "redis://" + running.redis.url.split("@")[1]
    with redis.Redis.from_url(without_password) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    listening = {c.laddr.ip for pid in server_pids(running) for c in psutil.Process(pid).net_connections("inet")}
    assert listening == {"127.0.0.1"}
    assert stat.S_IMODE((state / "services.json").stat().st_mode) == 0o600
    for folder in (running.database.data, running.redis.data):
        assert folder
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
    assert running.redis.data
    assert stat.S_IMODE(Path(running.redis.data, "redis.conf").stat().st_mode) == 0o600


def test_servers_never_run_as_root(running: Services) -> None:
    assert all(psutil.Process(pid).uids().real != 0 for pid in server_pids(running))


def test_killed_servers_come_back_with_their_data(running: Services, state: Path) -> None:
    query(running.database.url, "CREATE TABLE survivor AS SELECT 42 AS answer")
    with redis_client(running) as client:
        client.set("survivor", "42")
    assert processes.end(list(server_pids(running)), signal.SIGKILL, timeout_s=10) == []
    dead = embedded.status(state)
    assert (dead.database.running, dead.redis.running, dead.database.url) == (False, False, running.database.url)

    again = embedded.start(state)
    assert again == running
    assert query(again.database.url, "TABLE survivor") == [(42,)]
    with redis_client(again) as client:
        assert client.get("survivor") == b"42"


def test_a_busy_orphan_of_a_killed_postmaster_does_not_block_the_start(running: Services, state: Path) -> None:
    assert running.database.url
    postmaster, _ = server_pids(running)
    # A backend in a tight loop doesn't notice that its postmaster is gone.
    busy = "DO $$ BEGIN FOR i IN 1..2000000000 LOOP NULL; END LOOP; END $$"
    with psycopg.connect(running.database.url, autocommit=True) as connection, ThreadPoolExecutor(1) as pool:
        backend = connection.info.backend_pid
        outcome = pool.submit(connection.execute, busy)
        assert processes.end([postmaster], signal.SIGKILL, timeout_s=10) == []
        assert embedded.start(state).running
        assert isinstance(outcome.exception(timeout=30), psycopg.OperationalError)
    assert not processes.is_alive(backend)


def test_a_stale_pid_file_with_a_living_number_does_not_block_the_start(running: Services, state: Path) -> None:
    embedded.stop(state)
    assert running.database.data
    assert running.redis.data
    stale = Path(running.database.data, "postmaster.pid")
    stale.write_text(f"{os.getpid()}\n{running.database.data}\n1\n5432\n\n127.0.0.1\n1 1\nready\n")
    Path(running.redis.data, "redis.pid").write_text(f"{os.getpid()}\n")
    assert embedded.start(state) == running


def test_stop_leaves_nothing_running_and_may_be_repeated(running: Services, state: Path) -> None:
    for _ in range(2):
        stopped = embedded.stop(state)
        assert [stopped.database.running, stopped.airflow_database.running, stopped.redis.running] == [False] * 3
    assert running.database.data
    assert running.redis.data
    assert processes.processes_in(Path(running.database.data)) == []
    assert processes.processes_in(Path(running.redis.data)) == []
    assert "database system is shut down" in Path(running.database.log or "").read_text().splitlines()[-1]


def test_a_port_that_a_stranger_took_is_chosen_again(state: Path) -> None:
    before = embedded.stop(state)
    assert before.redis.url
    port = int(before.redis.url.rsplit(":", 1)[1].split("/")[0])
    with socket.create_server(("127.0.0.1", port)):
        after = embedded.start(state)
        assert after.running
        assert after.redis.url != before.redis.url
        assert after.database.url == before.database.url


def test_starts_at_the_same_time_make_one_set_of_servers(state: Path) -> None:
    embedded.stop(state)
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: run_command(state, "start", "--json"), range(3)))
    assert [result.returncode for result in results] == [0, 0, 0]
    assert len({result.stdout for result in results}) == 1


def test_servers_of_the_environment_are_used_and_left_alone(
    running: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert running.database.url
    assert running.redis.url
    monkeypatch.setenv("PERPFLOW_DATABASE_URL", running.database.url)
    monkeypatch.setenv("PERPFLOW_REDIS_URL", running.redis.url)
    seen = embedded.start(tmp_path / "other")
    assert (seen.database.external, seen.database.running, seen.database.url) == (True, True, running.database.url)
    assert (seen.redis.external, seen.redis.running, seen.redis.url) == (True, True, running.redis.url)
    assert seen.database.version == running.database.version
    assert seen.airflow_database.url is None
    assert not (tmp_path / "other" / "services.json").exists()
    embedded.stop(tmp_path / "other")
    assert embedded.status(tmp_path / "other").running


def test_an_unreachable_server_of_the_environment_is_reported(tmp_path: Path) -> None:
    nowhere = f"127.0.0.1:{processes.choose_port(None)}"
    urls = {"PERPFLOW_DATABASE_URL": f"postgresql://u:p@{nowhere}/x", "PERPFLOW_REDIS_URL": f"redis://{nowhere}/0"}
    result = run_command(tmp_path, "start", **urls)
    assert result.returncode == 1
    for variable in urls:
        assert f"{variable} names a server that does not answer" in result.stderr


def test_a_variable_that_names_our_own_server_changes_nothing(
    running: Services, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert running.database.url
    monkeypatch.setenv("PERPFLOW_DATABASE_URL", running.database.url)
    assert embedded.status(state) == running


def test_the_command_prints_json_for_scripts_and_masks_passwords_for_people(running: Services, state: Path) -> None:
    told = json.loads(run_command(state, "status", "--json").stdout)
    assert told["database"]["url"] == running.database.url
    shown = run_command(state, "status").stdout
    assert "***" in shown
    assert str(running.redis.url).split(":")[2].split("@")[0] not in shown
    assert run_command(state, "begin").returncode == 2


def test_without_apt_plain_postgres_runs_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An account can be made by useradd, so its folder stays on the path; apt's doesn't.
    monkeypatch.setenv("PATH", "/usr/sbin")
    monkeypatch.setenv("PERPFLOW_CACHE", str(tmp_path / "cache"))
    try:
        services = embedded.start(tmp_path / "state")
        assert services.running
        assert services.database.timescaledb is None
        assert services.database.timescaledb_missing == "this host has no apt-get"
        assert "PostgreSQL runs without TimescaleDB: this host has no apt-get" in services.warnings
        assert query(services.database.url, "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'") == [(0,)]
    finally:
        embedded.discard(tmp_path / "state")
        embedded.discard(tmp_path / "cache")


def test_data_that_needs_timescaledb_is_not_opened_without_it(
    running: Services, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded.stop(state)
    monkeypatch.setenv("PATH", "/usr/sbin")
    monkeypatch.setenv("PERPFLOW_CACHE", str(tmp_path / "cache"))
    try:
        if running.database.timescaledb is None:
            assert embedded.start(state).running
        else:
            with pytest.raises(ServiceError, match="its data needs TimescaleDB .* this host has no apt-get"):
                embedded.start(state)
    finally:
        embedded.discard(tmp_path / "cache")


def test_lost_passwords_are_an_error_not_a_new_database(running: Services, state: Path) -> None:
    embedded.stop(state)
    file = state / "services.json"
    kept = file.read_bytes()
    file.unlink()
    try:
        with pytest.raises(ServiceError, match=r"services\.json with the passwords is gone"):
            embedded.start(state)
    finally:
        file.write_bytes(kept)


def test_wrong_passwords_are_told_at_once(running: Services, state: Path) -> None:
    embedded.stop(state)
    file = state / "services.json"
    kept = file.read_bytes()
    file.write_text(json.dumps(json.loads(kept) | {"database_password": "another"}))
    try:
        with pytest.raises(ServiceError, match=r"its password is not the one in services\.json"):
            embedded.start(state)
    finally:
        embedded.stop(state)
        file.write_bytes(kept)
