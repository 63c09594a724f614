"""What goes wrong around the stream, one card of a shuffled deck after another, so that each kind has its turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from threading import Event
from typing import Any

from soak.chaos import ServerKiller, Trouble
from soak.house import House
from soak.stream_checks import Struck
from soak.stream_processes import HAND_OVER_EVERY_S, Supervisor
from soak.tally import Tally

#: What a stream sends again when Redis has lost it. One that is killed sooner after Redis takes that with it.
SETTLED_S = 6.0
#: What liquidations come on; the mark prices of its connection are its heartbeat.
LIQUIDATIONS_CONNECTION = "stream=!markPrice"
OUTAGE_S = 5.0
#: The stream gives up on a connection after ten seconds of silence, and must live to do so.
SILENCE_S = 12.0
BURST_PER_S, BURST_S = 5_000, 3.0
SPELL_S = 4.0
#: Without anything that reads as an event time.
GARBAGE = "<html>"
#: After the end of a trouble connections are opened anew.
RECONNECTS_WITHIN_S = 5.0
VICTIM_WITHIN_S = 30.0
#: Until a successor is live, and a little longer.
WHILE_HANDING_OVER_S = 5.0


class StreamTroubles(Trouble):
    """Deals the cards until none is left or the time is up.

    Nothing else goes wrong while a stream is killed, and for some seconds before: what both Redis and the stream take
    with them nobody can have.

    Args:
        deck: how often each kind comes.
        until: the monotonic second up to which the cards are spread.
    """

    def __init__(
        self, house: House, tally: Tally, dice: Random, supervisor: Supervisor, deck: dict[str, int], until: float
    ) -> None:
        super().__init__(house, tally, dice)
        self.struck: list[Struck] = []
        self.done = Event()
        self._supervisor = supervisor
        self._until = until
        self._servers = ServerKiller(house, tally, dice)
        self._cards = [kind for kind, times in deck.items() for _ in range(times)]
        dice.shuffle(self._cards)
        self._kinds: dict[str, Callable[[], None]] = {
            "redis": lambda: self._kill_server("redis"),
            "postmaster": lambda: self._kill_server("postmaster"),
            "postgres session": lambda: self._kill_server("postgres session"),
            "only stream": self._kill_only_stream,
            "stream": self._kill_in_hand_over,
            "drop": self._drop,
            "outage": self._outage,
            "burst": self._burst,
            "ws_cut": lambda: self._fault("ws_cut", 0.0, match=LIQUIDATIONS_CONNECTION, times=1),
            "ws_garbage": lambda: self._fault("ws_garbage", SPELL_S, probability=0.2, content=GARBAGE),
            "ws_duplicate": lambda: self._fault("ws_duplicate", SPELL_S),
            "ws_out_of_order": lambda: self._fault("ws_out_of_order", SPELL_S, probability=0.3),
            "ws_silence": lambda: self._fault("ws_silence", SILENCE_S),
            "ws_half_open": lambda: self._fault("ws_half_open", SILENCE_S, match=LIQUIDATIONS_CONNECTION, times=1),
        }

    def strike(self) -> None:
        """The next card."""
        if not self._cards:
            self.done.set()
            self.wait(1.0)
            return
        self._kinds[self._cards.pop()]()

    def calm_s(self) -> float:
        """So long that the cards fill the time."""
        left_s = max(self._until - time.monotonic(), 0.0)
        return self.dice.uniform(0.2, 0.8) * left_s / max(len(self._cards), 1)

    # --- servers and processes

    def _kill_server(self, victim: str) -> None:
        """A session is there only while somebody drains."""
        before, deadline = self.tally.kills[victim], time.monotonic() + VICTIM_WITHIN_S
        while self.tally.kills[victim] == before and time.monotonic() < deadline and not self.wait(0.2):
            self._servers.kill_one(victim)

    def _kill_only_stream(self) -> None:
        self.wait(SETTLED_S)
        deadline = time.monotonic() + HAND_OVER_EVERY_S
        while len(running := self._supervisor.processes()) != 1 and time.monotonic() < deadline:
            self.wait(0.2)
        self._supervisor.kill(running[-1])
        self.wait(RECONNECTS_WITHIN_S)

    def _kill_in_hand_over(self) -> None:
        """The predecessor or the successor, at some moment of the hand-over."""
        self.wait(SETTLED_S)
        deadline = time.monotonic() + 3 * HAND_OVER_EVERY_S
        while time.monotonic() < deadline and not self.wait(0.1):
            if len(self._supervisor.processes()) < 2:
                continue
            self.wait(self.dice.uniform(0.0, WHILE_HANDING_OVER_S))
            # The hand-over may be over by then; there will be another.
            if len(running := self._supervisor.processes()) >= 2:
                self._supervisor.kill(self.dice.choice(running))
                break
        self.wait(RECONNECTS_WITHIN_S)

    # --- the exchange

    @contextmanager
    def _noted(self, kind: str) -> Iterator[None]:
        start = time.time()
        yield
        self.struck.append(Struck(kind, start, time.time()))
        self.wait(RECONNECTS_WITHIN_S)
        self.struck.append(Struck("reconnect", start, time.time()))

    def _drop(self) -> None:
        """All connections are reset, or closed in good order."""
        with self._noted("drop"):
            dropped = self.house.exchange.drop_streams(reset=self.dice.random() < 0.5)
        self.tally.count(self.tally.struck, "drop", min(dropped, 1))

    def _outage(self) -> None:
        """Whoever is connected is cut off, and handshakes are refused."""
        kind: dict[str, Any] = self.dice.choice(({"kind": "status", "code": 503}, {"kind": "reset"}))
        with self._noted("outage"):
            number = self.house.exchange.add_fault(match="/market/stream", **kind)
            self.house.exchange.drop_streams()
            self.wait(OUTAGE_S)
            self._remove("outage", number)
        # The pauses between attempts grow: the last one is about as long as the outage was, and counts as part of it.
        self.struck.append(Struck("outage", self.struck[-1].end - RECONNECTS_WITHIN_S, self.struck[-1].end))

    def _burst(self) -> None:
        start = time.time()
        self.house.exchange.burst("forceOrder", BURST_PER_S, BURST_S)
        self.wait(2 * BURST_S)
        self.struck.append(Struck("burst", start, time.time()))
        self.tally.count(self.tally.struck, "burst")

    def _fault(self, kind: str, seconds: float, **details: object) -> None:
        """A fault of the streams for so long, or until it has struck."""
        with self._noted(kind):
            number = self.house.exchange.add_fault(kind, **details)
            deadline = time.monotonic() + VICTIM_WITHIN_S
            while not self._times_struck(number) and time.monotonic() < deadline and not self.wait(0.2):
                pass
            self.wait(seconds)
            self._remove(kind, number)

    def _times_struck(self, number: int) -> int:
        return next(int(fault["struck"]) for fault in self.house.exchange.faults() if fault["id"] == number)

    def _remove(self, kind: str, number: int) -> None:
        self.tally.count(self.tally.struck, kind, self._times_struck(number))
        self.house.exchange.remove_fault(number)
