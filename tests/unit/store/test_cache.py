"""Redis' address is refused before anything is asked, and without its password."""

from __future__ import annotations

import pytest

from perpflow.errors import BadConfiguration
from perpflow.store.cache import open_redis


@pytest.mark.parametrize(
    "url",
    ["http://:secret@redis", "redis://:secret@redis:port/0", "redis://:secret@redis/0?ssl=true", "redis", ""],
    ids=["scheme", "port", "option", "no URL", "empty"],
)
async def test_an_address_that_redis_clients_do_not_read_is_refused_at_once(url: str) -> None:
    with pytest.raises(BadConfiguration, match="Redis' address is not valid") as refused:
        async with open_redis(url):
            pass
    assert "secret" not in str(refused.value)
