"""How the stream is: what its writer says of itself in Redis every few seconds, for whoever looks."""

from __future__ import annotations

import msgspec
from redis.asyncio import Redis

from perpflow.errors import StateDamaged

MEASURES_KEY = "perpflow:stream:measures"
#: A stream that has said nothing for so long is none.
LASTS_S = 60.0


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


_DECODER = msgspec.json.Decoder(StreamMeasures)


async def write_measures(redis: Redis, measures: StreamMeasures) -> None:
    """Say how it is now.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    await redis.set(MEASURES_KEY, msgspec.json.encode(measures), px=int(LASTS_S * 1000))


async def read_measures(redis: Redis) -> StreamMeasures | None:
    """What the stream has said lately; None where there is none.

    Raises:
        redis.RedisError: Redis does not answer.
        StateDamaged: the key holds something else.
    """
    found = await redis.get(MEASURES_KEY)
    try:
        return None if found is None else _DECODER.decode(found)
    except msgspec.DecodeError as error:
        raise StateDamaged(MEASURES_KEY, f"what no stream writes ({error})") from error
