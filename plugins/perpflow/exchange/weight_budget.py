"""How much may be asked of the exchange, and when: three sliding windows.

Limits per address, from the exchange's documentation and `exchangeInfo.rateLimits`: request weight 2400 per minute;
`/futures/data/*` 1000 requests per five minutes, which count in no other budget; `fundingRate` and `fundingInfo`
together 500 requests per five minutes.

Not aiolimiter: its leaky bucket holds a whole window's amount while it refills at the window's rate, so up to twice
the limit can pass within one window. Here every window of that length, wherever it begins, stays within the limit.
What is counted is the moment of asking; requests that travel for different times arrive a little closer together,
which a share below the whole leaves room for.

This budget belongs to one process (and one thread); `processes` divides the address's share among those that run.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from perpflow.datasets import Budget
from perpflow.errors import BadConfiguration

log = logging.getLogger(__name__)

#: The exchange's limits per address: amount, window in seconds.
LIMITS: dict[Budget, tuple[int, float]] = {
    "weight": (2400, 60.0),
    "statistics": (1000, 300.0),
    "funding": (500, 300.0),
}
# How much of the exchange's whole limit everybody on this address may have used before we wait: the counter that it
# sends is as old as the answer it came with.
ADDRESS_CEILING = 0.9
# The longest ban that the exchange hands out.
LONGEST_PENALTY_S = 3 * 86_400.0
_INTERVALS_S = {"SECOND": 1.0, "MINUTE": 60.0, "HOUR": 3600.0, "DAY": 86_400.0}


class SlidingWindow:
    """What was spent in the last `length_s` seconds: no window of that length holds more than `most`."""

    def __init__(self, most: int, length_s: float) -> None:
        self.most = most
        self.length_s = length_s
        self._spent: deque[tuple[float, int]] = deque()
        self._sum = 0

    def used(self, now: float) -> int:
        """What was spent in the window that ends now."""
        while self._spent and self._spent[0][0] + self.length_s <= now:
            self._sum -= self._spent.popleft()[1]
        return self._sum

    def wait_s(self, weight: int, now: float, most: int | None = None) -> float:
        """Seconds until `weight` more fits below `most` (the window's own limit, unless a lower one is given)."""
        excess = self.used(now) + weight - (self.most if most is None else most)
        if excess <= 0:
            return 0.0
        for at, spent in self._spent:
            excess -= spent
            if excess <= 0:
                return at + self.length_s - now
        # Others fill it: only the exchange's next counter or its expiry can tell.
        return self.length_s

    def spend(self, weight: int, now: float) -> None:
        """Record `weight` as spent now."""
        self._spent.append((now, weight))
        self._sum += weight


class WeightBudget:
    """Holds requests back so that the exchange never has to.

    Args:
        share: the part of the exchange's limits that is ours; people trade from the same address.
        processes: how many processes share the address.
        clock: monotonic seconds.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        share: float = 0.5,
        processes: int = 1,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if not 0 < share <= 1 or processes < 1:
            raise BadConfiguration(
                f"a budget of share {share} for {processes} processes cannot be.",
                hint="Set a share above 0 and up to 1, and at least one process.",
            )
        self._share = share
        self._processes = processes
        self._clock = clock
        self._sleep = sleep
        self._whole = {kind: most for kind, (most, _) in LIMITS.items()}
        self._windows = {kind: SlidingWindow(self._ours(most), length) for kind, (most, length) in LIMITS.items()}
        self._others: tuple[float, int] = (-LIMITS["weight"][1], 0)
        self._blocked_until = clock()
        # A lock belongs to an event loop, while the budget outlives loops: a process runs one after another.
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Budget, asyncio.Lock]] = WeakKeyDictionary()

    def _ours(self, most: int) -> int:
        return int(most * self._share / self._processes)

    def allowance(self, kind: Budget) -> int:
        """What this process may spend in one window of `kind`."""
        return self._windows[kind].most

    async def acquire(self, kind: Budget, weight: int) -> None:
        """Return when `weight` may be spent; first come, first served.

        Raises:
            BadConfiguration: a single request costs more than this process may ever spend.
        """
        window = self._windows[kind]
        if weight > window.most:
            raise BadConfiguration(
                f"a request of weight {weight} exceeds this process's {window.most} of the {kind} budget.",
                hint="Raise the share, or let fewer processes share the address.",
            )
        async with self._turn(kind):
            while (wait := self._wait_s(kind, weight)) > 0:
                await self._sleep(wait)
            window.spend(weight, self._clock())

    def _turn(self, kind: Budget) -> asyncio.Lock:
        turns = self._turns.setdefault(asyncio.get_running_loop(), {})
        return turns.setdefault(kind, asyncio.Lock())

    def _wait_s(self, kind: Budget, weight: int) -> float:
        now = self._clock()
        window = self._windows[kind]
        wait = max(self._blocked_until - now, window.wait_s(weight, now))
        if kind == "weight":
            wait = max(wait, self._wait_for_others_s(weight, now))
        return wait

    def _wait_for_others_s(self, weight: int, now: float) -> float:
        window = self._windows["weight"]
        seen_at, others = self._others
        expires_in = seen_at + window.length_s - now
        if expires_in <= 0 or others == 0:
            return 0.0
        left = int(self._whole["weight"] * ADDRESS_CEILING) - others
        return min(window.wait_s(weight, now, left), expires_in)

    def observe(self, used_weight_1m: int | None) -> None:
        """Take in `X-MBX-USED-WEIGHT-1M`, the address's use by everybody; absent or -1 on some endpoints.

        What it counts beyond our own is other people's: while it lasts, ours and theirs together stay below nine
        tenths of the exchange's limit.
        """
        if used_weight_1m is None or used_weight_1m < 0:
            return
        now = self._clock()
        self._others = (now, max(used_weight_1m - self._windows["weight"].used(now), 0))

    def penalise(self, seconds: float) -> None:
        """Let nobody ask for so many seconds: the exchange said 429 or 418."""
        until = self._clock() + min(max(seconds, 0.0), LONGEST_PENALTY_S)
        if until > self._blocked_until:
            log.warning("The exchange holds requests back for %.0f s.", seconds)
            self._blocked_until = until

    def adopt(self, rate_limits: Iterable[Mapping[str, Any]]) -> None:
        """Take the request-weight limit from `exchangeInfo.rateLimits`; the other two are not announced there."""
        for limit in rate_limits:
            if limit.get("rateLimitType") == "REQUEST_WEIGHT":
                window = self._windows["weight"]
                per_s = int(limit["limit"]) / (_INTERVALS_S[limit["interval"]] * int(limit["intervalNum"]))
                self._whole["weight"] = int(per_s * window.length_s)
                window.most = self._ours(self._whole["weight"])
