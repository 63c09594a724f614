"""The exchange's REST API through ccxt's implicit endpoints: rows as they came, clock, listing, open interest now.

Source: `https://fapi.binance.com` (`/fapi/v1/...` and `/futures/data/...`). Times are integer milliseconds UTC; both
ends of a request's time range are inclusive. ccxt signs nothing here and throttles nothing: its limiter does not model
the exchange's separate five-minute budgets, ours does. Its unified methods are not used, because they drop columns
(quote volume, mark price) and move windows silently.

The only file that imports ccxt, and only when a session opens: the import takes five seconds.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.request import getproxies

import aiohttp

from perpflow.datasets import FIVE_MINUTES
from perpflow.errors import ExchangeUnavailable, PerpflowError, StructurallyBad
from perpflow.exchange.causes import HINT, unreached
from perpflow.exchange.certificates import ssl_context
from perpflow.exchange.limiter import Limiter, Sent
from perpflow.exchange.listing import ListedSymbol, listed_symbols
from perpflow.exchange.refusals import NOBODY, Answer, Asked, error_for
from perpflow.exchange.retry_policy import Retry
from perpflow.exchange.schedule import Schedule, schedules
from perpflow.exchange.weight_budget import LIMITS
from perpflow.specs import Budget, RestSource
from perpflow.windows import MILLISECOND, TIMEFRAMES, Timeframe, Window, from_ms, to_ms
from perpflow.windows import pages as cut_into_pages

BASE_URL = "https://fapi.binance.com"
# USD-M futures opened on 2019-09-08. Never 0: fundingRate answers startTime=0 with the latest row.
OPENING = datetime(2019, 9, 1, tzinfo=UTC)
# A clock may be set to any year that somebody would simulate; what is planned from one beyond would leave the calendar.
CLOCK_BEFORE = datetime(2100, 1, 1, tzinfo=UTC)
CLOCK_LASTS_S = 300.0
TIME_PATH, OPEN_INTEREST_PATH = "/fapi/v1/time", "/fapi/v1/openInterest"

T = TypeVar("T")

# The request under way in this task: ccxt hands an answer's headers over without saying whose they are.
_UNDER_WAY: ContextVar[Sent] = ContextVar("under_way")


@dataclass(frozen=True, slots=True)
class Page:
    """What one request asked for, and the rows that came: JSON lists or objects, untouched and untrimmed."""

    window: Window
    rows: list[Any]


@dataclass(frozen=True, slots=True)
class OpenInterestNow:
    """The contracts of a symbol that are open at `time`, in units of the base asset."""

    exchange_symbol: str
    open_interest: float
    time: datetime


class Refused(Exception):
    """An answer that carries no data; `Rest` turns it into one of Perpflow's errors."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(str(answer))


def preload() -> None:
    """Import ccxt and read the certificates now: before workers are forked, or beside what must not wait for it."""
    import ccxt.async_support  # noqa: F401

    ssl_context()


def klines_weight(limit: int) -> int:
    """Request weight of a candles request by its `limit` (documented for all five candle endpoints)."""
    if limit < 100:
        return 1
    if limit < 500:
        return 2
    return 5 if limit <= 1000 else 10


def request_weight(source: RestSource, limit: int) -> int:
    """What a request for `limit` rows costs of the source's budget."""
    return klines_weight(limit) if _is_candles(source) else source.weight


def _is_candles(source: RestSource) -> bool:
    return source.period_parameter == "interval"


class Rest:
    """A session with the REST API: `async with Rest(limiter=limiter) as rest`.

    Args:
        base_url: serves `/fapi/...` and `/futures/data/...`.
        limiter: lets every request through, or not yet, or not at all.
        concurrency: requests under way at most, per budget.
        timeout_s: for a whole request.
        proxy: URL of an HTTP proxy; None leaves it to the environment.
        retry: how what failed transiently is tried again.
    """

    def __init__(
        self,
        base_url: str = BASE_URL,
        *,
        limiter: Limiter,
        concurrency: int = 8,
        timeout_s: float = 20.0,
        proxy: str | None = None,
        retry: Retry | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._limiter = limiter
        self._concurrency = concurrency
        self._timeout_s = timeout_s
        self._proxy = proxy
        self._retry = retry or Retry()
        # Apart, so that requests which wait for one budget do not hold up those of another.
        self._slots = {kind: asyncio.Semaphore(concurrency) for kind in LIMITS}
        self._clock_turn = asyncio.Lock()
        self._clock: tuple[float, datetime] | None = None
        self._client: Any = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self.open()
        return self

    def open(self) -> None:
        """Open the session, within a running event loop; for whoever does not enter it, but closes it."""
        # Ours, because ccxt's asks aiohttp for options that newer Pythons warn about. Certificates as for the archive.
        connector = aiohttp.TCPConnector(ssl=ssl_context())
        # Where the environment names no proxy aiohttp would look for one all the same, in a thread, for each request.
        trusts = self._proxy is None and bool(getproxies().keys() - {"no"})
        self._session = aiohttp.ClientSession(connector=connector, trust_env=trusts)
        self._client = self._connect(self._session)
        self._client.ssl_context = ssl_context()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.close()
        if self._session is not None:
            await self._session.close()

    def _connect(self, session: aiohttp.ClientSession) -> Any:
        import ccxt.async_support as ccxt

        client = ccxt.binanceusdm(
            {"enableRateLimit": False, "session": session, "timeout": int(self._timeout_s * 1000)}
        )
        api = client.urls["api"]
        for name, version in (("fapiPublic", "v1"), ("fapiPublicV2", "v2"), ("fapiPublicV3", "v3")):
            api[name] = f"{self._base_url}/fapi/{version}"
        api["fapiData"] = f"{self._base_url}/futures/data"
        client.aiohttp_proxy = self._proxy
        # Integers stay integers, whether or not ccxt finds orjson.
        client.quoteJsonNumbers = False
        client.enableLastHttpResponse = client.enableLastJsonResponse = client.enableLastResponseHeaders = False
        # ccxt calls this with every answer's own status and headers; what it keeps in its `last_...` attributes
        # belongs to whichever concurrent request answered last.
        client.handle_errors = self._judge
        return client

    def _judge(self, status: int, _reason: str, url: str, _method: str, headers: dict[str, str], *rest: Any) -> None:
        body, parsed = rest[:2]
        lower = {name.lower(): value for name, value in headers.items()}
        answer = Answer(status, lower, body, parsed, what=url)
        _UNDER_WAY.get().used_weight = answer.used_weight
        if parsed is None or error_for(answer, self._estimate()) is not None:
            raise Refused(answer)

    async def now(self) -> datetime:
        """The exchange's clock: `/fapi/v1/time` once, then by our monotonic clock, measured again every five minutes.

        Raises: as `pages`; StructurallyBad where the answer holds no time, or one that no clock shows.
        """
        async with self._clock_turn:
            if self._clock is None or time.monotonic() - self._clock[0] > CLOCK_LASTS_S:
                answer = await self._ask("fapiPublicGetTime", {}, "weight", 1, dict, NOBODY)
                # Behind by the way back: rather a candle too late than one that the exchange has not closed.
                self._clock = (time.monotonic(), _instant_of(answer, "serverTime", TIME_PATH, NOBODY))
        return self._estimate()

    def _estimate(self) -> datetime:
        if self._clock is None:
            return datetime.now(UTC)
        measured_at, instant = self._clock
        return instant + timedelta(seconds=time.monotonic() - measured_at)

    async def listed(self) -> list[ListedSymbol]:
        """The perpetual contracts that the exchange lists now, TradFi ones included; adopts its rate limits.

        Delisted contracts leave this list: the archive's listing has them.

        Raises: as `pages`; StructurallyBad where a contract or a limit lacks a field.
        """
        answer = await self._ask("fapiPublicGetExchangeInfo", {}, "weight", 1, dict, NOBODY)
        await self._limiter.adopt(answer.get("rateLimits", []))
        return listed_symbols(answer)

    async def schedules(self) -> list[Schedule]:
        """When the markets of TradFi contracts are open, from yesterday for a week; five units of weight.

        Raises: as `pages`; StructurallyBad where the answer is not as documented.
        """
        return schedules(await self._ask("fapiPublicGetTradingSchedule", {}, "weight", 5, dict, NOBODY))

    async def open_interest(self, exchange_symbol: str) -> OpenInterestNow:
        """A symbol's open interest as the exchange has it now: one request, one unit of weight.

        Raises: as `pages`; StructurallyBad where the answer is another symbol's, or holds no amount or no time.
        """
        asked = Asked(exchange_symbol)
        answer = await self._ask("fapiPublicGetOpenInterest", {"symbol": exchange_symbol}, "weight", 1, dict, asked)
        _check_symbol(OPEN_INTEREST_PATH, [answer], asked)
        return _open_interest(answer, asked)

    async def pages(
        self,
        source: RestSource,
        exchange_symbol: str,
        series: str,
        window: Window,
        timeframe: Timeframe | None,
        now: datetime,
    ) -> AsyncGenerator[Page, None]:
        """Rows of `window`, page by page in order; several pages are fetched ahead where a grid tells where they begin.

        Asked is only what the source can answer at `now` (the exchange's clock): not before its reach, no candle
        that is still open. Pages' windows say what was asked; rows are not trimmed to them.

        Raises:
            UnknownSymbol, RequestRejected, AccessDenied: trying again cannot help.
            ExchangeUnavailable, RateLimited, IpBanned: after the attempts of the retry policy.
            StructurallyBad: a page that must be continued does not tell where.
        """
        within = answerable(source, window, timeframe, now)
        if within is None:
            return
        walk = (
            self._continued(source, exchange_symbol, within)
            if timeframe is None
            else self._ahead(
                (
                    self._page(source, exchange_symbol, timeframe, page, limit)
                    for page, limit in cut(source, within, timeframe)
                )
            )
        )
        async with aclosing(walk):
            async for page in walk:
                yield page

    async def first_instant(self, source: RestSource, exchange_symbol: str, series: str) -> datetime | None:
        """The time of the earliest row that REST has, within the source's reach; None where it has none.

        Raises: as `pages`.
        """
        timeframe = TIMEFRAMES.get(series, FIVE_MINUTES) if source.period_parameter else None
        now = await self.now()
        everything = answerable(source, Window(OPENING, max(now, OPENING)), timeframe, now)
        if everything is None:
            return None
        if source.reach is None:
            page = await self._page(source, exchange_symbol, timeframe, everything, 1)
            return _earliest(source, page.rows)
        # Statistics are documented for startTime with endTime only, and may be empty at first: page by page.
        walk = self.pages(source, exchange_symbol, series, everything, timeframe, now)
        async with aclosing(walk):
            async for page in walk:
                if page.rows:
                    return _earliest(source, page.rows)
        return None

    async def _continued(self, source: RestSource, exchange_symbol: str, window: Window) -> AsyncGenerator[Page, None]:
        """Without a grid: each page begins a millisecond after the last row of the one before."""
        start = window.start
        while start < window.end:
            asked = Window(start, window.end)
            page = await self._page(source, exchange_symbol, None, asked, source.page_rows)
            if len(page.rows) < source.page_rows:
                yield page
                return
            following = max(_times(source, page.rows)) + MILLISECOND
            if following <= start:
                raise StructurallyBad(
                    f"{source.path}: a full page ends at {following.isoformat()}, before it begins.",
                    symbol=exchange_symbol,
                    window=asked,
                    hint="The endpoint ignores startTime; check its documentation.",
                )
            yield Page(Window(start, min(following, window.end)), page.rows)
            start = following

    async def _ahead(self, requests: Iterator[Coroutine[Any, Any, Page]]) -> AsyncGenerator[Page, None]:
        """Pages in the order of their requests, of which at most `concurrency` are under way or wait to be taken."""
        tasks: deque[asyncio.Task[Page]] = deque()
        try:
            while True:
                tasks.extend(map(asyncio.create_task, islice(requests, self._concurrency - len(tasks))))
                if not tasks:
                    return
                page = await tasks[0]
                tasks.popleft()
                yield page
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _page(
        self, source: RestSource, exchange_symbol: str, timeframe: Timeframe | None, window: Window, limit: int
    ) -> Page:
        parameters = {
            "symbol": exchange_symbol,
            "startTime": to_ms(window.start),
            "endTime": to_ms(window.end) - 1,
            "limit": limit,
        }
        if source.period_parameter and timeframe:
            parameters[source.period_parameter] = timeframe.name
        asked = Asked(exchange_symbol, window)
        weight = request_weight(source, limit)
        rows = await self._ask(source.method, parameters, source.budget, weight, list, asked)
        _check_symbol(source.path, rows, asked)
        return Page(window, rows)

    async def _ask(
        self, method: str, parameters: dict[str, Any], budget: Budget, weight: int, expected: type[T], asked: Asked
    ) -> T:
        async def once() -> T:
            async with self._slots[budget], self._limiter.request(_endpoint(method), budget, weight) as sent:
                _UNDER_WAY.set(sent)
                answer = await self._call(method, parameters, asked)
                if not isinstance(answer, expected):
                    raise _unavailable(f"{method} answered with {str(answer)[:120]!r}, no {expected.__name__}", asked)
            return answer

        return await self._retry(once)

    async def _call(self, method: str, parameters: dict[str, Any], asked: Asked) -> object:
        import ccxt

        try:
            return await getattr(self._client, method)(parameters)
        except Refused as refused:
            raise self._translated(refused.answer, asked) from refused
        except (ccxt.NetworkError, OSError) as error:
            raise self._unreached(error, asked) from error
        except ccxt.ExchangeError as error:
            # ccxt's word for the rest of aiohttp's errors, e.g. a body that was cut short.
            if isinstance(error.__cause__, aiohttp.ClientError):
                raise self._unreached(error, asked) from error
            raise

    def _unreached(self, error: Exception, asked: Asked) -> ExchangeUnavailable:
        """ccxt's error names what was asked; why it came to nothing is wrapped up in it."""
        return unreached(str(error), error, self._base_url, self._proxy, asked)

    def _translated(self, answer: Answer, asked: Asked) -> PerpflowError:
        error = error_for(answer, self._estimate(), asked)
        return _unavailable(f"{answer}, which is not JSON", asked) if error is None else error


def _endpoint(method: str) -> str:
    """`klines` for ccxt's `fapiPublicGetKlines`: the exchange's name of an endpoint, which is what is counted."""
    name = method.partition("Get")[2]
    return name[0].lower() + name[1:]


def _unavailable(what: str, asked: Asked) -> ExchangeUnavailable:
    return ExchangeUnavailable(f"{what}.", symbol=asked.symbol, window=asked.window, hint=HINT)


def answerable(source: RestSource, window: Window, timeframe: Timeframe | None, now: datetime) -> Window | None:
    """The part of `window` that the source can answer for at `now`: within its reach, no open candle."""
    earliest, latest = OPENING, now
    if source.reach is not None:
        earliest = max(earliest, now - source.reach)
    if timeframe is not None and _is_candles(source):
        latest = timeframe.floor(now)
    return window.intersect(Window(earliest, max(earliest, latest)))


def cut(source: RestSource, window: Window, timeframe: Timeframe) -> Iterator[tuple[Window, int]]:
    """The windows of the pages and their limits; a window without a grid point needs no request."""
    for page in cut_into_pages(window, timeframe, source.page_rows):
        points = timeframe.count(page)
        if points:
            yield page, points


def _check_symbol(path: str, rows: list[Any], asked: Asked) -> None:
    """Rows that name a symbol, which those of some endpoints don't, must name the one that was asked for."""
    named = {str(row["symbol"]) for row in rows if isinstance(row, dict) and "symbol" in row}
    others = named - {asked.symbol}
    if others:
        raise StructurallyBad(
            f"{path} answered with rows of {', '.join(sorted(others))[:120]}.",
            symbol=asked.symbol,
            window=asked.window,
            hint="Look for a proxy or cache in between that mixes answers; nothing of this answer was stored.",
        )


def _times(source: RestSource, rows: list[Any]) -> list[datetime]:
    key = source.fields[0][0]
    try:
        return [from_ms(int(row[key])) for row in rows]
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise StructurallyBad(
            f"{source.path}: a row has no time {key!r}: {str(rows[0])[:120]}.",
            hint="Compare the endpoint's documentation with its fields in datasets.py.",
        ) from error


def _open_interest(answer: dict[str, Any], asked: Asked) -> OpenInterestNow:
    try:
        name, amount = str(answer["symbol"]), _amount_of(answer["openInterest"])
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise _undocumented(OPEN_INTEREST_PATH, error, asked) from error
    return OpenInterestNow(name, amount, _instant_of(answer, "time", OPEN_INTEREST_PATH, asked))


def _amount_of(said: Any) -> float:
    amount = float(said)
    if isinstance(said, bool) or not (math.isfinite(amount) and amount >= 0):
        raise ValueError(f"openInterest is {said}")
    return amount


def _instant_of(answer: dict[str, Any], key: str, path: str, asked: Asked) -> datetime:
    try:
        if isinstance(answer[key], bool):
            raise TypeError(f"the exchange's clock says {answer[key]}")
        said = from_ms(int(answer[key]))
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise _undocumented(path, error, asked) from error
    if not OPENING <= said < CLOCK_BEFORE:
        within = f"{OPENING:%Y-%m} to {CLOCK_BEFORE:%Y}"
        raise StructurallyBad(
            f"{path}: the exchange's clock says {said.isoformat()}, which is not within {within}.",
            symbol=asked.symbol,
            hint="Check PERPFLOW_REST_URL, and what stands between here and there.",
        )
    return said


def _undocumented(path: str, error: Exception, asked: Asked) -> StructurallyBad:
    return StructurallyBad(
        f"{path} does not look as documented ({type(error).__name__}: {error}).",
        symbol=asked.symbol,
        hint="Compare the exchange's documentation with exchange/rest.py.",
    )


def _earliest(source: RestSource, rows: list[Any]) -> datetime | None:
    return min(_times(source, rows), default=None)
