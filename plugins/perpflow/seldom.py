"""Warnings that would repeat many times a second."""

from __future__ import annotations

import logging
import time

EVERY_S = 60.0


class Seldom:
    """Logs each warning at once, and while it repeats once a minute, with how many there were in between."""

    def __init__(self, log: logging.Logger, every_s: float = EVERY_S) -> None:
        self._log = log
        self._every_s = every_s
        self._unsaid: dict[str, int] = {}
        self._said_at: dict[str, float] = {}

    def warning(self, message: str, *args: object) -> None:
        """As of `logging.Logger`. Problems are the same where the message is, whatever its arguments."""
        now = time.monotonic()
        if message in self._said_at and now - self._said_at[message] < self._every_s:
            self._unsaid[message] = self._unsaid.get(message, 0) + 1
            return
        self._said_at[message] = now
        unsaid = self._unsaid.pop(message, 0)
        self._log.warning("%s%s", message % args, f" ({unsaid} more like this one since the last)" if unsaid else "")
