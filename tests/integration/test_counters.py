"""Counters in a real Redis: what a load did, once, whoever asks again, and nothing lost while Redis is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis as redis_sync
from redis.asyncio import Redis

from perpflow import pipeline, publishing
from perpflow.counters import COUNTS, Counts
from perpflow.settings import Deployment
from perpflow.store.cache import (
    MINUTES_KEPT,
    TOTALS_KEY,
    export_counts,
    exporting_counts,
    minute_key,
    open_redis,
    read_counts,
    this_minute,
)
from perpflow.store.database import session
from simulator.process import Handle
from tests.loading import deployment_of, load, request, rows, run_batch

RANGE = ("2026-10-09", "2026-10-11")


@pytest.fixture
def own_redis_url(redis_url: str) -> Iterator[str]:
    """A database of the session's Redis that only this test writes to."""
    url = urlunsplit(urlsplit(redis_url)._replace(path="/7"))
    with redis_sync.Redis.from_url(url) as client:
        client.flushdb()
        COUNTS.take("redis")
        yield url
        client.flushdb()


@pytest.fixture
async def redis(own_redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(own_redis_url) as client:
        yield client


@pytest.fixture
def deployment(empty_database_url: str, exchange: Handle, own_redis_url: str) -> Deployment:
    return deployment_of(empty_database_url, exchange).model_copy(update={"redis_url": own_redis_url})


def totals(url: str) -> dict[str, int]:
    with redis_sync.Redis.from_url(url) as client:
        return {name.decode(): int(amount) for name, amount in client.hgetall(TOTALS_KEY).items()}


def logged(deployment: Deployment) -> dict[str, int]:
    """The load log's sums under the counters' names."""
    log = Counter[str]()
    with session(deployment.database_url) as connection:
        for dataset, *fates in rows(
            connection, "SELECT dataset, inserted, updated, unchanged, quarantined FROM data_versions"
        ):
            log.update(dict(zip((f"rows.{dataset}.{fate}" for fate in publishing.FATES), fates, strict=True)))
        for dataset, kind, times in rows(
            connection, "SELECT dataset, key, value::bigint FROM data_versions, jsonb_each_text(normalised)"
        ):
            log[f"normalised.{dataset}.{kind}"] += times
    return {name: amount for name, amount in log.items() if amount}


def of_rows(counted: dict[str, int]) -> dict[str, int]:
    return {name: amount for name, amount in counted.items() if name.startswith(("rows.", "normalised."))}


def test_the_counters_of_a_load_are_those_of_the_load_log_and_of_what_the_exchange_was_asked(
    deployment: Deployment, exchange: Handle, own_redis_url: str
) -> None:
    exchange.clear_requests()
    load(deployment, request("counted", *RANGE))
    counted = totals(own_redis_url)
    assert of_rows(counted) == logged(deployment)
    assert {name for name in counted if name.startswith("normalised.")} != set()
    asked = sum(amount for name, amount in counted.items() if name.startswith("requests."))
    assert asked == exchange.requests()["total"]


def test_what_is_published_already_is_not_counted_again(deployment: Deployment, own_redis_url: str) -> None:
    planned = pipeline.plan(deployment, request("once", *RANGE, datasets=("funding_rate",)))
    (batch,) = planned.batches
    first = run_batch(deployment, batch)
    assert pipeline.publish(deployment, batch) == first
    assert of_rows(totals(own_redis_url)) == logged(deployment)


async def test_counters_stand_in_the_minute_they_were_exported_in_for_two_hours(redis: Redis) -> None:
    counts = Counts()
    counts.count("requests.klines", 3)
    before = this_minute()
    await export_counts(redis, counts)
    written = [minute for minute in range(before, this_minute() + 1) if await redis.exists(minute_key(minute))]
    assert len(written) == 1
    assert 0 < await redis.ttl(minute_key(written[0])) <= MINUTES_KEPT * 60
    assert await read_counts(redis, 5) == {"requests.klines": 3}


async def test_minutes_that_have_passed_are_not_read(redis: Redis) -> None:
    now = this_minute()
    for minute in (now - 1, now - 30, now - 90):
        await redis.hincrby(minute_key(minute), "retries", 1)
    assert await read_counts(redis, 10) == {"retries": 1}
    assert await read_counts(redis, 60) == {"retries": 2}


async def test_counters_reach_redis_while_a_long_stage_still_runs(redis: Redis) -> None:
    counts = Counts()
    async with asyncio.timeout(10), exporting_counts(redis, counts, every_s=0.01):
        counts.count("weight", 2)
        while await redis.hget(TOTALS_KEY, "weight") is None:
            await asyncio.sleep(0)
        counts.count("weight", 5)
    assert await redis.hget(TOTALS_KEY, "weight") == b"7"


async def test_what_is_counted_during_the_last_export_is_exported_too(redis: Redis) -> None:
    counts = Counts()
    for number in range(1, 51):
        async with exporting_counts(redis, counts, every_s=0):
            counts.count("weight")
            # As far as the exporter gets in so many turns of the loop: it ends at all points of an export.
            for _ in range(number):
                await asyncio.sleep(0)
            counts.count("weight")
        assert await redis.hget(TOTALS_KEY, "weight") == str(2 * number).encode()


async def test_what_is_counted_while_redis_is_away_is_exported_when_it_is_back(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    counts = Counts()
    counts.count("retries", 4)
    async with open_redis("redis://127.0.0.1:1/0") as nobody:
        await export_counts(nobody, counts)
    assert "Redis does not take the counters now" in caplog.text
    counts.count("retries")
    await export_counts(redis, counts)
    await export_counts(redis, counts)
    assert await redis.hget(TOTALS_KEY, "retries") == b"5"
