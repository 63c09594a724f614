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

    def warning(self, message: str, *args: object, problem: str | None = None) -> None:
        """As of `logging.Logger`. Problems are the same where `problem` is, or the message, whatever its arguments."""
        now, problem = time.monotonic(), problem or message
        if problem in self._said_at and now - self._said_at[problem] < self._every_s:
            self._unsaid[problem] = self._unsaid.get(problem, 0) + 1
            return
        self._said_at[problem] = now
        unsaid = self._unsaid.pop(problem, 0)
        self._log.warning("%s%s", message % args, f" ({unsaid} more like this one since the last)" if unsaid else "")
