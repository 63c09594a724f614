"""What the stream has received and nobody can send again, until it is in the table: liquidations, and when it listened.

It waits in Redis, in the stream `perpflow:liquidations`, whose group `ingest_liquidations` drains it, a consumer for
each batch; and while Redis is away in the table `staging.received`. Frames wait as they came: parsing, mapping and the
gate come later, and what they find can be done again. An entry goes when the transaction that publishes it has
committed; so it may be published twice, which changes nothing, and is never lost.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import psycopg
from psycopg.rows import DictRow
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from perpflow.include import redis_script
from perpflow.store.cache import damage_named
from perpflow.store.database import query

ENTRIES_KEY = "perpflow:liquidations"
GROUP = "ingest_liquidations"
#: The last id that each writer was given, for a day: what is not there any more Redis has lost.
LAST_KEY = "perpflow:liquidations:last:"
#: 2100 begins.
LATEST_MS = 4_102_444_800_000
#: Ten times the 30,000 liquidations of a usual day, each received by two streams where one hands over to the next.
#: Beyond that the oldest go. An entry takes 296 bytes, all of them 118 MB.
MOST_ENTRIES = 400_000
#: Whoever has held entries for so long without an end is taken for dead.
RECLAIM_AFTER_S = 300.0
#: The name of a batch that holds nothing any more is forgotten after so long.
FORGET_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Told:
    """A frame with a liquidation, as the exchange sent it; received at `received_ms` (UTC, this machine's clock)."""

    frame: bytes
    received_ms: int


@dataclass(frozen=True, slots=True)
class Listened:
    """That liquidations would have been received from one instant to another (ms, the exchange's clock)."""

    start_ms: int
    end_ms: int


Entry = Told | Listened


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many entries wait in a place, those of unfinished batches included, and for how long the oldest has."""

    entries: int
    oldest: timedelta


class Waiting(Protocol):
    """Entries that wait to be drained, in one of the two places."""

    async def claim(self, batch: str, most: int, reclaim_after_s: float = RECLAIM_AFTER_S) -> list[Entry]:
        """Make some entries the batch's: those that a dead one has left, then new ones; none where nothing waits.

        Never what the same object has made another batch's: a plan does not take from itself.
        """

    async def of_batch(self, batch: str) -> list[Entry]:
        """The entries that are the batch's now."""

    async def done(self, batch: str) -> None:
        """Let them go: they are published."""

    async def backlog(self) -> Backlog:
        """How much waits; changes nothing."""


@dataclass(frozen=True, slots=True)
class Appended:
    """How many of the oldest liquidations went for lack of room, those that a batch holds among them; and whether the
    server had lost the caller's last ones.
    """

    trimmed: int
    has_lost: bool


class RedisEntries:
    """Entries in Redis.

    Raises:
        redis.RedisError: any method, where Redis does not answer.
        StateDamaged: the key holds something else.
    """

    def __init__(self, redis: Redis, most: int = MOST_ENTRIES) -> None:
        self._redis = redis
        self._most = most
        self._reclaimed: Any = "0-0"
        self._last = b""
        self._last_key = LAST_KEY + secrets.token_hex(8)
        self._append = redis.register_script(redis_script("received_append"))
        self._done = redis.register_script(redis_script("received_done"))

    async def append(self, entries: Sequence[Entry]) -> Appended:
        """Add entries in their order, all or none.

        Where the server has lost what it had acknowledged to this object (a crash between two writes to its file, an
        older copy that took over), nothing is added: the caller has to begin again with what it has sent lately.
        """
        last, self._last = self._last, b""
        arguments: list[bytes | int | str] = [self._most, last]
        for entry in entries:
            fields = [part for pair in _fields(entry).items() for part in pair]
            arguments += [len(fields), *fields]
        with damage_named(ENTRIES_KEY):
            # Where the answer gets lost nobody knows which entry is the last.
            self._last, trimmed, has_lost = await self._append([ENTRIES_KEY, self._last_key], arguments)
        if has_lost:
            self._last = b""
        return Appended(trimmed, bool(has_lost))

    async def claim(self, batch: str, most: int, reclaim_after_s: float = RECLAIM_AFTER_S) -> list[Entry]:
        """As `Waiting.claim`."""
        with damage_named(ENTRIES_KEY):
            await self._have_group()
            found = await self._reclaim(batch, most, reclaim_after_s)
            if len(found) < most:
                found += await self._read_group(batch, ">", most - len(found))
        return found

    async def _reclaim(self, batch: str, most: int, after_s: float) -> list[Entry]:
        """Once through what batches hold, however many calls that takes: what is behind is this object's."""
        found: list[Entry] = []
        while len(found) < most and self._reclaimed is not None:
            self._reclaimed, entries, *_ = await self._redis.xautoclaim(
                ENTRIES_KEY, GROUP, batch, int(after_s * 1000), self._reclaimed, count=most - len(found)
            )
            found += _read(entries)
            if self._reclaimed == b"0-0":
                self._reclaimed = None
                await self._forget_the_dead()
        return found

    async def _forget_the_dead(self) -> None:
        """Delete the consumers of batches whose entries others have taken over."""
        for consumer in await self._redis.xinfo_consumers(ENTRIES_KEY, GROUP):
            if not consumer["pending"] and consumer["idle"] >= FORGET_AFTER.total_seconds() * 1000:
                await self._redis.xgroup_delconsumer(ENTRIES_KEY, GROUP, consumer["name"])

    async def of_batch(self, batch: str) -> list[Entry]:
        """As `Waiting.of_batch`."""
        with damage_named(ENTRIES_KEY):
            await self._have_group()
            return await self._read_group(batch, "0", self._most)

    async def done(self, batch: str) -> None:
        """As `Waiting.done`."""
        with damage_named(ENTRIES_KEY):
            await self._have_group()
            held = await self._redis.xpending_range(ENTRIES_KEY, GROUP, "-", "+", self._most, consumername=batch)
            ids = [entry["message_id"] for entry in held]
            await self._done([ENTRIES_KEY], [GROUP, batch, *ids])

    async def backlog(self) -> Backlog:
        """As `Waiting.backlog`, by Redis' clock."""
        with damage_named(ENTRIES_KEY):
            entries = await self._redis.xlen(ENTRIES_KEY)
            first: Any = await self._redis.xrange(ENTRIES_KEY, count=1)
        if not first:
            return Backlog(0, timedelta(0))
        seconds, microseconds = await self._redis.time()
        ((identity, _),) = first
        since_ms = int(identity.partition(b"-")[0])
        return Backlog(entries, timedelta(milliseconds=max(seconds * 1000 + microseconds // 1000 - since_ms, 0)))

    async def _have_group(self) -> None:
        try:
            await self._redis.xgroup_create(ENTRIES_KEY, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _read_group(self, batch: str, start: str, most: int) -> list[Entry]:
        streams: Any = await self._redis.xreadgroup(GROUP, batch, {ENTRIES_KEY: start}, count=most)
        return [entry for _, entries in streams for entry in _read(entries)]


class DatabaseEntries:
    """Entries in the market database.

    Raises:
        psycopg.Error: any method, where the database does not do it.
    """

    def __init__(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        self._connection = connection
        self._claimed: list[str] = []

    async def append(self, entries: Iterable[Entry]) -> None:
        """Add entries in their order, all or none."""
        lacking = dict.fromkeys(("frame", "received_ms", "start_ms", "end_ms"))
        async with self._connection.transaction(), self._connection.cursor() as cursor:
            await cursor.executemany(query("received_append"), [lacking | _fields(entry) for entry in entries])

    async def claim(self, batch: str, most: int, reclaim_after_s: float = RECLAIM_AFTER_S) -> list[Entry]:
        """As `Waiting.claim`."""
        self._claimed.append(batch)
        parameters = {"batch": batch, "most": most, "reclaim_after_s": reclaim_after_s, "ours": self._claimed}
        await self._connection.execute(query("received_claim"), parameters)
        return await self.of_batch(batch)

    async def of_batch(self, batch: str) -> list[Entry]:
        """As `Waiting.of_batch`."""
        rows = await self._connection.execute(query("received_of_batch"), {"batch": batch})
        return [_entry(row) async for row in rows]

    async def done(self, batch: str) -> None:
        """Nothing is left to do: the transaction that published them has deleted them."""

    async def backlog(self) -> Backlog:
        """As `Waiting.backlog`; for how long by the receipt of the oldest liquidation, where one is among them."""
        (row,) = await (await self._connection.execute(query("received_backlog"))).fetchall()
        return Backlog(row["entries"], max(row["oldest"], timedelta(0)))


def _fields(entry: Entry) -> dict[str, Any]:
    if isinstance(entry, Told):
        return {"frame": entry.frame, "received_ms": entry.received_ms}
    return {"start_ms": entry.start_ms, "end_ms": entry.end_ms}


def _read(entries: Iterable[tuple[bytes | None, dict[bytes, bytes] | None]]) -> list[Entry]:
    """The entries of a reply; one that went for lack of room while a batch held it has no fields any more."""
    return [_entry(fields) for _, fields in entries if fields]


def _entry(fields: Mapping[Any, Any]) -> Entry:
    try:
        named = {name if isinstance(name, str) else name.decode(): value for name, value in fields.items()}
        if named.get("frame") is not None:
            return Told(bytes(named["frame"]), _instant(named["received_ms"]))
        return Listened(_instant(named["start_ms"]), _instant(named["end_ms"]))
    except (KeyError, ValueError):
        # A stranger's. Draining puts it where everything goes that nobody can read.
        return Told(repr(dict(fields)).encode(), 0)


def _instant(ms: Any) -> int:
    """An instant that every table can hold.

    Raises:
        ValueError: it is none.
    """
    if not 0 <= (instant := int(ms)) < LATEST_MS:
        raise ValueError(f"{instant} ms is no instant before 2100")
    return instant
