"""The live stream: from the exchange's market streams to the latest values in Redis, and liquidations to safety.

Frames of all connections go into one inbox, from which a single writer takes all that has come, keeps the newest value
of each contract, and writes them in one step: the slower Redis is, the more events one write carries, and nothing
queues up. It writes while it holds the lease. A successor takes the lease when it has received frames itself, and this
stream then ends: between the two nothing is missed. Liquidations are no latest values: each is kept (keeping.py), lease
or no lease. No Airflow here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from redis import AuthenticationError, RedisError
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from perpflow.arrivals import Inbox, newest, united
from perpflow.cancelling import cancelled
from perpflow.contracts import ANNOUNCED
from perpflow.counters import COUNTS
from perpflow.datasets import LIQUIDATIONS
from perpflow.errors import PerpflowError
from perpflow.exchange.feed import OVERLAP_S, Feed, in_thread
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.listing import ListedSymbol
from perpflow.exchange.live import MARKET_PATH, MOST_STREAMS, Received, Subscription
from perpflow.exchange.rest import Rest, preload
from perpflow.keeping import LAST_TRY_S, LIQUIDATION, Keeper
from perpflow.measuring import Measuring
from perpflow.polling import OpenInterestPoll
from perpflow.seldom import Seldom
from perpflow.sessions import stream_session
from perpflow.settings import Deployment
from perpflow.store.cache import not_let_in
from perpflow.store.latest import FencedOff, Latest, LatestValues
from perpflow.store.lease import LASTS_S, Lease
from perpflow.store.stream_measures import write_measures

log = logging.getLogger(__name__)

#: Mark prices of all contracts, every second, in several frames: the heartbeat of the connection that they come on.
MARK_PRICES = Subscription("mark_price", ("!markPrice@arr@1s",), silent_s=10.0)
#: Silent as long as nobody is liquidated.
FORCE_ORDERS = Subscription(LIQUIDATION, (LIQUIDATIONS.stream,))
#: Every second those of contracts that have changed.
TICKERS = Subscription("last_price", ("!ticker@arr",), silent_s=10.0)
#: Traded many times a second: heard on every connection of trades, so that its silence is the connection's.
HEARTBEAT = "btcusdt@aggTrade"
NO_TRADE_S = 30.0
#: While Redis is away what is to be written waits, and newer values replace older ones.
REDIS_AWAY_S = 1.0
RENEW_EVERY_S = LASTS_S / 3
#: A successor waits so long for last prices, which contracts that nobody trades do not have.
OTHERS_WITHIN_S = 40.0
#: Contracts get listed every other day; one that sends frames and is not known yet is asked for at once, but not again
#: and again.
RELIST_EVERY = timedelta(hours=1)
RELIST_AT_MOST_EVERY = timedelta(minutes=1)
#: Before any name is known no value can be written.
LEARN_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a stream has ended: `handed over` to a successor, `stopped` as it was told, or its time was `over`.

    `liquidations` counts the frames of those that it received, `lost` those that it could put nowhere.
    """

    how: str
    seconds: float
    frames: int
    values: int
    liquidations: int
    lost: int


class Streamer:
    """One stream: feeds, writer, keeper and lease.

    Args:
        name: for people, of the lease's holder: host, process, run.
    """

    def __init__(
        self, deployment: Deployment, name: str, rest: Rest, limiter: Limiter, redis: Redis, keeper: Keeper
    ) -> None:
        self._deployment = deployment
        self._collection = deployment.collection
        self._rest = rest
        self._limiter = limiter
        self._redis = redis
        self._lease = Lease(redis, name)
        self._values = LatestValues(redis)
        self._inbox = Inbox()
        self._keeper = keeper
        settings = self._collection.stream
        self._poll = OpenInterestPoll(
            rest, self._wanted, settings.open_interest_every_s, self._collection.exchange.rate_share
        )
        self._feeds: list[Feed] = []
        self._measuring = Measuring(name)
        self._symbols: dict[str, str] = {}
        self._followed: set[str] = set()
        self._strangers: set[str] = set()
        self._seldom = Seldom(log)
        self._met_stranger = asyncio.Event()
        self._told_to_stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._renewed_at = 0.0
        self._learned_at = 0.0
        self._frames = self._written = 0

    def stop(self) -> None:
        """Let `run` come to its end."""
        self._told_to_stop.set()

    async def run(self, seconds: float | None = None) -> Ended:
        """Stream until a successor has taken the lease, until `stop`, or for some seconds.

        Raises:
            Permanent: the exchange does not let this address in, or has refused a subscription.
            BadConfiguration: Redis does not let us in.
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
            await cancelled([*either, *self._tasks])
            await asyncio.gather(*(feed.wait_closed() for feed in self._feeds))
            lost, _ = await asyncio.gather(self._keeper.flush(), self._let_go())
        how = "handed over" if streaming in done else "stopped" if stopping in done else "over"
        return Ended(how, time.monotonic() - began, self._frames, self._written, self._keeper.kept, lost)

    # --- what runs at once

    async def _stream(self) -> None:
        """Everything at once; returns some seconds after a successor has taken the lease."""
        # Liquidations need no names: they are listened to whatever becomes of REST, and before its library is imported,
        # which takes a second. Where the stream before was killed, nobody listens meanwhile.
        self._subscribe()
        self._run(self._keeper.run())
        self._run(self._write_while_ours())
        await in_thread(preload)
        self._rest.open()
        self._run(self._keep_learning())
        if self._collection.stream.open_interest_every_s:
            self._run(self._poll.run())
        await self._ended
        # The successor has received, but it need not have received yet what the exchange sent us just before.
        await asyncio.sleep(OVERLAP_S)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        """Let it run beside the rest. The first one to return ends the stream, as does the first one to fail."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._ended.done():
            return
        error = task.exception()
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    # --- subscriptions

    def _subscribe(self) -> None:
        """Have a feed for each group of subscriptions, as they should be now."""
        groups = self._groups()
        for feed, group in zip(self._feeds, groups, strict=False):
            if feed.subscriptions != group:
                feed.renew(group)
        for group in groups[len(self._feeds) :]:
            self._feeds.append(self._feed(group))
            self._run(self._feeds[-1].run())

    def _groups(self) -> list[tuple[Subscription, ...]]:
        """The subscriptions of each connection: the exchange allows so many streams on one."""
        settings = self._collection.stream
        all_market = [MARK_PRICES, *([FORCE_ORDERS] if settings.liquidations else [])]
        if settings.last_price == "ticker":
            return [tuple(all_market), (TICKERS,)]
        names = [f"{name.lower()}@aggTrade" for name in self._wanted()] if settings.last_price == "trades" else []
        groups = [tuple(all_market)]
        for start in range(0, len(names), MOST_STREAMS - 1):
            some = dict.fromkeys([HEARTBEAT, *names[start : start + MOST_STREAMS - 1]])
            groups.append((Subscription("last_price", tuple(some), NO_TRADE_S),))
        return groups

    def _feed(self, group: tuple[Subscription, ...]) -> Feed:
        settings = self._collection.exchange
        url = self._deployment.stream_url.rstrip("/") + MARKET_PATH
        return Feed(
            url,
            group,
            self._keep_and_read if FORCE_ORDERS in group else self._inbox.put,
            limiter=self._limiter,
            timeout_s=settings.connect_timeout_s,
            proxy=settings.proxy,
            # What is refused there is refused for good. Last prices that are must not end liquidations.
            gives_up=MARK_PRICES in group,
        )

    def _keep_and_read(self, received: Received) -> None:
        """In the receiving thread of the connection that liquidations come on."""
        self._keeper.put(received)
        if received.kind != LIQUIDATION:
            self._inbox.put(received)

    def _wanted(self) -> dict[str, str]:
        """The contracts whose last price and open interest are wanted: unified symbols by the exchange's names."""
        configured = self._collection.streamed_symbols
        return {
            name: symbol
            for name, symbol in self._symbols.items()
            if (name in self._followed if configured == "all" else symbol in configured)
        }

    # --- which contracts there are

    async def _learn_symbols(self) -> None:
        listed, now = await self._rest.listed(), await self._rest.now()
        self._symbols = {contract.exchange_symbol: contract.symbol for contract in listed}
        self._followed = {contract.exchange_symbol for contract in listed if self._follows(contract)}
        self._learned_at = self._learned_at or time.monotonic()
        self._measuring.set_clock(now)
        configured = self._collection.streamed_symbols
        for symbol in sorted(set() if configured == "all" else {*configured} - {*self._symbols.values()}):
            log.warning("%s is not listed now; there is nothing live of it.", symbol)

    def _follows(self, contract: ListedSymbol) -> bool:
        # One that is announced may trade before the list is read again.
        is_announced = contract.status == ANNOUNCED and self._collection.covers(contract)
        return is_announced or self._collection.follows(contract)

    async def _keep_learning(self) -> None:
        """Subscribe to what is listed, and to what gets listed, without a new stream."""
        while True:
            try:
                await self._learn_symbols()
            except PerpflowError as error:
                self._seldom.warning("Which contracts are listed is not known now: %s", error)
                await asyncio.sleep(RELIST_AT_MOST_EVERY.total_seconds() if self._symbols else LEARN_AGAIN_S)
                continue
            self._subscribe()
            await asyncio.sleep(RELIST_AT_MOST_EVERY.total_seconds())
            rest_s = (RELIST_EVERY - RELIST_AT_MOST_EVERY).total_seconds()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._met_stranger.wait(), rest_s)
            self._met_stranger.clear()

    # --- the latest values

    async def _write_while_ours(self) -> None:
        """Take the lease once the feeds are live, then write; returns when a successor has taken it."""
        pending: dict[str, Latest] = {}
        is_away = False
        while True:
            pending = united(united(pending, await self._news()), self._poll.take())
            try:
                if not await self._is_ours():
                    continue
                if pending:
                    await self._write(pending)
                pending, is_away = {}, False
            except FencedOff:
                return
            except (RedisError, OSError) as error:
                # Later its password may change while liquidations still find their way into the database.
                if isinstance(error, AuthenticationError | NoPermissionError) and not self._lease.token:
                    raise not_let_in(error) from error
                if not is_away:
                    log.warning("Redis does not take live values now (%s); the newest of each wait.", error)
                    COUNTS.count("redis_away")
                is_away = True
                # A server that has become a replica answers, and will go on refusing: another one may be there by now.
                # Idle connections only: the others are in use beside us.
                with suppress(RedisError, OSError):
                    await self._redis.connection_pool.disconnect(inuse_connections=False)
                await asyncio.sleep(REDIS_AWAY_S)

    async def _write(self, pending: dict[str, Latest]) -> None:
        written = await self._values.write(self._lease.token, pending)
        self._written += written.taken
        self._measuring.wrote(pending.values())
        COUNTS.count("stream.values", written.taken)

    async def _news(self) -> dict[str, Latest]:
        """The newest of what has come; nothing, where nothing has come for so long that the lease must be renewed."""
        try:
            waiting = await asyncio.wait_for(self._inbox.take(), RENEW_EVERY_S)
        except TimeoutError:
            return {}
        self._frames += len(waiting)
        COUNTS.count("stream.frames", len(waiting))
        news = newest(waiting, self._symbols)
        if news.unreadable:
            COUNTS.count("stream.unreadable", len(news.unreadable))
            self._seldom.warning("Not as documented, and left out: %s", news.unreadable[0])
        if self._symbols and not news.strangers <= self._strangers:
            self._strangers |= news.strangers
            self._met_stranger.set()
        return news.values

    async def _is_ours(self) -> bool:
        """Whether the lease is ours: taken when this stream may succeed another, and renewed every few seconds.

        Raises:
            FencedOff: a successor has taken it.
            redis.RedisError: Redis does not answer.
        """
        if not self._lease.token:
            if not self._may_succeed():
                return False
            await self._lease.take()
            log.info("%s streams now.", self._lease.name)
            self._renewed_at = time.monotonic()
        if time.monotonic() - self._renewed_at > RENEW_EVERY_S:
            if not await self._lease.renew():
                raise FencedOff
            self._renewed_at = time.monotonic()
            await write_measures(self._redis, self._measuring.take(self._feeds, self._inbox, self._keeper))
        return True

    def _may_succeed(self) -> bool:
        """Whether every feed is live; after a while the one of mark prices and liquidations is enough."""
        first, *others = self._feeds
        if not self._symbols or not first.live.is_set():
            return False
        waited_s = time.monotonic() - self._learned_at
        return all(feed.live.is_set() for feed in others) or waited_s > OTHERS_WITHIN_S

    async def _let_go(self) -> None:
        try:
            async with asyncio.timeout(LAST_TRY_S):
                await self._lease.release()
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            log.warning("Redis does not answer (%s); the lease runs out by itself.", str(error) or "in time")


def this_process() -> str:
    """A name for the lease's holder: host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


async def stream(deployment: Deployment, name: str, seconds: float | None = None) -> Ended:
    """Stream live values into Redis until a successor takes over, SIGTERM or SIGINT, or for some seconds.

    Call it in the main thread, which gets signals.

    Raises:
        BadConfiguration: no Redis is known, it does not let us in, or the database's address is none.
        Permanent: as `Streamer.run`.
    """
    async with stream_session(deployment) as (rest, limiter, redis, keeping_redis):
        keeper = Keeper(keeping_redis, deployment.database_url)
        await keeper.look_at_database()
        streamer = Streamer(deployment, name, rest, limiter, redis, keeper)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, streamer.stop)
        return await streamer.run(seconds)
