"""What was done to whom, counted by kind, by all threads of a campaign."""

from __future__ import annotations

from collections import Counter
from threading import Lock


class Tally:
    """Counts of a campaign, and how many kills are still to come.

    Args:
        kills: the quota; what dies counts against it whatever it was.
    """

    def __init__(self, kills: int) -> None:
        self.quota = kills
        self._lock = Lock()
        #: Deaths by victim: a step that was really at work, or a server.
        self.kills: Counter[str] = Counter()
        #: Kills that came too late: the step had ended.
        self.late: Counter[str] = Counter()
        #: Steps that ended by themselves.
        self.done: Counter[str] = Counter()
        #: Errors that steps reported, by (step, name of the error).
        self.errors: Counter[tuple[str, str]] = Counter()
        #: How often a fault of the exchange struck, by kind.
        self.struck: Counter[str] = Counter()

    @property
    def killed(self) -> int:
        """All kills that hit."""
        return sum(self.kills.values())

    @property
    def wants_more(self) -> bool:
        """Whether the quota is not yet reached."""
        return self.killed < self.quota

    def count(self, counter: Counter[str], key: str, times: int = 1) -> None:
        """Add to one of the counters."""
        with self._lock:
            counter[key] += times

    def count_error(self, step: str, error: str) -> None:
        """A step ended with an error."""
        with self._lock:
            self.errors[step, error] += 1
