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

from perpflow.errors import BadConfiguration
from perpflow.exchange import answering
from perpflow.exchange.archive import Archive
from perpflow.exchange.feed import LONGEST_PAUSE_S
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.rest import Rest
from perpflow.exchange.retry_policy import Retry
from perpflow.exchange.shared_budget import SharedBudget
from perpflow.exchange.weight_budget import LONGEST_OPEN_S, Share, WeightBudget
from perpflow.settings import Deployment
from perpflow.store.cache import export_counts, exporting_counts, open_redis

log = logging.getLogger(__name__)


@cache
def process_budget(host: str, processes: int, longest_open_s: float = LONGEST_OPEN_S) -> WeightBudget:
    """This process's budget at a host. One for the process: what one session has spent, the next one must know."""
    return WeightBudget(processes, longest_open_s=longest_open_s)


@cache
def _warn_of_no_redis(processes: int) -> None:
    log.warning(
        "No Redis is known: each process keeps to 1/%d of the share of the exchange's limits, and knows of no ban but "
        "its own. Set PERPFLOW_REDIS_URL, or the connection perpflow_redis.",
        processes,
    )


@asynccontextmanager
async def _limiters(deployment: Deployment, live: bool) -> AsyncIterator[Callable[..., Limiter]]:
    """Makes the limiter of a host, which all processes on this address share through Redis."""
    settings = deployment.collection.exchange
    share = Share(settings.rate_share, settings.live_reserve, live)

    def limiter_for(host: str, longest_open_s: float = LONGEST_OPEN_S, redis: Redis | None = None) -> Limiter:
        shared = None if redis is None else SharedBudget(redis, settings.egress, host, longest_open_s)
        local = process_budget(host, settings.processes, longest_open_s)
        return Limiter(host, share=share, local=local, shared=shared)

    if deployment.redis_url is None:
        _warn_of_no_redis(settings.processes)
        yield limiter_for
        return
    async with open_redis(deployment.redis_url) as redis, exporting_counts(redis):
        yield partial(limiter_for, redis=redis)


def _rest(deployment: Deployment, limiter_for: Callable[[str], Limiter]) -> Rest:
    settings = deployment.collection.exchange
    return Rest(
        deployment.rest_url,
        limiter=limiter_for(urlsplit(deployment.rest_url).netloc),
        concurrency=settings.rest_concurrency,
        timeout_s=settings.timeout_s,
        proxy=settings.proxy,
        retry=Retry(settings.attempts),
    )


@asynccontextmanager
async def exchange_sessions(deployment: Deployment, *, live: bool) -> AsyncIterator[tuple[Rest, Archive]]:
    """Open sessions with REST and archive; `live` work may use the reserve that backfill leaves."""
    settings = deployment.collection.exchange
    async with (
        _limiters(deployment, live) as limiter_for,
        _rest(deployment, limiter_for) as rest,
        Archive(
            deployment.archive_url,
            concurrency=settings.archive_concurrency,
            connect_timeout_s=settings.connect_timeout_s,
            read_timeout_s=settings.timeout_s,
            proxy=settings.proxy,
            limiter_for=limiter_for,
            retry=Retry(settings.attempts),
        ) as archive,
    ):
        yield rest, archive


@asynccontextmanager
async def stream_session(deployment: Deployment) -> AsyncIterator[tuple[Rest, Limiter, Redis, Redis]]:
    """What a stream needs: REST, still to be opened, the limiter of the streams' host, and Redis, for values and for
    liquidations.

    These two do not share connections: what is closed or waits for one must not hold up the other.

    Raises:
        BadConfiguration: no Redis is known, which is where live values go.
    """
    if deployment.redis_url is None:
        raise BadConfiguration(
            "no Redis is known, which is where live values go.",
            hint="Run `python -m perpflow services start`, or set PERPFLOW_REDIS_URL.",
        )
    async with (
        _limiters(deployment, live=True) as limiter_for,
        open_redis(deployment.redis_url) as redis,
        open_redis(deployment.redis_url) as keeping_redis,
    ):
        # What passes while nobody listens is gone: a host that is back must be noticed soon.
        limiter = limiter_for(urlsplit(deployment.stream_url).netloc, longest_open_s=LONGEST_PAUSE_S)
        rest = _rest(deployment, limiter_for)
        try:
            yield rest, limiter, redis, keeping_redis
        finally:
            await rest.close()


async def require_answer(deployment: Deployment) -> None:
    """Ask the exchange once, within the limits of everybody.

    Raises:
        Transient, Permanent: as `answering.require_answer`.
    """
    settings = deployment.collection.exchange
    async with _limiters(deployment, live=True) as limiter_for:
        limiter = limiter_for(urlsplit(deployment.rest_url).netloc)
        await answering.require_answer(
            deployment.rest_url, limiter, proxy=settings.proxy, timeout_s=settings.connect_timeout_s
        )


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
