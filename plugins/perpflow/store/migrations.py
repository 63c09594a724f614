"""Forward-only migrations: plain SQL on every tier, hypertables where TimescaleDB is, community SQL by its licence.

Each file runs once, in one transaction with the row that records it. A file that was applied may not change.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from psycopg import errors, sql

from perpflow.errors import MigrationChanged
from perpflow.include import include_path
from perpflow.store.database import Connection, one, query

log = logging.getLogger(__name__)

#: Tiers and their folders, in the order in which they are applied.
FOLDERS = {"plain": "migrations", "timescale": "timescale", "community": "community"}


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file of a tier."""

    tier: str
    path: Path

    @property
    def name(self) -> str:
        """Its file name, which orders it."""
        return self.path.name

    @property
    def key(self) -> dict[str, str]:
        """What the log of migrations knows it by."""
        return {"tier": self.tier, "name": self.name}

    @property
    def text(self) -> str:
        """Its SQL."""
        return self.path.read_text()

    @property
    def sha256(self) -> str:
        """What tells whether it was edited after it ran."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def tiers(connection: Connection) -> tuple[str, ...]:
    """What this server can do: plain, plus timescale, plus community."""
    server = one(connection, query("migration_tier"), {})
    if not server["timescale"]:
        return ("plain",)
    return ("plain", "timescale", "community") if server["licence"] == "timescale" else ("plain", "timescale")


def _create_extension(connection: Connection) -> None:
    """Create TimescaleDB's extension where the server offers it; where that is refused, plain tables do as well."""
    server = one(connection, query("migration_tier"), {})
    if server["timescale"] or not server["offered"]:
        return
    if not server["preloaded"]:
        _warn_of_plain("it was not loaded", "put timescaledb into shared_preload_libraries and restart PostgreSQL")
        return
    try:
        connection.execute(query("migration_extension"))
    except (errors.InsufficientPrivilege, errors.FeatureNotSupported, errors.UndefinedFile) as refusal:
        advice = "let a superuser run CREATE EXTENSION timescaledb in this database"
        _warn_of_plain(str(refusal.diag.message_primary), advice)


def _warn_of_plain(problem: str, advice: str) -> None:
    log.warning(
        "The server has TimescaleDB, but this database can't use it: %s. Tables are plain ones, which work, more "
        "slowly on many years. To have hypertables, %s, then migrate again.",
        problem,
        advice,
    )


def migrations(tier: str) -> Iterator[Migration]:
    """A tier's files in order."""
    for path in sorted((include_path() / "sql" / FOLDERS[tier]).glob("[0-9]*.sql")):
        yield Migration(tier, path)


def migrate(connection: Connection) -> list[str]:
    """Apply what is not applied yet; returns the names. Safe to run from several processes at once.

    TimescaleDB's extension is created first, where the server offers it and the role may.

    Raises:
        MigrationChanged: an applied file was edited.
    """
    connection.execute(query("migration_lock"))
    try:
        connection.execute(query("migration_log"))
        _create_extension(connection)
        return [m.name for tier in tiers(connection) for m in migrations(tier) if _apply(connection, m)]
    finally:
        connection.execute(query("migration_unlock"))


def pending(connection: Connection) -> list[str]:
    """The names of this version's migrations that the database lacks; changes nothing.

    Raises:
        MigrationChanged: an applied file was edited.
        psycopg.errors.UndefinedTable: the database was never migrated.
    """
    return [m.name for tier in tiers(connection) for m in migrations(tier) if not _is_applied(connection, m)]


def _is_applied(connection: Connection, migration: Migration) -> bool:
    applied = connection.execute(query("migration_applied"), migration.key).fetchone()
    if applied is not None and applied["sha256"] != migration.sha256:
        raise MigrationChanged(
            f"{migration.tier} migration {migration.name} was edited after it was applied.",
            hint="Restore the file and put the change into a new, higher-numbered one.",
        )
    return applied is not None


def _apply(connection: Connection, migration: Migration) -> bool:
    if _is_applied(connection, migration):
        return False
    with connection.transaction():
        connection.execute(sql.SQL(migration.text))
        connection.execute(query("migration_record"), migration.key | {"sha256": migration.sha256})
    return True
