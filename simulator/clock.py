"""The exchange's clock: a simulated "now" in milliseconds UTC that runs at real speed, or stands still."""

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
        if self.frozen:
            return self._base
        return self._base + int((self._monotonic() - self._since) * 1000)

    def move(self, now: int) -> None:
        """Set the simulated time; it goes on running from there unless frozen."""
        self._base = now
        self._since = self._monotonic()
