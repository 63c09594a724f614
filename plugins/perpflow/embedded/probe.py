"""Asking a server, ours or anyone's, whether it is there and what it is."""

import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg

from perpflow.errors import BadConfiguration
from perpflow.store.database import address_of

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
        address_of(url)
        with psycopg.connect(url, autocommit=True, connect_timeout=TIMEOUT_S) as connection:
            major, minor = divmod(connection.info.server_version, 10000)
            row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'").fetchone()
    except (psycopg.ProgrammingError, BadConfiguration):
        # libpq would quote the address, and the password in it.
        problem = "that is no address of PostgreSQL, as postgresql://user@host:5432/name is; "
        problem += "special characters in user and password must be percent-encoded, as @ by %40"
        return Seen(reachable=False, problem=problem)
    except psycopg.Error as problem:
        return Seen(reachable=False, problem=str(problem).strip().splitlines()[0])
    return Seen(reachable=True, version=f"{major}.{minor}", timescaledb=row[0] if row else None)


def own_redis(url: str) -> Seen:
    """Ask our own Redis, in its protocol: importing the client library takes longer than starting the server."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=TIMEOUT_S) as connection:
            # QUIT makes it close the connection after the answers, so that reading them ends.
            connection.sendall(f"AUTH {parts.password}\r\nINFO server\r\nINFO persistence\r\nQUIT\r\n".encode())
            with connection.makefile("rb") as answer:
                told = answer.read().decode()
    except OSError as problem:
        return Seen(reachable=False, problem=str(problem))
    version = re.search(r"^redis_version:(\S+)", told, re.MULTILINE)
    # While it reads its file it answers INFO already, but nothing else.
    loading = "loading:1" in told
    return Seen(reachable=version is not None and not loading, version=version[1] if version else None)


def any_redis(url: str) -> Seen:
    """Ask a Redis server of somebody else's: any form of URL, TLS included."""
    import redis

    try:
        with redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S) as client:
            version = client.info("server")["redis_version"]
    except (TypeError, ValueError):
        # redis-py would quote what it can't read, which may be a password.
        return Seen(reachable=False, problem="that is no address of Redis, as redis://host:6379/0 is")
    except redis.RedisError as problem:
        return Seen(reachable=False, problem=str(problem))
    return Seen(reachable=True, version=str(version))
