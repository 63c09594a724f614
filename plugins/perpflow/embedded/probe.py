"""Asking a server, ours or anyone's, whether it is there and what it is."""

from dataclasses import dataclass

import psycopg
import redis

# Loopback answers at once; a server elsewhere may be behind a slow line.
TIMEOUT_S = 5


@dataclass(frozen=True)
class Seen:
    """What a server told us."""

    reachable: bool
    version: str | None = None
    timescaledb: str | None = None
    problem: str | None = None


NOTHING = Seen(reachable=False)


def database(url: str) -> Seen:
    """Ask a PostgreSQL server for its version and its TimescaleDB."""
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=TIMEOUT_S) as connection:
            major, minor = divmod(connection.info.server_version, 10000)
            row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'").fetchone()
    except psycopg.Error as problem:
        return Seen(reachable=False, problem=str(problem).strip().splitlines()[0])
    missing = None if row else "the extension is not installed in this database"
    return Seen(reachable=True, version=f"{major}.{minor}", timescaledb=row[0] if row else None, problem=missing)


def redis_server(url: str) -> Seen:
    """Ask a Redis server for its version."""
    try:
        with redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S) as client:
            version = client.info("server")["redis_version"]
    except redis.RedisError as problem:
        return Seen(reachable=False, problem=str(problem))
    return Seen(reachable=True, version=str(version))
