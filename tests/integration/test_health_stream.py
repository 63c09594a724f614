"""Health of the live stream: a real one against the simulated exchange, what it leaves behind, and what is drained.

Waiting times are told by what Redis and the database hold, so that nothing has to be waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis as redis_sync

from perpflow import pipeline, sessions
from perpflow import streaming as streaming_module
from perpflow.batches import ALL_CONTRACTS
from perpflow.counters import COUNTS, Counts
from perpflow.datasets import DATASETS, LIQUIDATIONS
from perpflow.health.examination import examine
from perpflow.health.finding import Finding, Level
from perpflow.settings import Deployment
from perpflow.store import ledger, received
from perpflow.store.cache import export_counts, open_redis
from perpflow.store.database import connection_options, session, to_multirange
from perpflow.store.lease import LEASE_KEY, Lease
from perpflow.store.received import ENTRIES_KEY, Backlog, DatabaseEntries, Entry, Listened, RedisEntries, Told
from perpflow.store.stream_measures import KEPT_S, LASTS_S, MEASURES_KEY, read_last_measures, read_measures
from perpflow.streaming import stream
from perpflow.windows import MILLISECOND, Window, to_ms
from simulator.process import Handle, running
from tests.loading import deployment_of, run_batch

CHECKS = ("stream", "liquidations", "listening")


@pytest.fixture(scope="module")
def venue() -> Iterator[Handle]:
    with running(seed=7) as exchange:
        exchange.set_streams(liquidations_per_s=20)
        yield exchange


@pytest.fixture
def redis(redis_url: str) -> Iterator[redis_sync.Redis]:
    """A database of the session's Redis that only this test writes to."""
    with redis_sync.Redis.from_url(urlunsplit(urlsplit(redis_url)._replace(path="/7"))) as client:
        client.flushdb()
        COUNTS.take("redis")
        yield client
        client.flushdb()


@pytest.fixture
def deployment(empty_database_url: str, redis_url: str, redis: redis_sync.Redis, venue: Handle) -> Deployment:
    own = urlunsplit(urlsplit(redis_url)._replace(path="/7"))
    made = deployment_of(empty_database_url, venue, symbols=["SOL/USDT"])
    elsewhere = venue.url.replace("127.0.0.1", "localhost")
    return made.model_copy(update={"redis_url": own, "archive_url": elsewhere, "stream_url": venue.stream_url})


def look(deployment: Deployment) -> dict[str, Finding]:
    """The findings by title, as a fresh process has them."""
    sessions.process_budget.cache_clear()
    return {finding.title: finding for finding in examine(deployment)}


def levels(findings: dict[str, Finding]) -> list[str]:
    """Of the three checks that are about the stream."""
    return [str(findings[check].level) for check in CHECKS]


@asynccontextmanager
async def streaming(deployment: Deployment, name: str) -> AsyncIterator[None]:
    task = asyncio.create_task(stream(deployment, name))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(
    deployment: Deployment, holds: Callable[[dict[str, Finding]], bool], within_s: float = 30.0
) -> dict[str, Finding]:
    """The first findings of which it holds."""
    async with asyncio.timeout(within_s):
        while not holds(findings := await asyncio.to_thread(look, deployment)):
            await asyncio.sleep(0.05)
    return findings


def listen(deployment: Deployment, *listened: Window) -> None:
    """As if liquidations had been drained of these times."""
    with session(deployment.database_url) as connection:
        ledger.ensure(connection, LIQUIDATIONS, (ALL_CONTRACTS,), LIQUIDATIONS.series)
        ledger.listen(connection, LIQUIDATIONS, ALL_CONTRACTS, list(listened))


def put(deployment: Deployment, place: str, *entries: Entry) -> None:
    async def append() -> None:
        async with _opened(deployment, place) as waiting:
            await waiting.append(entries)

    asyncio.run(append())


def backlog(deployment: Deployment, place: str) -> Backlog:
    async def ask() -> Backlog:
        async with _opened(deployment, place) as waiting:
            found: Backlog = await waiting.backlog()
            return found

    return asyncio.run(ask())


@asynccontextmanager
async def _opened(deployment: Deployment, place: str) -> AsyncIterator[Any]:
    url = deployment.database_url
    assert deployment.redis_url
    if place == "redis":
        async with open_redis(deployment.redis_url) as client:
            yield RedisEntries(client)
    else:
        async with await psycopg.AsyncConnection.connect(url, **connection_options(url)) as connection:
            yield DatabaseEntries(connection)


def liquidation(at: datetime) -> Told:
    order = {
        "s": "SOLUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "116.5", "p": "3.80300", "ap": "3.85642",
        "X": "FILLED", "l": "25.2", "z": "116.5", "T": to_ms(at) - 1000, "st": 1,
    }  # fmt: skip
    event = {"e": "forceOrder", "E": to_ms(at), "o": order}
    return Told(json.dumps({"stream": "!forceOrder@arr", "data": event}).encode(), to_ms(at))


def old(client: redis_sync.Redis, ago: timedelta) -> None:
    """An entry that has waited so long."""
    seconds, _ = client.time()
    client.xadd(ENTRIES_KEY, {"frame": b"x", "received_ms": 1}, id=f"{seconds * 1000 - ago // MILLISECOND}-0")


# --- whether a stream runs


def test_where_no_stream_has_ever_run_one_is_missed_if_liquidations_are_wanted(deployment: Deployment) -> None:
    findings = look(deployment)
    assert levels(findings) == ["yellow", "green", "yellow"]
    assert "none runs, and none ever has" in findings["stream"].cause
    assert "0 entries wait in Redis" in findings["liquidations"].cause
    assert "not been listened to yet" in findings["listening"].cause
    for check in ("stream", "listening"):
        assert "stream_market" in findings[check].advice
    off = deployment.collection.stream.model_copy(update={"liquidations": False})
    unwanted = deployment.collection.model_copy(update={"stream": off})
    findings = look(deployment.model_copy(update={"collection": unwanted}))
    assert levels(findings) == ["green"] * 3
    assert "none runs, and none has" in findings["stream"].cause


async def test_a_stream_is_green_while_it_runs_and_red_when_it_has_ended(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming_module, "RENEW_EVERY_S", 0.5)
    async with streaming(deployment, "mine"):
        running = await until(deployment, lambda found: "lag" in found["stream"].cause)
        assert running["stream"].level is Level.GREEN, running["stream"].cause
        for part in ("mine streams since", "mark_price ", "last_price ", "2 connections, 0 times broken"):
            assert part in running["stream"].cause
        received = await until(deployment, lambda found: "0 entries wait in Redis" not in found["liquidations"].cause)
        assert received["liquidations"].level is Level.GREEN
    ended = await asyncio.to_thread(look, deployment)
    assert ended["stream"].level is Level.RED
    assert "none runs; mine wrote until" in ended["stream"].cause
    assert "python -m perpflow stream" in ended["stream"].advice


async def test_connections_that_break_are_yellow_for_an_hour(
    deployment: Deployment, venue: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming_module, "RENEW_EVERY_S", 0.5)
    async with streaming(deployment, "mine"):
        await until(deployment, lambda found: "lag" in found["stream"].cause)
        await asyncio.to_thread(venue.drop_streams)
        found = await until(deployment, lambda found: found["stream"].level is Level.YELLOW)
        assert "connections broke" in found["stream"].cause


async def test_a_stream_whose_exchange_has_gone_is_red(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_module, "RENEW_EVERY_S", 0.5)
    with ExitStack() as simulators:
        there = deployment.model_copy(update={"stream_url": simulators.enter_context(running(seed=7)).stream_url})
        async with streaming(there, "mine"):
            await until(there, lambda found: "lag" in found["stream"].cause)
            simulators.close()
            found = await until(there, lambda found: found["stream"].level is Level.RED)
    assert "no connection to the exchange: mine streams" in found["stream"].cause
    assert "last error: " in found["stream"].cause


def test_what_a_stream_has_said_last_is_kept_for_a_week_and_is_fresh_for_a_minute(
    deployment: Deployment, redis: redis_sync.Redis
) -> None:
    async def both() -> tuple[Any, Any]:
        assert deployment.redis_url
        async with open_redis(deployment.redis_url) as client:
            return await read_measures(client), await read_last_measures(client)

    redis.set(MEASURES_KEY, measures("mine"), px=int((KEPT_S - LASTS_S + 5) * 1000))
    fresh, last = asyncio.run(both())
    assert fresh == last.measures
    redis.pexpire(MEASURES_KEY, int((KEPT_S - LASTS_S - 5) * 1000))
    fresh, last = asyncio.run(both())
    assert fresh is None
    assert last.age.total_seconds() == pytest.approx(65, abs=2)


def measures(holder: str) -> bytes:
    return json.dumps(
        {
            "holder": holder, "at": 1, "began_at": 1, "frames_per_s": {}, "lag_ms": None, "write_ms": None,
            "connections": 2, "reconnects": 0, "stalls": 0, "dropped": 0, "waiting": 0, "liquidations": 0,
            "liquidations_waiting": 0,
        }
    ).encode()  # fmt: skip


def test_a_successor_that_has_not_spoken_yet_is_green_and_yellow_if_it_never_does(
    deployment: Deployment, redis: redis_sync.Redis
) -> None:
    async def take() -> None:
        assert deployment.redis_url
        async with open_redis(deployment.redis_url) as client:
            await Lease(client, "next").take()

    redis.set(MEASURES_KEY, measures("before"), px=int(KEPT_S * 1000))
    asyncio.run(take())
    # It goes on renewing it.
    redis.persist(LEASE_KEY)
    assert look(deployment)["stream"].level is Level.GREEN
    taken_at = int(redis.hget(LEASE_KEY, "taken_at"))  # type: ignore[arg-type]
    for ago_s, level in ((100, Level.YELLOW), (1000, Level.RED)):
        redis.hset(LEASE_KEY, "taken_at", str(taken_at - ago_s * 1000))
        found = look(deployment)["stream"]
        assert found.level is level
        assert "next holds the lease" in found.cause
        assert "A new stream takes over" in found.advice


def test_a_stream_that_the_ledger_alone_knows_of_is_missed(deployment: Deployment, venue: Handle) -> None:
    before = venue.now - timedelta(days=8)
    listen(deployment, Window(before - timedelta(hours=1), before))
    assert look(deployment)["stream"].level is Level.YELLOW
    listen(deployment, Window(before, venue.now - timedelta(hours=1)))
    found = look(deployment)["stream"]
    assert found.level is Level.RED
    assert "liquidations were listened to until 2026-10-15 11:34 UTC" in found.cause
    off = deployment.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:1/none"})
    unknown = look(off)
    assert levels(unknown) == ["yellow"] * 3
    assert "see database" in unknown["stream"].cause


@pytest.mark.parametrize(
    ("key", "damage", "said"),
    [
        (LEASE_KEY, lambda client, key: client.set(key, "text"), "another type"),
        (LEASE_KEY, lambda client, key: client.hset(key, mapping={"holder": "a", "token": "x"}), "'x'"),
        (
            LEASE_KEY,
            lambda client, key: client.hset(key, mapping={"holder": "a", "token": "1", "taken_at": "9" * 30}),
            "what no stream writes",
        ),
        (LEASE_KEY, lambda client, key: client.hset(key, mapping={"holder": b"\xff", "token": "1"}), "no stream"),
        (MEASURES_KEY, lambda client, key: client.set(key, "text"), "what no stream writes"),
        (MEASURES_KEY, lambda client, key: client.hset(key, "a", "b"), "another type"),
    ],
)
def test_what_no_stream_has_written_is_red_with_its_key_until_that_is_deleted(
    deployment: Deployment, redis: redis_sync.Redis, key: str, damage: Callable[[Any, str], Any], said: str
) -> None:
    damage(redis, key)
    found = look(deployment)["stream"]
    assert found.level is Level.RED
    assert f"Redis' key {key} holds " in found.cause
    assert said in found.cause
    assert f"redis-cli DEL {key}" in found.advice
    redis.delete(key)
    assert "none ever has" in look(deployment)["stream"].cause


# --- what waits to be drained


def test_what_waits_in_redis_is_told_by_number_and_age(deployment: Deployment, redis: redis_sync.Redis) -> None:
    assert backlog(deployment, "redis") == Backlog(0, timedelta(0))
    assert not redis.exists(ENTRIES_KEY)
    old(redis, timedelta(minutes=45))
    put(deployment, "redis", liquidation(datetime.now().astimezone()))
    waiting = backlog(deployment, "redis")
    assert waiting.entries == 2
    assert waiting.oldest.total_seconds() == pytest.approx(45 * 60, abs=5)
    found = look(deployment)["liquidations"]
    assert found.level is Level.YELLOW
    assert "2 entries wait in Redis (0% of the room), 0 in the database, the oldest for 45 min" in found.cause
    assert "ingest_liquidations" in found.advice


def test_what_a_batch_has_claimed_waits_until_it_is_published(
    deployment: Deployment, redis: redis_sync.Redis, venue: Handle
) -> None:
    old(redis, timedelta(hours=7))
    planned = pipeline.plan_drain(deployment, "drain", 300)
    assert look(deployment)["liquidations"].level is Level.RED
    for batch in planned.batches:
        run_batch(deployment, batch)
    assert look(deployment)["liquidations"].level is Level.GREEN


def test_what_waits_in_the_database_is_told_too(deployment: Deployment) -> None:
    assert backlog(deployment, "database") == Backlog(0, timedelta(0))
    put(deployment, "database", Listened(1, 2))
    assert backlog(deployment, "database") == Backlog(1, timedelta(0))
    received_at = datetime.now().astimezone() - timedelta(minutes=31)
    put(deployment, "database", liquidation(received_at))
    assert backlog(deployment, "database").oldest.total_seconds() == pytest.approx(31 * 60, abs=5)
    found = look(deployment)["liquidations"]
    assert found.level is Level.YELLOW
    assert "0 entries wait in Redis (0% of the room), 2 in the database, the oldest for 31 min" in found.cause


def test_room_that_fills_up_is_told_before_anything_is_lost(
    deployment: Deployment, redis: redis_sync.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perpflow.health.stream.MOST_ENTRIES", 8)
    for number, level in enumerate((Level.GREEN, Level.GREEN, Level.YELLOW, Level.YELLOW, Level.RED), 1):
        redis.xadd(ENTRIES_KEY, {"frame": b"x", "received_ms": number})
        assert look(deployment)["liquidations"].level is level
    assert received.MOST_ENTRIES == 400_000


def test_liquidations_that_were_lost_are_red_for_an_hour(deployment: Deployment) -> None:
    async def lose() -> None:
        assert deployment.redis_url
        counts = Counts()
        counts.count("liquidations.lost", 3)
        async with open_redis(deployment.redis_url) as client:
            await export_counts(client, counts)

    asyncio.run(lose())
    found = look(deployment)["liquidations"]
    assert found.level is Level.RED
    assert "3 were lost in the last hour" in found.cause


def test_a_key_of_another_type_is_red_with_its_name_until_it_is_deleted(
    deployment: Deployment, redis: redis_sync.Redis
) -> None:
    redis.set(ENTRIES_KEY, "text")
    findings = look(deployment)
    assert levels(findings) == ["yellow", "red", "red"]
    for check in ("liquidations", "listening"):
        assert f"Redis' key {ENTRIES_KEY} holds something of another type" in findings[check].cause
        assert f"redis-cli DEL {ENTRIES_KEY}" in findings[check].advice
    redis.delete(ENTRIES_KEY)
    assert levels(look(deployment)) == ["yellow", "green", "yellow"]


# --- when it listened


def test_minutes_of_the_last_day_that_nobody_listened_to_are_yellow(deployment: Deployment, venue: Handle) -> None:
    minute = venue.now.replace(second=0, microsecond=0)
    until = venue.now - timedelta(minutes=1)
    listen(deployment, Window(minute - timedelta(days=2), until))
    found = look(deployment)["listening"]
    assert found.level is Level.GREEN
    assert found.cause.startswith("all of 1,43")
    with session(deployment.database_url) as connection:
        connection.execute("UPDATE coverage SET listening = listening - %s", [_hole(minute)])
    found = look(deployment)["listening"]
    assert found.level is Level.YELLOW
    assert "were listened to, not 2026-10-15 12:04 to 12:07" in found.cause
    # A ledger that holds liquidations is none of freshness' business: minutes without any are usual.
    fresh = [finding for finding in look(deployment).values() if finding.check == "freshness"]
    assert [finding.subject for finding in fresh] == list(DATASETS)


def _hole(minute: datetime) -> Any:
    """Nearly two minutes, half an hour ago: it touches three."""
    begins = minute - timedelta(minutes=30)
    return to_multirange([Window(begins + timedelta(seconds=3), begins + timedelta(minutes=2, seconds=1))])


def test_of_what_is_not_drained_yet_nothing_is_said(
    deployment: Deployment, redis: redis_sync.Redis, venue: Handle
) -> None:
    drained = venue.now.replace(second=0, microsecond=0) - timedelta(minutes=10)
    listen(deployment, Window(drained - timedelta(hours=1), drained + timedelta(seconds=40)))
    assert look(deployment)["listening"].level is Level.YELLOW
    old(redis, timedelta(minutes=10, seconds=15))
    found = look(deployment)["listening"]
    assert found.level is Level.GREEN
    assert "(2026-10-15 11:24 to 12:24)" in found.cause


def test_what_is_switched_off_is_not_missed(deployment: Deployment, venue: Handle) -> None:
    listen(deployment, Window(venue.now - timedelta(hours=5), venue.now - timedelta(hours=4)))
    assert look(deployment)["listening"].level is Level.YELLOW
    stream_off = deployment.collection.stream.model_copy(update={"liquidations": False})
    off = deployment.collection.model_copy(update={"stream": stream_off})
    assert look(deployment.model_copy(update={"collection": off}))["listening"].level is Level.GREEN


# --- a Redis that does not let us in


@contextmanager
def another_user(client: redis_sync.Redis, *rights: str) -> Iterator[str]:
    """A user of Redis with some rights, as `name:password`."""
    client.execute_command("ACL", "SETUSER", "guest", "on", ">secret", *rights)
    try:
        yield "guest:secret"
    finally:
        client.execute_command("ACL", "DELUSER", "guest")


@pytest.mark.parametrize("account", ["guest:wrong", "guest:secret"])
def test_a_redis_that_does_not_let_us_in_is_red_with_what_to_look_at(
    deployment: Deployment, redis: redis_sync.Redis, account: str
) -> None:
    assert deployment.redis_url
    parts = urlsplit(deployment.redis_url)
    url = urlunsplit(parts._replace(netloc=f"{account}@{parts.netloc.rpartition('@')[2]}"))
    exchange = deployment.collection.exchange.model_copy(update={"rate_share": 0.5})
    alone = deployment.collection.model_copy(update={"exchange": exchange})
    with another_user(redis, "~*", "+select", "+ping"):
        findings = look(deployment.model_copy(update={"redis_url": url, "collection": alone}))
    assert findings["redis"].level is Level.RED
    assert findings["redis"].cause.startswith("Redis does not let us in: ")
    assert "PERPFLOW_REDIS_URL" in findings["redis"].advice
    assert "secret" not in str(findings)
    assert levels(findings) == ["yellow"] * 3
    assert {finding.cause for finding in findings.values() if finding.check in CHECKS} == {"not known: see redis"}
