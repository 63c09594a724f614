"""One connection to the exchange's market streams, which notices when nothing comes.

It is one WebSocket: it subscribes, and its receive loop, in a thread, does nothing but hand frames over and look at the
clock.

An acknowledged SUBSCRIBE proves nothing: on a path that does not serve a stream the exchange acknowledges it and stays
silent. So each kind of stream has its own longest silence, counted from the acknowledgement on.

Source: USD-M futures WebSocket market streams, and the change notice of March 2026 about routed URLs.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import count
from threading import Event
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import websocket
from websocket import ABNF

from perpflow import frames
from perpflow.errors import (
    BadConfiguration,
    ExchangeUnavailable,
    PerpflowError,
    RequestRejected,
    StreamSilent,
    StructurallyBad,
)
from perpflow.exchange.refusals import Answer, error_for

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
#: How often the receive loop looks up when nothing comes; where it has not for so long, it was not let.
LOOK_S, LONGEST_LOOK_S = 0.5, 2.0
#: The exchange answers a goodbye within so long, or is not waited for.
LEAVES_WITHIN_S = 1.0

_NAMED = b'{"stream":"'
_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Streams of one kind, e.g. `mark_price`, and for how long they may all be silent (None: as long as they like)."""

    kind: str
    streams: tuple[str, ...]
    silent_s: float | None = None


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
    """One WebSocket and its subscriptions. Opened in one thread, received in one, and closed by any.

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
        self._is_cut = False
        self._looked_at = float("inf")
        self._is_received = False
        self._socket: websocket.WebSocket | None = None
        self._waiting_for: set[int] = set()
        self._heard: dict[str, float] = {}
        self._silence_from = 0.0

    def open(self) -> None:
        """Connect and subscribe; returns when the requests are sent.

        Raises:
            IpBanned, RateLimited, AccessDenied, RequestRejected: what the exchange has answered.
            ExchangeUnavailable: no connection, for the reason that it names: name resolution, TLS, network.
        """
        with _errors(self.url):
            self._socket = websocket.create_connection(
                self.url,
                timeout=self._timeout_s,
                enable_multithread=True,
                # Decoding validates it too; the library does so in Python, which was half of all the work there is.
                skip_utf8_validation=True,
                **_through(self._proxy),
            )
            self._socket.settimeout(LOOK_S)
        names = [name for each in self._subscriptions for name in each.streams]
        for number, start in enumerate(range(0, len(names), STREAMS_PER_REQUEST)):
            self._waiting_for.add(number)
            with _errors(self.url):
                self._socket.send(frames.subscribe(names[start : start + STREAMS_PER_REQUEST], number))
            self._closing.wait(REQUEST_EVERY_S if start + STREAMS_PER_REQUEST < len(names) else 0)
        self._silence_from = time.monotonic()
        if self._closing.is_set():
            self._hang_up()

    def close(self) -> None:
        """Let the receiving thread say goodbye and end, as soon as it looks up; it hands over what comes until then."""
        self._closing.set()
        if not self._is_received:
            self._hang_up()

    @property
    def is_stuck(self) -> bool:
        """Whether the receiving thread has not looked up for too long: a frame has begun and does not end."""
        return time.monotonic() - self._looked_at > (LONGEST_LOOK_S if self._closing.is_set() else IDLE_S)

    def cut(self) -> None:
        """Break it off, from any thread: `receive` ends at once, in whatever frame it is."""
        self._is_cut = True
        if self._socket is not None and self._socket.sock is not None:
            with suppress(OSError):
                self._socket.sock.shutdown(socket.SHUT_RDWR)

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
        except ExchangeUnavailable as error:
            if not self._is_cut:
                raise
            raise StreamSilent(f"{self.url} has begun a frame and not ended it.", hint=_RECONNECTING) from error
        finally:
            self._looked_at = float("inf")
            self._hang_up()

    def _receive(self) -> None:
        self._looked_at = heard_at = time.monotonic()
        pinged = False
        while not self._closing.is_set():
            with _errors(self.url):
                opcode, frame = self._next()
            now = time.monotonic()
            if now - self._looked_at > LONGEST_LOOK_S:
                # The process has stood still, not the exchange; what came meanwhile is read now.
                heard_at = self._silence_from = now
            self._looked_at = now
            if opcode is None:
                pinged = self._look_after_the_idle(now - heard_at, pinged)
            else:
                heard_at, pinged = now, False
            if opcode in (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY):
                self._take(frame, now)
                self._tell_when_live()
            self._look_for_silence(now)
        self._leave()

    def _leave(self) -> None:
        """Say that we go, and take what is sent until the exchange knows: to it, we have received that."""
        assert self._socket is not None
        leaves_at = time.monotonic()
        with suppress(ExchangeUnavailable), _errors(self.url):
            self._socket.send_close()
            while (now := time.monotonic()) < leaves_at + LEAVES_WITHIN_S:
                self._looked_at = now
                opcode, frame = self._next()
                if opcode in (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY):
                    self._take(frame, now)

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
        self._silence_from = now

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
        if self._waiting_for and now - self._silence_from > self._timeout_s:
            raise StreamSilent(
                f"{self.url} has not answered a SUBSCRIBE for {self._timeout_s:g} s.", hint=_RECONNECTING
            )
        for each in self._subscriptions:
            since = max(self._heard.get(each.kind, 0.0), self._silence_from)
            if each.silent_s is None or now - since <= each.silent_s:
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
    if error.status_code == HTTPStatus.NOT_FOUND:
        return RequestRejected(
            f"{url} answered HTTP 404: no streams are served there.", hint="Check PERPFLOW_STREAM_URL."
        )
    headers = {name.lower(): value for name, value in (error.resp_headers or {}).items()}
    body = error.resp_body.decode(errors="replace") if isinstance(error.resp_body, bytes) else ""
    found = error_for(Answer(error.status_code, headers, body, what=url), datetime.now(UTC))
    return found or ExchangeUnavailable(f"{url} answered HTTP {error.status_code} to a WebSocket handshake.")
