"""Feeds of the exchange's market streams: connections that follow each other without a hole, without end.

What fails is opened again, with growing pauses. Before the exchange cuts a connection (24 hours), and where other
streams are wanted, a successor is opened; when that has received frames both receive for a while, then the older one is
closed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Lock, Thread
from typing import Any

from perpflow.counters import COUNTS
from perpflow.errors import Permanent, PerpflowError, StreamSilent, Transient
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.live import LEAVES_WITHIN_S, LOOK_S, Connection, Deliver, Received, Subscription
from perpflow.seldom import Seldom

log = logging.getLogger(__name__)

#: The exchange cuts at 24 hours; a successor comes first, at different times for different connections.
LIFETIME_S = 23 * 3600.0
#: What the exchange sent to the older connection only is still on its way when the younger one is live; and of the time
#: of listening the younger one cannot prove its first second, nor the older one its last.
OVERLAP_S = 4.0
#: Pauses grow up to this, so that an exchange that is back is not noticed late: eight handshakes a minute of the sixty
#: that are allowed. What it has refused it will hardly allow sooner than in minutes.
FIRST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_AFTER_REFUSAL_S = 0.25, 10.0, 60.0
MOST_DOUBLINGS = 10
#: A connection that has lasted so long has proven that the way is sound: failures are counted anew.
PROVEN_S = 10.0
#: What lasted as long as the pause would be is opened again almost at once: what comes meanwhile is gone.
SHORTEST_PAUSE_S = 0.1
#: How often somebody looks whether a receiving thread is stuck, and how many times in a row it must be.
WATCH_S, LOOKS = 1.0, 3

# The same trouble says the same, but for seconds and codes.
_DIGITS = re.compile(r"\d+")


@dataclass(slots=True)
class Measures:
    """What a feed has met since it began, for whoever watches it."""

    frames: dict[str, int] = field(default_factory=dict)
    connections: int = 0
    failures: int = 0
    stalls: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class _Open:
    """A connection that is live, the end of its receiving, and since when (monotonic)."""

    connection: Connection
    receiving: asyncio.Future[None]
    since: float


class Feed:
    """Keeps one connection alive, until the task that runs it is cancelled; two, while one succeeds the other.

    `live` is set while any of them receives.

    Args:
        limiter: ban clock and circuit breaker of the exchange's host; a handshake costs no request weight.
        lifetime_s: after so long a successor is opened.
        overlap_s: for so long a connection and its successor, once that is live, both receive.
        gives_up: a permanent refusal at first is the end; else it is tried again, ever more rarely.
    """

    def __init__(
        self,
        url: str,
        subscriptions: Iterable[Subscription],
        deliver: Deliver,
        *,
        limiter: Limiter,
        timeout_s: float = 10.0,
        proxy: str | None = None,
        lifetime_s: float = LIFETIME_S,
        overlap_s: float = OVERLAP_S,
        gives_up: bool = True,
    ) -> None:
        self.url = url
        self.subscriptions = tuple(subscriptions)
        self.measures = Measures(frames=dict.fromkeys(("", *(each.kind for each in self.subscriptions)), 0))
        self.live = asyncio.Event()
        self._renewed = asyncio.Event()
        self._deliver = deliver
        self._limiter = limiter
        self._options: dict[str, Any] = {"timeout_s": timeout_s, "proxy": proxy}
        self._lifetime_s = lifetime_s
        self._overlap_s = overlap_s
        self._gives_up = gives_up
        self._watching: set[asyncio.Task[None]] = set()
        self._counting = Lock()
        self._seldom = Seldom(log)
        self._failures = 0
        # All that are live, in the order of their opening.
        self._receiving: list[_Open] = []
        self._leaving: set[asyncio.Future[None]] = set()

    def renew(self, subscriptions: Iterable[Subscription]) -> None:
        """Subscribe to these from now on, by a successor; call it in the event loop. Of several the last one counts.

        The successor is opened at once, unless one is being opened already, an overlap lasts or a failure is waited
        out: then after that. Until it is live, and be it refused, the connection that there is stays.
        """
        self.subscriptions = tuple(subscriptions)
        for each in self.subscriptions:
            self.measures.frames.setdefault(each.kind, 0)
        self._renewed.set()

    async def run(self) -> None:
        """Receive without end; what fails is opened again.

        Raises:
            Permanent: it `gives_up`, has never received, and trying again cannot help: this address is not served, a
                subscription was refused. After hours of success the same may pass.
        """
        try:
            while True:
                current = await self._open_until_live()
                await self._overlap(current)
                await self._until_a_successor_is_due(current)
        finally:
            self._leaving = {each.receiving for each in self._receiving}
            self._close(self._receiving)
            self.live.clear()

    async def wait_closed(self) -> None:
        """Once `run` has ended: until nothing more is delivered, for what is still sent to us nobody else may get."""
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=LOOK_S + LEAVES_WITHIN_S)

    async def _open_until_live(self) -> _Open:
        while True:
            self._renewed.clear()
            try:
                opened = await self._open()
            except PerpflowError as error:
                if isinstance(error, Permanent) and self._gives_up and not self.measures.connections:
                    raise
                self._note(error)
                await self._pause_after(
                    error, LONGEST_AFTER_REFUSAL_S if isinstance(error, Permanent) else LONGEST_PAUSE_S
                )
            else:
                self._receiving.append(opened)
                opened.receiving.add_done_callback(partial(self._note_end, opened))
                self.measures.connections += 1
                self.live.set()
                return opened

    async def _overlap(self, successor: _Open) -> None:
        """Let its predecessors receive for a while longer; should it break meanwhile, until the next one is live."""
        if self._receiving == [successor]:
            return
        ended, _ = await asyncio.wait({successor.receiving}, timeout=self._overlap_s)
        if not ended:
            self._close([each for each in self._receiving if each is not successor])

    async def _until_a_successor_is_due(self, current: _Open) -> None:
        """Until it has lived its time, is to be subscribed to something else, or has broken and that is waited out."""
        # Spread, so that the successors of several feeds do not come at once.
        lifetime_s = self._lifetime_s * random.uniform(0.95, 1.0)  # noqa: S311
        renewed = asyncio.ensure_future(self._renewed.wait())
        either: set[asyncio.Future[Any]] = {current.receiving, renewed}
        try:
            await asyncio.wait(either, timeout=lifetime_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            renewed.cancel()
        lasted_s = time.monotonic() - current.since
        if lasted_s >= PROVEN_S:
            self._failures = 0
        if current.receiving.done():
            await self._pause_after(current.receiving.exception(), LONGEST_PAUSE_S, lasted_s)

    def _close(self, connections: Iterable[_Open]) -> None:
        for each in list(connections):
            self._receiving.remove(each)
            each.connection.close()

    def _note_end(self, ended: _Open, receiving: asyncio.Future[None]) -> None:
        """As soon as a connection ends, whatever is waited for: a failure, unless it was closed or has a successor."""
        error = receiving.exception()
        if ended not in self._receiving:
            return
        is_succeeded = ended is not self._receiving[-1]
        self._receiving.remove(ended)
        if not self._receiving:
            self.live.clear()
        if is_succeeded:
            log.info("Broken when its successor was live already: %s", error)
        elif error is not None:
            self._note(error)

    def _note(self, error: BaseException) -> None:
        self.measures.failures += 1
        self.measures.stalls += isinstance(error, StreamSilent)
        COUNTS.count("stream.stalls" if isinstance(error, StreamSilent) else "stream.breaks")
        self.measures.last_error = str(error)
        self._seldom.warning("%s", error, problem=_DIGITS.sub("", str(error)))

    async def _pause_after(self, error: BaseException | None, longest_s: float, lasted_s: float = 0.0) -> None:
        """Wait: the longer, the more often it has failed in a row, but no longer than `longest_s`, or as it is told.

        Pauses bound how often connections are opened: the time that one has lasted counts as waited.
        """
        if error is not None and not isinstance(error, PerpflowError):
            raise error
        self._failures += 1
        told_s = error.retry_after_s if isinstance(error, Transient) and error.retry_after_s else 0.0
        usual_s = min(FIRST_PAUSE_S * 2 ** min(self._failures - 1, MOST_DOUBLINGS), longest_s)
        # Spread: what has cut one has cut all.
        pause_s = max(usual_s - lasted_s, SHORTEST_PAUSE_S) * random.uniform(0.5, 1.0)  # noqa: S311
        await asyncio.sleep(max(pause_s, told_s))

    async def _open(self) -> _Open:
        """Connect, subscribe, and wait for the first frames."""
        loop, live = asyncio.get_running_loop(), asyncio.Event()

        def on_live() -> None:
            loop.call_soon_threadsafe(live.set)

        connection = Connection(self.url, self.subscriptions, self._count, on_live, **self._options)
        try:
            async with self._limiter.request("stream"):
                await in_thread(connection.open)
            receiving = in_thread(connection.receive)
            self._watch(connection, receiving)
            hearing = asyncio.ensure_future(live.wait())
            either: set[asyncio.Future[Any]] = {receiving, hearing}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                hearing.cancel()
            if receiving.done():
                receiving.result()
        except BaseException:
            # Hanging up may wait for the other side, and here is the event loop.
            in_thread(connection.close)
            raise
        return _Open(connection, receiving, time.monotonic())

    def _watch(self, connection: Connection, receiving: asyncio.Future[None]) -> None:
        watching = asyncio.create_task(_cut_when_stuck(connection, receiving))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)

    def _count(self, received: Received) -> None:
        """In the receiving threads, of which there are two in an overlap."""
        with self._counting:
            self.measures.frames[received.kind] += 1
        self._deliver(received)


async def _cut_when_stuck(connection: Connection, receiving: asyncio.Future[None]) -> None:
    """Look on from outside: in a frame that does not end the receiving thread sees neither the clock nor `close`."""
    looks = 0
    while not receiving.done():
        await asyncio.wait({receiving}, timeout=WATCH_S)
        # More than once: where the whole process stood still, the thread looks up by then.
        looks = looks + 1 if connection.is_stuck else 0
        if looks >= LOOKS:
            connection.cut()


def in_thread(work: Callable[[], None]) -> asyncio.Future[None]:
    """Do it in a thread of its own, which the end of the process does not wait for, as it does for an executor's."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    # Whoever has given up on it does not ask what has become of it.
    ended.add_done_callback(lambda future: future.cancelled() or future.exception())

    def settle(error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as caught:  # noqa: BLE001  # handed over to whoever waits
            error = caught
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(settle, error)

    Thread(target=run, name="stream", daemon=True).start()
    return ended
