"""Who writes the live values: the lease of the stream, in Redis, with a fencing token.

Whoever takes the lease gets a token greater than all before, and from then on whatever an earlier holder still writes
is refused. It is taken, not waited for: a successor takes it when it has received frames itself, so that between two
streams nothing is missed, and a holder that hangs holds nobody up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis.asyncio import Redis

from perpflow.errors import StateDamaged
from perpflow.include import redis_script
from perpflow.store.cache import damage_named
from perpflow.windows import from_ms

LEASE_KEY = "perpflow:stream:lease"
TOKEN_KEY = f"{LEASE_KEY}:token"
#: A lease that nobody renews is nobody's after this: for whoever looks on, not for the next holder, who need not wait.
LASTS_S = 15.0


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lease, with which token, since when."""

    name: str
    token: int
    since: datetime | None


class Lease:
    """One stream's claim to write.

    Args:
        name: for people: host, process, run.
    """

    def __init__(self, redis: Redis, name: str) -> None:
        self.name = name
        self.token = 0
        self._take = redis.register_script(redis_script("lease_take"))
        self._renew = redis.register_script(redis_script("lease_renew"))
        self._release = redis.register_script(redis_script("lease_release"))

    async def take(self) -> int:
        """Become the one that writes; returns the token.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        self.token = int(await self._take([LEASE_KEY], [self.name, int(LASTS_S * 1000)]))
        return self.token

    async def renew(self) -> bool:
        """Whether it is still ours; then it is for another while.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        return bool(await self._renew([LEASE_KEY], [self.token, self.name, int(LASTS_S * 1000)]))

    async def release(self) -> None:
        """Give it up, so that whoever looks sees at once that nobody writes.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        await self._release([LEASE_KEY], [self.token])


async def holder(redis: Redis) -> Holder | None:
    """Who holds the lease now; None where nobody does.

    Raises:
        redis.RedisError: Redis does not answer.
        StateDamaged: the key holds no lease.
    """
    with damage_named(LEASE_KEY):
        found: list[Any] = await redis.hmget(LEASE_KEY, ["holder", "token", "taken_at"])
    name, token, taken_at = found
    if name is None or token is None:
        return None
    try:
        return Holder(name.decode(), int(token), from_ms(int(taken_at)) if taken_at else None)
    except (ValueError, OverflowError) as error:
        raise StateDamaged(LEASE_KEY, f"what no stream writes ({error})") from error
