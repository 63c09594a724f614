"""Redis: limits that processes share, counters, and what is live.

A client that gives up soon: whoever asks has something to fall back on, and must not stand still while Redis is away.

Counters of all processes together are in the hash `perpflow:counters`, and those of the last two hours by minute in
`perpflow:counters:<minutes since the epoch>`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from perpflow.cancelling import cancelled
from perpflow.counters import COUNTS, Counts
from perpflow.errors import BadConfiguration, StateDamaged
from perpflow.seldom import Seldom

log = logging.getLogger(__name__)

#: Redis answers within a millisecond; what takes this long is away.
TIMEOUT_S = 2.0
#: The hash of all that was ever counted.
TOTALS_KEY = "perpflow:counters"
MINUTES_KEPT = 120
# What a task that is killed may lose.
EXPORT_EVERY_S = 3.0
LAST_EXPORT_S = 1.0


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[redis_asyncio.Redis]:
    """An asynchronous client; it connects when first asked, so a server that is away is no error here.

    Raises:
        BadConfiguration: the URL is none that Redis clients read.
    """
    # Once more, at once: a connection from before a restart of the server fails, the next one need not.
    once_more = Retry(NoBackoff(), 1)
    try:
        client = redis_asyncio.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=once_more
        )
        # Options that it does not know are refused no sooner; this connects to nothing.
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError, RedisError) as error:
        # Without the library's words: they may quote the address, password and all.
        raise BadConfiguration(
            "Redis' address is not valid.",
            hint="Set PERPFLOW_REDIS_URL, or the connection perpflow_redis, to one such as redis://host:6379/0.",
        ) from error
    async with client:
        yield client


def minute_key(minute: int) -> str:
    """The hash of what was counted in a minute since the epoch."""
    return f"{TOTALS_KEY}:{minute}"


def this_minute() -> int:
    """The number of the current minute since the epoch."""
    return int(time.time()) // 60


async def export_counts(
    redis: redis_asyncio.Redis, counts: Counts = COUNTS, warn: Callable[..., None] = log.warning
) -> None:
    """Add what is new to the totals and to the current minute; what Redis does not take is kept for the next time.

    An answer that gets lost on its way makes the next export count the same once more: rather too much than too little.
    """
    news = counts.take("redis")
    if not news:
        return
    minute = minute_key(this_minute())
    try:
        async with redis.pipeline() as pipeline:
            for name, amount in news.items():
                pipeline.hincrby(TOTALS_KEY, name, amount)
                pipeline.hincrby(minute, name, amount)
            pipeline.expire(minute, MINUTES_KEPT * 60)
            await pipeline.execute()
    except (RedisError, OSError) as error:
        counts.give_back("redis", news)
        warn("Redis does not take the counters now (%s); they are kept for the next time.", error)
    except asyncio.CancelledError:
        counts.give_back("redis", news)
        raise


@asynccontextmanager
async def exporting_counts(
    redis: redis_asyncio.Redis, counts: Counts = COUNTS, every_s: float = EXPORT_EVERY_S
) -> AsyncIterator[None]:
    """Export every few seconds meanwhile, and once more at the end, so that a process that is killed loses seconds."""
    ended = asyncio.Event()
    exporter = asyncio.create_task(_export_until(ended, redis, counts, every_s))
    try:
        yield
    finally:
        ended.set()
        # A server that hangs must not keep from ending whoever was told to.
        await asyncio.wait({exporter}, timeout=LAST_EXPORT_S)
        if not exporter.done():
            await cancelled([exporter])


async def _export_until(ended: asyncio.Event, redis: redis_asyncio.Redis, counts: Counts, every_s: float) -> None:
    seldom = Seldom(log)
    while not ended.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), every_s)
        await export_counts(redis, counts, seldom.warning)
    # What was counted while the last export was under way.
    await export_counts(redis, counts, seldom.warning)


async def read_counts(redis: redis_asyncio.Redis, minutes: int) -> Counter[str]:
    """What all processes counted in the last minutes, the current one included.

    Raises:
        redis.RedisError: Redis does not answer.
        StateDamaged: what it holds are no counts.
    """
    now = this_minute()
    keys = [minute_key(minute) for minute in range(now - minutes + 1, now + 1)]
    async with redis.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.hgetall(key)
        found = await pipeline.execute(raise_on_error=False)
    counted = Counter[str]()
    for key, fields in zip(keys, found, strict=True):
        counted.update(_counts_of(key, fields))
    return counted


def _counts_of(key: str, fields: Any) -> dict[str, int]:
    if isinstance(fields, RedisError):
        if is_wrong_type(fields):
            raise StateDamaged(key, "something of another type") from fields
        raise fields
    try:
        return {name.decode(): int(amount) for name, amount in fields.items()}
    except ValueError as error:
        raise StateDamaged(key, f"what is no count ({error})") from error


def not_let_in(error: RedisError) -> BadConfiguration:
    """The error for a user: Redis answers, and does not accept who asks, or what that one asks for."""
    return BadConfiguration(
        f"Redis does not let us in: {str(error).rstrip('.')}.",
        hint="Look at user and password in PERPFLOW_REDIS_URL, or in the connection perpflow_redis.",
    )


@contextmanager
def damage_named(key: str) -> Iterator[None]:
    """Around commands about one key.

    Raises:
        StateDamaged: it holds another type than the commands are for.
    """
    try:
        yield
    except ResponseError as error:
        if is_wrong_type(error):
            raise StateDamaged(key, "something of another type") from error
        raise


def is_wrong_type(error: RedisError) -> bool:
    """Whether Redis says that a key holds another type than the command is for."""
    # A script says it in the middle of its message.
    return "WRONGTYPE" in str(error)
