"""Connections to the exchange's market streams and the feeds that keep them, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from aiohttp import web

from perpflow import frames
from perpflow.errors import AccessDenied, BadConfiguration, ExchangeUnavailable, IpBanned, RequestRejected, StreamSilent
from perpflow.exchange import feed as feed_module
from perpflow.exchange import live
from perpflow.exchange.feed import Feed
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.live import MARKET_PATH, Connection, Received, Subscription
from simulator.frames import CLOSE, close_frame, frame
from simulator.process import Handle, running

MARKS = Subscription("mark_price", ("!markPrice@arr@1s",), silent_s=3.0)
TRADES = Subscription("last_price", ("btcusdt@aggTrade", "solusdt@aggTrade"), silent_s=3.0)
LIQUIDATIONS = Subscription("liquidations", ("!forceOrder@arr",))


@pytest.fixture(scope="module")
def venue() -> Iterator[Handle]:
    with running(seed=7) as exchange:
        yield exchange


@pytest.fixture(autouse=True)
def healed(venue: Handle) -> Iterator[None]:
    yield
    venue.clear_faults()
    venue.clear_requests()
    venue.set_streams(lifetime_s=86_400, ping_s=180, pong_timeout_s=600, liquidations_per_s=1)
    venue.drop_streams()
    venue.clear_streams()


class Inbox:
    """What a feed has delivered, in its order; waits for what is still to come."""

    def __init__(self) -> None:
        self.frames: list[Received] = []
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def put(self, received: Received) -> None:
        self.frames.append(received)
        self._loop.call_soon_threadsafe(self._news.set)

    async def until(self, holds: Callable[[], bool], within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while not holds():
                self._news.clear()
                await self._news.wait()

    def of(self, kind: str) -> list[frames.Frame]:
        return [frames.decode(received.frame) for received in self.frames if received.kind == kind]

    def of_connection(self, number: int) -> list[Received]:
        return [received for received in self.frames if received.connection == number]


@asynccontextmanager
async def feeding(feed: Feed) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(feed.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def feed_of(
    venue: Handle,
    inbox: Inbox,
    *subscriptions: Subscription,
    lifetime_s: float = 3600.0,
    overlap_s: float = 0.1,
) -> Feed:
    return Feed(
        venue.stream_url + MARKET_PATH,
        subscriptions,
        inbox.put,
        limiter=Limiter("stream"),
        timeout_s=3,
        lifetime_s=lifetime_s,
        overlap_s=overlap_s,
    )


async def settled(wait: Awaitable[object], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        await wait


async def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    """For what another process knows."""
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.05)


async def test_what_is_subscribed_comes_by_kind(venue: Handle) -> None:
    inbox = Inbox()
    async with feeding(feed_of(venue, inbox, MARKS, TRADES, LIQUIDATIONS)):
        await inbox.until(lambda: all(inbox.of(kind) for kind in ("mark_price", "last_price", "liquidations")))
    assert {event.exchange_symbol for frame in inbox.of("last_price") for event in frame.events} <= {
        "BTCUSDT",
        "SOLUSDT",
    }
    assert all(isinstance(event, frames.ForceOrder) for frame in inbox.of("liquidations") for event in frame.events)
    assert {frame.stream for frame in inbox.of("mark_price")} == {"!markPrice@arr@1s"}


async def test_a_feed_is_live_when_each_kind_that_must_not_be_silent_has_come(venue: Handle) -> None:
    inbox = Inbox()
    venue.set_streams(liquidations_per_s=0)
    feed = feed_of(venue, inbox, MARKS, LIQUIDATIONS)
    async with feeding(feed):
        await settled(feed.live.wait())
        assert feed.measures.frames["mark_price"] >= 1


@pytest.mark.parametrize("path", ["/stream", "/public/stream"])
async def test_a_subscription_that_is_acknowledged_and_brings_nothing_is_an_error_that_names_the_address(
    venue: Handle, path: str
) -> None:
    connection = Connection(venue.stream_url + path, [MARKS], lambda *_: None, lambda: None)
    await asyncio.to_thread(connection.open)
    with pytest.raises(StreamSilent, match=rf"{path}: the subscription of mark_price .* was acknowledged, but nothing"):
        await asyncio.to_thread(connection.receive)


async def test_a_stream_that_falls_silent_is_left_and_opened_again(
    venue: Handle, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox()
    feed = feed_of(venue, inbox, MARKS, TRADES)
    async with feeding(feed):
        await settled(feed.live.wait())
        fault = venue.add_fault("ws_silence", match="markPrice")
        await until(lambda: feed.measures.stalls >= 1)
        assert "has sent no frame of mark_price for more than 3 s" in caplog.text
        venue.remove_fault(fault)
        await until(lambda: feed.measures.connections == 2)


async def test_a_connection_that_hangs_half_open_is_noticed(venue: Handle) -> None:
    inbox = Inbox()
    feed = feed_of(venue, inbox, TRADES)
    async with feeding(feed):
        await settled(feed.live.wait())
        venue.add_fault("ws_half_open", match="aggTrade", times=1)
        await until(lambda: feed.measures.connections == 2)
    assert feed.measures.stalls == 1


async def test_a_quiet_connection_is_asked_for_a_pong(venue: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "IDLE_S", 0.6)
    venue.set_streams(liquidations_per_s=0)
    inbox = Inbox()
    feed = feed_of(venue, inbox, LIQUIDATIONS)
    async with feeding(feed):
        await settled(feed.live.wait())
        # A subscription and pings.
        await until(lambda: venue.streams()["connections"][-1]["messages_received"] >= 4)
    assert feed.measures.failures == 0


@pytest.mark.parametrize("fault", ["ws_cut", "ws_garbage"])
async def test_what_breaks_a_connection_does_not_break_the_feed(venue: Handle, fault: str) -> None:
    inbox = Inbox()
    feed = feed_of(venue, inbox, TRADES)
    async with feeding(feed):
        await settled(feed.live.wait())
        venue.add_fault(fault, match="aggTrade", times=1)
        await until(lambda: any(each["struck"] for each in venue.faults()))
        seen = len(inbox.frames)
        await inbox.until(
            lambda: len(inbox.of("last_price")) > seen + 5 if fault == "ws_cut" else len(inbox.frames) > seen
        )
        assert feed.measures.connections == (2 if fault == "ws_cut" else 1)


async def test_a_successor_has_received_before_its_predecessor_is_closed(venue: Handle) -> None:
    inbox = Inbox()
    feed = feed_of(venue, inbox, TRADES, lifetime_s=1.0)
    async with feeding(feed):
        await until(lambda: feed.measures.connections >= 4, 30)
    assert feed.measures.failures == 0
    ((began, ended),) = venue.streams()["listened"]["btcusdt@aggTrade"]
    assert ended is None or ended - began > 2
    times = [
        event.event_ms
        for frame in inbox.of("last_price")
        for event in frame.events
        if event.exchange_symbol == "BTCUSDT"
    ]
    assert max(later - earlier for earlier, later in pairwise(sorted(set(times)))) <= 150


HEARTBEAT = Subscription("last_price", ("btcusdt@aggTrade",), silent_s=3.0)
OTHER_TRADES = Subscription("last_price", ("btcusdt@aggTrade", "ethusdt@aggTrade"), silent_s=3.0)


def subscribed(venue: Handle) -> list[list[str]]:
    """What each connection that is open is subscribed to."""
    return [each["subscriptions"] for each in venue.streams()["connections"] if each["closed_s"] is None]


async def test_a_predecessor_receives_for_a_while_beside_its_successor(venue: Handle) -> None:
    inbox = Inbox()
    feed = feed_of(venue, inbox, TRADES, overlap_s=1.5)
    async with feeding(feed):
        await settled(feed.live.wait())
        feed.renew([OTHER_TRADES])
        await until(lambda: feed.measures.connections == 2 and len(venue.streams()["connections"]) == 2)
        await until(lambda: len(subscribed(venue)) == 1)
        older, younger = venue.streams()["connections"]
    assert older["closed_s"] - younger["opened_s"] > 1.5
    of_older, of_younger = (
        inbox.of_connection(number) for number in sorted({f.connection for f in inbox.frames} - {0})
    )
    assert of_older[-1].received_ms - of_younger[0].received_ms > 1000
    assert feed.measures.failures == 0


async def test_a_feed_that_is_cancelled_in_an_overlap_closes_both(venue: Handle) -> None:
    feed = feed_of(venue, Inbox(), TRADES, overlap_s=60)
    async with feeding(feed):
        await settled(feed.live.wait())
        feed.renew([OTHER_TRADES])
        await until(lambda: feed.measures.connections == 2)
        assert len(subscribed(venue)) == 2
    await until(lambda: subscribed(venue) == [])
    assert not feed.live.is_set()


async def test_a_predecessor_that_breaks_in_the_overlap_is_simply_over(venue: Handle) -> None:
    feed = feed_of(venue, Inbox(), TRADES, overlap_s=60)
    async with feeding(feed):
        await settled(feed.live.wait())
        feed.renew([HEARTBEAT])
        await until(lambda: feed.measures.connections == 2)
        venue.add_fault("ws_cut", match="solusdt", times=1)
        await until(lambda: subscribed(venue) == [["btcusdt@aggTrade"]])
        assert feed.live.is_set()
    assert (feed.measures.failures, feed.measures.connections) == (0, 2)


async def test_a_successor_that_breaks_in_the_overlap_leaves_its_predecessor_until_the_next_one(venue: Handle) -> None:
    feed = feed_of(venue, Inbox(), HEARTBEAT, overlap_s=1.5)
    async with feeding(feed):
        await settled(feed.live.wait())
        feed.renew([TRADES])
        await until(lambda: feed.measures.connections == 2)
        venue.add_fault("ws_cut", match="solusdt", times=1)
        await until(lambda: feed.measures.failures == 1)
        assert feed.live.is_set()
        await until(lambda: feed.measures.connections == 3)
        await until(lambda: subscribed(venue) == [[*TRADES.streams]])
        ((_, ended),) = venue.streams()["listened"]["btcusdt@aggTrade"]
    assert ended is None
    assert feed.measures.failures == 1


async def test_a_renewed_feed_brings_what_it_is_subscribed_to_then(venue: Handle) -> None:
    inbox = Inbox()
    feed = feed_of(venue, inbox, TRADES)
    async with feeding(feed):
        await settled(feed.live.wait())
        feed.renew([MARKS, OTHER_TRADES])
        assert feed.measures.frames["mark_price"] == 0
        await inbox.until(lambda: bool(inbox.of("mark_price")))
        await until(lambda: subscribed(venue) == [[*MARKS.streams, *OTHER_TRADES.streams]])
        ((_, ended),) = venue.streams()["listened"]["btcusdt@aggTrade"]
    assert ended is None
    assert feed.measures.failures == 0


async def test_of_several_renewals_the_last_one_counts(venue: Handle) -> None:
    feed = feed_of(venue, Inbox(), TRADES)
    async with feeding(feed):
        await settled(feed.live.wait())
        feed.renew([OTHER_TRADES])
        feed.renew([HEARTBEAT])
        await until(lambda: subscribed(venue) == [[*HEARTBEAT.streams]])
        assert feed.measures.connections == 2
    assert feed.measures.failures == 0


async def test_a_renewal_while_a_successor_is_being_opened_follows_it(venue: Handle) -> None:
    feed = feed_of(venue, Inbox(), TRADES)
    async with feeding(feed):
        await settled(feed.live.wait())
        silence = venue.add_fault("ws_silence", match="markPrice")
        feed.renew([MARKS, TRADES])
        await until(lambda: [*MARKS.streams, *TRADES.streams] in subscribed(venue))
        assert feed.measures.connections == 1
        feed.renew([HEARTBEAT])
        venue.remove_fault(silence)
        await until(lambda: subscribed(venue) == [[*HEARTBEAT.streams]])
    assert (feed.measures.failures, feed.measures.connections) == (0, 3)


async def test_a_renewal_before_the_first_connection_is_what_is_opened(venue: Handle) -> None:
    feed = feed_of(venue, Inbox(), TRADES)
    feed.renew([HEARTBEAT])
    async with feeding(feed):
        await settled(feed.live.wait())
        assert subscribed(venue) == [[*HEARTBEAT.streams]]
    assert feed.measures.connections == 1


async def test_where_what_is_new_is_refused_the_old_connection_stays_until_something_else_is_wanted() -> None:
    inbox = Inbox()
    async with answering(ACKNOWLEDGEMENT, TRADE, unwanted="nonsense") as url:
        feed = Feed(url, [Subscription("last_price", TRADES.streams)], inbox.put, limiter=Limiter("stream"))
        async with feeding(feed) as task:
            await settled(feed.live.wait())
            feed.renew([Subscription("nonsense", ("nonsense",))])
            await until(lambda: feed.measures.failures >= 2)
            assert "no such stream" in feed.measures.last_error
            assert (feed.measures.connections, feed.live.is_set(), task.done()) == (1, True, False)
            feed.renew([HEARTBEAT])
            await until(lambda: feed.measures.connections == 2)


@pytest.mark.parametrize("breaks", ["dropped", "silent"])
async def test_a_predecessor_that_breaks_while_no_successor_can_be_opened_is_noticed_at_once(
    venue: Handle, caplog: pytest.LogCaptureFixture, breaks: str
) -> None:
    feed = feed_of(venue, Inbox(), TRADES, lifetime_s=1.0)
    async with feeding(feed):
        await settled(feed.live.wait())
        venue.add_fault("status", code=503, match=MARKET_PATH)
        await until(lambda: feed.measures.failures >= 1)
        assert feed.live.is_set()
        if breaks == "dropped":
            venue.drop_streams()
        else:
            venue.add_fault("ws_silence", match="aggTrade")
        await until(lambda: not feed.live.is_set(), 8)
        assert feed.measures.connections == 1
        assert feed.measures.stalls == (breaks == "silent")
        assert ("has sent no frame of last_price" if breaks == "silent" else "ConnectionReset") in caplog.text
        venue.clear_faults()
        await settled(feed.live.wait(), 30)


async def test_refused_handshakes_are_what_the_exchange_says_and_stop_everybody(venue: Handle) -> None:
    limiter = Limiter("stream")
    venue.add_fault("status", code=418, match=MARKET_PATH, headers={"Retry-After": "77"})
    connection = Connection(venue.stream_url + MARKET_PATH, [MARKS], lambda *_: None, lambda: None)
    with pytest.raises(IpBanned):
        async with limiter.request("stream"):
            await asyncio.to_thread(connection.open)
    with pytest.raises(IpBanned, match="nothing was sent"):
        async with limiter.request("stream"):
            raise AssertionError


async def test_an_address_that_is_not_let_in_ends_the_feed(venue: Handle) -> None:
    venue.add_fault("waf403", match=MARKET_PATH)
    feed = feed_of(venue, Inbox(), MARKS)
    with pytest.raises(AccessDenied, match="proxy"):
        await settled(feed.run())


@asynccontextmanager
async def answering(*answers: str, unwanted: str = "") -> AsyncIterator[str]:
    """A server that says the same to every request, but refuses those for the `unwanted`; yields its address."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        async for message in response:
            is_refused = unwanted and unwanted in str(message.data)
            for answer in [REFUSAL] if is_refused else answers:
                await response.send_str(answer)
        return response

    app = web.Application()
    app.router.add_get(MARKET_PATH, serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}{MARKET_PATH}"
    finally:
        await runner.cleanup()


#: Of RFC 6455.
WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
ACKNOWLEDGEMENT = '{"result":null,"id":0}'
REFUSAL = '{"code":2,"msg":"Invalid request: no such stream"}'
TRADE = '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1,"s":"BTCUSDT","p":"1.5"}}'


async def test_an_address_without_streams_is_named(venue: Handle) -> None:
    feed = Feed(f"{venue.stream_url}/nope{MARKET_PATH}", [TRADES], Inbox().put, limiter=Limiter("stream"))
    with pytest.raises(RequestRejected, match=r"/nope/market/stream answered HTTP 404: .* Check PERPFLOW_STREAM_URL"):
        await settled(feed.run())


@pytest.mark.parametrize(
    "refusal",
    [
        REFUSAL,
        '{"error":{"code":2,"msg":"Invalid request: no such stream"},"id":0}',
    ],
)
async def test_a_refused_subscription_ends_the_feed(refusal: str) -> None:
    async with answering(TRADE, refusal) as url:
        feed = Feed(url, [TRADES], Inbox().put, limiter=Limiter("stream"))
        with pytest.raises(RequestRejected, match=r"a subscription: Invalid request: no such stream \(code 2\)"):
            await settled(feed.run())


async def test_a_feed_that_must_not_end_asks_again() -> None:
    async with answering(REFUSAL) as url:
        feed = Feed(url, [TRADES], Inbox().put, limiter=Limiter("stream"), gives_up=False)
        async with feeding(feed) as task:
            await until(lambda: feed.measures.failures >= 2)
            assert not task.done()
    assert "no such stream" in feed.measures.last_error


async def test_a_process_that_stood_still_does_not_take_the_exchange_for_silent(venue: Handle) -> None:
    inbox = Inbox()

    def stand_still_once(received: Received) -> None:
        inbox.put(received)
        if len(inbox.frames) == 1:
            threading.Event().wait(longest + 0.5)

    subscriptions = MARKS, TRADES
    longest = max(each.silent_s or 0.0 for each in subscriptions)
    feed = Feed(venue.stream_url + MARKET_PATH, subscriptions, stand_still_once, limiter=Limiter("stream"), timeout_s=3)
    async with feeding(feed):
        await settled(feed.live.wait())
        await inbox.until(lambda: len(inbox.frames) > 5)
    assert (feed.measures.connections, feed.measures.failures) == (1, 0)


async def shaken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The server's part of a handshake."""
    request = (await reader.readuntil(b"\r\n\r\n")).decode()
    (key,) = (line.split(": ")[1] for line in request.splitlines() if line.startswith("Sec-WebSocket-Key"))
    accepted = base64.b64encode(hashlib.sha1((key + WEBSOCKET_GUID).encode()).digest()).decode()  # noqa: S324
    head = f"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accepted}"
    writer.write(f"{head}\r\n\r\n".encode())


async def opcode_of_next(reader: asyncio.StreamReader) -> int:
    """Read a client's frame, which is masked."""
    first, second = await reader.readexactly(2)
    length = second & 0x7F
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2), "big")
    await reader.readexactly(4 + length)
    return first & 0x0F


@asynccontextmanager
async def serving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server of which every byte is said; yields its address."""
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}{MARKET_PATH}"


@pytest.mark.parametrize("answers_goodbye", [True, False])
async def test_what_is_sent_before_the_exchange_knows_that_we_leave_is_delivered(answers_goodbye: bool) -> None:
    last = TRADE.replace('"1.5"', '"2.5"')
    hung_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shaken(reader, writer)
        writer.write(frame(ACKNOWLEDGEMENT.encode()) + frame(TRADE.encode()))
        while await opcode_of_next(reader) != CLOSE:
            pass
        writer.write(frame(last.encode()))
        if answers_goodbye:
            writer.write(close_frame(1000, ""))
        await reader.read()
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    inbox = Inbox()
    async with serving(serve) as url:
        feed = Feed(url, [TRADES], inbox.put, limiter=Limiter("stream"))
        async with feeding(feed):
            await settled(feed.live.wait())
        await settled(feed.wait_closed())
        assert [received.frame.decode() for received in inbox.frames] == [TRADE, last]
        await settled(hung_up.wait())


async def test_a_frame_that_does_not_end_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "IDLE_S", 0.5)
    monkeypatch.setattr(feed_module, "WATCH_S", 0.1)
    served: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shaken(reader, writer)
        writer.write(bytes([0x81, 127]) + (1 << 40).to_bytes(8, "big"))
        served.append(writer)
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"and on ")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        served.remove(writer)

    async with serving(serve) as url:
        feed = Feed(url, [TRADES], Inbox().put, limiter=Limiter("stream"))
        async with feeding(feed):
            await until(lambda: feed.measures.stalls >= 1)
        # A feed that is told to end cuts what does not see it.
        await until(lambda: not served)
    assert "has begun a frame and not ended it" in feed.measures.last_error


async def test_a_frame_bears_its_connection_s_number_once_everything_is_acknowledged() -> None:
    inbox = Inbox()
    numbers = []
    async with answering(TRADE, "garbage", ACKNOWLEDGEMENT, TRADE, "garbage") as url:
        for _ in range(2):
            inbox.frames.clear()
            async with feeding(Feed(url, [HEARTBEAT], inbox.put, limiter=Limiter("stream"))):
                await inbox.until(lambda: len(inbox.frames) == 4)
            numbers.append([(received.kind, received.connection) for received in inbox.frames])
    (first, *_), (second, *_) = ([number for _, number in each if number] for each in numbers)
    assert numbers[0] == [("last_price", 0), ("", 0), ("last_price", first), ("", first)]
    assert numbers[1] == [("last_price", 0), ("", 0), ("last_price", second), ("", second)]
    assert 0 < first < second


async def test_a_subscription_that_is_never_answered_is_an_error_although_frames_come() -> None:
    async with answering(TRADE) as url:
        connection = Connection(url, [TRADES], lambda *_: None, lambda: None, timeout_s=1)
        await asyncio.to_thread(connection.open)
        with pytest.raises(StreamSilent, match="has not answered a SUBSCRIBE for 1 s"):
            await asyncio.to_thread(connection.receive)


async def test_pauses_between_connections_that_break_as_soon_as_they_are_live_grow(venue: Handle) -> None:
    venue.add_fault("ws_cut", match="aggTrade", probability=0.5)
    feed = feed_of(venue, Inbox(), TRADES)
    async with feeding(feed):
        await until(lambda: feed.measures.failures >= 3)
    opened = [connection["opened_s"] for connection in venue.streams()["connections"]]
    assert all(
        later - earlier >= feed_module.FIRST_PAUSE_S * 2**number / 2
        for number, (earlier, later) in enumerate(pairwise(opened))
    ), opened


async def test_a_feed_goes_on_after_any_number_of_failures(venue: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "LONGEST_PAUSE_S", 0.01)
    fault = venue.add_fault("status", match=MARKET_PATH, code=503)
    feed = feed_of(venue, Inbox(), TRADES)
    feed._failures = 5_000
    async with feeding(feed):
        await until(lambda: feed.measures.failures >= 2)
        venue.remove_fault(fault)
        await settled(feed.live.wait())


async def test_a_connection_that_has_lasted_and_breaks_once_is_opened_again_almost_at_once(
    venue: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "PROVEN_S", 0.0)
    feed = feed_of(venue, Inbox(), TRADES)
    async with feeding(feed):
        await settled(feed.live.wait())
        venue.drop_streams()
        await until(lambda: feed.measures.connections == 2)
    broken, opened = venue.streams()["connections"]
    assert opened["opened_s"] - broken["closed_s"] < 0.5


async def test_the_time_that_a_connection_has_lasted_counts_as_waited(
    venue: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "LONGEST_PAUSE_S", 1.0)
    feed = feed_of(venue, Inbox(), TRADES)
    feed._failures = 10
    async with feeding(feed):
        await settled(feed.live.wait())
        lasts_until = venue.streams()["now_s"] + feed_module.LONGEST_PAUSE_S
        await until(lambda: venue.streams()["now_s"] > lasts_until)
        venue.drop_streams()
        await until(lambda: feed.measures.connections == 2)
    assert feed._failures == 11
    broken, opened = venue.streams()["connections"]
    assert opened["opened_s"] - broken["closed_s"] < 0.5


async def test_a_connection_without_a_pong_is_dead(venue: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "IDLE_S", 0.6)
    monkeypatch.setattr(live, "LOOK_S", 0.1)
    feed = feed_of(venue, Inbox(), LIQUIDATIONS)
    async with feeding(feed):
        await settled(feed.live.wait())
        venue.add_fault("ws_half_open", match="forceOrder", times=1)
        await until(lambda: feed.measures.stalls >= 1)
    assert "not even a pong" in feed.measures.last_error


async def test_a_refusal_after_success_is_tried_again(venue: Handle) -> None:
    feed = feed_of(venue, Inbox(), TRADES)
    async with feeding(feed) as task:
        await settled(feed.live.wait())
        fault = venue.add_fault("waf403", match=MARKET_PATH)
        venue.drop_streams()
        await until(lambda: "firewall" in feed.measures.last_error)
        venue.remove_fault(fault)
        await until(lambda: feed.measures.connections == 2)
        assert not task.done()


def test_a_proxy_that_wants_tls_itself_is_bad_configuration() -> None:
    connection = Connection("ws://x/market/stream", [MARKS], lambda *_: None, lambda: None, proxy="https://proxy:3128")
    with pytest.raises(BadConfiguration, match="streams cannot go through"):
        connection.open()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ws://127.0.0.1:9/market/stream", "Connection refused"),
        ("ws://no-such-host.invalid/market/stream", "no-such-host|Name or service|resolution"),
    ],
)
async def test_no_connection_is_an_error_that_says_why(url: str, said: str) -> None:
    connection = Connection(url, [MARKS], lambda *_: None, lambda: None, timeout_s=5)
    with pytest.raises(ExchangeUnavailable, match=said):
        await asyncio.to_thread(connection.open)


async def test_tls_that_is_none_is_said_to_be_tls(venue: Handle) -> None:
    url = venue.stream_url.replace("ws://", "wss://") + MARKET_PATH
    with pytest.raises(ExchangeUnavailable, match="TLS"):
        await asyncio.to_thread(Connection(url, [MARKS], lambda *_: None, lambda: None, timeout_s=5).open)


async def test_many_streams_are_subscribed_within_the_exchange_s_rate_of_messages(venue: Handle) -> None:
    inbox = Inbox()
    names = tuple(
        f"{symbol}usdt@{kind}" for symbol in ("btc", "eth", "sol", "alice") for kind in ("aggTrade", "ticker")
    )
    names += tuple(f"coin{number}usdt@aggTrade" for number in range(900))
    feed = feed_of(venue, inbox, Subscription("last_price", names, silent_s=5.0))
    async with feeding(feed):
        await settled(feed.live.wait())
        report = venue.streams()
    assert report["rate_violations"] == 0
    assert len(report["connections"][-1]["subscriptions"]) == len(names)
