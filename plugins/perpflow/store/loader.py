"""Rows in: COPY into staging, and from staging into the fact tables.

Archive bytes go into COPY as they are, behind a prefix that names attempt, origin, source, symbol and series.
Publishing compares first and writes what differs: facts that are unchanged are not touched at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from perpflow.errors import StructurallyBad
from perpflow.specs import DatasetSpec, Source, StreamedSpec
from perpflow.store.database import (
    Connection,
    columns,
    connection_options,
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

#: One COPY keeps a core of the server busy, and waits while its next lines are made ready: for 250,000 candles on two
#: cores three of them took 0.33 s where one took 0.52 s; a fourth did not help.
COPY_CONNECTIONS = 3

#: Sources in the order in which they are published: what comes later may overwrite what came before.
ASCENDING_PRECEDENCE: tuple[Source, ...] = ("stream", "rest", "archive")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where staged rows came from. Their number in staging is this origin's place in the manifest's list.

    `period` is all that the object holds, or the span that REST was asked for; `asked` the part of it that was wanted.
    What lies in the one and not in the other is trimmed. Without a period nothing is: rows that serve deriving alone.
    """

    name: str
    period: Window | None = None
    asked: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class Digest:
    """The staged rows of one attempt: their count and order-free hash, how many are withheld, where they came from."""

    rows: int
    hash: int
    withheld: int
    sources: frozenset[str]

    def fits(self, recorded: Mapping[str, Any]) -> bool:
        """Whether these are the rows of a manifest's entry: as many, and marked as the gate marked them if it has."""
        return bool(self.rows == recorded["rows"] and self.hash == recorded.get("hash", self.hash))


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one publish did to a fact table."""

    staged: int
    inserted: int
    updated: int
    corrected: int
    quarantined: int
    sources: tuple[str, ...]

    def with_unreadable(self, frames: int) -> Self:
        """The same and frames that came to no row at all: staged, and quarantined whole."""
        return replace(self, staged=self.staged + frames, quarantined=self.quarantined + frames)

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
    """The staged rows of one attempt at a batch.

    Args:
        stage_id: the attempt.
        connections: as many pieces are copied at once; further ones wait for their turn.
    """

    def __init__(self, stage_id: int, *connections: AsyncConnection) -> None:
        self.stage_id = stage_id
        self._connection = connections[0]
        self._free: asyncio.Queue[AsyncConnection] = asyncio.Queue()
        for connection in connections:
            self._free.put_nowait(connection)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, stage_id: int) -> AsyncIterator[Self]:
        """A staging area with connections of its own, closed afterwards."""
        async with AsyncExitStack() as stack:
            connections = []
            for _ in range(COPY_CONNECTIONS):
                connection = await psycopg.AsyncConnection.connect(url, **connection_options(url))
                connections.append(await stack.enter_async_context(connection))
            yield cls(stage_id, *connections)

    async def copy(self, spec: DatasetSpec, wire_columns: tuple[str, ...], lines: Iterable[bytes]) -> None:
        """COPY prefixed CSV lines, in pieces, whose columns after the prefix are `wire_columns`.

        Raises:
            StructurallyBad: a line has other columns, or a value that its column cannot hold. None of the lines stay.
        """
        names = (*PREFIX, spec.series_column, *wire_columns)
        statement = query("stage_copy", staging=staging_table(spec), columns=columns(names))
        connection = await self._free.get()
        try:
            async with connection.cursor() as cursor, cursor.copy(statement) as copy:
                for piece in lines:
                    await copy.write(piece)
        except psycopg.DataError as error:
            raise StructurallyBad(_copy_fault(error), dataset=spec.name) from error
        finally:
            self._free.put_nowait(connection)

    async def derive(self, spec: DatasetSpec) -> None:
        """Fill the columns that are inferred from other rows, and drop the lead-in rows that served only that."""
        if spec.derive:
            await self._connection.execute(query(spec.derive), {"stage_id": self.stage_id})

    async def normalise(
        self, spec: DatasetSpec, origins: list[Origin], *, look_for_repeats: bool = True
    ) -> dict[str, int]:
        """Trim, drop blank points, collapse exact duplicates; returns how many rows each rule met, where it met any.

        Without `look_for_repeats` the caller knows that no key is there twice.
        """
        counts = {"trimmed": await self._trim(spec, origins)}
        if spec.tolerance:
            counts["snapped"] = await self._count("stage_count_snapped", spec)
        if spec.has_blanks:
            counts["blank"] = await self._delete("stage_drop_blank", spec)
        if look_for_repeats and await self._may_repeat(spec):
            counts["duplicate"] = await self._collapse(spec)
        return {rule: count for rule, count in counts.items() if count}

    async def cover(self, spec: DatasetSpec) -> dict[tuple[str, str], list[Window]]:
        """What the staged points cover, by (symbol, series)."""
        statement = query("stage_cover", points=points_view(spec))
        cursor = await self._connection.execute(statement, {"stage_id": self.stage_id})
        return {(row["symbol"], row["series"]): from_multirange(row["present"]) for row in await cursor.fetchall()}

    async def count(self, spec: DatasetSpec) -> int:
        """How many rows are staged."""
        return await self._count("stage_count", spec)

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

    async def _may_repeat(self, spec: DatasetSpec) -> bool:
        statement = query("stage_may_repeat", staging=staging_table(spec), series=sql.Identifier(spec.series_column))
        row = await (await self._connection.execute(statement, {"stage_id": self.stage_id})).fetchone()
        return row is not None and row["may_repeat"]

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


def digest(connection: Connection, spec: DatasetSpec, stage_id: int) -> Digest:
    """Count and hash of an attempt's staged rows as they stand now."""
    row = one(connection, query("stage_digest", staging=staging_table(spec)), {"stage_id": stage_id})
    return Digest(**row | {"sources": frozenset(row["sources"])})


def publish_rows(
    connection: Connection,
    spec: DatasetSpec,
    stage_id: int,
    staged: Digest,
    *,
    window: Window,
    symbols: tuple[str, ...],
    batch: str,
    origins: list[str],
) -> Loaded:
    """Write the attempt's staged rows that the gate let pass; call it inside the publish transaction.

    `staged` is their digest. The caller holds the series' ledger locks, so nobody else changes these keys meanwhile:
    what is compared first still holds when it is written. Old values of what a source corrects go to `corrections`.
    """
    bounds = {"stage_id": stage_id, "start": window.start, "end": window.end, "symbols": list(symbols)}
    bounds |= {"batch": batch, "dataset": spec.name, "origins": origins}
    done = [
        _publish_source(connection, spec, source, bounds | {"source": source}, staged.rows - staged.withheld)
        for source in ASCENDING_PRECEDENCE
        if source in staged.sources
    ]
    return Loaded(
        staged=staged.rows,
        inserted=sum(inserted for inserted, _, _ in done),
        updated=sum(updated for _, updated, _ in done),
        corrected=sum(corrected for _, _, corrected in done),
        quarantined=staged.withheld,
        sources=tuple(sorted(staged.sources)),
    )


def _publish_source(
    connection: Connection, spec: DatasetSpec, source: Source, bounds: dict[str, Any], most: int
) -> tuple[int, int, int]:
    """Look once at what differs, then write that alone; returns rows inserted, updated, and corrected among these.

    `most` is how many keys there can be. Several sources, or rows that are united to one, make them fewer: then new
    ones are looked for in vain.
    """
    found = one(connection, publish_statement("publish_compare", spec, source), bounds)
    inserted = updated = corrected = 0
    if found["changed"]:
        corrected = connection.execute(publish_statement("publish_corrections", spec, source), bounds).rowcount
        updated = connection.execute(publish_statement("publish_update", spec, source), bounds).rowcount
    if found["there"] < most:
        inserted = connection.execute(publish_statement("publish_insert", spec, source), bounds).rowcount
    return inserted, updated, corrected


def publish_statement(name: str, spec: DatasetSpec, source: Source) -> sql.Composed:
    """`publish_compare`, `_corrections`, `_insert` or `_update` of one source's rows, the columns from the table."""
    values = tuple(c.name for c in spec.values)
    merged = {column: _merged(spec, source, column) for column in values}
    return query(
        name,
        target=sql.Identifier(spec.name),
        key=columns(spec.key),
        values=columns(values),
        staged=staged_rows(spec, source),
        staged_key=columns(spec.key, of="s"),
        staged_values=columns(values, of="s"),
        target_values=columns(values, of="t"),
        merged=sql.SQL(", ").join(merged.values()),
        series=sql.SQL("t.timeframe") if spec.series_in_key else sql.Literal(spec.series_of_rows),
        old=_named({column: columns((column,), of="t") for column in values}),
        new=_named(merged),
        differs=sql.SQL(" OR ").join(
            query("publish_differs", column=sql.Identifier(column), merged=value) for column, value in merged.items()
        ),
        same_key=sql.SQL(" AND ").join(query("publish_same_key", column=sql.Identifier(column)) for column in spec.key),
    )


def _named(values: Mapping[str, sql.Composable]) -> sql.Composed:
    """Names and values by turns, for a JSON object."""
    return sql.SQL(", ").join(part for name, value in values.items() for part in (sql.Literal(name), value))


def staged_rows(spec: DatasetSpec, source: Source) -> sql.Composed:
    """One source's staged rows of the attempt `stage_id` from `start` to `end`, one to a key, as the table has them."""
    names = tuple(c.name for c in spec.values)
    parts = {"staging": staging_table(spec), "key": columns(spec.key), "source": sql.Literal(source)}
    if not spec.partial_rows:
        return query("publish_staged_whole", values=columns(names), **parts)
    united = sql.SQL(", ").join(query("publish_unite", column=sql.Identifier(name)) for name in names)
    return query("publish_staged_partial", united=united, **parts)


def _merged(spec: DatasetSpec, source: Source, name: str) -> sql.Composed:
    # What the archive gives, only the archive overwrites; a column that a source lacks is never emptied by it.
    yields = source != "archive" and name in spec.archive_values
    return query("publish_yield_to_better" if yields else "publish_prefer_staged", column=sql.Identifier(name))


def supersede_waiting(
    connection: Connection,
    spec: DatasetSpec,
    stage_id: int,
    *,
    window: Window,
    symbols: tuple[str, ...],
    batch: str,
) -> None:
    """Settle what waits in the quarantine where the batch publishes a row of its key.

    Only what came before: call it before `quarantine_rows`, in the publish transaction.
    """
    statement = query(
        "publish_supersede",
        staging=staging_table(spec),
        series=sql.Identifier(spec.series_column),
        target=sql.Identifier(spec.name),
        in_series=sql.SQL("t.timeframe = w.series" if spec.series_in_key else "true"),
    )
    parameters = {"stage_id": stage_id, "dataset": spec.name, "batch": batch, "symbols": list(symbols)}
    # A row may lack what another source or endpoint gives; of a series it is the value.
    parts = [column.name for column in spec.values] if spec.partial_rows else []
    parameters |= {"whole": spec.series_of_rows, "parts": parts}
    connection.execute(statement, parameters | {"start": window.start, "end": window.end})


def quarantine_rows(
    connection: Connection,
    spec: DatasetSpec,
    stage_id: int,
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
        values=told_apart_by(spec),
    )
    parameters = {
        "stage_id": stage_id,
        "batch": batch,
        "dataset": spec.name,
        "origins": list(origins),
        "findings": Jsonb(findings),
    }
    connection.execute(statement, parameters)


def told_apart_by(spec: DatasetSpec) -> sql.Composed:
    """What `quarantine.row_hash` is made of beyond source and time: of the key, too, what has no column there."""
    return columns(tuple(c.name for c in spec.columns if c.name not in ("symbol", "timeframe", "time")))


def quarantine_unreadable(
    connection: Connection, spec: StreamedSpec, unreadable: list[dict[str, str]], *, batch: str, symbol: str
) -> None:
    """Keep frames that nobody can read, each with its `frame` and the `reason`."""
    if unreadable:
        parameters = {
            "batch": batch,
            "dataset": spec.name,
            "symbol": symbol,
            "series": spec.series[0],
            "origin": spec.stream,
            "unreadable": Jsonb(unreadable),
        }
        connection.execute(query("publish_unreadable"), parameters)


def delete_staged(connection: Connection, spec: DatasetSpec, stage_id: int) -> None:
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
