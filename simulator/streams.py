"""The exchange's side of the streams: who is connected, what goes out when, what is reported. No sockets here.

Everything happens in `pulse`, called some times a second: what is due by the stream clock is made once, framed once,
put to every listener, and each connection's bytes leave in one write. Rules that count seconds (cadence apart) count
monotonic ones.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import count

from simulator.bursts import Bursts, parse_burst
from simulator.clock import Clock
from simulator.faults import Faults
from simulator.feed import Feed
from simulator.limits import RateLimits
from simulator.liquidations import Liquidations
from simulator.listening import Listening
from simulator.messages import Request, matches
from simulator.payloads import Order, encode, force_order
from simulator.periodic import Periodic
from simulator.quotes import Quotes
from simulator.stream_connection import GOING_AWAY, Connection, StreamSettings, Wire, enveloped
from simulator.stream_names import FORCE_ORDER, Stream, streams
from simulator.symbols import Contract

# Trades come every 100 ms; a burst wants its batches smaller.
PULSE_S, BURST_PULSE_S = 0.1, 0.02
# How much of a pause (a stopped process, a clock that was set) is made up for; the rest is left out.
_CATCH_UP_MS = 5_000
# How many ended connections the report remembers.
_REMEMBERED = 10_000


class Streams:
    """All stream connections of one exchange; `monotonic` (seconds) is injected so that tests can move time."""

    def __init__(
        self, seed: int, clock: Clock, feed: Feed, faults: Faults, limits: RateLimits,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.settings, self.now = StreamSettings(), monotonic
        self.faults, self.limits, self._clock = faults, limits, clock
        self.began = monotonic()
        self._last_at = clock.stream_now()
        quotes = Quotes(feed)
        self.periodic = Periodic(seed, feed.contracts, quotes)
        rate = self.settings.liquidations_per_s
        self.liquidations = Liquidations(seed, feed.contracts, quotes, rate, self.began)
        self.bursts = Bursts(self.periodic)
        self.listening = Listening(streams(feed.contracts))
        self._numbers = count(1)
        self._open: dict[int, Connection] = {}
        self._past: deque[Connection] = deque(maxlen=_REMEMBERED)

    def open(self, path: str, category: str, combined: bool, names: list[str], wire: Wire) -> Connection:
        """A client has connected, with the streams that its address names."""
        connection = Connection(next(self._numbers), path, category, combined, self, wire, self.now())
        self._open[connection.number] = connection
        connection.subscribe(names)
        return connection

    def joined(self, connection: Connection, name: str) -> None:
        """A connection has subscribed to a stream."""
        self.listening.join(connection, name, self.now())

    def left(self, connection: Connection, name: str) -> None:
        """A connection has left a stream."""
        self.listening.leave(connection, name, self.now())

    def flooded(self) -> None:
        """A client has sent too many messages."""
        self.limits.flooded()

    def pulse(self) -> float:
        """Send all that is due; the seconds until the next pulse."""
        now, at = self.now(), self._clock.stream_now()
        if not 0 <= at - self._last_at <= _CATCH_UP_MS:
            self._last_at = at - 1
        for stream in self.listening.streams():
            self._periodic(stream, at)
        self._last_at = at
        for order, event_time in self.liquidations.due(now, at):
            self._tell(order, event_time, now)
        self._burst(now, at)
        for connection in list(self._open.values()):
            connection.keep(now, at)
            connection.flush()
        self._bury()
        return BURST_PULSE_S if self.bursts.running(now) else PULSE_S

    def _periodic(self, stream: Stream, at: int) -> None:
        """All of a stream's moments since the last pulse."""
        if stream.kind == FORCE_ORDER:
            return
        for moment in range(self._last_at // stream.period + 1, at // stream.period + 1):
            for payload in self.periodic.payloads(stream, moment * stream.period):
                self.deliver(stream.name, payload)

    def _burst(self, now: float, at: int) -> None:
        def tell(contract: Contract, time: int) -> None:
            self._tell(self.liquidations.order(contract, time), time, now)

        self.bursts.send(now, at, list(self.listening.streams()), self.deliver, tell)

    def _tell(self, order: Order, event_time: int, now: float) -> None:
        payload = encode(force_order(order, event_time))
        reached = {
            *self.deliver("!forceOrder@arr", payload),
            *self.deliver(f"{order.symbol.lower()}@forceOrder", payload),
        }
        self.liquidations.tell(order, event_time, now - self.began, tuple(sorted(reached)))

    def deliver(self, name: str, payload: bytes) -> list[int]:
        """Put an event to all that listen to a stream; the numbers of the connections that get it."""
        fault_of = self.faults.on_event if self.faults.touch_streams() else None
        frames: dict[bool, bytes] = {}
        reached = []
        for connection in self.listening.to(name):
            kind = connection.combined
            if kind not in frames:
                frames[kind] = enveloped(kind, name, payload)
            if connection.send(name, frames[kind], fault_of):
                reached.append(connection.number)
        return reached

    def _bury(self) -> None:
        for number in [number for number, connection in self._open.items() if connection.ended is not None]:
            self._past.append(self._open.pop(number))

    def drop(self, match: str = "", reset: bool = True) -> int:
        """End all connections whose path and streams hold `match`, at once; how many there were."""
        found = [connection for connection in self._open.values() if matches(match, _target(connection).target)]
        for connection in found:
            if reset:
                connection.reset("dropped")
            else:
                connection.end("dropped", GOING_AWAY)
        self._bury()
        return len(found)

    def change_settings(self, values: dict[str, object]) -> None:
        """Other rules, also for connections that are open; ValueError when they make no sense."""
        self.settings.change(values)
        if "liquidations_per_s" in values:
            self.liquidations.set_rate(self.settings.liquidations_per_s, self.now())

    def start_burst(self, spec: dict[str, object]) -> None:
        """Begin a burst; ValueError when it makes no sense."""
        self.bursts.all.append(parse_burst(spec, self.now()))

    def report(self) -> dict[str, object]:
        """Connections, intervals of listening, violations, bursts; seconds count from the simulator's start."""
        self._bury()
        now = self.now()
        return {
            "now_s": round(now - self.began, 3), "unix": round(time.time(), 3), "stream_now": self._clock.stream_now(),
            "open": len(self._open), "total": len(self._open) + len(self._past),
            "connections": [known.report(self.began) for known in (*self._past, *self._open.values())],
            "listened": self.listening.report(self.began), "rate_violations": self.limits.floods,
            "bursts": [burst.report(now) for burst in self.bursts.all],
        }  # fmt: skip

    def clear(self) -> None:
        """Forget ended connections, intervals of the past and bursts, those that run included."""
        self._bury()
        self._past.clear()
        self.bursts.all.clear()
        self.listening.clear(self.now())


def _target(connection: Connection) -> Request:
    return Request(connection.path, {"streams": "/".join(connection.subscribed())})
