"""Starting, stopping and describing both services together."""

import os
import shutil
from dataclasses import dataclass
from functools import partial
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
        """Those of PERPFLOW_DATABASE_URL and PERPFLOW_REDIS_URL."""
        database = os.environ.get("PERPFLOW_DATABASE_URL") or None
        redis = os.environ.get("PERPFLOW_REDIS_URL") or None
        return cls(
            database if database != memory.database_url(MARKET_DATABASE) else None,
            redis if redis != memory.redis_url() else None,
        )


def start(state_dir: Path | None = None) -> Services:
    """Start what isn't running, and say where everything is; does nothing, quickly, when all of it runs."""
    state = _folder(state_dir)
    state.make()
    with exclusive(state.lock):
        memory = state.recall() or _first_memory(state)
        found = _describe(state, memory)
        want_database = not found.database.external and not (found.database.running and memory.provisioned)
        want_redis = not found.redis.external and not found.redis.running
        if want_database or want_redis:
            _start_missing(state, memory, want_database=want_database, want_redis=want_redis)
            found = _describe(state, memory)
        return found


def stop(state_dir: Path | None = None) -> Services:
    """Stop both servers cleanly; nothing to do is fine. External servers are left alone."""
    state = _folder(state_dir)
    memory = state.recall()
    if memory is not None:
        with exclusive(state.lock):
            _redis(state, memory).stop()
            _postgres(state, memory).stop()
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


def _postgres(state: StateFolder, memory: Memory) -> Postgres:
    return Postgres(state.data("postgres"), state.log("postgres"), memory, partial(state.remember, memory))


def _redis(state: StateFolder, memory: Memory) -> RedisServer:
    return RedisServer(state.data("redis"), state.log("redis"), memory, partial(state.remember, memory))


def _start_missing(state: StateFolder, memory: Memory, *, want_database: bool, want_redis: bool) -> None:
    account = service_account(state.data("postgres"))
    reachable_folder(state.root, account)
    tree = server_tree.provide(reachable_folder(default_cache_dir(), account))
    # Before anything is made with these passwords.
    state.remember(memory)
    if want_database:
        _postgres(state, memory).start(tree, account)
    if want_redis:
        _redis(state, memory).start(tree, account)


def _describe(state: StateFolder, memory: Memory) -> Services:
    external = _External.from_environment(memory)
    database = _describe_database(state, memory, external.database)
    redis = _describe_redis(state, memory, external.redis)
    airflow = None if database.external else memory.database_url(AIRFLOW_DATABASE)
    airflow_database = AirflowDatabase(airflow, database.running and airflow is not None)
    return Services(database, airflow_database, redis, _warnings(state, database, redis))


def _describe_database(state: StateFolder, memory: Memory, external: str | None) -> Database:
    if external is not None:
        seen = probe.database(external)
        return Database(external, seen.reachable, True, seen.version, seen.problem, seen.timescaledb)
    server, url = _postgres(state, memory), memory.database_url(MARKET_DATABASE)
    seen = probe.database(url) if url and server.pid() else probe.NOTHING
    found = (seen.reachable, False, seen.version, seen.problem, seen.timescaledb)
    return Database(url, *found, memory.timescaledb_missing, str(server.data), str(server.log))


def _describe_redis(state: StateFolder, memory: Memory, external: str | None) -> Redis:
    if external is not None:
        seen = probe.any_redis(external)
        return Redis(external, seen.reachable, True, seen.version, seen.problem)
    server, url = _redis(state, memory), memory.redis_url()
    seen = probe.own_redis(url) if url and server.pid() else probe.NOTHING
    return Redis(url, seen.reachable, False, seen.version, seen.problem, str(server.data), str(server.log))


def _warnings(state: StateFolder, database: Database, redis: Redis) -> tuple[str, ...]:
    warnings = [
        f"{variable} names a server that does not answer: {service.problem}"
        for variable, service in (("PERPFLOW_DATABASE_URL", database), ("PERPFLOW_REDIS_URL", redis))
        if service.external and not service.running
    ]
    if database.running and not database.external and database.timescaledb is None:
        warnings.append(f"PostgreSQL runs without TimescaleDB: {database.timescaledb_missing}")
    if database.data and not Path(database.data).is_relative_to(state.root):
        warnings.append(f"The servers' account can't reach {state.root}; the data is in {Path(database.data).parent}")
    return tuple(warnings)
