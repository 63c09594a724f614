"""What checks look at: a deployment, and open sessions that try once and not for long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from psycopg.conninfo import make_conninfo
from redis.asyncio import Redis

from perpflow.errors import BadConfiguration
from perpflow.exchange.archive import Archive
from perpflow.exchange.rest import Rest
from perpflow.exchange.shared_budget import AddressState, read_state
from perpflow.health.shared_state import require_sound
from perpflow.monitoring import HealthSettings
from perpflow.sessions import exchange_sessions
from perpflow.settings import Deployment
from perpflow.store.cache import open_redis
from perpflow.store.database import address_of

#: Who asks how things are wants to know now: a host that takes this long is as good as away.
PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a check may ask. `redis` is None where the deployment knows of none."""

    deployment: Deployment
    rest: Rest
    archive: Archive
    redis: Redis | None

    @property
    def limits(self) -> HealthSettings:
        """What is yellow and red."""
        return self.deployment.collection.health

    async def states(self) -> list[AddressState]:
        """How this address stands with each host that is asked, REST's first; none without Redis.

        Raises:
            StateDamaged: what Redis holds of a host is nothing that processes write.
            redis.RedisError: Redis does not answer.
        """
        if self.redis is None:
            return []
        egress = self.deployment.collection.exchange.egress
        hosts = dict.fromkeys((urlsplit(self.deployment.rest_url).netloc, *self.archive.hosts))
        for host in hosts:
            await require_sound(self.redis, egress, host)
        return [await read_state(self.redis, egress, host) for host in hosts]


@asynccontextmanager
async def surroundings(deployment: Deployment) -> AsyncIterator[Surroundings]:
    """Open sessions for one examination; they connect when first asked.

    Raises:
        BadConfiguration: Redis' URL is none.
    """
    deployment = _impatient(deployment)
    async with AsyncExitStack() as stack:
        redis = None
        if deployment.redis_url is not None:
            redis = await stack.enter_async_context(open_redis(deployment.redis_url))
        rest, archive = await stack.enter_async_context(exchange_sessions(deployment, live=True))
        yield Surroundings(deployment, rest, archive, redis)


def _impatient(deployment: Deployment) -> Deployment:
    configured = deployment.collection.exchange
    url = impatient_database(deployment.database_url)
    waits = {name: min(getattr(configured, name), PATIENCE_S) for name in ("timeout_s", "connect_timeout_s")}
    exchange = configured.model_copy(update={"attempts": 1, **waits})
    collection = deployment.collection.model_copy(update={"exchange": exchange})
    return deployment.model_copy(update={"collection": collection, "database_url": url})


def impatient_database(url: str) -> str:
    """The same database, for sessions that wait neither for a server that is away nor for a lock."""
    try:
        said = address_of(url)
    except BadConfiguration:
        # The check of the database says so.
        return url
    options = f"{said.get('options', '')} -c statement_timeout={PATIENCE_S:.0f}s".lstrip()
    return make_conninfo(url, connect_timeout=said.get("connect_timeout", int(PATIENCE_S)), options=options)
