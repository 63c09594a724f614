"""The archive against the simulated one: verified bytes, listings, and every way of being damaged or away."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from perpflow.counters import Counts
from perpflow.datasets import FUNDING_RATE, OHLCV, OPEN_INTEREST
from perpflow.errors import (
    AccessDenied,
    ExchangeUnavailable,
    ObjectDamaged,
    PerpflowError,
    RateLimited,
    StructurallyBad,
)
from perpflow.exchange.archive import Archive, ArchiveObject
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.retry_policy import Retry
from perpflow.parsing import prefixed
from perpflow.windows import DAY, Window, month_of
from simulator.process import Handle, running
from tests.archive_server import serving, zip_of

APRIL = month_of(datetime(2026, 4, 1, tzinfo=UTC))
MONTH = ArchiveObject("klines", "monthly", "SOLUSDT", "5m", APRIL)
ONE_DAY = ArchiveObject("metrics", "daily", "SOLUSDT", None, Window(APRIL.start, APRIL.start + DAY))


@pytest.fixture(scope="module")
def server() -> Iterator[Handle]:
    with running(seed=5, quirks=False) as handle:
        yield handle


@pytest.fixture
def exchange(server: Handle) -> Iterator[Handle]:
    """The simulator without faults."""
    yield server
    server.clear_faults()


class Naps:
    """A sleep that only remembers."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def session(exchange: Handle, naps: Naps | None = None, **options: Any) -> Archive:
    return Archive(exchange.url, retry=Retry(sleep=naps or Naps(), jitter=lambda: 0.0), **options)


async def test_an_object_comes_with_what_identifies_it(exchange: Handle) -> None:
    async with session(exchange) as archive:
        fetched = await archive.fetch(MONTH)
    assert fetched is not None
    served = httpx.get(f"{exchange.url}/{MONTH.key}")
    assert fetched.issue.sha256 == hashlib.sha256(served.content).hexdigest()
    assert fetched.issue.etag == served.headers["etag"].strip('"')
    assert fetched.issue.last_modified is not None
    assert fetched.issue.last_modified >= APRIL.end
    assert fetched.rows == 30 * 288
    assert int(fetched.first_label) == APRIL.start.timestamp() * 1000
    assert int(fetched.last_label) == (APRIL.end.timestamp() - 300) * 1000
    assert fetched.csv[:1].isdigit()


@pytest.mark.parametrize(
    ("wanted", "columns"),
    [
        (MONTH, OHLCV.archive.columns),
        (ONE_DAY, OPEN_INTEREST.archive.columns),
        (ArchiveObject("fundingRate", "monthly", "SOLUSDT", None, APRIL), FUNDING_RATE.archive.columns),
    ],
)
async def test_members_have_the_tables_columns(
    exchange: Handle, wanted: ArchiveObject, columns: tuple[str, ...]
) -> None:
    async with session(exchange) as archive:
        fetched = await archive.fetch(wanted)
    assert fetched is not None
    assert b"".join(prefixed(fetched.csv, b"x,", len(columns))).count(b"\n") == fetched.rows > 0


async def test_what_the_archive_does_not_have_is_none_and_not_tried_again(exchange: Handle) -> None:
    naps = Naps()
    async with session(exchange, naps) as archive:
        assert await archive.fetch(ArchiveObject("klines", "monthly", "NOSUCHUSDT", "5m", APRIL)) is None
    assert naps.slept == []


DAMAGE: list[dict[str, Any]] = [
    {"kind": "bad_checksum"},
    {"kind": "truncated_zip"},
    {"kind": "not_found", "match": ".CHECKSUM"},
    {"kind": "status", "code": 200, "body": "<html>", "match": ".CHECKSUM"},
    {"kind": "status", "code": 200, "body": "no gzip", "headers": {"Content-Encoding": "gzip"}, "match": ".zip"},
]


@pytest.mark.parametrize("fault", DAMAGE, ids=str)
async def test_damage_is_fetched_again_and_then_raised(exchange: Handle, fault: dict[str, Any]) -> None:
    exchange.add_fault(**fault)
    naps = Naps()
    async with session(exchange, naps) as archive:
        with pytest.raises(ObjectDamaged, match=r"SOLUSDT \[2026-04-01.*SOLUSDT-5m-2026-04.zip") as caught:
            await archive.fetch(MONTH)
    assert naps.slept == [1, 2, 4, 8]
    assert caught.value.window == APRIL
    assert caught.value.issue is not None


async def test_an_object_in_a_false_encoding_tells_which_issue_is_damaged(exchange: Handle) -> None:
    headers = {"Content-Encoding": "gzip", "ETag": '"a"'}
    exchange.add_fault("status", code=200, body="no gzip", headers=headers, match=".zip")
    async with session(exchange) as archive:
        with pytest.raises(ObjectDamaged) as caught:
            await archive.fetch(MONTH)
    issue = caught.value.issue
    assert issue is not None
    assert (issue.etag, issue.checksum_etag) == ("a", "a")


@pytest.mark.parametrize("fault", [*DAMAGE, {"kind": "truncated_body"}, {"kind": "status", "code": 503}], ids=str)
async def test_a_passing_fault_leaves_no_trace_in_the_bytes(exchange: Handle, fault: dict[str, Any]) -> None:
    async with session(exchange) as archive:
        clean = await archive.fetch(ONE_DAY)
        exchange.add_fault(**fault, times=2)
        assert await archive.fetch(ONE_DAY) == clean


AWAY: list[tuple[dict[str, Any], type[PerpflowError], int]] = [
    ({"kind": "status", "code": 503, "body": "SlowDown"}, ExchangeUnavailable, 4),
    ({"kind": "truncated_body"}, ExchangeUnavailable, 4),
    ({"kind": "status", "code": 429, "headers": {"Retry-After": "3"}}, RateLimited, 4),
    ({"kind": "waf403"}, AccessDenied, 0),
    ({"kind": "waf202"}, AccessDenied, 0),
    ({"kind": "status", "code": 451}, AccessDenied, 0),
]


@pytest.mark.parametrize(("fault", "kind", "retries"), AWAY, ids=str)
async def test_an_archive_that_does_not_serve_says_why(
    exchange: Handle, fault: dict[str, Any], kind: type[PerpflowError], retries: int
) -> None:
    exchange.add_fault(**fault)
    naps = Naps()
    async with session(exchange, naps) as archive:
        with pytest.raises(kind):
            await archive.fetch(ONE_DAY)
        with pytest.raises(kind):
            await archive.keys("data/futures/um/monthly/klines/SOLUSDT/1d/")
    assert len(naps.slept) == 2 * retries


async def test_a_hanging_archive_is_given_up_on(exchange: Handle) -> None:
    exchange.add_fault("latency", ms=2000, times=5)
    async with session(exchange, read_timeout_s=0.2) as archive:
        with pytest.raises(ExchangeUnavailable, match="ReadTimeout"):
            await archive.fetch(ONE_DAY)


async def test_no_more_requests_are_let_go_than_are_sent() -> None:
    counts, met, going_on = Counts(), asyncio.Semaphore(0), asyncio.Event()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.release()
        await going_on.wait()
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = "http://127.0.0.1:{1}".format(*server.sockets[0].getsockname())
        async with Archive(url, concurrency=2, limiter_for=lambda host: Limiter(host, counts=counts)) as archive:
            asking = [asyncio.create_task(archive.fetch(ONE_DAY)) for _ in range(20)]
            for _ in range(2):
                await met.acquire()
            assert counts.take("test") == {"requests.archive": 2}
            going_on.set()
            assert await asyncio.gather(*asking) == [None] * 20
    assert counts.take("test") == {"requests.archive": 18}


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}], ids=str)
async def test_a_page_that_is_no_listing_is_tried_again(exchange: Handle, headers: dict[str, str]) -> None:
    exchange.add_fault("status", code=200, body="<html><br>", headers=headers, times=4)
    async with session(exchange) as archive:
        assert await archive.keys("data/futures/um/daily/metrics/SOLUSDT/", limit=1)


async def test_microseconds_are_no_times_of_this_archive() -> None:
    with serving(ONE_DAY, zip_of(b"1775001600000000,1\n")) as url:
        async with Archive(url) as archive:
            with pytest.raises(StructurallyBad, match="has 1775001600000000 for a time, which is no milliseconds"):
                await archive.fetch(ONE_DAY)


@pytest.mark.parametrize(
    "member",
    [
        b"2026-04-01\xff,1\n",
        b"2026-04-01,1\n2026\xe2\x82,1\n",
        "1775001600000,1\n²,1\n".encode(),
        b"9" * 5000 + b",1\n",
    ],
    ids=["no text", "no text at the end", "a superscript at the end", "thousands of digits"],
)
async def test_labels_that_are_neither_time_nor_text_are_structurally_bad_and_not_fetched_again(member: bytes) -> None:
    naps = Naps()
    with serving(ONE_DAY, zip_of(member)) as url:
        async with Archive(url, retry=Retry(sleep=naps)) as archive:
            with pytest.raises(StructurallyBad, match=r"SOLUSDT \[2026-04-01.*-metrics-2026-04-01.zip.*first column"):
                await archive.fetch(ONE_DAY)
    assert naps.slept == []


@pytest.mark.parametrize(
    "page",
    [
        "<html><body>Log in</body></html>",
        "<Error><Code>SlowDown</Code></Error>",
        "<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>a</Key></Contents></ListBucketResult>",
    ],
    ids=["a sound page of something else", "an error document", "a page that comes again for ever"],
)
async def test_a_listing_that_is_none_or_never_ends_is_no_empty_one(exchange: Handle, page: str) -> None:
    exchange.add_fault("status", code=200, match="prefix=", body=page)
    async with session(exchange) as archive:
        with pytest.raises(ExchangeUnavailable, match="did not answer with a listing"):
            await asyncio.wait_for(archive.symbols("klines", "daily"), 60)


async def test_keys_are_listed_over_pages_and_from_a_key_on(exchange: Handle) -> None:
    prefix = "data/futures/um/daily/metrics/BTCUSDT/"
    async with session(exchange) as archive:
        everything = await archive.keys(prefix)
        rest = await archive.keys(prefix, after=everything[1499], limit=1200)
    assert len(everything) > 2000
    assert everything == sorted(set(everything))
    assert rest == everything[1500:2700]


async def test_nothing_is_listed_for_an_unknown_symbol(exchange: Handle) -> None:
    async with session(exchange) as archive:
        assert await archive.keys("data/futures/um/daily/metrics/NOSUCHUSDT/") == []
        assert await archive.first_objects(OHLCV.archive, "NOSUCHUSDT", "5m") == []


async def test_the_first_object_is_there_and_nothing_lies_before_it(exchange: Handle) -> None:
    async with session(exchange) as archive:
        first, *others = await archive.first_objects(OHLCV.archive, "SOLUSDT", "5m")
        assert [found for found in others if found.period.start < first.period.start] == []
        assert await archive.fetch(first) is not None
        before = Window(first.period.start - DAY, first.period.start)
        assert await archive.fetch(ArchiveObject("klines", "daily", "SOLUSDT", "5m", before)) is None


async def test_nobody_listening_is_said() -> None:
    async with Archive("http://127.0.0.1:9", retry=Retry(sleep=Naps())) as archive:
        with pytest.raises(ExchangeUnavailable, match="ConnectError: Connection refused"):
            await archive.fetch(ONE_DAY)


def test_the_live_archive_is_listed_at_its_bucket() -> None:
    assert Archive()._listing_url == "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"
    assert Archive("http://127.0.0.1:1/")._listing_url == "http://127.0.0.1:1/"
