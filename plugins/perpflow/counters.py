"""Counts of what this process does: requests, weight, retries, errors by kind, rows, normalisations.

Each exporter (Redis, Airflow's metrics) takes what has been counted since it took last, so that none needs another.
Names are dotted, as metrics systems like them: `requests.klines`, `errors.RateLimited`, `rows.ohlcv.inserted`.
"""

from __future__ import annotations

from collections import Counter, defaultdict


class Counts:
    """Counters by name that only grow."""

    def __init__(self) -> None:
        self._total = Counter[str]()
        self._taken: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def count(self, name: str, amount: int = 1) -> None:
        """Add `amount` to a counter."""
        self._total[name] += amount

    def take(self, exporter: str) -> dict[str, int]:
        """What has been counted since this exporter took last."""
        taken = self._taken[exporter]
        news = {name: amount - taken[name] for name, amount in self._total.items() if amount != taken[name]}
        self._taken[exporter] = self._total.copy()
        return news

    def give_back(self, exporter: str, counts: dict[str, int]) -> None:
        """What the exporter could not deliver, for its next try."""
        self._taken[exporter].subtract(counts)


#: This process's.
COUNTS = Counts()
