"""Whether Redis holds of a host what processes write there: a hand, or another program, may have been in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from perpflow.errors import StateDamaged
from perpflow.exchange.shared_budget import state_key, window_key
from perpflow.exchange.weight_budget import LIMITS
from perpflow.store.cache import is_wrong_type
from perpflow.windows import LATEST_MS

INSTANTS = ("blocked_until", "open_until", "open_for", "probe_until", "others_until")
AMOUNTS = ("failures", "others", "asked", *(f"limit:{kind}" for kind in LIMITS))
# Lua writes what is large with an exponent.
_NUMBER = re.compile(rb"\d{1,15}(\.\d+)?(e\+?\d{1,2})?")
_SPENT = re.compile(rb"\d+:\d{1,9}")


async def require_sound(redis: Redis, egress: str, host: str) -> None:
    """Look at all that is kept of a host, as asked from an address; changes nothing.

    Raises:
        StateDamaged: a key holds what no process of ours writes.
        redis.RedisError: Redis does not answer.
    """
    state, windows = state_key(egress, host), [window_key(egress, host, kind) for kind in LIMITS]
    # Each command's own answer: a key of the wrong type is to be told by its name.
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.time()
        pipeline.hgetall(state)
        for window in windows:
            pipeline.zrange(window, 0, -1, withscores=True)
        time, fields, *spent = await pipeline.execute(raise_on_error=False)
    now_ms = _typed("the clock", time)[0] * 1000
    _require_sound_fields(state, _typed(state, fields), now_ms)
    for window, entries in zip(windows, spent, strict=True):
        _require_sound_entries(window, _typed(window, entries))


def _typed(key: str, answer: Any) -> Any:
    if isinstance(answer, RedisError):
        if is_wrong_type(answer):
            raise StateDamaged(key, "something of another type") from answer
        raise answer
    return answer


def _require_sound_fields(key: str, fields: Mapping[bytes, bytes], now_ms: int) -> None:
    for name in (*INSTANTS, *AMOUNTS):
        value = fields.get(name.encode(), b"0")
        if not _NUMBER.fullmatch(value) or float(value) > LATEST_MS:
            raise StateDamaged(key, f"{value[:40].decode(errors='replace')!r} for {name}")
    if float(fields.get(b"blocked_until", 0)) > now_ms and b"blocked_by" not in fields:
        raise StateDamaged(key, "blocked_until without blocked_by")


def _require_sound_entries(key: str, entries: list[tuple[bytes, float]]) -> None:
    for entry, at_ms in entries:
        if not _SPENT.fullmatch(entry) or not 0 <= at_ms <= LATEST_MS:
            raise StateDamaged(key, f"{entry[:40].decode(errors='replace')!r} at {at_ms:g}, which is nothing spent")
