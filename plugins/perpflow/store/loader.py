"""Rows in: COPY into staging, and from staging into the fact tables.

Archive bytes go into COPY as they are, behind a prefix that names attempt, origin, source, symbol and series.
Publishing is one prefiltered statement per source: facts that are unchanged are not touched at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from perpflow.datasets import DatasetSpec, Source
from perpflow.errors import StructurallyBad
from perpflow.store.database import (
    Connection,
    columns,
    from_multirange,
    one,
    query,
    to_multirange,
    to_range,
)
from perpflow.windows import Window

AsyncConnection = psycopg.AsyncConnection[DictRow]

#: The columns that `parsing.copy_prefix` fills; the last is `timeframe` or `series` (DatasetSpec.series_column).
PREFIX = ("stage_id", "origin", "source", "symbol")

#: Sources in the order in which they are published: what comes later may overwrite what came before.
ASCENDING_PRECEDENCE: tuple[Source, ...] = ("stream", "rest", "archive")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where staged rows came from. Their number in staging is this origin's place in the manifest's list.

    `period` is all that the object holds, `asked` the part of it that was wanted; both None for REST, which is asked
    for nothing but what is wanted.
    """

    name: str
    period: Window | None = None
    asked: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class Digest:
    """Count and order-free hash of the staged rows of one attempt."""

    rows: int
    hash: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one publish did to a fact table."""

    staged: int
    inserted: int
    updated: int
    quarantined: int
    sources: tuple[str, ...]

    @property
    def unchanged(self) -> int:
        """Staged rows that the table had already, value for value (or that united with another into one)."""
        return max(self.staged - self.quarantined - self.inserted - self.updated, 0)


def staging_table(spec: DatasetSpec) -> sql.Identifier:
    """Where the dataset's rows are staged."""
    return sql.Identifier("staging", spec.name)


def points_view(spec: DatasetSpec) -> sql.Identifier:
    """The view of staged points: (stage_id, source, symbol, series, time, until, withheld)."""
    return sql.Identifier("staging", f"{spec.name}_points")


class StagingArea:
    """The staged rows of one attempt at a batch. Not for concurrent use: one COPY at a time per connection."""

    def __init__(self, connection: AsyncConnection, stage_id: UUID) -> None:
        self._connection = connection
        self.stage_id = stage_id

    async def copy(self, spec: DatasetSpec, wire_columns: tuple[str, ...], lines: bytes) -> None:
        """COPY prefixed CSV lines whose columns after the prefix are `wire_columns`.

        Raises:
            StructurallyBad: a line has other columns, or a value that its column cannot hold. None of the lines stay.
        """
        names = (*PREFIX, spec.series_column, *wire_columns)
        statement = query("stage_copy", staging=staging_table(spec), columns=columns(names))
        try:
            async with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
                await copy.write(lines)
        except psycopg.DataError as error:
            raise StructurallyBad(_copy_fault(error), dataset=spec.name) from error

    async def derive(self, spec: DatasetSpec) -> None:
        """Fill the columns that are inferred from other rows, and drop the lead-in rows that served only that."""
        if spec.derive:
            await self._connection.execute(query(spec.derive), {"stage_id": self.stage_id})

    async def normalise(self, spec: DatasetSpec, origins: list[Origin]) -> dict[str, int]:
        """Trim, drop blank points, collapse exact duplicates; returns how many rows each rule met, where it met any."""
        counts = {"trimmed": await self._trim(spec, origins)}
        if spec.tolerance is not None:
            counts["snapped"] = await self._count("stage_count_snapped", spec)
        counts["unsorted"], may_repeat = await self._walk(spec)
        counts["blank"] = await self._delete("stage_drop_blank", spec)
        if may_repeat:
            counts["duplicate"] = await self._collapse(spec)
        return {rule: count for rule, count in counts.items() if count}

    async def cover(self, spec: DatasetSpec) -> dict[tuple[str, str], list[Window]]:
        """What the staged points cover, by (symbol, series)."""
        statement = query("stage_cover", points=points_view(spec))
        cursor = await self._connection.execute(statement, {"stage_id": self.stage_id})
        return {(row["symbol"], row["series"]): from_multirange(row["present"]) for row in await cursor.fetchall()}

    async def digest(self, spec: DatasetSpec) -> Digest:
        """Count and hash of the rows as they stand."""
        row = await (await self._connection.execute(_digest_of(spec), {"stage_id": self.stage_id})).fetchone()
        if row is None:
            raise LookupError(f"{spec.name}: an aggregate without a row")
        return Digest(row["rows"], row["hash"])

    async def _trim(self, spec: DatasetSpec, origins: list[Origin]) -> int:
        partly = [
            (number, origin)
            for number, origin in enumerate(origins)
            if origin.period is not None and list(origin.asked) != [origin.period]
        ]
        if not partly:
            return 0
        parameters = {
            "stage_id": self.stage_id,
            "origins": [number for number, _ in partly],
            "periods": [to_range(origin.period) for _, origin in partly if origin.period],
            "asked": [to_multirange(list(origin.asked)) for _, origin in partly],
        }
        return (await self._connection.execute(query("stage_trim", staging=staging_table(spec)), parameters)).rowcount

    async def _walk(self, spec: DatasetSpec) -> tuple[int, bool]:
        """How many rows came out of order, and whether any key can be there twice."""
        statement = query("stage_walk", staging=staging_table(spec), series=sql.Identifier(spec.series_column))
        row = await (await self._connection.execute(statement, {"stage_id": self.stage_id})).fetchone()
        return (row["unsorted"], row["may_repeat"]) if row else (0, False)

    async def _collapse(self, spec: DatasetSpec) -> int:
        key = tuple(dict.fromkeys(("source", *spec.key, spec.series_column)))
        values = tuple(c.name for c in spec.values)
        statement = query("stage_collapse", staging=staging_table(spec), key=columns(key), values=columns(values))
        return (await self._connection.execute(statement, {"stage_id": self.stage_id})).rowcount

    async def _delete(self, name: str, spec: DatasetSpec) -> int:
        statement = query(name, staging=staging_table(spec))
        return (await self._connection.execute(statement, {"stage_id": self.stage_id})).rowcount

    async def _count(self, name: str, spec: DatasetSpec) -> int:
        statement = query(name, staging=staging_table(spec))
        row = await (await self._connection.execute(statement, {"stage_id": self.stage_id})).fetchone()
        return int(row["count"]) if row else 0


def _copy_fault(error: psycopg.DataError) -> str:
    where = f" ({error.diag.context})" if error.diag.context else ""
    return f"a staged value does not fit its column: {error.diag.message_primary}{where}."


def _digest_of(spec: DatasetSpec) -> sql.Composed:
    values = columns(tuple(column.name for column in spec.values), of="s")
    return query("stage_digest", staging=staging_table(spec), values=values)


def digest(connection: Connection, spec: DatasetSpec, stage_id: UUID) -> Digest:
    """Count and hash of an attempt's staged rows as they stand now."""
    row = one(connection, _digest_of(spec), {"stage_id": stage_id})
    return Digest(row["rows"], row["hash"])


def publish_rows(
    connection: Connection,
    spec: DatasetSpec,
    stage_id: UUID,
    *,
    window: Window,
    symbols: tuple[str, ...],
) -> Loaded:
    """Write the attempt's staged rows that the gate let pass; call it inside the publish transaction.

    The caller holds the series' ledger locks, so nobody else changes these keys meanwhile.
    """
    statement = query("publish_count_staged", staging=staging_table(spec))
    counted = connection.execute(statement, {"stage_id": stage_id}).fetchall()
    present = {row["source"] for row in counted}
    bounds = {"stage_id": stage_id, "start": window.start, "end": window.end, "symbols": list(symbols)}
    done = [
        one(connection, publish_statement(spec, source), bounds | {"source": source})
        for source in ASCENDING_PRECEDENCE
        if source in present
    ]
    return Loaded(
        staged=sum(row["rows"] for row in counted),
        inserted=sum(row["inserted"] for row in done),
        updated=sum(row["updated"] for row in done),
        quarantined=sum(row["withheld"] for row in counted),
        sources=tuple(sorted(present)),
    )


def publish_statement(spec: DatasetSpec, source: Source) -> sql.Composed:
    """Insert what is new of one source's rows, update what is distinct: one text, its columns from the table."""
    values = tuple(c.name for c in spec.values)
    return query(
        "publish",
        target=sql.Identifier(spec.name),
        key=columns(spec.key),
        values=columns(values),
        staged=_staged(spec),
        staged_key=columns(spec.key, of="s"),
        merged=sql.SQL(", ").join(_merged(spec, source, name) for name in values),
        target_values=columns(values, of="t"),
        new_values=columns(values, of="s"),
        same_key=sql.SQL(" AND ").join(query("publish_same_key", column=sql.Identifier(name)) for name in spec.key),
    )


def _staged(spec: DatasetSpec) -> sql.Composed:
    names = tuple(c.name for c in spec.values)
    parts = {"staging": staging_table(spec), "key": columns(spec.key)}
    if not spec.partial_rows:
        return query("publish_staged_whole", values=columns(names), **parts)
    united = sql.SQL(", ").join(query("publish_unite", column=sql.Identifier(name)) for name in names)
    return query("publish_staged_partial", united=united, **parts)


def _merged(spec: DatasetSpec, source: Source, name: str) -> sql.Composed:
    # What the archive gives, only the archive overwrites; a column that a source lacks is never emptied by it.
    yields = source != "archive" and name in spec.archive_values
    return query("publish_yield_to_better" if yields else "publish_prefer_staged", column=sql.Identifier(name))


def quarantine_rows(
    connection: Connection,
    spec: DatasetSpec,
    stage_id: UUID,
    *,
    batch: str,
    origins: Iterable[str],
    findings: list[dict[str, Any]],
) -> None:
    """Keep the rows that the gate withheld, whole, with batch, expectation, column, value, reason and origin."""
    if not findings:
        return
    statement = query(
        "publish_quarantine",
        staging=staging_table(spec),
        series=sql.Identifier(spec.series_column),
        values=columns(tuple(c.name for c in spec.values)),
    )
    parameters = {
        "stage_id": stage_id,
        "batch": batch,
        "dataset": spec.name,
        "origins": list(origins),
        "findings": Jsonb(findings),
    }
    connection.execute(statement, parameters)


def delete_staged(connection: Connection, spec: DatasetSpec, stage_id: UUID) -> None:
    """Remove an attempt's staged rows; part of the publish transaction."""
    connection.execute(query("stage_delete", staging=staging_table(spec)), {"stage_id": stage_id})


def vacuum_staging(connection: Connection, specs: Iterable[DatasetSpec]) -> None:
    """Give the deleted rows' space back; after the publish commit, outside any transaction."""
    for spec in specs:
        connection.execute(query("stage_vacuum", staging=staging_table(spec)))


def sweep(connection: Connection, specs: Iterable[DatasetSpec]) -> int:
    """Remove abandoned manifests and the staged rows that no manifest claims; returns how many rows went."""
    connection.execute(query("manifest_sweep"))
    return sum(connection.execute(query("stage_sweep", staging=staging_table(spec))).rowcount for spec in specs)
