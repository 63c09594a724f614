"""Open sessions with the exchange, as a deployment is configured.

What a process has spent it remembers between its sessions; what all have spent stands in Redis, where there is one.
What it counts goes there too, every few seconds and at the end of every use case.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache, partial
from urllib.parse import urlsplit

from redis.asyncio import Redis

from perpflow.exchange.archive import Archive
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.rest import Rest
from perpflow.exchange.retry_policy import Retry
from perpflow.exchange.shared_budget import SharedBudget
from perpflow.exchange.weight_budget import Share, WeightBudget
from perpflow.settings import Deployment
from perpflow.store.cache import export_counts, exporting_counts, open_redis

log = logging.getLogger(__name__)


@cache
def process_budget(host: str, processes: int) -> WeightBudget:
    """This process's budget at a host. One for the process: what one session has spent, the next one must know."""
    return WeightBudget(processes)


@cache
def _warn_of_no_redis(processes: int) -> None:
    log.warning(
        "No Redis is known: each process keeps to 1/%d of the share of the exchange's limits, and knows of no ban but "
        "its own. Set PERPFLOW_REDIS_URL, or the connection perpflow_redis.",
        processes,
    )


@asynccontextmanager
async def _limiters(deployment: Deployment, live: bool) -> AsyncIterator[Callable[[str], Limiter]]:
    """Makes the limiter of a host, which all processes on this address share through Redis."""
    settings = deployment.collection.exchange
    share = Share(settings.rate_share, settings.live_reserve, live)

    def limiter_for(host: str, redis: Redis | None = None) -> Limiter:
        shared = None if redis is None else SharedBudget(redis, settings.egress, host)
        return Limiter(host, share=share, local=process_budget(host, settings.processes), shared=shared)

    if deployment.redis_url is None:
        _warn_of_no_redis(settings.processes)
        yield limiter_for
        return
    async with open_redis(deployment.redis_url) as redis, exporting_counts(redis):
        yield partial(limiter_for, redis=redis)


@asynccontextmanager
async def exchange_sessions(deployment: Deployment, *, live: bool) -> AsyncIterator[tuple[Rest, Archive]]:
    """Open sessions with REST and archive; `live` work may use the reserve that backfill leaves."""
    settings = deployment.collection.exchange
    retry = Retry(settings.attempts)
    async with (
        _limiters(deployment, live) as limiter_for,
        Rest(
            deployment.rest_url,
            limiter=limiter_for(urlsplit(deployment.rest_url).netloc),
            concurrency=settings.rest_concurrency,
            timeout_s=settings.timeout_s,
            proxy=settings.proxy,
            retry=retry,
        ) as rest,
        Archive(
            deployment.archive_url,
            concurrency=settings.archive_concurrency,
            connect_timeout_s=settings.connect_timeout_s,
            read_timeout_s=settings.timeout_s,
            proxy=settings.proxy,
            limiter_for=limiter_for,
            retry=retry,
        ) as archive,
    ):
        yield rest, archive


@contextmanager
def counts_exported(deployment: Deployment) -> Iterator[None]:
    """Around a use case without a session with the exchange: what was counted goes to Redis at its end."""
    try:
        yield
    finally:
        if deployment.redis_url is not None:
            asyncio.run(_export(deployment.redis_url))


async def _export(redis_url: str) -> None:
    async with open_redis(redis_url) as redis:
        await export_counts(redis)
