"""One budget, one ban clock and one circuit breaker for all processes on one egress address, in Redis.

Each question and each answer is one script (`include/redis`), atomic and on the server's clock. Redis keeps them
through a restart (append-only file). No limiter library at hand does this: those with weights and several windows
(limits, pyrate-limiter) know neither two priorities in one window nor a correction from outside, and would need a
second round trip for bans and circuit; circuit breakers on Redis (pybreaker, purgatory) let every waiting process probe
at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Literal

from redis.asyncio import Redis
from redis.exceptions import DataError

from perpflow.exchange.weight_budget import (
    ADDRESS_CEILING,
    FIRST_OPEN_S,
    LIMITS,
    LONGEST_OPEN_S,
    LONGEST_PENALTY_S,
    OPEN_AFTER,
    PROBE_LOOK_S,
    PROBE_S,
    Penalty,
    Refusal,
    Share,
    too_heavy,
)
from perpflow.include import redis_script
from perpflow.specs import Budget
from perpflow.windows import from_ms

# Requests are counted when they are let go and arrive when they have travelled: a window is counted this much longer,
# so that one which was slow and one which was fast do not meet in the exchange's window.
TRAVEL_S = 1.0


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def state_key(egress: str, host: str) -> str:
    """The hash that holds ban clock, circuit and announced limits of a host, as asked from an address."""
    return f"perpflow:address:{egress}:{host}"


def window_key(egress: str, host: str, kind: Budget) -> str:
    """The sorted set of what was spent of a budget: members `<number>:<weight>`, scores in ms."""
    return f"{state_key(egress, host)}:{kind}"


class SharedBudget:
    """What an egress address may ask of a host, for all processes that name both alike.

    Args:
        redis: the connection; whoever opened it closes it.
        egress: name of the address that requests leave from.
        host: whom they go to.
        longest_open_s: a host that goes on failing is tried this often at least.
    """

    def __init__(self, redis: Redis, egress: str, host: str, longest_open_s: float = LONGEST_OPEN_S) -> None:
        self._state = state_key(egress, host)
        self._windows = {kind: window_key(egress, host, kind) for kind in LIMITS}
        self._redis = redis
        self._longest_open_s = longest_open_s
        self._ask = redis.register_script(redis_script("ask"))
        self._answered = redis.register_script(redis_script("answered"))
        self._spent = redis.register_script(redis_script("spent"))

    async def ask(self, kind: Budget | None, weight: int, share: Share) -> Refusal | None:
        """None where the request may be sent, and is counted, now.

        Raises:
            BadConfiguration: it costs more than may ever be spent.
            redis.RedisError: Redis does not answer, or what it holds of the host is nothing that we write.
        """
        whole, length_s = LIMITS[kind or "weight"]
        keys = [self._state, self._windows[kind or "weight"]]
        window = [kind or "", weight, whole, share.fraction, _ms(length_s + TRAVEL_S), ADDRESS_CEILING]
        verdict, amount = await self._ask(keys, [*window, _ms(PROBE_S), _ms(PROBE_LOOK_S)])
        # A hand in Redis can leave a ban without its kind, or without an end.
        if verdict is None or not 0 <= amount <= _ms(LONGEST_PENALTY_S):
            raise DataError(f"its key {self._state} is damaged: run `python -m perpflow health`")
        obstacle = verdict.decode()
        if obstacle == "never" and kind is not None:
            raise too_heavy(kind, weight, amount)
        return None if obstacle == "go" else Refusal(obstacle, amount / 1000)

    async def tell(self, spent: Iterable[tuple[Budget, int, float]]) -> None:
        """Count what a process has spent while it was on its own: (budget, weight, seconds ago).

        Raises:
            redis.RedisError: Redis does not answer.
        """
        kinds = list(LIMITS)
        lengths = [_ms(length_s + TRAVEL_S) for _, length_s in LIMITS.values()]
        entries = [(kinds.index(kind) + 1, weight, _ms(ago_s)) for kind, weight, ago_s in spent]
        await self._spent([self._state, *self._windows.values()], [*lengths, *chain.from_iterable(entries)])

    async def answered(self, used_weight: int | None = None, penalty: Penalty | None = None) -> None:
        """The host has answered. See `WeightBudget.answered`.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        held_s = min(max(penalty.seconds, 0.0), LONGEST_PENALTY_S) if penalty else 0.0
        obstacle = penalty.obstacle if penalty else ""
        await self._tell("alive", -1 if used_weight is None else used_weight, _ms(held_s), obstacle)

    async def failed(self) -> float | None:
        """The host did not answer; returns for how many seconds that opens its circuit, None where it does not.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        change = await self._tell("failed", -1, 0, "")
        return change[1] / 1000 if change else None

    async def _tell(self, outcome: str, used_weight: int, held_ms: int, obstacle: str) -> Any:
        circuit = (OPEN_AFTER, _ms(FIRST_OPEN_S), _ms(self._longest_open_s))
        keys = [self._state, self._windows["weight"]]
        told: list[str | int] = [outcome, used_weight, held_ms, obstacle, *circuit, _ms(LIMITS["weight"][1])]
        return await self._answered(keys, told)

    async def adopt(self, kind: Budget, whole: int) -> None:
        """Take the exchange's own word for a limit.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        await self._redis.hset(self._state, f"limit:{kind}", str(whole))


@dataclass(frozen=True, slots=True)
class AddressState:
    """How an address stands with a host, for whoever wants to know without asking; instants on Redis' clock.

    `used` is what all processes have spent in the exchange's window that ends `now`, `limits` what it allows, `others`
    the request weight that it has counted beyond ours. `blocked_until` is None where nobody is held back.
    """

    host: str
    now: datetime
    used: dict[Budget, int]
    limits: dict[Budget, int]
    others: int
    blocked_by: str | None
    blocked_until: datetime | None
    failures: int
    open_until: datetime | None
    open_for: timedelta

    @property
    def circuit(self) -> Literal["closed", "open", "half-open"]:
        """Half-open is a circuit whose time is over, but which no answer has closed yet."""
        if self.open_until is None:
            return "closed"
        return "open" if self.open_until > self.now else "half-open"


async def read_state(redis: Redis, egress: str, host: str) -> AddressState:
    """What Redis holds of a host, as asked from an address; changes nothing.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    async with redis.pipeline() as pipeline:
        pipeline.time()
        pipeline.hgetall(state_key(egress, host))
        for kind in LIMITS:
            pipeline.zrange(window_key(egress, host, kind), 0, -1, withscores=True)
        (seconds, microseconds), fields, *windows = await pipeline.execute()
    now_ms = seconds * 1000 + microseconds // 1000
    state = {name.decode(): value.decode() for name, value in fields.items()}
    held_ms, open_ms = _number(state, "blocked_until"), _number(state, "open_until")
    return AddressState(
        host=host,
        now=from_ms(now_ms),
        used={kind: _used(spent, now_ms - _ms(LIMITS[kind][1])) for kind, spent in zip(LIMITS, windows, strict=True)},
        limits={kind: _number(state, f"limit:{kind}") or whole for kind, (whole, _) in LIMITS.items()},
        others=_number(state, "others") if _number(state, "others_until") > now_ms else 0,
        blocked_by=state["blocked_by"] if held_ms > now_ms else None,
        blocked_until=from_ms(held_ms) if held_ms > now_ms else None,
        failures=_number(state, "failures"),
        open_until=from_ms(open_ms) if open_ms else None,
        open_for=timedelta(milliseconds=_number(state, "open_for")),
    )


def _number(state: dict[str, str], name: str) -> int:
    return int(float(state.get(name, 0)))


def _used(spent: list[tuple[bytes, float]], since_ms: int) -> int:
    return sum(int(entry.rpartition(b":")[2]) for entry, at_ms in spent if at_ms > since_ms)
