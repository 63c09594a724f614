"""What nobody sends again is kept: liquidations, and when they were listened to, go where they are safe at once.

That is Redis, and the market database while Redis is away; while both are away they wait here, and none is dropped. Two
streams that overlap both keep what they receive: draining knows each liquidation by its key.

Silence says nothing about liquidations, which are minutes apart at times. But the mark prices of all contracts come
every second, on the same connection and in order: between two of them that came, liquidations would have come too.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import psycopg
import psycopg.errors
from psycopg.rows import DictRow
from redis import RedisError
from redis.asyncio import Redis

from perpflow.cancelling import within
from perpflow.counters import COUNTS
from perpflow.errors import StateDamaged
from perpflow.exchange.live import Received
from perpflow.seldom import Seldom
from perpflow.store.database import connection_options
from perpflow.store.received import DatabaseEntries, Entry, Listened, RedisEntries, Told

log = logging.getLogger(__name__)

LIQUIDATION = "liquidation"
#: Redis may lose what it acknowledged in its last second or two, if it is killed; so much is sent again.
SENT_LATELY_S = 15.0
#: While Redis is away, and after it was: so long is waited between two attempts.
PAUSE_S = 1.0
DATABASE_S = 10.0
#: Listening is written down so often; a stream that is killed has not proven what came after.
LISTENED_EVERY_S = 5.0
#: Mark prices come every second. Between two that are further apart the exchange has sent none, and may have left out
#: liquidations as well.
LONGEST_BEAT_MS = 4_000
#: A liquidation is told about a second after its time: what is of a mark price's time may still be on its way when that
#: is here, and is lost with a process that is killed.
BEHIND_MS = 1_000
#: Entries that one step takes into Redis, which serves nobody else meanwhile.
CHUNK = 1_000
MOST_CONNECTIONS = 16

#: Until 2065, in ms.
_EVENT_TIME = re.compile(rb'"E":([12]\d{12})\b')
#: The last act has so long for each of the two: whoever stops a stream waits five seconds at most, as Airflow does.
LAST_TRY_S = 1.5


@dataclass(slots=True)
class _Span:
    """From one beat to another without a silence (ms, the exchange's clock), and the last one that has been told."""

    start: int
    end: int
    told_at: int

    def proven(self) -> Listened:
        """What has come for sure: a liquidation is told a little later than a mark price of the same instant."""
        return Listened(self.start, max(self.start, self.end - BEHIND_MS))


class Hearing:
    """From when to when liquidations would have been heard, on the exchange's clock, for each connection by itself."""

    def __init__(self) -> None:
        self._spans: dict[int, _Span] = {}
        self._firsts: dict[int, int] = {}
        self._over: list[Listened] = []

    def beat(self, connection: int, event_ms: int) -> None:
        """Something has come on a connection that is subscribed to liquidations."""
        span = self._spans.get(connection)
        if span is None:
            # The first may bear a time from before the subscription: what begins with the next one is proven.
            first = self._firsts.setdefault(connection, event_ms)
            if event_ms > first:
                self._spans[connection] = _Span(event_ms, event_ms, first)
        elif span.end < event_ms <= span.end + LONGEST_BEAT_MS:
            span.end = event_ms
        elif not span.end - LONGEST_BEAT_MS <= event_ms <= span.end:
            # After a silence, or a time from nowhere: what is before it is proven, and it begins anew.
            self._begin_anew(connection, event_ms)

    def unreadable(self, connection: int) -> None:
        """What came on it cannot be read, and may have been a liquidation: what follows begins anew."""
        self._tell(self._spans.pop(connection, None))
        self._firsts.pop(connection, None)

    def take(self) -> list[Listened]:
        """What has been proven since the last time."""
        for connection, span in list(self._spans.items()):
            if span.end == span.told_at:
                # No beat since the last time: it is closed, or silent. If it goes on it begins anew.
                self._begin_anew(connection, span.end)
            else:
                self._tell(span)
                self._spans[connection] = _Span(span.proven().end_ms, span.end, span.end)
        # Connections are numbered as they come, and only the last few are still there.
        for connection in sorted(self._firsts)[:-MOST_CONNECTIONS]:
            del self._firsts[connection]
        proven, self._over = self._over, []
        return proven

    def _begin_anew(self, connection: int, first: int) -> None:
        self._tell(self._spans.pop(connection))
        self._firsts[connection] = first

    def _tell(self, span: _Span | None) -> None:
        if span is not None and (proven := span.proven()).start_ms < proven.end_ms:
            self._over.append(proven)


class Keeper:
    """Takes what a stream receives and puts it where it is safe.

    Args:
        redis: its connection; whoever opened it closes it.
        database_url: the market database's, for when Redis is away.

    Raises:
        BadConfiguration: the address is none.
    """

    def __init__(self, redis: Redis, database_url: str) -> None:
        self._entries = RedisEntries(redis)
        self._database_url = database_url
        # An address that cannot be is found now, not when Redis goes away.
        connection_options(database_url)
        self._hearing = Hearing()
        self._received: deque[Received] = deque()
        self._pending: list[Entry] = []
        self._sent: deque[tuple[float, Entry]] = deque()
        self._seldom = Seldom(log)
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._told = False
        self._listened_at = time.monotonic()
        self._redis_away_until = 0.0
        self._is_redis_away = False
        self.kept = 0

    @property
    def waiting(self) -> int:
        """How many entries are nowhere but here."""
        return len(self._received) + len(self._pending)

    def put(self, received: Received) -> None:
        """Called by receiving threads, with liquidations and with what comes on the same connection."""
        self._received.append(received)
        if not self._told:
            self._told = True
            self._loop.call_soon_threadsafe(self._news.set)

    async def look_at_database(self) -> None:
        """Warn where it would not take them: as long as Redis is there nobody else would notice."""

        async def look() -> None:
            async with self._connected() as connection:
                await DatabaseEntries(connection).backlog()

        try:
            await within(LAST_TRY_S, look())
        except psycopg.Error as error:
            log.warning("The market database would not take liquidations if Redis went away (%s).", _told(error))

    async def run(self) -> None:
        """Keep what comes, until it is cancelled; then `flush`."""
        while True:
            await self._news.wait()
            self._news.clear()
            self._told = False
            if not await self._keep():
                await asyncio.sleep(PAUSE_S)
                self._news.set()

    async def flush(self) -> int:
        """Put the rest where it is safe, the last act; returns how many liquidations were lost."""
        self._take_received(final=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_TRY_S):
                await self._into_redis()
        if self._pending:
            await within(LAST_TRY_S, self._into_database())
        frames = sum(isinstance(entry, Told) for entry in self._pending)
        if frames:
            COUNTS.count("liquidations.lost", frames)
            log.error("Neither Redis nor the market database answers: %d liquidations are lost.", frames)
        return frames

    async def _keep(self) -> bool:
        """Whether all that has been received is in Redis."""
        self._take_received(final=False)
        if not self._pending:
            return True
        if time.monotonic() >= self._redis_away_until and await self._into_redis():
            return True
        self._redis_away_until = time.monotonic() + PAUSE_S
        # One that hangs must not keep us from a Redis that is back.
        await within(DATABASE_S, self._into_database())
        return False

    def _take_received(self, *, final: bool) -> None:
        for _ in range(len(self._received)):
            kind, frame, received_ms, connection = self._received.popleft()
            if kind == LIQUIDATION:
                self._pending.append(Told(frame, received_ms))
                self.kept += 1
            elif not kind:
                self._hearing.unreadable(connection)
            elif connection and (event_time := _EVENT_TIME.search(frame)):
                self._hearing.beat(connection, int(event_time[1]))
        # After the liquidations that came before: what is said of a time is said when all of it is there.
        if final or time.monotonic() - self._listened_at >= LISTENED_EVERY_S:
            self._pending += self._hearing.take()
            self._listened_at = time.monotonic()

    async def _into_redis(self) -> bool:
        try:
            while self._pending:
                chunk = self._pending[:CHUNK]
                if await self._append(chunk):
                    del self._pending[: len(chunk)]
        except (RedisError, OSError, StateDamaged) as error:
            if not self._is_redis_away:
                log.warning("Redis does not take liquidations now (%s); they go to the market database.", error)
                COUNTS.count("redis_away")
            self._is_redis_away = True
            # It may come back without the last of them.
            self._send_again()
            return False
        self._is_redis_away = False
        return True

    def _send_again(self) -> None:
        self._pending = [entry for _, entry in self._sent] + self._pending
        self._sent.clear()

    async def _append(self, entries: list[Entry]) -> bool:
        """Whether they are there; what Redis had acknowledged and has lost is pending again before anything else."""
        appended = await self._entries.append(entries)
        if appended.has_lost:
            log.warning(
                "Redis has lost what it had acknowledged: the last %d entries are sent again, older ones may be gone.",
                len(self._sent),
            )
            self._send_again()
            return False
        if appended.trimmed:
            COUNTS.count("liquidations.lost", appended.trimmed)
            log.error(
                "%d liquidations went: more wait in Redis than it has room for. What no batch had staged is lost. "
                "Let ingest_liquidations run.",
                appended.trimmed,
            )
        self._remember(entries)
        return True

    def _remember(self, entries: Iterable[Entry]) -> None:
        now = time.monotonic()
        self._sent.extend((now, entry) for entry in entries)
        while self._sent[0][0] < now - SENT_LATELY_S:
            self._sent.popleft()

    async def _into_database(self) -> None:
        entries = list(self._pending)
        try:
            async with self._connected() as connection:
                await DatabaseEntries(connection).append(entries)
        except psycopg.Error as error:
            self._seldom.warning(
                "The market database does not take liquidations (%s); %d wait.", _told(error), len(entries)
            )
        else:
            COUNTS.count("liquidations.kept_in_database", len(entries))
            del self._pending[: len(entries)]

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        options = connection_options(self._database_url)
        async with await psycopg.AsyncConnection.connect(self._database_url, **options) as connection:
            yield connection


def _told(error: psycopg.Error) -> str:
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
        return "its schema is not there: run `python -m perpflow migrate`"
    return " ".join(str(error).split())
