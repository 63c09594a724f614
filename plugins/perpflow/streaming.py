"""The live stream: from the exchange's market streams to the latest values in Redis. No Airflow here.

Frames of all connections go into one inbox, from which a single writer takes all that has come, keeps the newest value
of each contract, and writes them in one step: the slower Redis is, the more events one write carries, and nothing
queues up. It writes while it holds the lease. A successor takes the lease when it has received frames itself, and this
stream then ends: between the two nothing is missed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from redis import RedisError
from redis.asyncio import Redis

from perpflow import frames
from perpflow.counters import COUNTS
from perpflow.errors import PerpflowError, StructurallyBad
from perpflow.exchange.feed import Feed
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.live import MARKET_PATH, MOST_STREAMS, Received, Subscription
from perpflow.exchange.rest import Rest
from perpflow.sessions import stream_session
from perpflow.settings import Deployment
from perpflow.store.latest import FencedOff, LastPrice, Latest, LatestValues, Mark
from perpflow.store.lease import LASTS_S, Lease

log = logging.getLogger(__name__)

#: Mark prices of all contracts, every second, in several frames.
MARK_PRICES = Subscription("mark_price", ("!markPrice@arr@1s",), silent_s=10.0)
#: Traded many times a second: heard on every connection of trades, so that its silence is the connection's.
HEARTBEAT = "btcusdt@aggTrade"
NO_TRADE_S = 30.0
#: As many frames may wait for the writer; beyond that the oldest ones go, whose values newer ones have replaced.
MOST_WAITING = 50_000
#: While Redis is away what is to be written waits, and newer values replace older ones.
REDIS_AWAY_S = 1.0
RENEW_EVERY_S = LASTS_S / 3
#: Contracts get listed every other day.
RELIST_EVERY = timedelta(hours=1)


class Inbox:
    """Frames on their way from the receiving threads to the event loop."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._dropped = 0
        self._waiting: deque[tuple[bytes, int]] = deque(maxlen=most)
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._told = False

    def put(self, received: Received) -> None:
        """Called by receiving threads."""
        if len(self._waiting) == self._waiting.maxlen:
            self._dropped += 1
        self._waiting.append((received.frame, received.received_ms))
        if not self._told:
            self._told = True
            self._loop.call_soon_threadsafe(self._news.set)

    async def take(self) -> list[tuple[bytes, int]]:
        """All that has come, as soon as anything has."""
        await self._news.wait()
        self._news.clear()
        self._told = False
        if self._dropped:
            COUNTS.count("stream.dropped", self._dropped)
            log.warning("%d frames came faster than they could be read, and were dropped.", self._dropped)
            self._dropped = 0
        return [self._waiting.popleft() for _ in range(len(self._waiting))]


def newest(waiting: Iterable[tuple[bytes, int]], symbols: Mapping[str, str]) -> dict[str, Latest]:
    """The newest value of each kind and contract in some frames, by unified symbol.

    Args:
        waiting: frames with the instants of their receipt (ms UTC).
        symbols: unified symbols of USD-M perpetuals by the exchange's names; what is not among them is left out: COIN-M
            and delivery contracts come in the same frames.
    """
    found: dict[str, Latest] = {}
    for raw, received_ms in waiting:
        for event in _events(raw):
            symbol = symbols.get(event.exchange_symbol)
            if symbol is None or event.market != frames.USD_M:
                continue
            known = found.get(symbol) or Latest(symbol)
            found[symbol] = _merged(known, event, received_ms)
    return found


def _events(raw: bytes) -> tuple[frames.Event, ...]:
    try:
        frame = frames.decode(raw)
    except StructurallyBad as error:
        COUNTS.count("stream.unreadable")
        log.warning("%s", error)
        return ()
    if frame.unreadable:
        COUNTS.count("stream.unreadable", len(frame.unreadable))
        log.warning(
            "%s: %d entries are not as documented: %s", frame.stream, len(frame.unreadable), frame.unreadable[0]
        )
    return frame.events


def _merged(known: Latest, event: frames.Event, received_ms: int) -> Latest:
    price, mark = known.price, known.mark
    if isinstance(event, frames.MarkPrice):
        if mark is None or mark.at <= event.event_ms:
            mark = Mark(
                event.event_ms,
                received_ms,
                event.mark_price,
                event.index_price,
                event.next_funding_ms,
                frames.funding_of(event),
            )
    elif isinstance(event, frames.AggTrade | frames.Ticker) and (price is None or price.at <= event.event_ms):
        price = LastPrice(event.event_ms, received_ms, event.price)
    return Latest(known.symbol, price, mark, known.open_interest)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a stream has ended: `handed over` to a successor, `stopped` as it was told, or its time was `over`."""

    how: str
    seconds: float
    frames: int
    values: int


class Streamer:
    """One stream: feeds, writer and lease.

    Args:
        name: for people, of the lease's holder: host, process, run.
    """

    def __init__(self, deployment: Deployment, name: str, rest: Rest, limiter: Limiter, redis: Redis) -> None:
        self._deployment = deployment
        self._rest = rest
        self._limiter = limiter
        self._redis = redis
        self._lease = Lease(redis, name)
        self._values = LatestValues(redis)
        self._inbox = Inbox()
        self._symbols: dict[str, str] = {}
        self._told_to_stop = asyncio.Event()
        self._renewed_at = 0.0
        self._frames = self._written = 0

    def stop(self) -> None:
        """Let `run` come to its end."""
        self._told_to_stop.set()

    async def run(self, seconds: float | None = None) -> Ended:
        """Stream until a successor has taken the lease, until `stop`, or for some seconds.

        Raises:
            Permanent: the exchange does not let this address in, or has refused a subscription.
            Transient: the exchange does not say which contracts it lists.
        """
        began = time.monotonic()
        streaming = asyncio.create_task(self._stream())
        stopping = asyncio.create_task(self._told_to_stop.wait())
        either: list[asyncio.Task[Any]] = [streaming, stopping]
        try:
            done, _ = await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if streaming in done:
                streaming.result()
        finally:
            await _cancelled(either)
            await self._let_go()
        how = "handed over" if streaming in done else "stopped" if stopping in done else "over"
        return Ended(how, time.monotonic() - began, self._frames, self._written)

    async def _stream(self) -> None:
        """Everything at once; returns when a successor has taken the lease."""
        await self._learn_symbols()
        feeds = self._feeds()
        work = [self._write_while_ours(feeds), self._keep_learning(), *(feed.run() for feed in feeds)]
        tasks = [asyncio.create_task(each) for each in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await _cancelled(tasks)

    def _feeds(self) -> list[Feed]:
        url = self._deployment.stream_url.rstrip("/") + MARKET_PATH
        names = [f"{name.lower()}@aggTrade" for name in self._wanted()]
        groups = [[MARK_PRICES]]
        for start in range(0, len(names), MOST_STREAMS - 1):
            some = dict.fromkeys([HEARTBEAT, *names[start : start + MOST_STREAMS - 1]])
            groups.append([Subscription("last_price", tuple(some), NO_TRADE_S)])
        settings = self._deployment.collection.exchange
        return [
            Feed(
                url,
                group,
                self._inbox.put,
                limiter=self._limiter,
                timeout_s=settings.connect_timeout_s,
                proxy=settings.proxy,
            )
            for group in groups
        ]

    def _wanted(self) -> list[str]:
        """The exchange's names of the contracts whose last price is streamed."""
        configured = self._deployment.collection.symbols
        missing = set() if configured == "all" else {*configured} - {*self._symbols.values()}
        for symbol in sorted(missing):
            log.warning("%s is not listed now; there is nothing live of it.", symbol)
        quote = f"/{self._deployment.collection.quote}"
        return [
            name
            for name, symbol in self._symbols.items()
            if (symbol.endswith(quote) if configured == "all" else symbol in configured)
        ]

    async def _learn_symbols(self) -> None:
        self._symbols = {contract.exchange_symbol: contract.symbol for contract in await self._rest.listed()}

    async def _keep_learning(self) -> None:
        while True:
            await asyncio.sleep(RELIST_EVERY.total_seconds())
            try:
                await self._learn_symbols()
            except PerpflowError as error:
                log.warning("What has been listed meanwhile is not known yet: %s", error)

    async def _write_while_ours(self, feeds: list[Feed]) -> None:
        """Take the lease once every feed is live, then write; returns when a successor has taken it."""
        pending: dict[str, Latest] = {}
        is_away = False
        while True:
            pending = _united(pending, await self._news())
            try:
                if not await self._is_ours(feeds):
                    continue
                if pending:
                    written = await self._values.write(self._lease.token, pending)
                    self._written += written.taken
                    COUNTS.count("stream.values", written.taken)
                pending, is_away = {}, False
            except FencedOff:
                return
            except (RedisError, OSError) as error:
                if not is_away:
                    log.warning("Redis does not take live values now (%s); the newest of each wait.", error)
                    COUNTS.count("redis_away")
                is_away = True
                # A server that has become a replica answers, and will go on refusing: another one may be there by now.
                await self._redis.connection_pool.disconnect()
                await asyncio.sleep(REDIS_AWAY_S)

    async def _news(self) -> dict[str, Latest]:
        """The newest of what has come; nothing, where nothing has come for so long that the lease must be renewed."""
        try:
            waiting = await asyncio.wait_for(self._inbox.take(), RENEW_EVERY_S)
        except TimeoutError:
            return {}
        self._frames += len(waiting)
        COUNTS.count("stream.frames", len(waiting))
        return newest(waiting, self._symbols)

    async def _is_ours(self, feeds: list[Feed]) -> bool:
        """Whether the lease is ours: taken when every feed is live at once, and renewed every few seconds.

        Raises:
            FencedOff: a successor has taken it.
            redis.RedisError: Redis does not answer.
        """
        if not self._lease.token:
            if not all(feed.live.is_set() for feed in feeds):
                return False
            await self._lease.take()
            log.info("%s streams now.", self._lease.name)
            self._renewed_at = time.monotonic()
        if time.monotonic() - self._renewed_at > RENEW_EVERY_S:
            if not await self._lease.renew():
                raise FencedOff
            self._renewed_at = time.monotonic()
        return True

    async def _let_go(self) -> None:
        try:
            await self._lease.release()
        except (RedisError, OSError) as error:
            log.warning("Redis does not answer (%s); the lease runs out by itself.", error)


def _united(known: Mapping[str, Latest], news: Mapping[str, Latest]) -> dict[str, Latest]:
    return {**known, **{symbol: _newer(known.get(symbol), value) for symbol, value in news.items()}}


def _newer(known: Latest | None, news: Latest) -> Latest:
    """Both united; of each group the newer."""
    if known is None:
        return news
    price = max(filter(None, (known.price, news.price)), key=lambda value: value.at, default=None)
    mark = max(filter(None, (known.mark, news.mark)), key=lambda value: value.at, default=None)
    return Latest(news.symbol, price, mark, news.open_interest or known.open_interest)


async def _cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel them, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def this_process() -> str:
    """A name for the lease's holder: host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


async def stream(deployment: Deployment, name: str, seconds: float | None = None) -> Ended:
    """Stream live values into Redis until a successor takes over, SIGTERM or SIGINT, or for some seconds.

    Call it in the main thread, which gets signals.

    Raises:
        BadConfiguration: no Redis is known.
        Permanent, Transient: as `Streamer.run`.
    """
    async with stream_session(deployment) as (rest, limiter, redis):
        streamer = Streamer(deployment, name, rest, limiter, redis)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, streamer.stop)
        return await streamer.run(seconds)
