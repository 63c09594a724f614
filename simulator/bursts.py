"""Bursts: so many messages a second for so long, of one kind, spread over what is subscribed to.

Payloads are templates into which only times and numbers are put, so that thousands a second cost little. A message is
one event: on streams of all symbols a frame with one entry. A burst of `forceOrder` tells each of its orders at once,
and logs it whether somebody listens or not; messages of the other kinds need somebody who does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulator.grid import SECOND
from simulator.payloads import encode
from simulator.periodic import FIRST_NUMBER, Periodic
from simulator.stream_names import AGG_TRADE, FORCE_ORDER, MARK_PRICE, Stream
from simulator.symbols import Contract

KINDS = (AGG_TRADE, MARK_PRICE, FORCE_ORDER)


@dataclass(slots=True)
class Burst:
    """One burst; `began` in monotonic seconds, `symbols` empty for all. `sent` counts messages, listened to or not."""

    kind: str
    per_s: float
    seconds: float
    began: float
    symbols: tuple[str, ...] = ()
    sent: int = 0
    began_at: int = 0

    def due(self, now: float) -> int:
        """How many messages are to be sent by now that were not yet."""
        return int(min(max(now - self.began, 0.0), self.seconds) * self.per_s) - self.sent

    def times(self, due: int, now: float, at: int) -> list[int]:
        """The event times of the next messages by their place in the burst, so that they never go back.

        Read off its begin, which is found anew only when the clock was set meanwhile: readings differ by a millisecond.
        """
        began_at = at - round((now - self.began) * SECOND)
        if abs(began_at - self.began_at) > 5:
            self.began_at = began_at
        return [self.began_at + int((self.sent + index) * SECOND / self.per_s) for index in range(due)]

    def is_over(self, now: float) -> bool:
        """Whether nothing more will come."""
        return now >= self.began + self.seconds and not self.due(now)

    def covers(self, contract: Contract | None) -> bool:
        """Whether it is about a symbol; a stream of all symbols is always meant."""
        return contract is None or not self.symbols or contract.symbol in self.symbols

    def report(self, now: float) -> dict[str, object]:
        """What `GET /_simulator/streams` says about it."""
        return {
            "kind": self.kind, "per_s": self.per_s, "seconds": self.seconds, "symbols": list(self.symbols),
            "sent": self.sent, "over": self.is_over(now),
        }  # fmt: skip


def parse_burst(spec: dict[str, object], now: float) -> Burst:
    """A burst out of `kind`, `per_s`, `seconds` and perhaps `symbols`; ValueError when they make no sense."""
    kind, symbols = str(spec.get("kind")), spec.get("symbols", [])
    if kind not in KINDS:
        raise ValueError(f"no burst of {kind!r}; there is {', '.join(KINDS)}")
    per_s, seconds = (float(str(spec.get(name, 0))) for name in ("per_s", "seconds"))
    if not (per_s > 0 and seconds > 0) or not isinstance(symbols, list):
        raise ValueError("a burst needs per_s and seconds above 0, and symbols as a list if any")
    return Burst(kind, per_s, seconds, now, tuple(map(str, symbols)))


class Templates:
    """Payloads of one symbol's events as `%`-patterns, made anew each second so that prices stay true."""

    def __init__(self, periodic: Periodic) -> None:
        self._periodic = periodic
        self._made: dict[tuple[str, str], tuple[int, bytes]] = {}

    def payload(self, kind: str, contract: Contract, at: int) -> bytes:
        """The event of a symbol at a time."""
        second, made = at // SECOND, self._made.get((kind, contract.symbol))
        if made is None or made[0] != second:
            made = second, self._template(kind, contract, at)
            self._made[kind, contract.symbol] = made
        if kind == MARK_PRICE:
            return made[1] % at
        number = self._periodic.next_number(AGG_TRADE, contract)
        return made[1] % (at, number, 2 * number, 2 * number + 1, at - 150)

    def _template(self, kind: str, contract: Contract, at: int) -> bytes:
        trade = kind == AGG_TRADE
        event = self._periodic.trade(contract, FIRST_NUMBER, at) if trade else self._periodic.mark_price(contract, at)
        varying = ("E", "a", "f", "l", "T") if trade else ("E",)
        return encode(event | dict.fromkeys(varying, "%d")).replace(b'"%d"', b"%d")


class Bursts:
    """All bursts of a server: the running and, for the report, the past."""

    def __init__(self, periodic: Periodic) -> None:
        self.all: list[Burst] = []
        self._periodic, self._templates = periodic, Templates(periodic)

    def running(self, now: float) -> bool:
        """Whether any burst has something to send, now or later."""
        return any(not burst.is_over(now) for burst in self.all)

    def send(
        self, now: float, at: int, streams: Sequence[Stream], deliver: Callable[[str, bytes], object],
        tell: Callable[[Contract, int], object],
    ) -> None:  # fmt: skip
        """Send what is due by now: to `deliver` under a stream's name, liquidations to `tell`; `at` in stream time."""
        for burst in self.all:
            if not (due := burst.due(now)):
                continue
            times = burst.times(due, now, at)
            if burst.kind == FORCE_ORDER:
                listed = self._listed(burst, at)
                for index, time in enumerate(times):
                    tell(listed[(burst.sent + index) % len(listed)], time)
            else:
                self._events(burst, times, streams, deliver)
            burst.sent += due

    def _listed(self, burst: Burst, at: int) -> list[Contract]:
        listed = [contract for contract in self._periodic.contracts if contract.is_listed(at)]
        return [contract for contract in listed if burst.covers(contract)] or listed

    def _events(
        self, burst: Burst, times: list[int], streams: Sequence[Stream], deliver: Callable[[str, bytes], object]
    ) -> None:
        targets = [stream for stream in streams if stream.kind == burst.kind and burst.covers(stream.contract)]
        listed = self._listed(burst, times[-1]) if targets else []
        for index, time in enumerate(times if targets else ()):
            turn = burst.sent + index
            stream = targets[turn % len(targets)]
            contract = stream.contract or listed[turn // len(targets) % len(listed)]
            payload = self._templates.payload(burst.kind, contract, time)
            deliver(stream.name, payload if stream.contract else b"[%s]" % payload)
