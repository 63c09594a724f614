"""Archive files that appear later than usual, on request: until then they are neither listed nor there to download."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np

from simulator.grid import HOUR
from simulator.messages import matches
from simulator.randomness import uniform


@dataclass(frozen=True, slots=True)
class Delay:
    """`hours` for the zips whose key `match` is part of (`*` for anything), or for the share `probability` of them."""

    id: int
    match: str
    hours: float
    probability: float
    seed: int

    def delays(self, key: str) -> bool:
        """Whether this file is late; the same file always is or never."""
        if not matches(self.match, key):
            return False
        index = np.array([crc32(key.encode())], dtype=np.int64)
        return float(uniform(self.seed, self.id, "late", index)[0]) < self.probability


@dataclass(slots=True)
class Delays:
    """All that are switched on."""

    _active: list[Delay] = field(default_factory=list)

    def add(self, delay: Delay) -> None:
        """Switch one on."""
        self._active.append(delay)

    def remove(self, gone: Set[int]) -> None:
        """Switch off those with these ids."""
        self._active = [delay for delay in self._active if delay.id not in gone]

    def delay_ms(self, key: str) -> int:
        """Milliseconds that a zip is late; delays add up."""
        return round(sum(delay.hours for delay in self._active if delay.delays(key)) * HOUR)
