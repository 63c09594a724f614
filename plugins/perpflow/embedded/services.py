"""Starting, stopping and describing both services together."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from perpflow.embedded import probe, server_tree
from perpflow.embedded.accounts import reachable_folder, service_account, substitute_folder
from perpflow.embedded.errors import ServiceError
from perpflow.embedded.postgres import Postgres
from perpflow.embedded.processes import exclusive
from perpflow.embedded.redis_server import RedisServer
from perpflow.embedded.state import (
    AIRFLOW_DATABASE,
    MARKET_DATABASE,
    AirflowDatabase,
    Database,
    Memory,
    Redis,
    Services,
    StateFolder,
    default_cache_dir,
    default_state_dir,
)


@dataclass(frozen=True)
class _External:
    """Servers that the environment names instead of ours; a variable that names our own server is no such thing."""

    database: str | None
    redis: str | None

    @classmethod
    def from_environment(cls, memory: Memory) -> "_External":
        database = os.environ.get("PERPFLOW_DATABASE_URL") or None
        redis = os.environ.get("PERPFLOW_REDIS_URL") or None
        return cls(
            database if database != memory.database_url(MARKET_DATABASE) else None,
            redis if redis != memory.redis_url() else None,
        )


def start(state_dir: Path | None = None) -> Services:
    """Start what isn't running, and say where everything is; does nothing, quickly, when all of it runs."""
    state = _folder(state_dir)
    state.root.mkdir(parents=True, exist_ok=True)
    with exclusive(state.lock):
        memory = state.recall() or _first_memory(state)
        found = _describe(state, memory)
        if not found.running:
            _start_missing(state, memory, found)
            found = _describe(state, memory)
        return found


def stop(state_dir: Path | None = None) -> Services:
    """Stop both servers cleanly; nothing to do is fine. External servers are left alone."""
    state = _folder(state_dir)
    memory = state.recall()
    if memory is not None:
        with exclusive(state.lock):
            RedisServer(state.data("redis"), state.log("redis"), memory).stop()
            Postgres(state.data("postgres"), state.log("postgres"), memory).stop()
    return status(state_dir)


def status(state_dir: Path | None = None) -> Services:
    """How the services are now, by asking them; starts and changes nothing."""
    state = _folder(state_dir)
    return _describe(state, state.recall() or Memory())


def discard(state_dir: Path) -> None:
    """Stop the services and delete all their data, wherever it is: for temporary state folders."""
    stop(state_dir)
    root = _folder(state_dir).root
    shutil.rmtree(substitute_folder(root), ignore_errors=True)
    shutil.rmtree(root, ignore_errors=True)


def _folder(state_dir: Path | None) -> StateFolder:
    return StateFolder((state_dir or default_state_dir()).resolve())


def _first_memory(state: StateFolder) -> Memory:
    if state.data("postgres").exists():
        raise ServiceError(
            "PostgreSQL", f"{state.root / 'services.json'} with the passwords is gone, but the data is there",
            advice=f"restore that file, or remove {state.data('postgres')} to begin again",
        )  # fmt: skip
    return Memory()


def _start_missing(state: StateFolder, memory: Memory, found: Services) -> None:
    account = service_account()
    data = state.prepare(account)
    tree = server_tree.provide(reachable_folder(default_cache_dir(), account))
    # Before anything is made with these passwords; again afterwards, with the ports.
    state.remember(memory)
    if not (found.database.running or found.database.external):
        Postgres(data / "postgres", state.log("postgres"), memory).start(tree, account)
        state.remember(memory)
    if not (found.redis.running or found.redis.external):
        RedisServer(data / "redis", state.log("redis"), memory).start(tree, account)
        state.remember(memory)


def _describe(state: StateFolder, memory: Memory) -> Services:
    external = _External.from_environment(memory)
    database = _describe_database(state, memory, external.database)
    redis = _describe_redis(state, memory, external.redis)
    airflow = None if database.external else memory.database_url(AIRFLOW_DATABASE)
    return Services(
        database, AirflowDatabase(airflow, database.running and airflow is not None), redis, _warnings(state, database)
    )


def _describe_database(state: StateFolder, memory: Memory, external: str | None) -> Database:
    if external is not None:
        seen = probe.database(external)
        return Database(external, seen.reachable, True, seen.version, seen.timescaledb, seen.problem)
    data, log = state.data("postgres"), state.log("postgres")
    url = memory.database_url(MARKET_DATABASE)
    seen = probe.database(url) if url and Postgres(data, log, memory).pid() else probe.NOTHING
    missing = memory.timescaledb_missing
    return Database(url, seen.reachable, False, seen.version, seen.timescaledb, missing, str(data), str(log))


def _describe_redis(state: StateFolder, memory: Memory, external: str | None) -> Redis:
    if external is not None:
        seen = probe.redis_server(external)
        return Redis(external, seen.reachable, True, seen.version)
    data, log = state.data("redis"), state.log("redis")
    url = memory.redis_url()
    seen = probe.redis_server(url) if url and RedisServer(data, log, memory).pid() else probe.NOTHING
    return Redis(url, seen.reachable, False, seen.version, str(data), str(log))


def _warnings(state: StateFolder, database: Database) -> tuple[str, ...]:
    warnings = []
    if database.running and not database.external and database.timescaledb is None:
        warnings.append(f"PostgreSQL runs without TimescaleDB: {database.timescaledb_missing}")
    if not database.external and database.data and not Path(database.data).is_relative_to(state.root):
        warnings.append(f"The servers' account can't reach {state.root}; the data is in {Path(database.data).parent}")
    return tuple(warnings)
