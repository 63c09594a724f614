"""Checks of the exchange, and of how our address stands with it: sources, budget, bans, circuits, error rates."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from perpflow.errors import RateLimited
from perpflow.exchange.rest import BASE_URL
from perpflow.exchange.shared_budget import AddressState
from perpflow.health.finding import Finding, Level, above, span
from perpflow.health.surroundings import PATIENCE_S, Surroundings
from perpflow.monitoring import HealthSettings
from perpflow.store.cache import read_counts

#: The limiter may let a probe wait for its turn this long beyond the host's own time.
QUEUE_S = 2.0
# What REST says of a delisted contract is an answer; a history of those gets nothing else.
ANSWER = "errors.UnknownSymbol"
SHORT_MINUTES, LONG_MINUTES = 5, 60
LOWER_SHARE = "Something else uses this address, or a process keeps other limits: lower exchange.rate_share."


async def rest_api(around: Surroundings) -> list[Finding]:
    """The exchange's REST API answers through the session and limits that all work uses; how its clock differs."""
    try:
        async with asyncio.timeout(PATIENCE_S + QUEUE_S):
            now = await around.rest.now()
    except (TimeoutError, RateLimited):
        return [_held_back(around.deployment.rest_url)]
    difference = now - datetime.now(UTC)
    url = around.deployment.rest_url
    return [clock_finding(url, difference, simulated=url != BASE_URL, most_s=around.limits.clock_error_s)]


async def archive(around: Surroundings) -> list[Finding]:
    """The archive answers with a listing."""
    try:
        async with asyncio.timeout(PATIENCE_S + QUEUE_S):
            keys = await around.archive.keys("data/futures/um/", limit=1)
    except (TimeoutError, RateLimited):
        return [_held_back(around.deployment.archive_url)]
    if not keys:
        return [Finding(Level.RED, f"{around.deployment.archive_url} lists nothing", "Check PERPFLOW_ARCHIVE_URL.")]
    return [Finding(Level.GREEN, f"{around.deployment.archive_url} answers")]


def _held_back(url: str) -> Finding:
    cause = f"{url} gave nothing: the limits hold requests back"
    return Finding(Level.YELLOW, cause, "See budget, bans and circuits.", blocks=True)


def clock_finding(url: str, difference: timedelta, *, simulated: bool, most_s: float) -> Finding:
    """How the exchange's clock differs from this machine's: a simulated one may stand anywhere."""
    how = "ahead of" if difference > timedelta(0) else "behind"
    cause = f"{url} answers; its clock is {span(abs(difference))} {how} this machine's"
    if simulated or abs(difference) <= timedelta(seconds=most_s):
        return Finding(Level.GREEN, cause)
    return Finding(Level.YELLOW, cause, "Set this machine's clock by NTP; logs and bans are told in its time.")


# --- how the address stands


async def budget(around: Surroundings) -> list[Finding]:
    """How much of each limit is used in the window that ends now, by us and by others on the address."""
    rest, *_ = await around.states()
    share = around.deployment.collection.exchange.rate_share
    return [budget_finding(rest, share, around.limits.budget_spent)]


def budget_finding(state: AddressState, share: float, nearly_spent: float) -> Finding:
    """Red beyond the exchange's limit, yellow where nearly all of our share is spent.

    Args:
        nearly_spent: the part of our share from which on work is held up.
    """
    parts, level = [], Level.GREEN
    for kind, used in state.used.items():
        limit, ours = state.limits[kind], int(state.limits[kind] * share)
        others = state.others if kind == "weight" else 0
        parts.append(f"{kind} {used:,} of our {ours:,} (limit {limit:,}{f', others {others:,}' if others else ''})")
        if used + others > limit:
            level = Level.RED
        elif used >= ours * nearly_spent:
            level = max(level, Level.YELLOW)
    if level is Level.RED:
        return Finding(level, f"the exchange's limit is exceeded: {'; '.join(parts)}", LOWER_SHARE)
    if level is Level.YELLOW:
        return Finding(level, f"nearly all of our share is spent: {'; '.join(parts)}", "Work waits, and goes on.")
    return Finding(level, "; ".join(parts))


async def bans(around: Surroundings) -> list[Finding]:
    """Whether a host has told this address to wait (429) or shut it out (418)."""
    held = [ban_finding(state) for state in await around.states() if state.blocked_until is not None]
    return held or [Finding(Level.GREEN, "no host holds this address back")]


def ban_finding(state: AddressState) -> Finding:
    """A host that holds the address back, until when, and for how long yet."""
    assert state.blocked_until is not None
    until = f"until {state.blocked_until:%Y-%m-%d %H:%M:%S} UTC, another {span(state.blocked_until - state.now)}"
    if state.blocked_by == "banned":
        return Finding(Level.RED, f"this address is banned {until} (418)", LOWER_SHARE, state.host)
    return Finding(Level.YELLOW, f"this address is held back {until} (429)", LOWER_SHARE, state.host)


async def circuits(around: Surroundings) -> list[Finding]:
    """Whether a host failed again and again, so that nobody asks it."""
    broken = [circuit_finding(state) for state in await around.states() if state.open_until is not None]
    return broken or [Finding(Level.GREEN, "all closed")]


def circuit_finding(state: AddressState) -> Finding:
    """A circuit that is not closed, since when, and what it waits for."""
    assert state.open_until is not None
    since = f"{state.open_until - state.open_for:%Y-%m-%d %H:%M:%S} UTC after {state.failures} failures in a row"
    left = state.open_until - state.now
    then = f"asked again in {span(left)}" if state.circuit == "open" else "the next request tries it"
    advice = "Check the network and whether the exchange is in maintenance."
    return Finding(Level.RED, f"{state.circuit}, last opened {since}; {then}", advice, state.host)


# --- error rates


async def errors(around: Surroundings) -> list[Finding]:
    """How many requests of all processes failed in the last five and sixty minutes, and how."""
    assert around.redis is not None
    short, long = [await read_counts(around.redis, minutes) for minutes in (SHORT_MINUTES, LONG_MINUTES)]
    return [rate_finding(short, long, around.limits)]


def rate_finding(short: Mapping[str, int], long: Mapping[str, int], limits: HealthSettings) -> Finding:
    """Red for many errors now, yellow for some now or within the hour."""
    cause = f"last {SHORT_MINUTES} min: {_said(short)}; last {LONG_MINUTES} min: {_said(long)}"
    now, within_the_hour = (_rate(counts, limits.fewest_requests) for counts in (short, long))
    # What was red and is over is no more than yellow.
    level = max(above(now, limits.error_rate), min(above(within_the_hour, limits.error_rate), Level.YELLOW))
    return Finding(level, cause, "Look at the tasks' logs for these errors." if level else "")


def _sum(counts: Mapping[str, int], prefix: str) -> int:
    return sum(amount for name, amount in counts.items() if name.startswith(prefix))


def _rate(counts: Mapping[str, int], fewest: int) -> float:
    # Fewer requests prove nothing.
    requests = _sum(counts, "requests.")
    failed = _sum(counts, "errors.") - counts.get(ANSWER, 0)
    return failed / requests if requests >= fewest else 0.0


def _said(counts: Mapping[str, int]) -> str:
    kinds = {name.removeprefix("errors."): n for name, n in sorted(counts.items()) if name.startswith("errors.")}
    named = ", ".join(f"{n:,} {kind}" for kind, n in kinds.items())
    return f"{_sum(counts, 'requests.'):,} requests, {named or 'no errors'}, {counts.get('retries', 0):,} retries"
