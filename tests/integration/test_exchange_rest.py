"""REST through ccxt against the simulated exchange: rows, clock, listing, and every way of not answering."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from perpflow.datasets import DATASETS, FUNDING_RATE, OHLCV, OPEN_INTEREST
from perpflow.errors import (
    AccessDenied,
    ExchangeUnavailable,
    IpBanned,
    PerpflowError,
    RateLimited,
    RequestRejected,
    StructurallyBad,
    UnknownSymbol,
)
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.rest import OpenInterestNow, Page, Rest
from perpflow.exchange.retry_policy import Retry
from perpflow.exchange.weight_budget import Share, WeightBudget
from perpflow.parsing import labels, render_rows
from perpflow.windows import TIMEFRAMES, Timeframe, Window
from simulator.process import Handle, running
from simulator.truth import Truth

KLINES, FUNDING = OHLCV.rest[0], FUNDING_RATE.rest[0]
FIVE = TIMEFRAMES["5m"]
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def server() -> Iterator[Handle]:
    with running(seed=5) as handle:
        yield handle


@pytest.fixture
def exchange(server: Handle) -> Iterator[Handle]:
    """The simulator without faults and with fresh limits."""
    server.clear_requests()
    yield server
    server.clear_faults()
    server.clear_requests()


class Naps:
    """A sleep that only remembers."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def session(exchange: Handle, naps: Naps | None = None, **options: Any) -> Rest:
    retry = Retry(sleep=naps or Naps(), jitter=lambda: 0.0)
    return Rest(exchange.url, limiter=Limiter("exchange", share=Share(1.0)), retry=retry, **options)


def last(exchange: Handle, length: timedelta) -> Window:
    return Window(exchange.now - length, exchange.now)


async def collect(rest: Rest, source: Any, series: str, window: Window, timeframe: Timeframe | None) -> list[Page]:
    now = await rest.now()
    return [page async for page in rest.pages(source, "SOLUSDT", series, window, timeframe, now)]


async def test_the_clock_is_the_exchanges_and_asked_for_once(exchange: Handle) -> None:
    async with session(exchange) as rest:
        instants = [await rest.now() for _ in range(3)]
    assert all(timedelta(0) <= instant - exchange.now < timedelta(seconds=5) for instant in instants)
    assert exchange.requests()["total"] == 1


@pytest.mark.parametrize("answer", [{}, {"serverTime": None}, {"serverTime": "noon"}, {"serverTime": 10**20}], ids=str)
async def test_a_clock_that_tells_no_time_is_an_error_of_ours(exchange: Handle, answer: dict[str, object]) -> None:
    exchange.add_fault("status", code=200, match="/fapi/v1/time", body=answer)
    async with session(exchange) as rest:
        with pytest.raises(StructurallyBad, match="time does not look as documented"):
            await rest.now()


async def test_the_listing_holds_perpetuals_whatever_their_script(exchange: Handle) -> None:
    async with session(exchange) as rest:
        listed = {contract.symbol: contract for contract in await rest.listed()}
    assert {"SOL/USDT", "BTC/USDT"} <= set(listed)
    assert any(not symbol.isascii() for symbol in listed)
    assert listed["SOL/USDT"].exchange_symbol == "SOLUSDT"
    assert listed["SOL/USDT"].onboarded_at < datetime(2021, 1, 1, tzinfo=UTC)


async def test_candles_come_whole_without_the_open_one(exchange: Handle) -> None:
    async with session(exchange) as rest:
        pages = await collect(rest, KLINES, "5m", last(exchange, 10 * 24 * HOUR), FIVE)
    times = [row[0] for page in pages for row in page.rows]
    assert len(pages) == 6
    assert all(two - one == 300_000 for one, two in pairwise(times))
    assert times[-1] + 300_000 <= exchange.now.timestamp() * 1000
    assert labels(render_rows(pages[0].rows, KLINES))[2] == 499


@pytest.mark.parametrize(
    ("dataset", "series"), [(spec.name, series) for spec in DATASETS.values() for series in spec.series]
)
async def test_every_series_of_the_table_is_answered_within_its_pages(
    exchange: Handle, dataset: str, series: str
) -> None:
    spec = DATASETS[dataset]
    source = spec.rest_for(series)
    async with session(exchange) as rest:
        pages = await collect(rest, source, series, last(exchange, 48 * HOUR), spec.timeframe_of(series))
    assert sum(labels(render_rows(page.rows, source))[2] for page in pages) > 0
    assert exchange.requests()["violations"] == 0


async def test_a_symbol_in_another_script_is_asked_for(exchange: Handle) -> None:
    async with session(exchange) as rest:
        name = next(c.exchange_symbol for c in await rest.listed() if not c.exchange_symbol.isascii())
        now = await rest.now()
        pages = [page async for page in rest.pages(KLINES, name, "5m", last(exchange, HOUR), FIVE, now)]
    assert sum(len(page.rows) for page in pages) > 0


async def test_the_first_instant_is_found_for_histories_and_for_what_is_forgotten(exchange: Handle) -> None:
    async with session(exchange) as rest:
        candles = await rest.first_instant(KLINES, "SOLUSDT", "1h")
        funding = await rest.first_instant(FUNDING, "SOLUSDT", "settlement")
        interest = await rest.first_instant(OPEN_INTEREST.rest[0], "SOLUSDT", "5m")
    assert candles is not None
    assert funding is not None
    assert interest is not None
    assert candles.year == funding.year == 2020
    assert timedelta(days=29) < exchange.now - interest <= timedelta(days=30)


async def test_an_unknown_symbol_is_not_asked_for_twice(exchange: Handle) -> None:
    naps = Naps()
    async with session(exchange, naps) as rest:
        with pytest.raises(UnknownSymbol, match=r"^NOSUCHUSDT \[2019-09-01T.*Invalid symbol.*Check the symbol"):
            await rest.first_instant(KLINES, "NOSUCHUSDT", "1h")
    assert naps.slept == []


async def test_rows_of_another_symbol_are_nobodys(exchange: Handle) -> None:
    row = {"symbol": "BTCUSDT", "fundingTime": 1791964800000, "fundingRate": "0.00012345", "markPrice": "60000.5"}
    exchange.add_fault("status", code=200, match="/fundingRate?", body=[row | {"symbol": "SOLUSDT"}, row])
    async with session(exchange, Naps()) as rest:
        with pytest.raises(StructurallyBad, match=r"^SOLUSDT .*/fapi/v1/fundingRate answered with rows of BTCUSDT\."):
            await rest.first_instant(FUNDING, "SOLUSDT", "settlement")


async def test_open_interest_is_the_exchanges_newest(exchange: Handle) -> None:
    async with session(exchange) as rest:
        said = await rest.open_interest("SOLUSDT")
    points = Truth(exchange.seed).open_interest("SOLUSDT", exchange.now - HOUR, exchange.now)
    assert said.exchange_symbol == "SOLUSDT"
    assert said.open_interest == points[-1][1] > 0
    assert timedelta(0) <= said.time - exchange.now < timedelta(seconds=5)


async def test_open_interest_of_a_symbol_in_another_script_is_asked_for(exchange: Handle) -> None:
    async with session(exchange) as rest:
        said = await rest.open_interest("币安人生USDT")
    assert said.exchange_symbol == "币安人生USDT"
    assert said.open_interest > 0


async def test_open_interest_costs_one_unit_of_the_weight(exchange: Handle) -> None:
    share, local = Share(0.01, live=True), WeightBudget()
    async with Rest(exchange.url, limiter=Limiter("exchange", share=share, local=local)) as rest:
        await rest.open_interest("SOLUSDT")
    assert exchange.requests()["weights"] == {"/fapi/v1/openInterest": 1}
    allowed = local.allowance("weight", share)
    assert local.ask("weight", allowed, share) is not None
    assert local.ask("weight", allowed - 1, share) is None


async def test_open_interest_of_an_unknown_symbol_is_not_asked_for_twice(exchange: Handle) -> None:
    naps = Naps()
    async with session(exchange, naps) as rest:
        with pytest.raises(UnknownSymbol, match=r"^NOSUCHUSDT: .*/fapi/v1/openInterest.*Invalid symbol.*Check the sym"):
            await rest.open_interest("NOSUCHUSDT")
    assert naps.slept == []


@pytest.mark.parametrize(
    ("fault", "kind", "naps"),
    [
        ({"kind": "status", "code": 503}, ExchangeUnavailable, 4),
        ({"kind": "malformed_json"}, ExchangeUnavailable, 4),
        ({"kind": "status", "code": 200, "body": []}, ExchangeUnavailable, 4),
        ({"kind": "status", "code": 429, "headers": {"Retry-After": "1"}}, RateLimited, 4),
        ({"kind": "waf403"}, AccessDenied, 0),
        ({"kind": "status", "code": 400, "body": {"code": -4108, "msg": "Symbol is closed."}}, RequestRejected, 0),
    ],
    ids=str,
)
async def test_open_interest_is_tried_again_as_rows_are(
    exchange: Handle, fault: dict[str, Any], kind: type[PerpflowError], naps: int
) -> None:
    exchange.add_fault(**fault, match="/openInterest?")
    waited = Naps()
    async with session(exchange, waited) as rest:
        with pytest.raises(kind) as caught:
            await rest.open_interest("SOLUSDT")
    assert caught.value.symbol == "SOLUSDT"
    assert len(waited.slept) == naps


ANSWER: dict[str, object] = {"symbol": "SOLUSDT", "openInterest": "94791.893", "time": 1791284697161}
SPOILT: list[dict[str, object]] = [
    *({key: ANSWER[key] for key in ANSWER if key != missing} for missing in ANSWER),
    *({**ANSWER, "openInterest": amount} for amount in (None, "", "many", "-0.001", -1, True, [], 10**400)),
    *({**ANSWER, "openInterest": amount} for amount in ("NaN", "Infinity")),
    *({**ANSWER, "time": at} for at in (None, "noon", True, 0, 1791284697, 1791284697161000, 4102444800000, 10**20)),
    *({**ANSWER, "symbol": name} for name in (None, "BTCUSDT", ["SOLUSDT"])),
]


@pytest.mark.parametrize("answer", SPOILT, ids=lambda answer: str(answer)[:80])
async def test_open_interest_that_is_none_is_refused_with_endpoint_and_symbol(
    exchange: Handle, answer: dict[str, object]
) -> None:
    exchange.add_fault("status", code=200, match="/openInterest?", body=answer)
    naps = Naps()
    async with session(exchange, naps) as rest:
        with pytest.raises(StructurallyBad, match=r"^SOLUSDT: /fapi/v1/openInterest\b") as caught:
            await rest.open_interest("SOLUSDT")
    assert caught.value.symbol == "SOLUSDT"
    assert naps.slept == []


@pytest.mark.parametrize(("amount", "read"), [("94791.893", 94791.893), (94791.893, 94791.893), ("0", 0.0), (0, 0.0)])
async def test_open_interest_is_text_or_a_number_and_may_be_zero(exchange: Handle, amount: object, read: float) -> None:
    exchange.add_fault("status", code=200, match="/openInterest?", body={**ANSWER, "openInterest": amount, "st": 1})
    async with session(exchange) as rest:
        said = await rest.open_interest("SOLUSDT")
    assert said == OpenInterestNow("SOLUSDT", read, datetime(2026, 10, 6, 11, 4, 57, 161000, tzinfo=UTC))


FAULTS: list[tuple[dict[str, Any], type[PerpflowError]]] = [
    ({"kind": "status", "code": 503, "body": "<html>Service Unavailable</html>"}, ExchangeUnavailable),
    ({"kind": "status", "code": 500, "body": {"code": -1000, "msg": "UNKNOWN"}}, ExchangeUnavailable),
    ({"kind": "status", "code": 408}, ExchangeUnavailable),
    ({"kind": "status", "code": 200, "body": "<html>Log in to this network</html>"}, ExchangeUnavailable),
    ({"kind": "status", "code": 200, "body": {"rows": []}}, ExchangeUnavailable),
    ({"kind": "malformed_json"}, ExchangeUnavailable),
    ({"kind": "truncated_body"}, ExchangeUnavailable),
    ({"kind": "status", "code": 429, "headers": {"Retry-After": "1"}}, RateLimited),
]


@pytest.mark.parametrize(("fault", "kind"), FAULTS, ids=lambda value: str(value))
async def test_what_may_pass_is_tried_five_times_and_then_raised(
    exchange: Handle, fault: dict[str, Any], kind: type[PerpflowError]
) -> None:
    number = exchange.add_fault(**fault, match="/klines")
    naps = Naps()
    async with session(exchange, naps) as rest:
        with pytest.raises(kind) as caught:
            await collect(rest, KLINES, "5m", last(exchange, HOUR), FIVE)
    assert caught.value.symbol == "SOLUSDT"
    assert caught.value.window is not None
    assert len(naps.slept) == 4
    assert next(fault["struck"] for fault in exchange.faults() if fault["id"] == number) == 5


PERMANENT: list[tuple[dict[str, Any], type[PerpflowError]]] = [
    ({"kind": "waf403"}, AccessDenied),
    ({"kind": "waf202"}, AccessDenied),
    ({"kind": "status", "code": 202, "body": "[]"}, AccessDenied),
    ({"kind": "status", "code": 451, "body": {"code": 0, "msg": "restricted location"}}, AccessDenied),
    ({"kind": "status", "code": 400, "body": {"code": -1130, "msg": "startTime is invalid."}}, RequestRejected),
    ({"kind": "status", "code": 400, "body": {"status": "ERROR", "code": "000002"}}, RequestRejected),
    ({"kind": "status", "code": 200, "body": {"status": "ERROR", "code": "000002"}}, RequestRejected),
    ({"kind": "not_found"}, RequestRejected),
]


@pytest.mark.parametrize(("fault", "kind"), PERMANENT, ids=lambda value: str(value))
async def test_what_cannot_pass_is_raised_at_once(
    exchange: Handle, fault: dict[str, Any], kind: type[PerpflowError]
) -> None:
    exchange.add_fault(**fault, match="/klines")
    naps = Naps()
    async with session(exchange, naps) as rest:
        with pytest.raises(kind):
            await collect(rest, KLINES, "5m", last(exchange, HOUR), FIVE)
    assert naps.slept == []


@pytest.mark.parametrize("kind", ["malformed_json", "truncated_body"])
async def test_a_passing_fault_leaves_no_trace_in_the_rows(exchange: Handle, kind: str) -> None:
    window = last(exchange, 6 * 24 * HOUR)
    async with session(exchange) as rest:
        clean = await collect(rest, KLINES, "5m", window, FIVE)
        exchange.add_fault(kind, match="/klines", times=3)
        assert await collect(rest, KLINES, "5m", window, FIVE) == clean


async def test_a_ban_carries_its_end_and_stops_everyone(exchange: Handle) -> None:
    until = datetime(2026, 10, 15, 13, tzinfo=UTC)
    body = {"code": -1003, "msg": f"IP banned until {int(until.timestamp() * 1000)}. Please use WebSocket Streams."}
    exchange.add_fault("status", code=418, body=body, headers={"Retry-After": "300"}, match="/klines")
    async with session(exchange) as rest:
        with pytest.raises(IpBanned) as caught:
            await collect(rest, KLINES, "5m", last(exchange, HOUR), FIVE)
        asked = exchange.requests()["total"]
        with pytest.raises(IpBanned, match="nothing was sent"):
            await rest.listed()
    assert caught.value.banned_until == until
    assert exchange.requests()["total"] == asked


async def test_a_hanging_exchange_is_given_up_on(exchange: Handle) -> None:
    exchange.add_fault("latency", ms=2000, match="/klines", times=5)
    async with session(exchange, timeout_s=0.2) as rest:
        with pytest.raises(ExchangeUnavailable, match=r": timed out\. Check the network"):
            await collect(rest, KLINES, "5m", last(exchange, HOUR), FIVE)


async def test_nobody_listening_is_said() -> None:
    rest = Rest("http://127.0.0.1:9", limiter=Limiter("exchange"), retry=Retry(sleep=Naps()))
    async with rest:
        with pytest.raises(ExchangeUnavailable, match=r"/fapi/v1/time: 127\.0\.0\.1:9: Connection refused\. Check"):
            await rest.now()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"kind": "reset"}, "Connection reset by peer"),
        ({"kind": "truncated_body"}, "Not enough data to satisfy content length header"),
        ({"kind": "status", "code": 302, "headers": {"Location": "/fapi/v1/time"}, "body": {}}, "redirected 10 times"),
        (
            {"kind": "status", "code": 302, "headers": {"Location": "http://127.0.0.1:9/"}, "body": {}},
            "127.0.0.1:9: Connection refused",
        ),
        (
            {"kind": "status", "code": 302, "headers": {"Location": "ftp://keeper:secret@x/"}, "body": {}},
            "a redirect or the proxy has an address that is none of HTTP",
        ),
    ],
    ids=["reset", "cut short", "redirects without end", "redirect to nobody", "redirect to FTP"],
)
async def test_why_nothing_came_is_said(exchange: Handle, fault: dict[str, Any], said: str) -> None:
    exchange.add_fault(**fault, match="/fapi/v1/time")
    async with session(exchange) as rest:
        with pytest.raises(ExchangeUnavailable) as caught:
            await rest.now()
    assert f"/fapi/v1/time: {said}" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_concurrent_refusals_are_told_apart(exchange: Handle) -> None:
    exchange.add_fault("status", code=451, body="no", match="BTCUSDT")
    exchange.add_fault("status", code=403, body="no", match="ETHUSDT")
    names = ["SOLUSDT", "BTCUSDT", "ETHUSDT", "NOSUCHUSDT"] * 5
    async with session(exchange) as rest:
        await rest.now()
        calls = (rest.first_instant(KLINES, name, "1h") for name in names)
        answers = await asyncio.gather(*calls, return_exceptions=True)
    for name, answer in zip(names, answers, strict=True):
        if name == "SOLUSDT":
            assert isinstance(answer, datetime)
        else:
            assert isinstance(answer, UnknownSymbol if name == "NOSUCHUSDT" else AccessDenied)
            assert answer.symbol == name


async def test_the_exchanges_limits_are_adopted(exchange: Handle) -> None:
    share, local = Share(0.25, live=True), WeightBudget()
    async with Rest(exchange.url, limiter=Limiter("exchange", share=share, local=local)) as rest:
        await rest.listed()
    assert local.allowance("weight", share) == 600
