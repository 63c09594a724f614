"""One connection of a client: what it has subscribed to, what it sends and is sent, pings, and how it ended.

No sockets here: bytes go out and ends are made through a `Wire`. Times are monotonic seconds unless a name says else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from simulator.faults import Fault
from simulator.frames import PING, PONG, close_frame, combined, frame
from simulator.limits import SlidingWindow
from simulator.messages import Request
from simulator.payloads import encode
from simulator.stream_faults import EFFECTS
from simulator.stream_requests import answer

# A client that leaves so many bytes unread is dropped.
BACKLOG = 32 * 1024 * 1024
POLICY, GOING_AWAY = 1008, 1001


@dataclass(slots=True)
class StreamSettings:
    """What the exchange's rules say, each of them settable so that tests need not wait for a day."""

    lifetime_s: float = 86_400.0
    ping_s: float = 180.0
    pong_timeout_s: float = 600.0
    messages_per_s: int = 10
    streams: int = 1024
    liquidations_per_s: float = 1.0

    def change(self, values: dict[str, object]) -> None:
        """Other values for some; ValueError for a name that is none or a value that is no number of at least 0."""
        for name, value in values.items():
            if name not in self.__slots__:
                raise ValueError(f"no stream setting {name!r}; there is {', '.join(self.__slots__)}")
            number = float(str(value))
            if not number >= 0:
                raise ValueError(f"{name} must be a number of at least 0, not {value!r}")
            setattr(self, name, int(number) if name in ("messages_per_s", "streams") else number)


class Wire(Protocol):
    """The socket as a connection sees it."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def close(self) -> None:
        """End after all bytes are sent."""

    def reset(self) -> None:
        """End with a TCP reset."""

    def stop_reading(self) -> None:
        """Leave what comes in the kernel's buffers."""

    def backlog(self) -> int:
        """Bytes that wait to be sent."""


class Hub(Protocol):
    """What a connection asks of the exchange's side."""

    settings: StreamSettings

    def now(self) -> float:
        """Monotonic seconds."""

    def joined(self, connection: Connection, name: str) -> None:
        """A stream was subscribed to."""

    def left(self, connection: Connection, name: str) -> None:
        """A stream was left."""

    def flooded(self) -> None:
        """A client has sent too many messages."""


class Connection:
    """One client's connection, open from its making until `ended` is not None."""

    def __init__(self, number: int, path: str, category: str, combined: bool, hub: Hub, wire: Wire, now: float) -> None:
        self.number, self.path, self.category, self.combined = number, path, category, combined
        self.opened = now
        self.ended: float | None = None
        self.reason = ""
        self.frames_sent = self.messages_received = 0
        self.stalled = False
        self._hub, self._wire = hub, wire
        self._streams: dict[str, Request] = {}
        self._received = SlidingWindow("messages", hub.settings.messages_per_s, 1.0)
        self._outgoing: list[bytes] = []
        self._held: list[bytes] = []
        self._last_ping = now
        self._unanswered: dict[bytes, float] = {}

    def subscribed(self) -> list[str]:
        """Names of all streams, in the order of subscription."""
        return list(self._streams)

    def subscribe(self, names: list[str]) -> None:
        """Add streams; one too many ends the connection."""
        if len(self._streams.keys() | set(names)) > self._hub.settings.streams:
            self.end("too many streams", POLICY)
            return
        for name in names:
            if name not in self._streams:
                self._streams[name] = Request(self.path, {"stream": name})
                self._hub.joined(self, name)

    def unsubscribe(self, names: list[str]) -> None:
        """Leave streams; names that were not subscribed to are no error."""
        for name in names:
            if self._streams.pop(name, None) is not None:
                self._hub.left(self, name)

    def text(self, content: str, now: float) -> None:
        """A text message came."""
        if self._counted(now):
            reply = encode(answer(self, content))
            if self.ended is None:
                self.put(frame(reply))
                self.flush()

    def ping(self, payload: bytes, now: float) -> None:
        """A ping came: it is answered with its payload."""
        if self._counted(now):
            self.put(frame(payload, PONG))
            self.flush()

    def pong(self, payload: bytes, now: float) -> None:
        """A pong came: it answers the ping of its payload and all before; any other is just a message."""
        if self._counted(now) and payload in self._unanswered:
            sent = self._unanswered[payload]
            self._unanswered = {ping: at for ping, at in self._unanswered.items() if at > sent}

    def _counted(self, now: float) -> bool:
        """Whether a message is within the limit; the connection ends when it is not."""
        if self.ended is not None or self.stalled:
            return False
        self.messages_received += 1
        self._received.limit = self._hub.settings.messages_per_s
        if self._received.add(now, 1):
            return True
        self._hub.flooded()
        self.end("too many messages", POLICY)
        return False

    def send(self, name: str, data: bytes, fault_of: Callable[[Request], Fault | None] | None) -> bool:
        """Send an event's frame, or what a fault makes of it; whether the client gets the event."""
        if self.ended is not None or self.stalled:
            return False
        fault = fault_of(self._streams[name]) if fault_of else None
        if fault is not None:
            return EFFECTS[fault.kind](self, data, fault)
        self.put(data)
        if self._held:
            held, self._held = self._held, []
            for late in held:
                self.put(late)
        return True

    def put(self, data: bytes) -> None:
        """Send a frame at the next flush."""
        if not self.stalled and self.ended is None:
            self._outgoing.append(data)
            self.frames_sent += 1

    def hold(self, data: bytes) -> None:
        """Send a frame after the one that follows it."""
        self._held.append(data)

    def flush(self) -> None:
        """Send what has been put."""
        if self._outgoing:
            data, self._outgoing = b"".join(self._outgoing), []
            self._wire.write(data)

    def stall(self) -> None:
        """Neither read nor write any more, but stay open."""
        self.flush()
        self.stalled = True
        self._wire.stop_reading()

    def keep(self, now: float, at: int) -> None:
        """What is due by the rules: the end of a life, a ping, the end for want of pongs or for reading too slowly."""
        if self.stalled or self.ended is not None:
            return
        settings = self._hub.settings
        if now - self.opened >= settings.lifetime_s:
            self.end("lifetime", GOING_AWAY)
        elif self._unanswered and now - min(self._unanswered.values()) >= settings.pong_timeout_s:
            self.end("no pong", POLICY)
        elif self._wire.backlog() > BACKLOG:
            self.reset("reads too slowly")
        elif now - self._last_ping >= settings.ping_s:
            self._last_ping = now
            payload = str(at).encode()
            self._unanswered[payload] = now
            self.put(frame(payload, PING))

    def end(self, reason: str, code: int) -> None:
        """Close with a code; the client's agreement is not awaited."""
        if self.ended is None:
            self.put(close_frame(code, reason))
            self.flush()
            self.gone(reason)
            self._wire.close()

    def reset(self, reason: str) -> None:
        """Send what has been put, then end with a TCP reset."""
        if self.ended is None:
            self.flush()
            self.gone(reason)
            self._wire.reset()

    def gone(self, reason: str) -> None:
        """It has ended, whoever did it."""
        if self.ended is None:
            self.reason = reason
            self.ended = self._hub.now()
            for name in self._streams:
                self._hub.left(self, name)

    def report(self, began: float) -> dict[str, object]:
        """What `GET /_simulator/streams` says about it; seconds since `began`."""
        return {
            "id": self.number, "path": self.path, "subscriptions": list(self._streams), "combined": self.combined,
            "opened_s": round(self.opened - began, 3),
            "closed_s": None if self.ended is None else round(self.ended - began, 3), "reason": self.reason,
            "frames_sent": self.frames_sent, "messages_received": self.messages_received, "stalled": self.stalled,
        }  # fmt: skip


def enveloped(combined_frames: bool, name: str, payload: bytes) -> bytes:
    """The frame of an event, raw or combined."""
    return frame(combined(name, payload) if combined_frames else payload)
