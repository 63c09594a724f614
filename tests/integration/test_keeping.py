"""What nobody sends again: it is in Redis or in the database at once, whichever of them is there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis as redis_sync
from hypothesis import given
from hypothesis import strategies as st

from perpflow import cancelling, keeping
from perpflow.errors import BadConfiguration
from perpflow.exchange.live import Received
from perpflow.keeping import BEHIND_MS, LIQUIDATION, LONGEST_BEAT_MS, MOST_CONNECTIONS, Hearing, Keeper
from perpflow.store.cache import open_redis
from perpflow.store.database import connection_options
from perpflow.store.received import ENTRIES_KEY, Appended, DatabaseEntries, Entry, Listened, RedisEntries, Told

AT = 1_791_391_083_000
NO_REDIS = "redis://127.0.0.1:1/0"
NO_DATABASE = "postgresql://nobody@127.0.0.1:9/none"


@pytest.fixture
def own_redis_url(redis_url: str) -> Iterator[str]:
    """A database of the session's Redis that only this test writes to."""
    url = urlunsplit(urlsplit(redis_url)._replace(path="/10"))
    with redis_sync.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()


def liquidation(number: int, connection: int = 1) -> Received:
    return Received(LIQUIDATION, b"liquidation %d" % number, AT + number, connection)


def beat(at: int, connection: int = 1) -> Received:
    frame = b'{"stream":"!markPrice@arr@1s","data":[{"e":"markPriceUpdate","E":%d,"s":"SOLUSDT"}]}' % at
    return Received("mark_price", frame, at + 20, connection)


def told(*numbers: int) -> list[Entry]:
    return [Told(b"liquidation %d" % number, AT + number) for number in numbers]


@asynccontextmanager
async def keeping_with(redis_url: str, database_url: str) -> AsyncIterator[Keeper]:
    """A keeper at work; at its end it flushes."""
    async with open_redis(redis_url) as redis:
        keeper = Keeper(redis, database_url)
        task = asyncio.create_task(keeper.run())
        try:
            yield keeper
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await keeper.flush()


async def in_redis(url: str) -> list[Entry]:
    """All entries there; they then belong to a batch."""
    async with open_redis(url) as redis:
        entries = RedisEntries(redis)
        await entries.claim("a", 1000)
        return await entries.of_batch("a")


async def in_database(url: str) -> list[Entry]:
    async with await psycopg.AsyncConnection.connect(url, **connection_options(url)) as connection:
        entries = DatabaseEntries(connection)
        await entries.claim("a", 1000)
        return await entries.of_batch("a")


async def settled(keeper: Keeper) -> None:
    """Until nothing waits in memory any more."""
    async with asyncio.timeout(20):
        while keeper.waiting:
            await asyncio.sleep(0.01)


async def test_liquidations_are_in_redis_in_their_order(own_redis_url: str, empty_database_url: str) -> None:
    async with keeping_with(own_redis_url, empty_database_url) as keeper:
        for number in range(keeping.CHUNK + 5):
            keeper.put(liquidation(number))
        await settled(keeper)
        assert keeper.kept == keeping.CHUNK + 5
    assert await in_redis(own_redis_url) == told(*range(1000))
    assert await in_database(empty_database_url) == []


async def test_while_redis_is_away_they_are_in_the_database(empty_database_url: str) -> None:
    async with keeping_with(NO_REDIS, empty_database_url) as keeper:
        keeper.put(liquidation(1))
        await settled(keeper)
        keeper.put(liquidation(2))
        await settled(keeper)
    assert await in_database(empty_database_url) == told(1, 2)


async def test_while_both_are_away_they_wait_and_none_is_dropped(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "PAUSE_S", 0.05)
    async with keeping_with(NO_REDIS, NO_DATABASE) as keeper:
        for number in range(50):
            keeper.put(liquidation(number))
            await asyncio.sleep(0)
        keeper._database_url = empty_database_url  # it has come back
        await settled(keeper)
    assert await in_database(empty_database_url) == told(*range(50))


async def test_what_is_lost_with_a_stream_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    async with keeping_with(NO_REDIS, NO_DATABASE) as keeper:
        keeper.put(liquidation(1))
        keeper.put(liquidation(2))
    assert "2 liquidations are lost" in caplog.text


async def test_a_database_that_could_not_help_is_told_of_beforehand(
    own_redis_url: str, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_redis(own_redis_url) as redis:
        with pytest.raises(BadConfiguration, match="the market database's address is not valid"):
            Keeper(redis, "foo://x")
        await Keeper(redis, NO_DATABASE).look_at_database()
        without_schema = urlunsplit(urlsplit(database_url)._replace(path="/postgres"))
        await Keeper(redis, without_schema).look_at_database()
    assert [message.partition(" (")[0] for message in caplog.messages] == [
        "The market database would not take liquidations if Redis went away"
    ] * 2
    assert "python -m perpflow migrate" in caplog.messages[1]


async def test_an_answer_that_got_lost_is_no_loss(own_redis_url: str, empty_database_url: str) -> None:
    async with open_redis(own_redis_url) as redis:
        entries = RedisEntries(redis)
        assert await entries.append(told(1)) == Appended(0, False)
        appending = asyncio.create_task(entries.append(told(2)))
        await asyncio.sleep(0)
        await cancelling.cancelled([appending])
        assert await entries.append(told(3)) == Appended(0, False)


async def test_what_redis_has_lost_of_the_last_seconds_is_sent_again(
    own_redis_url: str, empty_database_url: str
) -> None:
    async with keeping_with(own_redis_url, empty_database_url) as keeper:
        keeper.put(liquidation(1))
        await settled(keeper)
        with redis_sync.Redis.from_url(own_redis_url) as client:
            client.delete(ENTRIES_KEY)
        keeper.put(liquidation(2))
        await settled(keeper)
    assert await in_redis(own_redis_url) == told(1, 2)


async def test_what_redis_had_just_before_it_went_away_goes_to_the_database_as_well(
    own_redis_url: str, empty_database_url: str
) -> None:
    async with keeping_with(own_redis_url, empty_database_url) as keeper:
        keeper.put(liquidation(1))
        await settled(keeper)
        with redis_sync.Redis.from_url(own_redis_url) as client:
            # Any error is one: what was acknowledged may be gone with whatever has happened.
            client.delete(ENTRIES_KEY)
            client.set(ENTRIES_KEY, "another type")
        keeper.put(liquidation(2))
        await settled(keeper)
    assert await in_database(empty_database_url) == told(1, 2)


async def test_listening_is_told_after_the_liquidations_that_came_in_that_time(
    own_redis_url: str, empty_database_url: str
) -> None:
    async with keeping_with(own_redis_url, empty_database_url) as keeper:
        for received in (beat(AT - 1000), beat(AT), liquidation(1), beat(AT + 1000), beat(AT + 2000), liquidation(2)):
            keeper.put(received)
    assert await in_redis(own_redis_url) == [*told(1, 2), Listened(AT, AT + 1000)]


async def test_what_comes_before_the_acknowledgement_proves_nothing(
    own_redis_url: str, empty_database_url: str
) -> None:
    async with keeping_with(own_redis_url, empty_database_url) as keeper:
        for received in (beat(AT, 0), beat(AT + 1000, 0), beat(AT + 1500), beat(AT + 2000), beat(AT + 3500)):
            keeper.put(received)
    assert await in_redis(own_redis_url) == [Listened(AT + 2000, AT + 2500)]


def test_hearing_goes_on_where_it_was_taken() -> None:
    hearing = Hearing()
    for at in (0, 1000, 2000, 3500):
        hearing.beat(1, at)
    assert hearing.take() == [Listened(1000, 2500)]
    hearing.beat(1, 3600)
    assert hearing.take() == [Listened(2500, 2600)]
    assert hearing.take() == []
    for at in (4000, 5000, 6000):
        hearing.beat(1, at)
    assert hearing.take() == [Listened(4000, 5000)]


def test_a_silence_between_two_beats_is_not_listened_to() -> None:
    hearing = Hearing()
    later = 3001 + LONGEST_BEAT_MS
    for at in (0, 1000, 2000, 3000, later, later + 1000, later + 2000, later + 3000):
        hearing.beat(1, at)
    assert hearing.take() == [Listened(1000, 2000), Listened(later + 1000, later + 2000)]


def test_a_late_beat_proves_nothing_of_the_time_before() -> None:
    hearing = Hearing()
    for at in (1000, 2000, 500, 4000):
        hearing.beat(1, at)
    assert hearing.take() == [Listened(2000, 3000)]


def test_what_cannot_be_read_may_have_been_a_liquidation() -> None:
    hearing = Hearing()
    hearing.unreadable(1)
    for at in (0, 1000, 2000, 3000):
        hearing.beat(1, at)
    hearing.unreadable(1)
    for at in (4000, 5000, 6000, 7000):
        hearing.beat(1, at)
    assert hearing.take() == [Listened(1000, 2000), Listened(5000, 6000)]


def test_connections_that_are_gone_are_forgotten() -> None:
    hearing = Hearing()
    for connection in range(100):
        hearing.beat(connection, 1000)
    assert hearing.take() == []
    assert len(hearing._firsts) == MOST_CONNECTIONS


BEATS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 60_000), st.booleans()), max_size=60)


@given(BEATS)
def test_listened_is_what_lies_a_second_before_a_beat_since_another_and_nothing_else(
    beats: list[tuple[int, int, bool]],
) -> None:
    hearing, told_ = Hearing(), []
    proven: set[int] = set()
    runs: dict[int, set[int]] = {}
    last: dict[int, int] = {}
    for connection, at, is_taken in beats:
        before = last.get(connection, at)
        if before <= at <= before + LONGEST_BEAT_MS:
            runs[connection] = runs.get(connection, set()) | set(range(before, at))
            proven |= {instant for instant in runs[connection] if instant < at - BEHIND_MS}
        elif at > before or at < before - LONGEST_BEAT_MS:
            runs[connection] = set()
        if not before - LONGEST_BEAT_MS <= at <= before:
            last[connection] = at
        last.setdefault(connection, at)
        hearing.beat(connection, at)
        if is_taken:
            told_ += hearing.take()
    told_ += hearing.take()
    said = {instant for each in told_ for instant in range(each.start_ms, each.end_ms)}
    assert said <= proven
