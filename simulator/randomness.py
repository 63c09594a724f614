"""Random numbers addressed by name instead of drawn in order: any day is computed without the days before it."""

from __future__ import annotations

from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from simulator.grid import Ints

Floats = NDArray[np.float64]

# Periods in days and amplitudes in daily moves of the slow waves that day-boundary levels are made of.
_WAVES = ((1460.0, 14.0), (377.0, 7.0), (89.0, 3.5), (23.0, 1.5))


def hashed(seed: int, number: int, name: str, index: Ints) -> NDArray[np.uint64]:
    """64 well-mixed bits for each index (splitmix64); the same arguments always give the same bits."""
    key = np.uint64(crc32(f"{seed}:{number}:{name}".encode()) | crc32(f"{name}:{number}:{seed}".encode()) << 32)
    bits = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def uniform(seed: int, number: int, name: str, index: Ints) -> Floats:
    """Numbers in [0, 1), one per index."""
    return (hashed(seed, number, name, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53


@lru_cache(maxsize=16_384)
def level(seed: int, number: int, name: str, day: int, move: float) -> float:
    """The logarithm of a quantity at the midnight that starts `day`, around 0; `move` is its typical daily change."""
    phases = uniform(seed, number, f"{name}/phase", np.arange(len(_WAVES), dtype=np.int64)) * 2 * np.pi
    waves = sum(
        size * move * np.sin(2 * np.pi * day / period + phase)
        for (period, size), phase in zip(_WAVES, phases, strict=True)
    )
    noise = uniform(seed, number, f"{name}/noise", np.arange(3, dtype=np.int64) + 3 * day).sum() - 1.5
    return float(waves + noise * move)


def day_generator(seed: int, number: int, name: str, day: int) -> np.random.Generator:
    """The generator for the inside of one day of one quantity of one contract."""
    return np.random.Generator(np.random.PCG64([seed, number, crc32(name.encode()), day]))
