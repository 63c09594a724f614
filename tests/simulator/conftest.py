"""One frozen simulator for the tests that only read, and an in-process exchange where a clock must be moved."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from simulator.process import Handle, running

SEED = 11


@pytest.fixture(scope="session")
def market() -> Iterator[Handle]:
    """A simulator of its own process at 2026-10-15T12:34:56Z that no test changes."""
    with running(seed=SEED) as handle:
        yield handle


@pytest.fixture(scope="session")
def http(market: Handle) -> Iterator[httpx.Client]:
    """A client of the unchanged simulator."""
    with httpx.Client(base_url=market.url, timeout=30) as client:
        yield client


@pytest.fixture
def mutable() -> Iterator[Handle]:
    """A simulator that the test may upset."""
    with running(seed=SEED) as handle:
        yield handle
