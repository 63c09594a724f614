"""What the tests of streams share: a hub whose time only the test moves, and a client over a real socket."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from simulator.clock import Clock
from simulator.exchange import synthetic
from simulator.stream_connection import Connection
from simulator.stream_names import MARKET
from simulator.streams import Streams
from tests.simulator.conftest import NOW, SEED

Message = Any


class Wire:
    """A socket that keeps what is written."""

    def __init__(self) -> None:
        self.data = b""
        self.ended: str | None = None
        self.reads = True
        self.waiting = 0

    def write(self, data: bytes) -> None:
        self.data += data

    def close(self) -> None:
        self.ended = "closed"

    def reset(self) -> None:
        self.ended = "reset"

    def stop_reading(self) -> None:
        self.reads = False

    def backlog(self) -> int:
        return self.waiting

    def frames(self) -> list[tuple[int, bytes]]:
        """Opcode and payload of all whole frames so far, which are taken off."""
        found = []
        while len(self.data) >= 2:
            size, start = self.data[1], 2
            if size == 126:
                size, start = struct.unpack("!H", self.data[2:4])[0], 4
            if len(self.data) < start + size:
                break
            found.append((self.data[0] & 0x0F, self.data[start : start + size]))
            self.data = self.data[start + size :]
        return found

    def events(self) -> list[Message]:
        """The decoded text frames so far."""
        return [json.loads(payload) for opcode, payload in self.frames() if opcode == 1]


class Venue:
    """A hub with its clock, moved by `pass_time`."""

    def __init__(self, liquidations_per_s: float = 0.0) -> None:
        self.seconds = 1000.0
        clock = Clock(NOW, frozen=True, monotonic=self._time)
        exchange = synthetic(SEED, clock)
        self.limits, self.faults = exchange.limits, exchange.faults
        self.hub = Streams(SEED, clock, exchange.feed.feed, exchange.faults, exchange.limits, self._time)
        self.hub.change_settings({"liquidations_per_s": liquidations_per_s})

    def _time(self) -> float:
        return self.seconds

    def connect(self, *names: str, category: str = MARKET, combined: bool = False) -> tuple[Connection, Wire]:
        """A connection with these streams."""
        wire = Wire()
        path = f"/{category}/{'stream' if combined else 'ws'}"
        return self.hub.open(path, category, combined, list(names), wire), wire

    def pass_time(self, seconds: float, step: float = 0.1) -> None:
        """Let time go by, with the pulses that come in it."""
        for _ in range(round(seconds / step)):
            self.seconds += step
            self.hub.pulse()


@asynccontextmanager
async def client(url: str, path: str, *, autoping: bool = True) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A connected WebSocket client."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url.replace('http', 'ws', 1)}{path}", autoping=autoping) as socket,
    ):
        yield socket


async def ask(
    socket: aiohttp.ClientWebSocketResponse, method: str, params: Sequence[object] = (), number: object = 1
) -> Message:
    """Send a request; its answer, whatever events come before it."""
    await socket.send_json({"method": method, "params": list(params), "id": number})
    return await answer(socket)


async def answer(socket: aiohttp.ClientWebSocketResponse) -> Message:
    """The next message that is no event."""
    while True:
        message = await socket.receive_json(timeout=5)
        if isinstance(message, dict) and ("result" in message or "code" in message):
            return message


async def event(socket: aiohttp.ClientWebSocketResponse) -> Message:
    """The next event."""
    while True:
        message = await socket.receive_json(timeout=5)
        if not isinstance(message, dict) or not ("result" in message or "code" in message):
            return message


async def until_nothing_comes(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Take events and pings until none comes for a while; TimeoutError then."""
    while True:
        message = await socket.receive(timeout=0.3)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.PING)


async def end(socket: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
    """The message with which the connection ends."""
    while True:
        message = await socket.receive(timeout=5)
        if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
            return message
