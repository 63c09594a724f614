"""Fifty hand-overs in a row: every liquidation that the exchange tells meanwhile is kept, and none of it unlistened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis as redis_sync

from perpflow.draining import sort_out
from perpflow.exchange.listing import is_delivery
from perpflow.settings import Collection, Deployment, ExchangeSettings, StreamSettings
from perpflow.store.cache import open_redis
from perpflow.store.lease import holder
from perpflow.store.received import RedisEntries
from perpflow.streaming import Ended, stream
from perpflow.windows import Window, from_ms
from simulator.process import Handle, running

HAND_OVERS = 50


@pytest.fixture
def own_redis_url(redis_url: str) -> Iterator[str]:
    """A database of the session's Redis that only this test writes to."""
    url = urlunsplit(urlsplit(redis_url)._replace(path="/11"))
    with redis_sync.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()


@pytest.fixture(scope="module")
def venue() -> Iterator[Handle]:
    with running(seed=11) as exchange:
        exchange.set_streams(liquidations_per_s=40)
        yield exchange


async def until(holds: Callable[[], Any], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not await holds():
            await asyncio.sleep(0.02)


async def test_of_fifty_hand_overs_none_loses_anything(
    venue: Handle, own_redis_url: str, empty_database_url: str
) -> None:
    deployment = Deployment(
        database_url=empty_database_url,
        redis_url=own_redis_url,
        rest_url=venue.url,
        stream_url=venue.stream_url,
        collection=Collection(
            exchange=ExchangeSettings(egress="hand-overs", rate_share=1),
            stream=StreamSettings(last_price="none", open_interest_every_s=0),
        ),
    )
    streams: list[asyncio.Task[Ended]] = []
    async with open_redis(own_redis_url) as redis:

        async def has_lease(name: str) -> bool:
            found = await holder(redis)
            return found is not None and found.name == name

        for number in range(HAND_OVERS + 1):
            streams.append(asyncio.create_task(stream(deployment, str(number))))
            await until(lambda name=str(number): has_lease(name))
        ended = await asyncio.gather(*streams[:-1])
        streams[-1].cancel()
        await asyncio.gather(streams[-1], return_exceptions=True)
        entries = RedisEntries(redis, most=1_000_000)
        await entries.claim("all", 1_000_000)
        found = sort_out(await entries.of_batch("all"), {})
    assert {each.how for each in ended} == {"handed over"}
    assert found.unreadable == []
    (listened,) = found.listened
    kept = {key_of_row(values) for _, values in found.rows}
    sent = [each for each in venue.liquidations() if told_within(each, listened)]
    assert len(sent) > 100
    assert [each for each in sent if key_of(each) not in kept] == []
    assert kept <= {key_of(each) for each in venue.liquidations()}


def told_within(liquidation: dict[str, Any], window: Window) -> bool:
    """Whether it is of a perpetual and was told then."""
    order = liquidation["o"]
    is_kept = order["st"] == 1 and not is_delivery(order["s"])
    return is_kept and window.start <= from_ms(liquidation["E"]) < window.end


def key_of(liquidation: dict[str, Any]) -> tuple[Any, ...]:
    order = liquidation["o"]
    return (order["s"], order["T"], order["S"], float(order["ap"]), float(order["z"]))


def key_of_row(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same of a row's values, which are those of `LIQUIDATIONS.fields`."""
    _, _, name, side, _, _, _, _, average, _, filled, at = values
    return (name, at, side, average, filled)
