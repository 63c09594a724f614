"""WebSocket frames of a server (RFC 6455): whole, unmasked, not compressed, as bytes that can be put together."""

from __future__ import annotations

import struct

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One frame."""
    size, first = len(payload), 0x80 | opcode
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def close_frame(code: int, reason: str) -> bytes:
    """The frame that ends a connection, and why."""
    return frame(struct.pack("!H", code) + reason.encode(), CLOSE)


def combined(stream: str, payload: bytes) -> bytes:
    """The payload in the envelope that names its stream."""
    return b'{"stream":"%s","data":%s}' % (stream.encode(), payload)
