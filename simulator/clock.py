"""The exchange's clock: a simulated "now" in milliseconds UTC that runs at real speed, or stands still.

Streams have no use for a time that stands still: events come in real seconds, and their times must go on with them. So
they read `stream_now`, which starts wherever the clock was last set and always runs. It is the clock itself as long as
that runs; beside a frozen clock it runs ahead of REST until the clock is set again.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Simulated time. `monotonic` (seconds) drives it, injected so that tests can move it."""

    def __init__(self, now: int, *, frozen: bool = False, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.frozen = frozen
        self._monotonic = monotonic
        self._base = now
        self._since = monotonic()

    def now(self) -> int:
        """The simulated time in milliseconds UTC."""
        return self._base if self.frozen else self.stream_now()

    def stream_now(self) -> int:
        """The time of events on streams, in milliseconds UTC: it runs even when the clock is frozen."""
        return self._base + int((self._monotonic() - self._since) * 1000)

    def move(self, now: int) -> None:
        """Set the simulated time; it goes on running from there unless frozen."""
        self._base = now
        self._since = self._monotonic()
