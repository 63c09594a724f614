"""The connections of streams: WebSocket handshakes and messages, the pulse, and the streams' part of the controls.

Frames are written whole and uncompressed to the transport, many at a time; aiohttp reads what clients send.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

from aiohttp import WSMessage, WSMsgType, web

from simulator.exchange import Exchange
from simulator.faults import HANDSHAKE_KINDS
from simulator.messages import Reply, Request
from simulator.plumbing import CONTROL, EXCHANGE, json_object, reset, respond
from simulator.stream_connection import Connection
from simulator.stream_names import LEGACY, MARKET, PUBLIC


class TransportWire:
    """A connection's socket."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Send bytes, unless the client is gone."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """End after all bytes are sent."""
        self._transport.close()

    def reset(self) -> None:
        """End with a TCP reset."""
        reset(self._transport)

    def stop_reading(self) -> None:
        """Leave what comes in the kernel's buffers."""
        self._transport.pause_reading()

    def backlog(self) -> int:
        """Bytes that wait to be sent."""
        return self._transport.get_write_buffer_size()


def add_streams(app: web.Application) -> None:
    """Serve streams on the application's port, and their controls."""
    for prefix, category in (("/market", MARKET), ("/public", PUBLIC), ("", LEGACY)):
        connect = _connector(category)
        for path in ("/ws", "/ws/{streams:.*}", "/stream"):
            app.router.add_get(prefix + path, connect, allow_head=False)
    app.router.add_get(f"{CONTROL}streams", _report)
    app.router.add_delete(f"{CONTROL}streams", _clear)
    app.router.add_post(f"{CONTROL}streams", _change_settings)
    app.router.add_post(f"{CONTROL}streams/drop", _drop)
    app.router.add_post(f"{CONTROL}streams/burst", _burst)
    app.router.add_get(f"{CONTROL}liquidations", _liquidations)
    app.router.add_delete(f"{CONTROL}liquidations", _clear_liquidations)
    app.cleanup_ctx.append(_pulsing)
    app.on_shutdown.append(_drop_all)


async def _pulsing(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(_pulse(app[EXCHANGE]))
    yield
    task.cancel()
    # What made it end is this server's failure, too.
    with suppress(asyncio.CancelledError):
        await task


async def _pulse(exchange: Exchange) -> None:
    """Call the pulse on a beat that does not drift; what a late one missed, the next makes up for."""
    loop = asyncio.get_running_loop()
    beat = loop.time()
    try:
        while True:
            beat = max(beat + exchange.streams.pulse(), loop.time())
            await asyncio.sleep(beat - loop.time())
    finally:
        # Nobody is to wait for what does not come any more.
        exchange.streams.drop()


async def _drop_all(app: web.Application) -> None:
    app[EXCHANGE].streams.drop(reset=False)


def _connector(category: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def connect(incoming: web.Request) -> web.StreamResponse:
        refusal = await _refusal(incoming)
        return await (respond(incoming, refusal) if refusal else _converse(incoming, category))

    return connect


async def _refusal(incoming: web.Request) -> Reply | None:
    """What a running ban, or a fault, answers to the handshake; None when it may go on."""
    exchange, request = incoming.app[EXCHANGE], Request(incoming.path, dict(incoming.query))
    rejection = exchange.limits.banned()
    accepted = exchange.refusal(rejection) if rejection else Reply(101, b"")
    reply = exchange.faults.change(request, accepted, HANDSHAKE_KINDS)
    if delay := exchange.faults.latency_s(request):
        await asyncio.sleep(delay)
    return None if reply.status == 101 and not reply.reset else reply


async def _converse(incoming: web.Request, category: str) -> web.StreamResponse:
    """Shake hands, then take what the client sends until either side ends it; the pulse does the sending."""
    streams = incoming.app[EXCHANGE].streams
    response = web.WebSocketResponse(autoping=False, compress=False)
    await response.prepare(incoming)
    if not isinstance(incoming.transport, asyncio.Transport):
        return response
    names = incoming.match_info.get("streams") or incoming.query.get("streams", "")
    combined, wire = incoming.path.endswith("/stream"), TransportWire(incoming.transport)
    connection = streams.open(incoming.path, category, combined, [name for name in names.split("/") if name], wire)
    try:
        async for message in response:
            _take(connection, message, streams.now())
    finally:
        code = response.close_code
        connection.gone("connection lost" if code in (None, 1006) else f"closed by the client with {code}")
    return response


def _take(connection: Connection, message: WSMessage, now: float) -> None:
    if message.type is WSMsgType.PING:
        connection.ping(bytes(message.data), now)
    elif message.type is WSMsgType.PONG:
        connection.pong(bytes(message.data), now)
    elif message.type is WSMsgType.BINARY:
        connection.text(message.data.decode(errors="replace"), now)
    elif message.type is WSMsgType.TEXT:
        connection.text(message.data, now)


async def _report(incoming: web.Request) -> web.Response:
    return web.json_response(incoming.app[EXCHANGE].streams.report())


async def _clear(incoming: web.Request) -> web.Response:
    incoming.app[EXCHANGE].streams.clear()
    return web.json_response({})


async def _change_settings(incoming: web.Request) -> web.Response:
    streams = incoming.app[EXCHANGE].streams
    with _refusing_nonsense():
        streams.change_settings(await json_object(incoming))
    return web.json_response(asdict(streams.settings))


async def _drop(incoming: web.Request) -> web.Response:
    content = await json_object(incoming)
    reset_them = bool(content.get("reset", True))
    return web.json_response(
        {"dropped": incoming.app[EXCHANGE].streams.drop(str(content.get("match", "")), reset_them)}
    )


async def _burst(incoming: web.Request) -> web.Response:
    with _refusing_nonsense():
        incoming.app[EXCHANGE].streams.start_burst(await json_object(incoming))
    return web.json_response({})


async def _liquidations(incoming: web.Request) -> web.Response:
    with _refusing_nonsense():
        after = int(incoming.query.get("after", "0"))
    return web.json_response(incoming.app[EXCHANGE].streams.liquidations.report(after))


async def _clear_liquidations(incoming: web.Request) -> web.Response:
    incoming.app[EXCHANGE].streams.liquidations.clear()
    return web.json_response({})


@contextmanager
def _refusing_nonsense() -> Iterator[None]:
    """What makes no sense is answered with a 400 that says why."""
    try:
        yield
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
