"""One frozen simulator for the tests that only read, and an in-process exchange where a clock must be moved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from simulator.clock import Clock
from simulator.exchange import Exchange, synthetic
from simulator.grid import to_ms
from simulator.process import Handle, running
from simulator.server import serving

SEED = 11
NOW = to_ms("2026-10-15T12:34:56")


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


@pytest.fixture
def exchange() -> Exchange:
    """An exchange of this process, its clock frozen."""
    return synthetic(SEED, Clock(NOW, frozen=True))


@pytest.fixture
async def url(exchange: Exchange) -> AsyncIterator[str]:
    """Where it listens."""
    async with serving(exchange) as address:
        yield address
