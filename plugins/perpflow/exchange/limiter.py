"""The one gate that every request of a session to a host goes through: ban clock, circuit breaker, weight budget.

All processes on an address share them in Redis. While Redis is away each process keeps to its own part, with a warning,
and asks Redis again every few seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from redis import RedisError

from perpflow.counters import COUNTS, Counts
from perpflow.errors import CircuitOpen, ExchangeUnavailable, IpBanned, PerpflowError, RateLimited
from perpflow.exchange.retry_policy import PATIENCE_S
from perpflow.exchange.shared_budget import SharedBudget
from perpflow.exchange.weight_budget import LIMITS, Penalty, Refusal, Share, WeightBudget, announced_limits
from perpflow.seldom import Seldom
from perpflow.specs import Budget

log = logging.getLogger(__name__)

T = TypeVar("T")

# How long after a failure Redis is tried again.
REDIS_AWAY_S = 5.0


class _RedisAway(Exception):
    """There is no Redis, or it does not answer."""


@dataclass(slots=True)
class Sent:
    """A request that was let go; whoever sends it notes the counter that came with the answer."""

    used_weight: int | None = None


class Limiter:
    """Holds a session's requests to one host back so that the exchange never has to.

    Args:
        host: whom requests go to, for messages.
        share: the part of the exchange's limits that the session may use.
        local: this process's budget, which counts all it sends and decides while Redis is away.
        shared: everybody's; None without Redis.
        sleep: waits for seconds.
        counts: gets requests, weight, milliseconds of waiting, and errors by kind.
    """

    def __init__(
        self,
        host: str,
        *,
        share: Share | None = None,
        local: WeightBudget | None = None,
        shared: SharedBudget | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        counts: Counts = COUNTS,
    ) -> None:
        self._host = host
        self._share = share or Share()
        self._local = local or WeightBudget()
        self._shared = shared
        self._shared_from = 0.0
        self._sleep = sleep
        self._counts = counts
        self._seldom = Seldom(log)
        # Who comes first goes first, and one at a time asks: the others could not go either.
        self._turns = {kind: asyncio.Lock() for kind in LIMITS}

    @asynccontextmanager
    async def request(self, name: str, kind: Budget | None = None, weight: int = 0) -> AsyncIterator[Sent]:
        """Around one request: waits until it may be sent, and learns from the answer or the error that comes of it.

        Args:
            name: what is counted, e.g. the endpoint.
            kind, weight: the budget that it counts against; None for requests that cost nothing.

        Raises:
            IpBanned: the address is banned; nothing was sent.
            RateLimited: the address is held back for longer than a task should wait.
            CircuitOpen: the host has failed again and again; nothing was sent.
            BadConfiguration: the request costs more than may ever be spent.
        """
        await self._admit(kind, weight)
        sent = Sent()
        self._counts.count(f"requests.{name}")
        if kind == "weight":
            self._counts.count("weight", weight)
        try:
            yield sent
        except PerpflowError as error:
            self._counts.count(f"errors.{type(error).__name__}")
            await self._learn(sent, error)
            raise
        await self._learn(sent, None)

    async def adopt(self, rate_limits: Iterable[Mapping[str, Any]]) -> None:
        """Take the limits that `exchangeInfo.rateLimits` announces.

        Raises:
            StructurallyBad: they are not written as documented.
        """
        for kind, whole in announced_limits(rate_limits).items():
            self._local.adopt(kind, whole)
            with suppress(_RedisAway):
                await self._together(partial(SharedBudget.adopt, kind=kind, whole=whole))

    async def _admit(self, kind: Budget | None, weight: int) -> None:
        if kind is None:
            await self._wait(kind, weight)
            return
        async with self._turns[kind]:
            await self._wait(kind, weight)

    async def _wait(self, kind: Budget | None, weight: int) -> None:
        while (refusal := await self._ask(kind, weight)) is not None:
            self._refuse_long_waits(refusal)
            # Redis may be back long before one's own part of the limits allows anything.
            wait_s = min(refusal.wait_s, REDIS_AWAY_S) if self._is_alone() else refusal.wait_s
            self._counts.count("waited_ms", int(wait_s * 1000))
            await self._sleep(wait_s)

    def _is_alone(self) -> bool:
        return self._shared is not None and time.monotonic() < self._shared_from

    async def _ask(self, kind: Budget | None, weight: int) -> Refusal | None:
        # What this process was told itself holds, whatever has become of Redis since, and is told to all who can hear.
        if penalty := self._local.penalty():
            with suppress(_RedisAway):
                await self._together(lambda shared: shared.answered(penalty=penalty))
            return Refusal(penalty.obstacle, penalty.seconds)
        try:
            refusal = await self._together(lambda shared: shared.ask(kind, weight, self._share))
        except _RedisAway:
            return self._local.ask(kind, weight, self._share)
        if refusal is None and kind is not None:
            self._local.spend(kind, weight)
        return refusal

    async def _together(self, call: Callable[[SharedBudget], Awaitable[T]]) -> T:
        """What the budget of all processes answers; once Redis has not answered it is left alone for a while.

        Raises:
            _RedisAway: each process is on its own.
        """
        if self._shared is None or self._is_alone():
            raise _RedisAway
        try:
            await self._tell_what_was_spent_alone(self._shared)
            answer = await call(self._shared)
        except (RedisError, OSError) as error:
            self._note_outage(error)
            raise _RedisAway from error
        self._local.found()
        return answer

    async def _tell_what_was_spent_alone(self, shared: SharedBudget) -> None:
        untold = self._local.take_untold()
        if not untold:
            return
        try:
            await shared.tell((spent.kind, spent.weight, self._local.age_s(spent)) for spent in untold)
        except BaseException:
            self._local.give_back_untold(untold)
            raise

    def _note_outage(self, error: Exception) -> None:
        now = time.monotonic()
        self._local.lost()
        # Requests that were under way together find out one after another: it is one outage.
        if now >= self._shared_from:
            self._counts.count("redis_away")
            self._seldom.warning(
                "Redis does not answer (%s). Until it does, each process keeps to its own part of the exchange's "
                "limits, and knows of no ban but its own.",
                error,
            )
        self._shared_from = now + REDIS_AWAY_S

    def _refuse_long_waits(self, refusal: Refusal) -> None:
        """Raise where a task should not wait here: for a probe it does, whose end nobody knows but is near."""
        wait = refusal.wait_s
        if refusal.obstacle == "banned":
            raise IpBanned(
                f"{self._host} has banned this address for another {wait:.0f} s; nothing was sent.",
                banned_until=datetime.now(UTC) + timedelta(seconds=wait),
                retry_after_s=wait,
                hint="Wait until the ban ends; if it comes back, lower exchange.rate_share.",
            )
        if refusal.obstacle == "open":
            raise CircuitOpen(
                f"{self._host} has failed again and again; nothing was sent. One request tries it in {wait:.0f} s.",
                retry_after_s=wait,
                hint="Check the network and whether the exchange is in maintenance.",
            )
        if refusal.obstacle == "limited" and wait > PATIENCE_S:
            raise RateLimited(
                f"{self._host} holds this address back for another {wait:.0f} s; nothing was sent.",
                retry_after_s=wait,
                hint="Lower exchange.rate_share.",
            )

    async def _learn(self, sent: Sent, error: PerpflowError | None) -> None:
        if isinstance(error, ExchangeUnavailable):
            await self._learn_failure()
            return
        penalty = penalty_of(error)
        if penalty is not None:
            log.warning("%s holds this address back for %.0f s (%s).", self._host, penalty.seconds, penalty.obstacle)
        self._local.answered(sent.used_weight, penalty)
        with suppress(_RedisAway):
            await self._together(lambda shared: shared.answered(sent.used_weight, penalty))

    async def _learn_failure(self) -> None:
        open_s = self._local.failed()
        with suppress(_RedisAway):
            open_s = await self._together(lambda shared: shared.failed())
        if open_s is not None:
            self._counts.count("circuit_opened")
            self._seldom.warning("%s has failed again and again: nobody asks it for %.0f s.", self._host, open_s)


def penalty_of(error: PerpflowError | None) -> Penalty | None:
    """What an error means for everybody on the address."""
    if isinstance(error, RateLimited):
        return Penalty(error.retry_after_s, "limited")
    if isinstance(error, IpBanned):
        return Penalty(error.retry_after_s, "banned")
    return None
