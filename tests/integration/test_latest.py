"""The latest values in a real Redis: merged by group, never older, never by a stream that has lost the lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from perpflow import reader
from perpflow.errors import BadConfiguration, StateDamaged, StoreUnavailable
from perpflow.store.cache import open_redis
from perpflow.store.latest import (
    CHANNEL,
    FencedOff,
    LastPrice,
    Latest,
    LatestValues,
    Mark,
    OpenInterest,
    Written,
    decode_latest,
    latest_key,
)
from perpflow.store.lease import LASTS_S, LEASE_KEY, TOKEN_KEY, Lease, holder

_numbers = count(1)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url) as client:
        await client.delete(LEASE_KEY, TOKEN_KEY)
        yield client


@pytest.fixture
def symbol() -> str:
    """A contract that no other test knows."""
    return f"NEW{next(_numbers)}/USDT"


def price(at: int, value: float = 100.25) -> LastPrice:
    return LastPrice(at, at + 3, value)


def mark(at: int) -> Mark:
    return Mark(at, at + 3, 100.5, 100.75, at + 3_600_000, -0.0001)


async def test_values_come_back_as_they_were_written(redis: Redis, redis_url: str, symbol: str) -> None:
    token = await Lease(redis, "a").take()
    whole = Latest(
        symbol,
        price(1_791_391_082_024),
        mark(1_791_391_082_000),
        OpenInterest(1_791_391_080_000, 1_791_391_082_009, 94791.893),
    )
    assert await LatestValues(redis).write(token, {symbol: whole}) == Written(3, 0)
    assert reader.latest(symbol, redis_url) == whole
    assert reader.latest("NONE/USDT", redis_url) is None


async def test_a_group_replaces_itself_and_leaves_the_others(redis: Redis, redis_url: str, symbol: str) -> None:
    token, values = await Lease(redis, "a").take(), LatestValues(redis)
    await values.write(token, {symbol: Latest(symbol, price(1000), mark(1000))})
    await values.write(token, {symbol: Latest(symbol, price(2000, 7.0))})
    assert reader.latest(symbol, redis_url) == Latest(symbol, price(2000, 7.0), mark(1000))


async def test_an_older_event_changes_nothing_and_is_told_to_nobody(redis: Redis, redis_url: str, symbol: str) -> None:
    token, values = await Lease(redis, "a").take(), LatestValues(redis)
    await values.write(token, {symbol: Latest(symbol, price(2000))})
    async with redis.pubsub() as listener:
        await listener.subscribe(CHANNEL)
        await listener.get_message(timeout=5)
        assert await values.write(token, {symbol: Latest(symbol, price(1999, 1.0))}) == Written(0, 1)
        assert await values.write(token, {symbol: Latest(symbol, price(2001, 2.0), mark(5))}) == Written(2, 0)
        message = await listener.get_message(ignore_subscribe_messages=True, timeout=5)
    assert message is not None
    assert (
        decode_latest(message["data"]) == reader.latest(symbol, redis_url) == Latest(symbol, price(2001, 2.0), mark(5))
    )


async def test_what_nobody_renews_expires(redis: Redis, symbol: str) -> None:
    token = await Lease(redis, "a").take()
    await LatestValues(redis, expires_s=60).write(token, {symbol: Latest(symbol, price(1))})
    assert 59_000 < await redis.pttl(latest_key(symbol)) <= 60_000


async def test_who_has_lost_the_lease_writes_nothing(redis: Redis, redis_url: str, symbol: str) -> None:
    first, second, values = Lease(redis, "first"), Lease(redis, "second"), LatestValues(redis)
    await first.take()
    await values.write(first.token, {symbol: Latest(symbol, price(1000))})
    assert await second.take() > first.token
    with pytest.raises(FencedOff):
        await values.write(first.token, {symbol: Latest(symbol, price(2000))})
    assert not await first.renew()
    await first.release()
    found = await holder(redis)
    assert found is not None
    assert (found.name, found.token) == ("second", second.token)
    assert found.since is not None
    assert reader.latest(symbol, redis_url) == Latest(symbol, price(1000))


async def test_a_lease_is_renewed_while_it_is_held_and_gone_when_it_is_released(redis: Redis) -> None:
    lease = Lease(redis, "a")
    await lease.take()
    await redis.pexpire(LEASE_KEY, 1000)
    assert await lease.renew()
    assert 1000 < await redis.pttl(LEASE_KEY) <= LASTS_S * 1000
    await lease.release()
    assert await holder(redis) is None
    before = lease.token
    assert await lease.take() > before


async def test_a_redis_that_has_lost_everything_gives_the_lease_back_and_no_smaller_token_later(redis: Redis) -> None:
    lease, successor = Lease(redis, "a"), Lease(redis, "b")
    await lease.take()
    await redis.delete(LEASE_KEY, TOKEN_KEY)
    assert await lease.renew()
    assert await successor.take() > lease.token
    assert not await lease.renew()


async def test_a_lease_taken_right_after_redis_has_lost_everything_is_the_newer_one(redis: Redis) -> None:
    lease, successor = Lease(redis, "a"), Lease(redis, "b")
    await lease.take()
    await redis.delete(LEASE_KEY, TOKEN_KEY)
    assert await successor.take() > lease.token
    assert not await lease.renew()
    assert await successor.renew()


async def test_a_lease_that_is_none_of_ours_holds_nobody_up(redis: Redis, redis_url: str, symbol: str) -> None:
    lease = Lease(redis, "a")
    for damage in (redis.set(TOKEN_KEY, "abc"), redis.lpush(TOKEN_KEY, "1")):
        await redis.delete(LEASE_KEY, TOKEN_KEY)
        await damage
        await redis.lpush(LEASE_KEY, "1")
        token = await lease.take()
        assert (await LatestValues(redis).write(token, {symbol: Latest(symbol, price(token))})).taken == 1
        await redis.set(TOKEN_KEY, "abc")
        await redis.set(LEASE_KEY, "abc")
        assert (await LatestValues(redis).write(token, {symbol: Latest(symbol, price(token))})).taken == 1
        assert await lease.renew()
        found = await holder(redis)
        assert found is not None
        assert found.token == token


async def test_a_contract_without_funding_has_none(redis: Redis, redis_url: str, symbol: str) -> None:
    token = await Lease(redis, "a").take()
    value = Latest(symbol, mark=Mark(1, 2, 100.5, 100.75))
    await LatestValues(redis).write(token, {symbol: value})
    assert reader.latest(symbol, redis_url) == value


async def test_a_price_does_not_outlive_its_time_because_the_mark_price_is_renewed(
    redis: Redis, redis_url: str, symbol: str
) -> None:
    token, values = await Lease(redis, "a").take(), LatestValues(redis, expires_s=60)
    await values.write(token, {symbol: Latest(symbol, price(1000), mark(1000))})
    await values.write(token, {symbol: Latest(symbol, mark=mark(61_000))})
    assert reader.latest(symbol, redis_url) == Latest(symbol, price(1000), mark(61_000))
    await values.write(token, {symbol: Latest(symbol, mark=mark(61_001))})
    assert reader.latest(symbol, redis_url) == Latest(symbol, None, mark(61_001))


@pytest.mark.parametrize("spoil", ["lpush {} 1", "set {} garbage", "hset {} a b"])
async def test_what_is_none_of_ours_is_written_over_and_holds_nobody_up(
    redis: Redis, redis_url: str, symbol: str, spoil: str
) -> None:
    await redis.execute_command(*spoil.format(latest_key(symbol)).split())
    token = await Lease(redis, "a").take()
    news = {name: Latest(name, price(5)) for name in ("A1/USDT", symbol, "Z1/USDT")}
    assert await LatestValues(redis).write(token, news) == Written(3, 0)
    assert [reader.latest(name, redis_url) for name in news] == list(news.values())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(st.tuples(st.integers(1, 50), st.booleans()), min_size=1, max_size=40))
async def test_event_times_never_go_backwards_whatever_two_streams_write(
    redis: Redis, redis_url: str, symbol: str, events: list[tuple[int, bool]]
) -> None:
    await redis.delete(LEASE_KEY, TOKEN_KEY, latest_key(symbol))
    old, new, values, seen = Lease(redis, "old"), Lease(redis, "new"), LatestValues(redis), 0
    await old.take()
    for at, is_new in events:
        if is_new and not new.token:
            await new.take()
        try:
            await values.write((new if is_new else old).token, {symbol: Latest(symbol, price(at, float(at)))})
        except FencedOff:
            assert new.token
            assert not is_new
        now = reader.latest(symbol, redis_url)
        if now is not None and now.price is not None:
            assert now.price.at >= seen
            assert now.price.price == now.price.at
            seen = now.price.at


async def test_several_symbols_are_written_together_by_many_at_once(redis: Redis, redis_url: str) -> None:
    token, values = await Lease(redis, "a").take(), LatestValues(redis)
    symbols = [f"MANY{number}/USDT" for number in range(50)]
    writes = (values.write(token, {s: Latest(s, price(at)) for s in symbols}) for at in (3, 1, 2))
    assert sum(written.taken + written.older for written in await asyncio.gather(*writes)) == 150
    assert {found.price for s in symbols if (found := reader.latest(s, redis_url))} == {price(3)}


def test_without_redis_the_reader_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERPFLOW_REDIS_URL", raising=False)
    with pytest.raises(BadConfiguration, match="no Redis is known"):
        reader.latest("SOL/USDT")
    with pytest.raises(StoreUnavailable, match="Redis does not answer"):
        reader.latest("SOL/USDT", "redis://127.0.0.1:9/0")


async def test_a_value_that_no_stream_has_written_is_named(redis: Redis, redis_url: str, symbol: str) -> None:
    for damage in (redis.set(latest_key(symbol), b"junk"), redis.set(latest_key(symbol), b"\x80")):
        await damage
        with pytest.raises(StateDamaged, match=f"{latest_key(symbol)} holds what no stream writes"):
            reader.latest(symbol, redis_url)
    await redis.delete(latest_key(symbol))
    await redis.lpush(latest_key(symbol), "1")
    with pytest.raises(StateDamaged, match="something of another type"):
        reader.latest(symbol, redis_url)


async def test_values_that_are_none_of_ours_hold_up_nobody(redis: Redis, redis_url: str, symbol: str) -> None:
    await redis.set(
        latest_key(symbol), msgspec.msgpack.encode({"symbol": symbol, "price": {"at": 1, "received_at": "x"}})
    )
    token = await Lease(redis, "a").take()
    assert (await LatestValues(redis).write(token, {symbol: Latest(symbol, mark=mark(5))})).taken == 1
    found = reader.latest(symbol, redis_url)
    assert found is not None
    assert (found.price, found.mark) == (None, mark(5))
