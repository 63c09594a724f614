"""Redis: limits that processes share, counters, and later what is live.

A client that gives up soon: whoever asks has something to fall back on, and must not stand still while Redis is away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from perpflow.errors import BadConfiguration

#: Redis answers within a millisecond; what takes this long is away.
TIMEOUT_S = 2.0


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
    except (ValueError, RedisError) as error:
        # Without the library's words: they may quote the address, password and all.
        raise BadConfiguration(
            "Redis' address is not valid.",
            hint="Set PERPFLOW_REDIS_URL, or the connection perpflow_redis, to one such as redis://host:6379/0.",
        ) from error
    async with client:
        yield client
