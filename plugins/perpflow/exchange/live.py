"""The exchange's market streams: connections that notice when nothing comes, and follow each other without a hole.

`Connection` is one WebSocket: it subscribes, and its receive loop, in a thread, does nothing but hand frames over and
look at the clock. `Feed` keeps one such connection alive without end: after a failure with growing pauses. Before the
exchange cuts it (24 hours), and where other streams are wanted, a successor is opened; when that has received frames
both receive for a while, then the older one is closed.

An acknowledged SUBSCRIBE proves nothing: on a path that does not serve a stream the exchange acknowledges it and stays
silent. So each kind of stream has its own longest silence, counted from the acknowledgement on.

Source: USD-M futures WebSocket market streams, and the change notice of March 2026 about routed URLs.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from threading import Event, Lock
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import websocket
from websocket import ABNF

from perpflow import frames
from perpflow.errors import (
    BadConfiguration,
    ExchangeUnavailable,
    Permanent,
    PerpflowError,
    RequestRejected,
    StreamSilent,
    StructurallyBad,
    Transient,
)
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.refusals import Answer, error_for

log = logging.getLogger(__name__)

BASE_URL = "wss://fstream.binance.com"
#: The path that serves mark prices, trades, tickers and liquidations; `/public` serves books.
MARKET_PATH = "/market/stream"
#: The exchange allows so many to a connection.
MOST_STREAMS = 1024
#: One SUBSCRIBE names so many, and so long passes between two: ten messages a second are allowed, pongs among them.
STREAMS_PER_REQUEST = 200
REQUEST_EVERY_S = 0.25
#: Whatever has not sent anything for so long is asked for a pong, and is dead after twice as long.
IDLE_S = 20.0
#: How often the receive loop looks up when nothing comes.
LOOK_S = 0.5
#: The exchange cuts at 24 hours; a successor comes first, at different times for different connections.
LIFETIME_S = 23 * 3600.0
#: What the exchange sent to the older connection only is still on its way when the younger one is live; and times of
#: listening that overlap by more than a second leave no hole when they are told in whole seconds.
OVERLAP_S = 3.0
LONGEST_PAUSE_S = 60.0
#: A connection that has lasted so long has proven that the way is sound: failures are counted anew.
PROVEN_S = 60.0

_NAMED = b'{"stream":"'
_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Streams of one kind, e.g. `mark_price`, and for how long they may all be silent (None: as long as they like)."""

    kind: str
    streams: tuple[str, ...]
    silent_s: float | None = None


@dataclass(slots=True)
class Measures:
    """What a feed has met since it began, for whoever watches it."""

    frames: dict[str, int] = field(default_factory=dict)
    connections: int = 0
    failures: int = 0
    stalls: int = 0
    last_error: str = ""
    live_since: datetime | None = None


class Received(NamedTuple):
    """A frame of a kind of stream (none: ""), when it was received (ms UTC), and the number of its connection.

    The number is 0 until all subscriptions of the connection are acknowledged: what comes before then does not prove
    that everything is subscribed.
    """

    kind: str
    frame: bytes
    received_ms: int
    connection: int


Deliver = Callable[[Received], None]


class Connection:
    """One WebSocket and its subscriptions. Opened by one thread, which then receives; closed by any.

    Args:
        url: of combined streams, e.g. `wss://fstream.binance.com/market/stream`.
        deliver: called in the receiving thread, for every frame.
        on_live: called there once: all is acknowledged, and of each kind that is never silent for long a frame came.

    `number` is its own in this process.
    """

    def __init__(
        self,
        url: str,
        subscriptions: Iterable[Subscription],
        deliver: Deliver,
        on_live: Callable[[], None],
        *,
        timeout_s: float = 10.0,
        proxy: str | None = None,
    ) -> None:
        self.url = url
        self.number = next(_NUMBERS)
        self._subscriptions = tuple(subscriptions)
        self._deliver = deliver
        self._on_live: Callable[[], None] | None = on_live
        self._timeout_s = timeout_s
        self._proxy = proxy
        self._kinds = {name.encode(): each.kind for each in self._subscriptions for name in each.streams}
        self._closing = Event()
        self._is_received = False
        self._socket: websocket.WebSocket | None = None
        self._waiting_for: set[int] = set()
        self._heard: dict[str, float] = {}
        self._acknowledged_at = 0.0

    def open(self) -> None:
        """Connect and subscribe; returns when the requests are sent.

        Raises:
            IpBanned, RateLimited, AccessDenied, RequestRejected: what the exchange has answered.
            ExchangeUnavailable: no connection, for the reason that it names: name resolution, TLS, network.
        """
        with _errors(self.url):
            self._socket = websocket.create_connection(
                self.url, timeout=self._timeout_s, enable_multithread=True, **_through(self._proxy)
            )
            self._socket.settimeout(LOOK_S)
        names = [name for each in self._subscriptions for name in each.streams]
        for number, start in enumerate(range(0, len(names), STREAMS_PER_REQUEST)):
            self._waiting_for.add(number)
            with _errors(self.url):
                self._socket.send(frames.subscribe(names[start : start + STREAMS_PER_REQUEST], number))
            self._closing.wait(REQUEST_EVERY_S if start + STREAMS_PER_REQUEST < len(names) else 0)
        self._acknowledged_at = time.monotonic()
        if self._closing.is_set():
            self._hang_up()

    def close(self) -> None:
        """Let the receiving thread end and hang up, as soon as it looks up."""
        self._closing.set()
        if not self._is_received:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._socket is not None:
            with suppress(websocket.WebSocketException, OSError):
                self._socket.close(timeout=LOOK_S)
            self._socket.shutdown()  # type: ignore[no-untyped-call]

    def receive(self) -> None:
        """Hand frames over until `close`, from the thread that calls.

        Raises:
            StreamSilent: what is subscribed does not come, although the connection stands.
            RequestRejected: the exchange has refused a subscription.
            ExchangeUnavailable: the connection has broken.
        """
        self._is_received = True
        try:
            self._receive()
        finally:
            self._hang_up()

    def _receive(self) -> None:
        heard_at, pinged = time.monotonic(), False
        while not self._closing.is_set():
            with _errors(self.url):
                opcode, frame = self._next()
            now = time.monotonic()
            if opcode is None:
                pinged = self._look_after_the_idle(now - heard_at, pinged)
            else:
                heard_at, pinged = now, False
            if opcode in (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY):
                self._take(frame, now)
                self._tell_when_live()
            self._look_for_silence(now)

    def _next(self) -> tuple[int | None, bytes]:
        """The next frame; (None, b"") where none has come for a while. Pings are answered on the way."""
        assert self._socket is not None
        try:
            opcode, frame = self._socket.recv_data(control_frame=True)
        except websocket.WebSocketTimeoutException:
            return None, b""
        if opcode == ABNF.OPCODE_CLOSE:
            code = int.from_bytes(frame[:2], "big")
            raise websocket.WebSocketConnectionClosedException(f"closed by the exchange (code {code})")
        return opcode, frame

    def _take(self, frame: bytes, now: float) -> None:
        if frame.startswith(_NAMED):
            kind = self._kinds.get(frame[len(_NAMED) : frame.find(b'"', len(_NAMED))])
            if kind is not None:
                self._heard[kind] = now
                self._hand_over(kind, frame)
                return
        self._take_reply(frame, now)

    def _hand_over(self, kind: str, frame: bytes) -> None:
        number = 0 if self._waiting_for else self.number
        self._deliver(Received(kind, frame, time.time_ns() // 1_000_000, number))

    def _take_reply(self, frame: bytes, now: float) -> None:
        """A reply, or a frame that nobody has asked for, which is handed over for what it is."""
        try:
            reply = frames.decode(frame)
        except StructurallyBad:
            reply = frames.Frame("")
        if reply.refusal and self._waiting_for:
            raise RequestRejected(
                f"{self.url} has refused a subscription: {reply.refusal}.",
                hint="Compare the exchange's documentation with the streams in streaming.py.",
            )
        if reply.reply_to is None or reply.refusal:
            self._hand_over("", frame)
            return
        self._waiting_for.discard(reply.reply_to)
        self._acknowledged_at = now

    def _tell_when_live(self) -> None:
        if self._on_live is None or self._waiting_for:
            return
        if all(each.kind in self._heard for each in self._subscriptions if each.silent_s is not None):
            self._on_live()
            self._on_live = None

    def _look_after_the_idle(self, idle_s: float, pinged: bool) -> bool:
        """Ask a connection for a pong that has been idle for long; returns whether it has been asked."""
        assert self._socket is not None
        if idle_s > 2 * IDLE_S:
            raise StreamSilent(f"{self.url} has sent nothing for {idle_s:.0f} s, not even a pong.", hint=_RECONNECTING)
        if idle_s > IDLE_S and not pinged:
            with _errors(self.url):
                self._socket.ping()
            return True
        return pinged

    def _look_for_silence(self, now: float) -> None:
        if self._waiting_for and now - self._acknowledged_at > self._timeout_s:
            raise StreamSilent(
                f"{self.url} has not answered a SUBSCRIBE for {self._timeout_s:g} s.", hint=_RECONNECTING
            )
        for each in self._subscriptions:
            if each.silent_s is None or now - self._heard.get(each.kind, self._acknowledged_at) <= each.silent_s:
                continue
            if each.kind in self._heard:
                raise StreamSilent(
                    f"{self.url} has sent no frame of {each.kind} for more than {each.silent_s:g} s.",
                    hint=_RECONNECTING,
                )
            was = "not even acknowledged" if self._waiting_for else "acknowledged, but nothing has come"
            what = f"{each.kind} ({each.streams[0]} ...)"
            raise StreamSilent(
                f"{self.url}: the subscription of {what} was {was} for {each.silent_s:g} s.",
                hint="Check that this path serves the stream: the exchange acknowledges what it does not deliver.",
            )


_RECONNECTING = "The stream reconnects by itself; if it repeats, check network and proxy."


def _through(proxy: str | None) -> dict[str, Any]:
    """websocket-client's words for the proxy's address; without one the environment's `https_proxy` counts.

    Raises:
        BadConfiguration: the proxy wants TLS itself, which websocket-client does not speak to one.
    """
    if proxy is None:
        return {}
    address = urlsplit(proxy)
    if address.scheme != "http":
        raise BadConfiguration(
            "exchange.proxy is an https one, which streams cannot go through.", hint="Give its http:// address."
        )
    options: dict[str, Any] = {
        "http_proxy_host": address.hostname,
        "http_proxy_port": address.port or 80,
        "proxy_type": "http",
        # What is configured holds, whatever the environment's NO_PROXY says; an empty list would mean that one.
        "http_no_proxy": ["no.proxy.invalid"],
    }
    if address.username is not None:
        options["http_proxy_auth"] = (unquote(address.username), unquote(address.password or ""))
    return options


@contextmanager
def _errors(url: str) -> Iterator[None]:
    """Says what breaks a connection in Perpflow's errors."""
    try:
        yield
    except websocket.WebSocketBadStatusException as error:
        raise _refused(url, error) from error
    except (websocket.WebSocketException, OSError) as error:
        what = "TLS" if isinstance(error, ssl.SSLError) else type(error).__name__
        raise ExchangeUnavailable(f"{url}: {what}: {error}.", hint=_RECONNECTING) from error


def _refused(url: str, error: websocket.WebSocketBadStatusException) -> PerpflowError:
    headers = {name.lower(): value for name, value in (error.resp_headers or {}).items()}
    body = error.resp_body.decode(errors="replace") if isinstance(error.resp_body, bytes) else ""
    found = error_for(Answer(error.status_code, headers, body, what=url), datetime.now(UTC))
    return found or ExchangeUnavailable(f"{url} answered HTTP {error.status_code} to a WebSocket handshake.")


@dataclass(frozen=True, slots=True)
class _Open:
    """A connection that is live, the end of its receiving, and since when (monotonic)."""

    connection: Connection
    receiving: asyncio.Future[None]
    since: float


class Feed:
    """Keeps one connection alive, until the task that runs it is cancelled; two, while one succeeds the other.

    `live` is set while any of them receives.

    Args:
        limiter: ban clock and circuit breaker of the exchange's host; a handshake costs no request weight.
        lifetime_s: after so long a successor is opened.
        overlap_s: for so long a connection and its successor, once that is live, both receive.
    """

    def __init__(
        self,
        url: str,
        subscriptions: Iterable[Subscription],
        deliver: Deliver,
        *,
        limiter: Limiter,
        timeout_s: float = 10.0,
        proxy: str | None = None,
        lifetime_s: float = LIFETIME_S,
        overlap_s: float = OVERLAP_S,
    ) -> None:
        self.url = url
        self.subscriptions = tuple(subscriptions)
        self.measures = Measures(frames=dict.fromkeys((each.kind for each in self.subscriptions), 0))
        self.live = asyncio.Event()
        self._renewed = asyncio.Event()
        self._deliver = deliver
        self._limiter = limiter
        self._options: dict[str, Any] = {"timeout_s": timeout_s, "proxy": proxy}
        self._lifetime_s = lifetime_s
        self._overlap_s = overlap_s
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="stream")
        self._counting = Lock()
        self._failures = 0
        # All that are live, in the order of their opening.
        self._receiving: list[_Open] = []

    def renew(self, subscriptions: Iterable[Subscription]) -> None:
        """Subscribe to these from now on, by a successor; call it in the event loop. Of several the last one counts.

        The successor is opened at once, unless one is being opened already, an overlap lasts or a failure is waited
        out: then after that. Until it is live, and be it refused, the connection that there is stays.
        """
        self.subscriptions = tuple(subscriptions)
        for each in self.subscriptions:
            self.measures.frames.setdefault(each.kind, 0)
        self._renewed.set()

    async def run(self) -> None:
        """Receive without end; what fails is opened again.

        Raises:
            Permanent: it has never received, and trying again cannot help: this address is not served, a subscription
                was refused. After hours of success the same may pass.
        """
        try:
            while True:
                current = await self._open_until_live()
                await self._overlap(current)
                await self._until_a_successor_is_due(current)
        finally:
            self._close(self._receiving)
            self.live.clear()
            self._threads.shutdown(wait=False)

    async def _open_until_live(self) -> _Open:
        while True:
            self._renewed.clear()
            try:
                opened = await self._open()
            except PerpflowError as error:
                if isinstance(error, Permanent) and not self.measures.connections:
                    raise
                self._note(error)
                await self._pause_after(error)
            else:
                self._receiving.append(opened)
                opened.receiving.add_done_callback(partial(self._note_end, opened))
                self.measures.connections += 1
                self.measures.live_since = datetime.now(UTC)
                self.live.set()
                return opened

    async def _overlap(self, successor: _Open) -> None:
        """Let its predecessors receive for a while longer; should it break meanwhile, until the next one is live."""
        if self._receiving == [successor]:
            return
        ended, _ = await asyncio.wait({successor.receiving}, timeout=self._overlap_s)
        if not ended:
            self._close([each for each in self._receiving if each is not successor])

    async def _until_a_successor_is_due(self, current: _Open) -> None:
        """Until it has lived its time, is to be subscribed to something else, or has broken and that is waited out."""
        # Spread, so that the successors of several feeds do not come at once.
        lifetime_s = self._lifetime_s * random.uniform(0.95, 1.0)  # noqa: S311
        renewed = asyncio.ensure_future(self._renewed.wait())
        either: set[asyncio.Future[Any]] = {current.receiving, renewed}
        try:
            await asyncio.wait(either, timeout=lifetime_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            renewed.cancel()
        if time.monotonic() - current.since >= PROVEN_S:
            self._failures = 0
        if current.receiving.done():
            await self._pause_after(current.receiving.exception())

    def _close(self, connections: Iterable[_Open]) -> None:
        for each in list(connections):
            self._receiving.remove(each)
            each.connection.close()

    def _note_end(self, ended: _Open, receiving: asyncio.Future[None]) -> None:
        """As soon as a connection ends, whatever is waited for: a failure, unless it was closed or has a successor."""
        error = receiving.exception()
        if ended not in self._receiving:
            return
        is_succeeded = ended is not self._receiving[-1]
        self._receiving.remove(ended)
        if not self._receiving:
            self.live.clear()
        if is_succeeded:
            log.info("Broken when its successor was live already: %s", error)
        elif error is not None:
            self._note(error)

    def _note(self, error: BaseException) -> None:
        self.measures.failures += 1
        self.measures.stalls += isinstance(error, StreamSilent)
        self.measures.last_error = str(error)
        log.warning("%s", error)

    async def _pause_after(self, error: BaseException | None) -> None:
        """Wait: the longer, the more often it has failed in a row."""
        if error is not None and not isinstance(error, PerpflowError):
            raise error
        self._failures += 1
        told_s = error.retry_after_s if isinstance(error, Transient) and error.retry_after_s else 0.0
        # Spread: what has cut one has cut all.
        pause_s = min(2.0 ** (self._failures - 1), LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)  # noqa: S311
        await asyncio.sleep(max(pause_s, told_s))

    async def _open(self) -> _Open:
        """Connect, subscribe, and wait for the first frames."""
        loop, live = asyncio.get_running_loop(), asyncio.Event()

        def on_live() -> None:
            loop.call_soon_threadsafe(live.set)

        connection = Connection(self.url, self.subscriptions, self._count, on_live, **self._options)
        try:
            async with self._limiter.request("stream"):
                await loop.run_in_executor(self._threads, connection.open)
            receiving = loop.run_in_executor(self._threads, connection.receive)
            hearing = asyncio.ensure_future(live.wait())
            either: set[asyncio.Future[Any]] = {receiving, hearing}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                hearing.cancel()
            if receiving.done():
                receiving.result()
        except BaseException:
            connection.close()
            raise
        return _Open(connection, receiving, time.monotonic())

    def _count(self, received: Received) -> None:
        """In the receiving threads, of which there are two in an overlap."""
        with self._counting:
            self.measures.frames[received.kind] = self.measures.frames.get(received.kind, 0) + 1
        self._deliver(received)
