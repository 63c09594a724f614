"""What is tried again, and when: two pure functions, and tenacity to do it.

tenacity rather than stamina (which wraps it), because its sleep can be injected: tests assert the exact delays and
nobody sleeps. After the last attempt the error goes up, to the task's own retries.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from perpflow.counters import COUNTS
from perpflow.errors import IpBanned, RateLimited, Transient

T = TypeVar("T")
log = logging.getLogger(__name__)

ATTEMPTS = 5
FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
#: A 429 never lasts longer than its window; what lasts longer is left to the task's own retries.
PATIENCE_S = 330.0


def is_retryable(error: BaseException) -> bool:
    """Whether another attempt within the same task may help.

    A ban (418) lasts two minutes to three days and grows with every request: it is left to the task's own retries, and
    so is a limit (429) that lasts as long.
    """
    if isinstance(error, RateLimited) and error.retry_after_s > PATIENCE_S:
        return False
    return isinstance(error, Transient) and not isinstance(error, IpBanned)


def delay_s(attempt: int, error: BaseException, jitter: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1); `jitter` is random in [0, 1).

    What the exchange or a circuit breaker says counts, plus up to a second so that not everybody returns at once.
    Otherwise the delay doubles from one second to thirty, of which the jitter takes away up to half.
    """
    if isinstance(error, Transient) and error.retry_after_s is not None:
        return error.retry_after_s + jitter
    longest = min(FIRST_DELAY_S * 2.0 ** (attempt - 1), LONGEST_DELAY_S)
    return longest * (1.0 - jitter / 2.0)


@dataclass(frozen=True, slots=True)
class Retry:
    """Calls again what failed transiently, at most `attempts` times in all; then the last error is raised."""

    attempts: int = ATTEMPTS
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random  # noqa: S311  spreads requests, hides nothing

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of `call()`; it must be safe to call more than once."""
        retrying = AsyncRetrying(
            sleep=self.sleep,
            stop=stop_after_attempt(self.attempts),
            retry=retry_if_exception(is_retryable),
            wait=self._wait,
            before_sleep=_announce,
            reraise=True,
        )

        # tenacity awaits only what it recognises as a coroutine function, which a lambda is not.
        async def once() -> T:
            return await call()

        return await retrying(once)

    def _wait(self, state: RetryCallState) -> float:
        return delay_s(state.attempt_number, _error_of(state), self.jitter())


def _error_of(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    assert error is not None, "only failed attempts are waited for"
    return error


def _announce(state: RetryCallState) -> None:
    COUNTS.count("retries")
    log.warning("Attempt %d failed, next in %.1f s: %s", state.attempt_number, state.upcoming_sleep, _error_of(state))
