"""For whoever uses what Perpflow collects: `from perpflow import reader; reader.latest("SOL/USDT")`.

Redis is asked at the address of `PERPFLOW_REDIS_URL`, the market database at that of `PERPFLOW_DATABASE_URL`, or both
wherever the caller says.
"""

from __future__ import annotations

import os
from datetime import datetime
from functools import cache

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from perpflow.errors import BadConfiguration, StateDamaged, StoreUnavailable
from perpflow.store import verification
from perpflow.store.cache import damage_named
from perpflow.store.database import session
from perpflow.store.latest import Latest, decode_latest, latest_key

# Redis answers within a millisecond; what takes this long is away.
_TIMEOUT_S = 2.0
# A connection from before a restart of the server fails, the next one need not; a server that hangs will go on hanging.
_ONCE_MORE = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))


def latest(symbol: str, redis_url: str | None = None) -> Latest | None:
    """The latest values of a contract such as `SOL/USDT`; None where nothing was streamed in the last two minutes.

    Raises:
        BadConfiguration: no Redis is known.
        StoreUnavailable: it does not answer.
        StateDamaged: what it holds is nothing that a stream writes.
    """
    client, key = _client(redis_url or os.environ.get("PERPFLOW_REDIS_URL") or ""), latest_key(symbol)
    try:
        with damage_named(key):
            found = client.get(key)
        return decode_latest(found) if isinstance(found, bytes) else None
    except msgspec.DecodeError as error:
        raise StateDamaged(key, f"what no stream writes ({error})") from error
    except redis.RedisError as error:
        raise StoreUnavailable(f"Redis does not answer ({error}).", hint="Start it, then the stream.") from error


def verified_until(dataset: str, symbol: str, series: str, database_url: str | None = None) -> datetime | None:
    """Until when a series is verified: rows whose `time` is earlier have passed the gate and every audit. UTC.

    From the first instant that the ledger accounts for up to here, everything is present, looked at by the audits since
    it last changed, and disputed by none; or it is absent for a reason: no source has it, or the gate withheld it. It
    goes back where rows change or an audit disputes them, so ask anew each time. None where nothing is verified yet.

    Args:
        dataset, symbol, series: as in the table `coverage`: `ohlcv`, `SOL/USDT`, `5m`; of funding `settlement`.
        database_url: the market database; left out: that of `PERPFLOW_DATABASE_URL`.

    Raises:
        BadConfiguration: no database is known, or its address is none.
        StoreUnavailable: it does not answer.
        SchemaMissing: it was not migrated to this version.
    """
    url = database_url or os.environ.get("PERPFLOW_DATABASE_URL") or ""
    if not url:
        hint = "Set PERPFLOW_DATABASE_URL, as postgresql://user:password@host:5432/perpflow."
        raise BadConfiguration("no market database is known.", hint=hint)
    with session(url) as connection:
        return verification.verified_until(connection, dataset, symbol, series)


@cache
def _client(redis_url: str) -> redis.Redis:
    """One connection pool for the process: opening a connection takes longer than asking."""
    if not redis_url:
        raise BadConfiguration("no Redis is known.", hint="Set PERPFLOW_REDIS_URL, as redis://host:6379/0.")
    try:
        return redis.Redis.from_url(
            redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=_ONCE_MORE
        )
    except ValueError as error:
        hint = "Set PERPFLOW_REDIS_URL to an address such as redis://host:6379/0."
        raise BadConfiguration("Redis' address is not valid.", hint=hint) from error
