"""How the stream is: what its writer says of itself in Redis every few seconds, for whoever looks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import msgspec
from redis.asyncio import Redis

from perpflow.errors import StateDamaged
from perpflow.store.cache import damage_named

MEASURES_KEY = "perpflow:stream:measures"
#: A stream that has said nothing for so long is none.
LASTS_S = 60.0
#: What it has said last is kept for whoever asks why there is none.
KEPT_S = 7 * 86_400.0


class StreamMeasures(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream measures of itself; counts are since its beginning, rates over the last few seconds.

    `at` is this machine's clock (ms UTC). `lag_ms` is from an event's time on the exchange's clock to Redis, `write_ms`
    from the receipt of its frame, each as (median, 95th percentile) of the slowest value in each write; None where
    nothing was written. `waiting` are frames that have arrived, `liquidations_waiting` entries that are nowhere but in
    the stream's memory.
    """

    holder: str
    at: int
    began_at: int
    frames_per_s: dict[str, float]
    lag_ms: tuple[float, float] | None
    write_ms: tuple[float, float] | None
    connections: int
    reconnects: int
    stalls: int
    dropped: int
    waiting: int
    liquidations: int
    liquidations_waiting: int
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class LastMeasures:
    """What a stream has said last, and how long ago by Redis' clock."""

    measures: StreamMeasures
    age: timedelta

    @property
    def is_fresh(self) -> bool:
        """Whether the stream that has said it may still be there."""
        return self.age <= timedelta(seconds=LASTS_S)


_DECODER = msgspec.json.Decoder(StreamMeasures)


async def write_measures(redis: Redis, measures: StreamMeasures) -> None:
    """Say how it is now.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    await redis.set(MEASURES_KEY, msgspec.json.encode(measures), px=int(KEPT_S * 1000))


async def read_measures(redis: Redis) -> StreamMeasures | None:
    """What the stream has said lately; None where there is none.

    Raises:
        redis.RedisError: Redis does not answer.
        StateDamaged: the key holds something else.
    """
    last = await read_last_measures(redis)
    return last.measures if last is not None and last.is_fresh else None


async def read_last_measures(redis: Redis) -> LastMeasures | None:
    """What a stream has said last; None where none has said anything for a week.

    Raises: as `read_measures`.
    """
    with damage_named(MEASURES_KEY):
        async with redis.pipeline() as pipeline:
            pipeline.get(MEASURES_KEY)
            pipeline.pttl(MEASURES_KEY)
            found, left_ms = await pipeline.execute()
    if found is None:
        return None
    try:
        return LastMeasures(_DECODER.decode(found), timedelta(milliseconds=KEPT_S * 1000 - left_ms))
    except msgspec.DecodeError as error:
        raise StateDamaged(MEASURES_KEY, f"what no stream writes ({error})") from error
