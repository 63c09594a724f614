"""Forward-only migrations: plain SQL on every tier, hypertables where TimescaleDB is, community SQL by its licence.

Each file runs once, in one transaction with the row that records it. A file that was applied may not change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from perpflow.errors import MigrationChanged
from perpflow.include import include_path
from perpflow.store.database import Connection, query

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
    def text(self) -> str:
        """Its SQL."""
        return self.path.read_text()

    @property
    def sha256(self) -> str:
        """What tells whether it was edited after it ran."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def tiers(connection: Connection) -> tuple[str, ...]:
    """What this server can do: plain, plus timescale, plus community."""
    row = connection.execute(query("migration_tier")).fetchone()
    if row is None or not row["timescale"]:
        return ("plain",)
    return ("plain", "timescale", "community") if row["licence"] == "timescale" else ("plain", "timescale")


def migrations(tier: str) -> Iterator[Migration]:
    """A tier's files in order."""
    for path in sorted((include_path() / "sql" / FOLDERS[tier]).glob("[0-9]*.sql")):
        yield Migration(tier, path)


def migrate(connection: Connection) -> list[str]:
    """Apply what is not applied yet; returns the names. Safe to run from several processes at once.

    Raises:
        MigrationChanged: an applied file was edited.
    """
    connection.execute(query("migration_lock"))
    try:
        connection.execute(query("migration_log"))
        return [m.name for tier in tiers(connection) for m in migrations(tier) if _apply(connection, m)]
    finally:
        connection.execute(query("migration_unlock"))


def _apply(connection: Connection, migration: Migration) -> bool:
    key = {"tier": migration.tier, "name": migration.name}
    applied = connection.execute(query("migration_applied"), key).fetchone()
    if applied is not None:
        if applied["sha256"] != migration.sha256:
            raise MigrationChanged(
                f"{migration.tier} migration {migration.name} was edited after it was applied.",
                hint="Restore the file and put the change into a new, higher-numbered one.",
            )
        return False
    with connection.transaction():
        connection.execute(sql.SQL(migration.text))
        connection.execute(query("migration_record"), key | {"sha256": migration.sha256})
    return True
