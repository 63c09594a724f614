"""The latest values of each contract, in Redis: `perpflow:latest:<symbol>`, and every change on `perpflow:live`.

A value is a msgpack map of groups, each with its event time `at` and its receipt `received_at` (ms): `price` (last
trade), `mark` (mark and index price, funding to come) and `open_interest`. A group is replaced whole, never by an older
one, and never by a stream that has lost the lease. What nobody renews expires, each group by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from redis.asyncio import Redis

from perpflow.include import redis_script
from perpflow.store.lease import TOKEN_KEY

CHANNEL = "perpflow:live"
#: A price that is older than this is none.
EXPIRES_S = 120.0


class LastPrice(msgspec.Struct, frozen=True, gc=False):
    """Price of the last trade, in quote per base."""

    at: int
    received_at: int
    price: float


class Mark(msgspec.Struct, frozen=True, gc=False):
    """Mark and index price in quote per base; the funding rate that the next settlement has if nothing changes."""

    at: int
    received_at: int
    mark_price: float
    index_price: float
    next_funding_at: int = 0
    #: None for contracts without funding; Lua drops what is nil.
    funding_rate: float | None = None


class OpenInterest(msgspec.Struct, frozen=True, gc=False):
    """Open interest in base."""

    at: int
    received_at: int
    open_interest: float


class Latest(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is known now of a contract. Times are ms UTC: `at` the exchange's, `received_at` this machine's."""

    symbol: str
    price: LastPrice | None = None
    mark: Mark | None = None
    open_interest: OpenInterest | None = None


class FencedOff(Exception):
    """A later stream has taken the lease."""


@dataclass(frozen=True, slots=True)
class Written:
    """How many groups of values were taken, and how many were older than what was there."""

    taken: int
    older: int


_DECODER = msgspec.msgpack.Decoder(Latest)


def latest_key(symbol: str) -> str:
    """Where the latest values of a contract are."""
    return f"perpflow:latest:{symbol}"


def decode_latest(packed: bytes) -> Latest:
    """A value of `perpflow:latest:<symbol>`, or a message of `perpflow:live`.

    Raises:
        msgspec.DecodeError: it was written by nobody of ours.
    """
    return _DECODER.decode(packed)


class LatestValues:
    """Writes them.

    Args:
        redis: the connection; whoever opened it closes it.
        expires_s: how long a value stands that nobody renews.
    """

    def __init__(self, redis: Redis, expires_s: float = EXPIRES_S) -> None:
        self._expires_ms = int(expires_s * 1000)
        self._write = redis.register_script(redis_script("latest_write"))

    async def write(self, token: int, news: Mapping[str, Latest]) -> Written:
        """Merge news by symbol into what is there, all in one step.

        Args:
            token: the lease's.

        Raises:
            FencedOff: a later stream has taken the lease; nothing was written.
            redis.RedisError: Redis does not answer.
        """
        keys = [TOKEN_KEY, *map(latest_key, news)]
        packed = (msgspec.msgpack.encode(value) for value in news.values())
        taken, *older = await self._write(keys, [token, self._expires_ms, CHANNEL, *packed])
        if taken < 0:
            raise FencedOff
        return Written(taken, older[0])
