"""Rate limits: request weight per minute, statistics and funding requests per five minutes, bans.

The real exchange counts whole minutes; here every sliding window counts, which is stricter: who keeps to this keeps to
that. Limits run on real (monotonic) time even when the simulated clock stands still.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

# Requests answered with 429 before the address is banned, and how long the first ban lasts (the exchange: 2 minutes).
TOLERATED_REJECTIONS = 5
BAN_S = 120.0
# Stream connections that were cut for too many messages before the address is banned.
TOLERATED_FLOODS = 3
# How many refused requests of a ban are remembered one by one.
_REMEMBERED = 1000


class SlidingWindow:
    """Counts weight over the last `seconds`; `limit` is what any such window may hold."""

    def __init__(self, name: str, limit: int, seconds: float) -> None:
        self.name, self.limit, self.seconds = name, limit, seconds
        self.peak = self.total = self.exceeded = 0
        self._events: deque[tuple[float, int]] = deque()
        self._sum = 0

    def used(self, now: float) -> int:
        """The weight counted within the last `seconds`."""
        while self._events and self._events[0][0] <= now - self.seconds:
            self._sum -= self._events.popleft()[1]
        return self._sum

    def add(self, now: float, weight: int) -> bool:
        """Count a request; False when the window then holds more than its limit."""
        self._sum = self.used(now) + weight
        self._events.append((now, weight))
        self.peak = max(self.peak, self._sum)
        self.total += weight
        self.exceeded += self._sum > self.limit
        return self._sum <= self.limit

    def wait(self, now: float) -> float:
        """Seconds until the window is back within its limit."""
        excess = self.used(now) - self.limit
        for at, weight in self._events:
            excess -= weight
            if excess <= 0:
                return max(at + self.seconds - now, 0.0)
        return self.seconds

    def clear(self) -> None:
        """Forget everything, the peak included."""
        self._events.clear()
        self._sum = self.peak = self.total = self.exceeded = 0

    def report(self) -> dict[str, int]:
        """The most that any window held, what one may hold, and all that was counted."""
        return {"peak": self.peak, "limit": self.limit, "total": self.total}


@dataclass(frozen=True, slots=True)
class Rejection:
    """A refused request: HTTP 429 or 418, the seconds to wait (exact, and rounded up), and which limit spoke."""

    status: int
    wait: float
    limit: str

    @property
    def retry_after(self) -> int:
        """Whole seconds, at least one."""
        return max(1, math.ceil(self.wait))


@dataclass(slots=True)
class Ban:
    """One ban, in monotonic seconds, with the requests that came while it lasted: how long after its begin each did."""

    began: float
    seconds: float
    refused: int = 0
    asked_after_s: list[float] = field(default_factory=list)

    def remaining(self, now: float) -> float:
        """Seconds until it ends; not above 0 when it is over."""
        return self.began + self.seconds - now

    def refuse(self, now: float) -> None:
        """Remember a request that came while the ban lasted."""
        self.refused += 1
        if len(self.asked_after_s) < _REMEMBERED:
            self.asked_after_s.append(round(now - self.began, 3))

    def report(self, now: float) -> dict[str, object]:
        """What `GET /_simulator/requests` says about it."""
        return {
            "seconds": self.seconds, "remaining_s": round(max(self.remaining(now), 0.0), 3),
            "refused": self.refused, "asked_after_s": self.asked_after_s,
        }  # fmt: skip


@dataclass
class RateLimits:
    """All limits of one address. `monotonic` (seconds) is injected so that tests can move time."""

    monotonic: Callable[[], float] = time.monotonic
    weight: SlidingWindow = field(default_factory=lambda: SlidingWindow("weight", 2400, 60))
    statistics: SlidingWindow = field(default_factory=lambda: SlidingWindow("statistics", 1000, 300))
    funding: SlidingWindow = field(default_factory=lambda: SlidingWindow("funding", 500, 300))
    #: What exchangeInfo says of the weight per minute; clients may believe it, whatever holds here.
    announced: int = 2400
    rejected: int = 0
    floods: int = 0
    bans: list[Ban] = field(default_factory=list)
    _blocked_until: float = 0.0
    _rejected_in_a_row: int = 0

    def charge(self, window: str, weight: int) -> Rejection | None:
        """Count one request against a window; a rejection if it, or a running ban, refuses it."""
        now = self.monotonic()
        if refusal := self.banned():
            return refusal
        counted: SlidingWindow = getattr(self, window)
        if counted.add(now, weight):
            return None
        return self._throttle(counted, now)

    def banned(self) -> Rejection | None:
        """The rejection that a running ban has for any request, which it remembers."""
        now = self.monotonic()
        if not self.bans or self.bans[-1].remaining(now) <= 0:
            return None
        self.bans[-1].refuse(now)
        return self._refuse(418, self.bans[-1].remaining(now), "ban")

    def flooded(self) -> None:
        """A stream connection was cut for too many messages; repeated, that brings a ban."""
        self.floods += 1
        if self.floods % (TOLERATED_FLOODS + 1) == 0:
            self.ban(BAN_S)

    def _throttle(self, window: SlidingWindow, now: float) -> Rejection:
        if now > self._blocked_until:
            self._rejected_in_a_row = 0
        self._rejected_in_a_row += 1
        self._blocked_until = now + window.wait(now)
        if self._rejected_in_a_row > TOLERATED_REJECTIONS:
            self.ban(BAN_S)
            return self._refuse(418, BAN_S, window.name)
        return self._refuse(429, window.wait(now), window.name)

    def _refuse(self, status: int, wait: float, limit: str) -> Rejection:
        self.rejected += 1
        return Rejection(status, wait, limit)

    def ban(self, seconds: float) -> None:
        """Refuse every request from now on, for so long; a ban that runs already is replaced."""
        self.bans.append(Ban(self.monotonic(), seconds))

    def weight_used(self) -> int:
        """What `X-MBX-USED-WEIGHT-1M` reports."""
        return self.weight.used(self.monotonic())

    def windows(self) -> tuple[SlidingWindow, ...]:
        """All windows, for reports and resets."""
        return self.weight, self.statistics, self.funding

    def report(self) -> dict[str, object]:
        """Sliding windows, refusals and bans since the last reset.

        `violations` counts every refusal, `violations_by_limit` those above a limit, `asked_while_banned` the others.
        """
        now = self.monotonic()
        return {
            "windows": {window.name: window.report() for window in self.windows()},
            "violations": self.rejected,
            "violations_by_limit": {window.name: window.exceeded for window in self.windows()},
            "bans": len(self.bans),
            "asked_while_banned": sum(ban.refused for ban in self.bans),
            "ban_log": [ban.report(now) for ban in self.bans],
        }

    def clear(self) -> None:
        """Lift bans and forget all counts."""
        for window in self.windows():
            window.clear()
        self.bans.clear()
        self.rejected = self.floods = self._rejected_in_a_row = 0
        self._blocked_until = 0.0
