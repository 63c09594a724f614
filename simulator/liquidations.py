"""Liquidations: when they happen, which of them the exchange tells, and a log of all that it told.

They come at random (Poisson) at a mean rate over all symbols, in an order and with contents that the seed decides. Told
is at most one of a symbol per 1000 ms, the largest: the first opens a window, at whose end, about a second later, the
largest goes out (recorded in 2026: E - T of 1.0 s). A burst tells each of its orders at once, whatever that rule says.
Rates and windows run on real (monotonic) seconds, times of orders on the clock of streams.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from simulator.payloads import Order, force_order, quantity_text, tick_text
from simulator.quotes import Quotes
from simulator.symbols import Contract

WINDOW_S = 1.0
# The window's end is told a few milliseconds late (recorded: 5 to 12).
_LAG_S = (0.004, 0.012)
# How many the log holds: days at the usual rate, 100 s of the hardest burst; some 300 MB when it is full.
LOGGED = 500_000


class Told(NamedTuple):
    """A liquidation that went out: event time (ms), real seconds on the simulator's and on the world's clock."""

    number: int
    order: Order
    event_time: int
    emitted_s: float
    emitted_unix: float
    connections: tuple[int, ...]

    def report(self) -> dict[str, object]:
        """What `GET /_simulator/liquidations` says about it."""
        return {
            "id": self.number, **force_order(self.order, self.event_time), "emitted_s": round(self.emitted_s, 3),
            "emitted_unix": round(self.emitted_unix, 3), "sent_to": len(self.connections),
            "connections": list(self.connections),
        }  # fmt: skip


class _Window(NamedTuple):
    """The largest order of a symbol so far, and when it will be told."""

    ends: float
    largest: Order
    size: float


class Liquidations:
    """Makes liquidations and keeps the log; `now` everywhere in monotonic seconds, `at` in ms of stream time."""

    def __init__(self, seed: int, contracts: Sequence[Contract], quotes: Quotes, per_s: float, now: float) -> None:
        self._random = Random(f"{seed}:liquidations")
        self._contracts, self._quotes = contracts, quotes
        self._windows: dict[str, _Window] = {}
        self.log: deque[Told] = deque(maxlen=LOGGED)
        self.total = 0
        self.set_rate(per_s, now)

    def set_rate(self, per_s: float, now: float) -> None:
        """Another mean rate from now on; 0 stops them."""
        self.per_s = per_s
        self._next = now + self._pause()

    def _pause(self) -> float:
        return self._random.expovariate(self.per_s) if self.per_s > 0 else math.inf

    def due(self, now: float, at: int) -> list[tuple[Order, int]]:
        """What is to be told by now, and its event time, in order."""
        told: list[tuple[Order, int]] = []
        while self._next <= now:
            arrived = self._next
            told += self._ended(arrived, now, at)
            self._arrive(arrived, at - round((now - arrived) * 1000))
            self._next = arrived + self._pause()
        return told + self._ended(now, now, at)

    def _ended(self, until: float, now: float, at: int) -> list[tuple[Order, int]]:
        """The windows that end before `until`, closed."""
        ended = sorted((window.ends, symbol) for symbol, window in self._windows.items() if window.ends <= until)
        return [(self._windows.pop(symbol).largest, at - round((now - ends) * 1000)) for ends, symbol in ended]

    def _arrive(self, arrived: float, at: int) -> None:
        listed = [contract for contract in self._contracts if contract.is_listed(at)]
        if not listed:
            return
        order = self.order(self._random.choice(listed), at)
        window, size = self._windows.get(order.symbol), float(order.quantity)
        if window is None:
            ends = arrived + WINDOW_S + self._random.uniform(*_LAG_S)
            self._windows[order.symbol] = _Window(ends, order, size)
        elif size > window.size:
            self._windows[order.symbol] = window._replace(largest=order, size=size)

    def order(self, contract: Contract, at: int) -> Order:
        """A filled order: a long that is sold or a short that is bought, filled better than its bankruptcy price."""
        random = self._random
        side = random.choice(("SELL", "BUY"))
        mark, worse = self._quotes.price(contract, at), -1 if side == "SELL" else 1
        quantity = (contract.minute_volume or 1.0) * 10 ** random.uniform(-4, -0.5)
        return Order(
            contract.symbol, contract.pair, side, quantity_text(contract, quantity),
            tick_text(contract, mark * (1 + worse * random.uniform(0.004, 0.02))),
            tick_text(contract, mark * (1 + worse * random.uniform(0, 0.003))),
            quantity_text(contract, quantity * random.choice((1, 1, 0.5, 0.2))), at,
        )  # fmt: skip

    def tell(self, order: Order, event_time: int, emitted_s: float, connections: tuple[int, ...]) -> None:
        """Write down that an order went out."""
        self.total += 1
        self.log.append(Told(self.total, order, event_time, emitted_s, time.time(), connections))

    def report(self, after: int = 0) -> dict[str, object]:
        """All that was told after the liquidation of that number, `total` ever; the log forgets beyond `LOGGED`."""
        return {"total": self.total, "liquidations": [told.report() for told in self.log if told.number > after]}

    def clear(self) -> None:
        """Empty the log; numbers go on."""
        self.log.clear()
