"""How the faults of streams (`ws_...` of `simulator.faults`) change a frame on its way out, one function per kind.

Each takes the connection, the frame and the fault, and returns whether the event reaches the client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from simulator.faults import Fault
from simulator.frames import frame

# No JSON, as a proxy between the exchange and a client might say it.
_GARBAGE = '{"e":"aggTrade","E":17\ufffd<html>'


class Outgoing(Protocol):
    """The connection that a frame is about to leave on."""

    def put(self, data: bytes) -> None:
        """Send bytes at the next flush."""

    def hold(self, data: bytes) -> None:
        """Send a frame after the one that follows it."""

    def stall(self) -> None:
        """Neither read nor write any more, but stay open."""

    def reset(self, reason: str) -> None:
        """Send what has been put, then end with a TCP reset."""


def _silence(connection: Outgoing, data: bytes, fault: Fault) -> bool:
    """Subscribed and acknowledged, but nothing comes."""
    return False


def _half_open(connection: Outgoing, data: bytes, fault: Fault) -> bool:
    """The other side is gone and nobody says so; the connection stays so when the fault is removed."""
    connection.stall()
    return False


def _garbage(connection: Outgoing, data: bytes, fault: Fault) -> bool:
    """`content` instead of the event."""
    connection.put(frame(str(fault.spec.get("content", _GARBAGE)).encode()))
    return False


def _cut(connection: Outgoing, data: bytes, fault: Fault) -> bool:
    """Half of the frame, then a reset."""
    connection.put(data[: len(data) // 2])
    connection.reset("ws_cut")
    return False


def _duplicate(connection: Outgoing, data: bytes, fault: Fault) -> bool:
    """The same event twice."""
    connection.put(data)
    connection.put(data)
    return True


def _out_of_order(connection: Outgoing, data: bytes, fault: Fault) -> bool:
    """The event comes after the next one on its connection."""
    connection.hold(data)
    return True


EFFECTS: dict[str, Callable[[Outgoing, bytes, Fault], bool]] = {
    "ws_silence": _silence,
    "ws_half_open": _half_open,
    "ws_garbage": _garbage,
    "ws_cut": _cut,
    "ws_duplicate": _duplicate,
    "ws_out_of_order": _out_of_order,
}
