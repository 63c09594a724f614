"""The stream from the simulated exchange's sockets to Redis: newest values, the lease, a Redis that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis as redis_sync

from perpflow import embedded, frames, reader
from perpflow import streaming as streaming_module
from perpflow.arrivals import Inbox, newest
from perpflow.errors import BadConfiguration
from perpflow.exchange.live import Received
from perpflow.settings import Collection, Deployment, ExchangeSettings, StreamSettings
from perpflow.store.cache import open_redis
from perpflow.store.latest import OpenInterest
from perpflow.store.lease import LEASE_KEY, TOKEN_KEY, holder
from perpflow.store.received import ENTRIES_KEY
from perpflow.store.stream_measures import StreamMeasures, read_measures
from perpflow.streaming import Ended, stream
from simulator.process import Handle, running

SYMBOLS = ("SOL/USDT", "BTC/USDT")
NOWHERE = "postgresql://nobody@127.0.0.1:9/none"


@pytest.fixture(scope="module")
def venue() -> Iterator[Handle]:
    with running(seed=7) as exchange:
        yield exchange


@pytest.fixture
async def deployment(venue: Handle, redis_url: str) -> AsyncIterator[Deployment]:
    async with open_redis(redis_url) as redis:
        await redis.delete(LEASE_KEY, TOKEN_KEY, *(f"perpflow:latest:{symbol}" for symbol in (*SYMBOLS, "ETH/USDT")))
        yield deployment_of(venue, redis_url)
    venue.clear_faults()


def deployment_of(venue: Handle, redis_url: str | None, database_url: str = NOWHERE, **stream: Any) -> Deployment:
    """`stream` as in that section of collection.yaml."""
    return Deployment(
        database_url=database_url,
        redis_url=redis_url,
        rest_url=venue.url,
        stream_url=venue.stream_url,
        collection=Collection(
            symbols=SYMBOLS, exchange=ExchangeSettings(egress="stream-tests"), stream=StreamSettings(**stream)
        ),
    )


@asynccontextmanager
async def streaming(deployment: Deployment, name: str) -> AsyncIterator[asyncio.Task[Ended]]:
    task = asyncio.create_task(stream(deployment, name))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.02)


def has_come(deployment: Deployment, symbol: str = "SOL/USDT") -> bool:
    found = reader.latest(symbol, deployment.redis_url)
    return found is not None and found.price is not None and found.mark is not None


async def test_live_values_of_what_is_configured_reach_redis_and_mark_prices_of_everything(
    deployment: Deployment, venue: Handle
) -> None:
    async with streaming(deployment, "a"):
        await until(lambda: all(has_come(deployment, symbol) for symbol in SYMBOLS))
        await until(lambda: reader.latest("ETH/USDT", deployment.redis_url) is not None)
    sol, eth = (reader.latest(symbol, deployment.redis_url) for symbol in ("SOL/USDT", "ETH/USDT"))
    assert sol is not None
    assert sol.mark is not None
    assert sol.price is not None
    assert eth is not None
    assert eth.price is None
    assert sol.price.price == pytest.approx(sol.mark.mark_price, rel=0.05)
    assert abs(sol.mark.at / 1000 - venue.now.timestamp()) < 3600
    assert sol.mark.next_funding_at > sol.mark.at
    assert reader.latest("BTCUSD_PERP", deployment.redis_url) is None


async def test_a_successor_takes_over_when_it_has_received_and_its_predecessor_ends(deployment: Deployment) -> None:
    assert deployment.redis_url is not None
    async with streaming(deployment, "old") as old, open_redis(deployment.redis_url) as redis:
        await until(lambda: has_come(deployment))
        async with streaming(deployment, "new") as new:
            async with asyncio.timeout(30):
                ended = await old
            found = await holder(redis)
            assert found is not None
            assert found.name == "new"
            seen = reader.latest("SOL/USDT", deployment.redis_url)
            await until(lambda: reader.latest("SOL/USDT", deployment.redis_url) != seen)
            assert not new.done()
    assert ended.how == "handed over"
    assert ended.values > 0


async def test_a_stream_of_some_seconds_ends_by_itself_and_lets_the_lease_go(deployment: Deployment) -> None:
    assert deployment.redis_url is not None
    ended = await stream(deployment, "short", seconds=3)
    assert (ended.how, ended.seconds) == ("over", pytest.approx(3, abs=2))
    assert has_come(deployment)
    async with open_redis(deployment.redis_url) as redis:
        assert await holder(redis) is None


async def test_garbage_between_frames_is_counted_and_harms_nothing(
    deployment: Deployment, venue: Handle, caplog: pytest.LogCaptureFixture
) -> None:
    async with streaming(deployment, "a"):
        await until(lambda: has_come(deployment))
        venue.add_fault("ws_garbage", match="aggTrade", times=1, content='{"stream":"btcusdt@aggTrade","data":{"e":1}}')
        await until(lambda: any(fault["struck"] for fault in venue.faults()))
        seen = reader.latest("BTC/USDT", deployment.redis_url)
        await until(lambda: reader.latest("BTC/USDT", deployment.redis_url) != seen)
    assert "Not as documented, and left out: btcusdt@aggTrade: " in caplog.text


async def test_late_events_never_turn_a_price_back(deployment: Deployment, venue: Handle) -> None:
    venue.add_fault("ws_out_of_order", match="aggTrade", probability=0.5)
    times: list[int] = []
    async with streaming(deployment, "a"):
        await until(lambda: has_come(deployment))
        async with asyncio.timeout(20):
            while len(set(times)) < 10:
                found = reader.latest("SOL/USDT", deployment.redis_url)
                assert found is not None
                assert found.price is not None
                times.append(found.price.at)
                await asyncio.sleep(0.02)
    assert times == sorted(times)
    assert any(fault["struck"] for fault in venue.faults())


async def test_a_stream_outlives_its_redis(tmp_path: Path, venue: Handle) -> None:
    services = embedded.start(tmp_path)
    try:
        deployment = deployment_of(venue, services.redis.url)
        async with streaming(deployment, "a") as task:
            await until(lambda: has_come(deployment))
            async with open_redis(services.redis.url) as redis:
                pid = int((await redis.info("server"))["process_id"])
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(embedded.start, tmp_path)
            began = reader.latest("SOL/USDT", deployment.redis_url)
            await until(lambda: reader.latest("SOL/USDT", deployment.redis_url) not in (None, began))
            assert not task.done()
    finally:
        embedded.discard(tmp_path)


async def test_a_redis_that_lets_nobody_in_any_more_is_one_that_is_away(tmp_path: Path, venue: Handle) -> None:
    services = embedded.start(tmp_path)
    try:
        deployment = deployment_of(venue, services.redis.url)
        async with open_redis(services.redis.url) as redis, streaming(deployment, "a") as task:
            await until(lambda: has_come(deployment))
            password = redis.connection_pool.connection_kwargs["password"]
            await redis.config_set("requirepass", "another")
            await redis.client_kill_filter(_type="normal", skipme=True)
            with pytest.raises(BadConfiguration, match="does not let us in"):
                await stream(deployment, "successor")
            assert not task.done()
            await redis.config_set("requirepass", password)
            began = reader.latest("SOL/USDT", deployment.redis_url)
            await until(lambda: reader.latest("SOL/USDT", deployment.redis_url) != began)
    finally:
        embedded.discard(tmp_path)


async def test_liquidations_are_listened_to_while_nobody_says_which_contracts_there_are(
    deployment: Deployment, venue: Handle, caplog: pytest.LogCaptureFixture
) -> None:
    ended = await stream(deployment.model_copy(update={"rest_url": "http://127.0.0.1:9"}), "a", seconds=6)
    assert ended.liquidations > 0
    assert ended.values == 0
    assert "exchangeInfo: 127.0.0.1:9: Connection refused" in caplog.text


async def test_liquidations_are_listened_to_before_the_library_of_rest_is_imported(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_imported = threading.Event()
    monkeypatch.setattr(streaming_module, "preload", is_imported.wait)
    assert deployment.redis_url is not None
    with redis_sync.Redis.from_url(deployment.redis_url) as redis:
        before = redis.xlen(ENTRIES_KEY)
        async with streaming(deployment, "a"):
            try:
                await until(lambda: redis.xlen(ENTRIES_KEY) > before)
                assert not has_come(deployment)
            finally:
                is_imported.set()
            await until(lambda: has_come(deployment))


async def test_without_last_prices_a_successor_takes_over_after_a_while(
    deployment: Deployment, venue: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming_module, "OTHERS_WITHIN_S", 1.0)
    venue.add_fault("ws_silence", match="aggTrade")
    async with streaming(deployment, "a"):
        await until(lambda: reader.latest("SOL/USDT", deployment.redis_url) is not None)
    found = reader.latest("SOL/USDT", deployment.redis_url)
    assert found is not None
    assert found.price is None


async def test_without_mark_prices_nobody_takes_over(
    deployment: Deployment, venue: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming_module, "OTHERS_WITHIN_S", 0.0)
    venue.add_fault("ws_silence", match="markPrice")
    assert deployment.redis_url is not None
    assert (await stream(deployment, "a", seconds=4)).frames > 0
    assert reader.latest("SOL/USDT", deployment.redis_url) is None


async def test_without_redis_there_is_nothing_to_stream_to(venue: Handle) -> None:
    with pytest.raises(BadConfiguration, match="no Redis is known"):
        await stream(deployment_of(venue, None), "a")


def test_of_many_events_the_newest_counts_and_other_markets_do_not() -> None:
    def trade(name: str, at: int, price: str, market: int = 1) -> bytes:
        data = {"e": "aggTrade", "E": at, "s": name, "p": price, "st": market}
        return msgspec.json.encode({"stream": f"{name.lower()}@aggTrade", "data": data})

    waiting = [
        (trade("SOLUSDT", 5, "2.5"), 50),
        (trade("SOLUSDT", 4, "2.4"), 51),
        (trade("SOLUSDT", 9, "9.9", 2), 52),
        (trade("OTHER_261225", 9, "9.9"), 53),
        (b"not a frame", 54),
    ]
    waiting.append((trade("NEWUSDT", 9, "9.9"), 55))
    news = newest(waiting, {"SOLUSDT": "SOL/USDT"})
    assert news.strangers == {"NEWUSDT"}
    (reason,) = news.unreadable
    assert "JSON is malformed" in reason
    (found,) = news.values.values()
    assert found.price is not None
    assert (found.symbol, found.price.at, found.price.price, found.price.received_at) == ("SOL/USDT", 5, 2.5, 50)
    assert frames.decode(waiting[0][0]).events[0].event_ms == 5


async def test_a_full_inbox_drops_the_oldest_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox(most=3)
    for number in range(5):
        inbox.put(Received("last_price", bytes([number]), number, connection=1))
    assert [frame for frame, _ in await inbox.take()] == [b"\2", b"\3", b"\4"]
    assert "2 frames came faster" in caplog.text


def environment_of(deployment: Deployment, venue: Handle) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": "plugins",
        "PERPFLOW_DATABASE_URL": deployment.database_url,
        "PERPFLOW_REDIS_URL": deployment.redis_url or "",
        "PERPFLOW_REST_URL": venue.url,
        "PERPFLOW_STREAM_URL": venue.stream_url,
    }


def test_the_command_streams_and_latest_shows_it(deployment: Deployment, venue: Handle) -> None:
    environment = environment_of(deployment, venue)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "perpflow", *arguments]
        return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)

    done = run("stream", "--seconds", "4")
    assert done.returncode == 0, done.stderr
    assert "would not take liquidations if Redis went away" in done.stderr
    assert "over after" in done.stdout
    shown = run("latest", "SOL/USDT,BTC/USDT")
    assert shown.returncode == 0, shown.stderr
    assert "SOL/USDT" in shown.stdout
    assert "nothing live" not in shown.stdout
    nothing = run("latest", "NOPE/USDT")
    assert (nothing.returncode, "nothing live" in nothing.stdout) == (1, True)
    assert "Symbols are written as SOL/USDT" in nothing.stderr
    assert run("latest", "").returncode == 2
    assert run("stream", "--seconds", "inf").returncode == 2
    silent = environment | {"PERPFLOW_STREAM_URL": "ws://127.0.0.1:9"}
    line = [sys.executable, "-m", "perpflow", "stream", "--seconds", "2"]
    done = subprocess.run(line, env=silent, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "nothing has come" in done.stderr) == (1, True)


def test_a_watch_goes_on_while_redis_is_away_and_without_a_terminal(tmp_path: Path, venue: Handle) -> None:
    services = embedded.start(tmp_path)
    try:
        deployment = deployment_of(venue, services.redis.url)
        asyncio.run(stream(deployment, "a", seconds=3))
        line = [sys.executable, "-m", "perpflow", "latest", "SOL/USDT", "--watch"]
        environment = environment_of(deployment, venue)
        with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) as watch:
            assert watch.stdout is not None
            for _ in range(2):
                assert any("SOL/USDT" in shown for shown in iter(watch.stdout.readline, ""))
            with redis_sync.Redis.from_url(services.redis.url) as client:
                os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
            assert any("Redis does not answer" in shown for shown in iter(watch.stdout.readline, ""))
            embedded.start(tmp_path)
            assert any("SOL/USDT" in shown for shown in iter(watch.stdout.readline, ""))
            watch.send_signal(signal.SIGINT)
        assert watch.returncode == 0
    finally:
        embedded.discard(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_command_that_is_told_to_stop_lets_the_lease_go(
    deployment: Deployment, venue: Handle, number: signal.Signals
) -> None:
    assert deployment.redis_url is not None
    line = [sys.executable, "-m", "perpflow", "stream"]
    with subprocess.Popen(line, env=environment_of(deployment, venue), stdout=subprocess.PIPE, text=True) as process:
        await until(lambda: has_come(deployment))
        process.send_signal(number)
        said, _ = await asyncio.to_thread(process.communicate, timeout=20)
    assert (process.returncode, said.partition(" after ")[0]) == (0, "stopped")
    async with open_redis(deployment.redis_url) as redis:
        assert await holder(redis) is None


async def test_open_interest_is_looked_up_beside_the_stream(deployment: Deployment) -> None:
    async with streaming(deployment, "a"):
        await until(lambda: all(interest(deployment, symbol) is not None for symbol in SYMBOLS))
        first = interest(deployment)
    assert first is not None
    assert first.open_interest > 0
    assert interest(deployment, "ETH/USDT") is None


def interest(deployment: Deployment, symbol: str = "SOL/USDT") -> OpenInterest | None:
    found = reader.latest(symbol, deployment.redis_url)
    return found.open_interest if found else None


async def test_what_is_switched_off_is_not_asked_for(venue: Handle, deployment: Deployment) -> None:
    venue.clear_requests()
    off = deployment_of(venue, deployment.redis_url, last_price="none", liquidations=False, open_interest_every_s=0)
    async with streaming(off, "a"):
        await until(lambda: reader.latest("SOL/USDT", off.redis_url) is not None)
        (connection,) = (each for each in venue.streams()["connections"] if each["closed_s"] is None)
    assert connection["subscriptions"] == ["!markPrice@arr@1s"]
    found = reader.latest("SOL/USDT", off.redis_url)
    assert found is not None
    assert (found.price, found.open_interest) == (None, None)


async def test_tickers_bring_the_last_price_of_all_contracts(venue: Handle, deployment: Deployment) -> None:
    async with streaming(deployment_of(venue, deployment.redis_url, last_price="ticker"), "a"):
        await until(lambda: has_come(deployment))


async def test_a_stream_measures_itself(
    deployment: Deployment, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming_module, "RENEW_EVERY_S", 0.5)

    async def measured() -> StreamMeasures | None:
        async with open_redis(redis_url) as redis:
            return await read_measures(redis)

    async with streaming(deployment, "measured"):
        async with asyncio.timeout(20):
            while (found := await measured()) is None or found.holder != "measured" or found.write_ms is None:
                await asyncio.sleep(0.05)
    assert (found.connections, found.reconnects, found.stalls, found.dropped) == (2, 0, 0, 0)
    assert found.frames_per_s["mark_price"] > 0
    assert found.frames_per_s["last_price"] > 0
    assert found.write_ms[0] < 1000
