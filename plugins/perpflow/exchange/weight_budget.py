"""How much may be asked of the exchange, and when: three sliding windows, a ban clock, a circuit breaker. One process.

Limits per address, from the exchange's documentation and `exchangeInfo.rateLimits`: request weight 2400 per minute;
`/futures/data/*` 1000 requests per five minutes, which count in no other budget; `fundingRate` and `fundingInfo`
together 500 requests per five minutes.

Every window of that length, wherever it begins, stays within the limit. What is counted is the moment of asking;
requests that travel for different times arrive a little closer together, which a share below the whole leaves room for.

This is what holds while Redis is away: the processes of an address know nothing of each other then, and each keeps to
its part of the share. `shared_budget` is the same for all of them together.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from perpflow.errors import BadConfiguration, StructurallyBad
from perpflow.specs import Budget

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
#: So many failures in a row, of whatever requests to the host, open its circuit; then one request alone may try.
OPEN_AFTER = 5
FIRST_OPEN_S = 5.0
LONGEST_OPEN_S = 60.0
# A request that was let through to a broken host has this long to prove it sound; then another may.
PROBE_S = 30.0
_INTERVALS_S = {"SECOND": 1.0, "MINUTE": 60.0, "HOUR": 3600.0, "DAY": 86_400.0}

# How often those who wait for a probe look what has come of it.
PROBE_LOOK_S = 1.0

Obstacle = Literal["budget", "limited", "banned", "open", "probing"]


@dataclass(frozen=True, slots=True)
class Share:
    """The part of the exchange's limits that a session may use.

    `share` is the part for all of Perpflow: people trade from the same address. `live_reserve` is the part of it that
    backfill leaves to what keeps data current.
    """

    share: float = 0.5
    live_reserve: float = 0.2
    live: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or not 0 <= self.live_reserve < 1:
            raise BadConfiguration(
                f"a share of {self.share} of the limits with a reserve of {self.live_reserve} cannot be.",
                hint="Set rate_share above 0 and up to 1, and live_reserve from 0 to below 1.",
            )

    @property
    def fraction(self) -> float:
        """Of the exchange's limit."""
        return self.share if self.live else self.share * (1 - self.live_reserve)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request may not be sent now, and for how many seconds at least."""

    obstacle: Obstacle
    wait_s: float


@dataclass(frozen=True, slots=True)
class Penalty:
    """The exchange holds the address back for so many seconds: 429 (`limited`) or 418 (`banned`)."""

    seconds: float
    obstacle: Literal["limited", "banned"]


def announced_limits(rate_limits: Iterable[Mapping[str, Any]]) -> dict[Budget, int]:
    """What `exchangeInfo.rateLimits` says of the budgets here, the strictest where it says several things.

    It does not announce the two of five minutes.

    Raises:
        StructurallyBad: an entry lacks a field, names an interval that is not known, or allows nothing at all: who
            believed that could never ask again, not even whether it has changed.
    """
    try:
        whole = [_per_minute(limit) for limit in rate_limits if limit["rateLimitType"] == "REQUEST_WEIGHT"]
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise StructurallyBad(
            f"exchangeInfo.rateLimits does not look as documented ({type(error).__name__}: {error}).",
            hint="Compare the exchange's documentation with exchange/weight_budget.py.",
        ) from error
    return {"weight": min(whole)} if whole else {}


def _per_minute(limit: Mapping[str, Any]) -> int:
    amount, number = int(limit["limit"]), int(limit["intervalNum"])
    whole = int(amount * LIMITS["weight"][1] / (_INTERVALS_S[limit["interval"]] * number))
    if number < 1 or whole < 1:
        raise ValueError(f"{amount} per {number} {limit['interval']}")
    return whole


def too_heavy(kind: Budget, weight: int, most: int) -> BadConfiguration:
    """The error for a request that costs more than may ever be spent."""
    return BadConfiguration(
        f"a request of weight {weight} exceeds the {most} that may be spent of the {kind} budget.",
        hint="Raise exchange.rate_share, lower exchange.live_reserve, or let fewer processes share the address.",
    )


@dataclass(frozen=True, slots=True)
class Spent:
    """What was let go at a monotonic instant."""

    at: float
    kind: Budget
    weight: int


class SlidingWindow:
    """What was spent in the last `length_s` seconds."""

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        self._spent: deque[tuple[float, int]] = deque()
        self._sum = 0

    def used(self, now: float) -> int:
        """What was spent in the window that ends now."""
        while self._spent and self._spent[0][0] + self.length_s <= now:
            self._sum -= self._spent.popleft()[1]
        return self._sum

    def wait_s(self, weight: int, now: float, most: int) -> float:
        """Seconds until `weight` more fits below `most`."""
        excess = self.used(now) + weight - most
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


class Breaker:
    """A circuit breaker: opens after failures in a row, lets one probe through when its time is over, closes by it."""

    _failures: int
    _open_for: float
    _open_until: float
    _probe_until: float

    def __init__(self, longest_open_s: float = LONGEST_OPEN_S) -> None:
        self._longest_open_s = longest_open_s
        self.succeeded()

    def refusal(self, now: float) -> Refusal | None:
        """Why no request may be tried now: the circuit is open, or a probe is under way; None where one may."""
        if self._open_until > now:
            return Refusal("open", self._open_until - now)
        if self._open_until and self._probe_until > now:
            return Refusal("probing", min(self._probe_until - now, PROBE_LOOK_S))
        return None

    def admitted(self, now: float) -> None:
        """A request is being sent; to a broken host it is the probe."""
        if self._open_until:
            self._probe_until = now + PROBE_S

    def succeeded(self) -> None:
        """The host has answered."""
        self._failures = 0
        self._open_for = self._open_until = self._probe_until = 0.0

    def failed(self, now: float) -> float | None:
        """The host did not answer; returns for how long that opens the circuit, None where it does not."""
        self._failures += 1
        # Requests that were on their way when the circuit opened fail too; they prove nothing new.
        if self._open_until > now or self._failures < OPEN_AFTER:
            return None
        self._open_for = min(self._open_for * 2 if self._open_for else FIRST_OPEN_S, self._longest_open_s)
        self._open_until, self._probe_until = now + self._open_for, 0.0
        return self._open_for


class WeightBudget:
    """One process's part of what an address may ask of a host. What one session has spent, the next one knows.

    Args:
        processes: how many processes share the address.
        longest_open_s: a host that goes on failing is tried this often at least.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        processes: int = 1,
        *,
        longest_open_s: float = LONGEST_OPEN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if processes < 1:
            raise BadConfiguration(f"a budget for {processes} processes cannot be.", hint="Set at least one process.")
        self._processes = processes
        self._clock = clock
        self._whole = {kind: most for kind, (most, _) in LIMITS.items()}
        self._windows = {kind: SlidingWindow(length) for kind, (_, length) in LIMITS.items()}
        self._others: tuple[float, int] = (-LIMITS["weight"][1], 0)
        self._untold: deque[Spent] = deque()
        self._alone_since: float | None = None
        self._blocked: tuple[float, Penalty] | None = None
        self._breaker = Breaker(longest_open_s)

    def allowance(self, kind: Budget, share: Share) -> int:
        """What this process may spend in one window of `kind`.

        Where the processes have only just lost each other, all together may have spent the whole share by then.
        """
        fraction = share.fraction
        if self._just_lost_s(kind) > 0:
            fraction = min(fraction, 1 - share.share)
        return int(self._whole[kind] * fraction / self._processes)

    def lost(self) -> None:
        """The others can no longer be heard: what they have spent is unknown for as long as a window lasts."""
        if self._alone_since is None:
            self._alone_since = self._clock()

    def found(self) -> None:
        """They are heard again."""
        self._alone_since = None

    def take_untold(self) -> list[Spent]:
        """What was spent alone and still counts, for the others to know."""
        untold = [spent for spent in self._untold if self._still_counts(spent)]
        self._untold.clear()
        return untold

    def give_back_untold(self, untold: list[Spent]) -> None:
        """What could not be told, for the next try."""
        self._untold.extendleft(reversed(untold))

    def age_s(self, spent: Spent) -> float:
        """How long ago it was spent."""
        return self._clock() - spent.at

    def _still_counts(self, spent: Spent) -> bool:
        return self.age_s(spent) < LIMITS[spent.kind][1]

    def _just_lost_s(self, kind: Budget) -> float:
        """Seconds for which a window of `kind` still reaches back to when all counted together."""
        return 0.0 if self._alone_since is None else self._alone_since + LIMITS[kind][1] - self._clock()

    def ask(self, kind: Budget | None, weight: int, share: Share) -> Refusal | None:
        """None where the request may be sent, and is counted, now.

        Raises:
            BadConfiguration: it costs more than all processes together may ever spend.
        """
        now = self._clock()
        if penalty := self.penalty():
            return Refusal(penalty.obstacle, penalty.seconds)
        if refusal := self._breaker.refusal(now):
            return refusal
        if kind is not None:
            if (wait := self._wait_s(kind, weight, share, now)) > 0:
                return Refusal("budget", wait)
            self.spend(kind, weight)
            while self._untold and not self._still_counts(self._untold[0]):
                self._untold.popleft()
            self._untold.append(Spent(now, kind, weight))
        self._breaker.admitted(now)
        return None

    def penalty(self) -> Penalty | None:
        """What is left of what the exchange has told this process to wait for."""
        if self._blocked is None or self._blocked[0] <= self._clock():
            return None
        until, penalty = self._blocked
        return Penalty(until - self._clock(), penalty.obstacle)

    def spend(self, kind: Budget, weight: int) -> None:
        """Count what is being sent now, whoever has allowed it."""
        self._windows[kind].spend(weight, self._clock())

    def _wait_s(self, kind: Budget, weight: int, share: Share, now: float) -> float:
        together, most = int(self._whole[kind] * share.fraction), self.allowance(kind, share)
        if weight > together:
            raise too_heavy(kind, weight, together)
        if weight > most and (just_lost := self._just_lost_s(kind)) > 0:
            return just_lost
        # What all together may send must not become impossible for each alone: one at a time then.
        wait = self._windows[kind].wait_s(weight, now, max(most, weight))
        return max(wait, self._wait_for_others_s(weight, now)) if kind == "weight" else wait

    def _wait_for_others_s(self, weight: int, now: float) -> float:
        window = self._windows["weight"]
        seen_at, others = self._others
        expires_in = seen_at + window.length_s - now
        if expires_in <= 0 or others == 0:
            return 0.0
        left = int(self._whole["weight"] * ADDRESS_CEILING) - others
        return min(window.wait_s(weight, now, left), expires_in)

    def answered(self, used_weight: int | None = None, penalty: Penalty | None = None) -> None:
        """The host has answered, with its counter of the address's use by everybody (absent or -1 on some endpoints).

        What the counter holds beyond our own is other people's: while it lasts, ours and theirs together stay below
        nine tenths of the exchange's limit.
        """
        now = self._clock()
        self._breaker.succeeded()
        if used_weight is not None and used_weight >= 0:
            self._others = (now, max(used_weight - self._windows["weight"].used(now), 0))
        if penalty is not None:
            until = now + min(max(penalty.seconds, 0.0), LONGEST_PENALTY_S)
            if self._blocked is None or until > self._blocked[0]:
                self._blocked = (until, penalty)

    def failed(self) -> float | None:
        """The host did not answer; returns for how many seconds that opens its circuit, None where it does not."""
        return self._breaker.failed(self._clock())

    def adopt(self, kind: Budget, whole: int) -> None:
        """Take the exchange's own word for a limit."""
        self._whole[kind] = whole
