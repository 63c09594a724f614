"""What the modules of the server share: the exchange's place in the application, JSON bodies, replies, TCP resets."""

from __future__ import annotations

import asyncio
import json
import socket
import struct

from aiohttp import web

from simulator.exchange import Exchange
from simulator.messages import Reply

CONTROL = "/_simulator/"
EXCHANGE: web.AppKey[Exchange] = web.AppKey("exchange", Exchange)


async def json_object(incoming: web.Request) -> dict[str, object]:
    """The body, which must be a JSON object; none at all is an empty one."""
    text = await incoming.text()
    try:
        content = json.loads(text) if text else {}
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise web.HTTPBadRequest(text="a JSON object is wanted")
    return content


async def respond(incoming: web.Request, reply: Reply) -> web.StreamResponse:
    """Send a reply, whole or broken off as it says."""
    if reply.reset and reply.promised_length is None:
        reset(incoming.transport)
    if reply.promised_length is not None:
        return await _break_off(incoming, reply)
    return web.Response(status=reply.status, body=reply.body, headers=reply.headers, content_type=reply.content_type)


async def _break_off(incoming: web.Request, reply: Reply) -> web.StreamResponse:
    """Promise the whole body, send a part, then drop the connection."""
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_type, response.content_length = reply.content_type, reply.promised_length
    await response.prepare(incoming)
    await response.write(reply.body)
    if reply.reset:
        reset(incoming.transport)
    elif incoming.transport:
        incoming.transport.close()
    return response


def reset(transport: asyncio.BaseTransport | None) -> None:
    """End a connection with a TCP reset: closing it with nothing to linger for makes the kernel send one."""
    if isinstance(transport, asyncio.Transport) and not transport.is_closing():
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
