"""What tests of the gate share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from perpflow.store.database import Connection, session
from tests.staged_rows import Gate


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A session with the module's database."""
    with session(database_url) as opened:
        yield opened


@pytest.fixture
def gates(connection: Connection, database_url: str) -> Any:
    """Makes a gate with a batch of its own: `gates("ohlcv")`."""
    return lambda dataset: Gate(connection, database_url, dataset)
