"""Checks of our own services: the market database, its schema, Redis."""

from __future__ import annotations

from redis.exceptions import OutOfMemoryError, ResponseError

from perpflow.health.finding import Finding, Level
from perpflow.health.surroundings import Surroundings
from perpflow.store import migrations
from perpflow.store.database import one, query, session

MIGRATE = "Run `python -m perpflow migrate`, or the DAG migrate_database."
#: Written to learn whether anything can be.
PROBE_KEY = "perpflow:health"
PROBE_LASTS_S = 60
REDIS_WANTED = "Set PERPFLOW_REDIS_URL, or the connection perpflow_redis."


async def database(around: Surroundings) -> list[Finding]:
    """The market database answers; what server it is."""
    with session(around.deployment.database_url) as connection:
        server = one(connection, query("health_server"), {})
    extension = f"TimescaleDB {server['timescaledb']}" if server["timescaledb"] else "without TimescaleDB"
    return [Finding(Level.GREEN, f"PostgreSQL {server['postgres']}, {extension}")]


async def schema(around: Surroundings) -> list[Finding]:
    """Every migration of this version has run."""
    with session(around.deployment.database_url) as connection:
        lacking, tiers = migrations.pending(connection), ", ".join(migrations.tiers(connection))
        if lacking:
            cause = f"{len(lacking)} migrations of this version have not run: {', '.join(lacking)}"
            return [Finding(Level.RED, cause, MIGRATE, blocks=True)]
    return [Finding(Level.GREEN, f"migrated to this version ({tiers})")]


async def redis_server(around: Surroundings) -> list[Finding]:
    """Redis answers, takes what it is given, and keeps it."""
    if around.redis is None:
        cause = "none is known: each process keeps to its part of the exchange's limits, and nothing is counted"
        return [Finding(Level.YELLOW, cause, REDIS_WANTED, blocks=True)]
    told = await around.redis.info()
    try:
        await around.redis.set(PROBE_KEY, "", ex=PROBE_LASTS_S)
    except ResponseError as error:
        return [refused_finding(told, error)]
    return [redis_finding(told)]


def refused_finding(told: dict[str, object], error: ResponseError) -> Finding:
    """A Redis that takes no writes, in its own words: nothing is counted, and no limit shared."""
    said = str(error).rstrip(".")
    if isinstance(error, OutOfMemoryError):
        used = f"{told['used_memory_human']} used, maxmemory is {told['maxmemory_human']}"
        advice = "Raise maxmemory in redis.conf, or delete what else is kept in this Redis."
        return Finding(Level.RED, f"Redis' memory is full ({used}): {said}", advice, blocks=True)
    advice = "Look at Redis' log and at what it names: disk, replicas, rights of the user."
    return Finding(Level.RED, f"Redis takes no writes: {said}", advice, blocks=True)


def redis_finding(told: dict[str, object]) -> Finding:
    """What Redis' INFO means: whether anything may be lost by a restart, or for want of memory."""
    cause, advice = f"Redis {told['redis_version']}", []
    if not told["aof_enabled"]:
        cause += "; without append-only file: a restart forgets bans, what was spent, and counters"
        advice.append("appendonly yes")
    if told["maxmemory_policy"] != "noeviction":
        cause += f"; maxmemory-policy {told['maxmemory_policy']}: bans and counters may be thrown away unnoticed"
        advice.append("maxmemory-policy noeviction")
    if advice:
        return Finding(Level.YELLOW, cause, f"Set {' and '.join(advice)} in redis.conf.")
    return Finding(Level.GREEN, f"{cause}, append-only file, noeviction")
