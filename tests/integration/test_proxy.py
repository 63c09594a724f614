"""Through a proxy: what collection.yaml names is where requests go, for REST and the archive alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from perpflow.datasets import OHLCV
from perpflow.errors import ExchangeUnavailable
from perpflow.exchange.archive import Archive, ArchiveObject
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.rest import Rest
from perpflow.exchange.retry_policy import Retry
from perpflow.specs import Granularity
from perpflow.windows import month_of
from simulator.process import Handle
from tests.loading import utc


class Proxy:
    """A forward proxy for plain HTTP, one request a connection; it remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.served: list[asyncio.Task[None]] = []
        self.url = ""

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, version = head.split(b"\r\n", 1)[0].split(b" ")
        # Only a request that is meant for a proxy names the host in its first line.
        url = urlsplit(target.decode())
        self.asked.append(url.path)
        path = target.removeprefix(f"{url.scheme}://{url.netloc}".encode())
        lines = [line for line in head.split(b"\r\n")[1:] if line and not line.lower().startswith(b"connection")]
        theirs, ours = await asyncio.open_connection(url.hostname, url.port)
        ours.write(b"\r\n".join([b" ".join((method, path, version)), *lines, b"Connection: close", b"", b""]))
        while piece := await theirs.read(65536):
            writer.write(piece)
        for stream in (ours, writer):
            stream.close()
            await stream.wait_closed()


@asynccontextmanager
async def proxying() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    async with await asyncio.start_server(proxy.accept, "127.0.0.1", 0) as server:
        proxy.url = "http://{}:{}".format(*server.sockets[0].getsockname())
        yield proxy
        await asyncio.gather(*proxy.served)


def august(granularity: Granularity = "monthly") -> ArchiveObject:
    return ArchiveObject("klines", granularity, "SOLUSDT", "1h", month_of(utc("2026-08-01")))


async def test_rest_and_archive_go_through_the_proxy_that_is_set(exchange: Handle) -> None:
    async with proxying() as proxy:
        async with Rest(exchange.url, limiter=Limiter("exchange"), proxy=proxy.url) as rest:
            assert (await rest.now()).year == 2026
            assert await rest.first_instant(OHLCV.rest[0], "SOLUSDT", "1h") == utc("2020-09-14T07:00")
        async with Archive(exchange.url, proxy=proxy.url) as archive:
            fetched = await archive.fetch(august())
    assert fetched is not None
    assert proxy.asked == [
        "/fapi/v1/time",
        "/fapi/v1/klines",
        f"/{august().key}",
        f"/{august().key}.CHECKSUM",
    ]


async def test_the_environments_proxy_counts_where_none_is_set(
    exchange: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    async with proxying() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        async with Rest(exchange.url, limiter=Limiter("exchange")) as rest:
            await rest.now()
        async with Archive(exchange.url) as archive:
            await archive.fetch(august())
    assert len(proxy.asked) == 3


SAID = (
    r"Connection refused, through the proxy http://127\.0\.0\.1:9\. Check .* the proxy \(exchange\.proxy in collection"
)


@pytest.mark.parametrize("is_configured", [True, False], ids=["configured", "of the environment"])
async def test_a_proxy_that_is_away_is_said_without_its_password_and_never_gone_around(
    exchange: Handle, monkeypatch: pytest.MonkeyPatch, is_configured: bool
) -> None:
    nowhere = "http://keeper:secret@127.0.0.1:9"
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    if not is_configured:
        monkeypatch.setenv("http_proxy", nowhere)
    proxy, once = nowhere if is_configured else None, Retry(attempts=1)
    async with Rest(exchange.url, limiter=Limiter("exchange"), proxy=proxy, retry=once) as rest:
        with pytest.raises(ExchangeUnavailable, match=SAID) as of_rest:
            await rest.now()
    async with Archive(exchange.url, proxy=proxy, retry=once) as archive:
        with pytest.raises(ExchangeUnavailable, match=SAID) as of_archive:
            await archive.fetch(august())
    for caught in (of_rest, of_archive):
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("name", "looks"), [("HTTP_PROXY", True), ("NO_PROXY", False), ("no_proxy", False)])
async def test_a_proxy_is_looked_for_before_each_request_only_where_the_environment_names_one(
    monkeypatch: pytest.MonkeyPatch, name: str, looks: bool
) -> None:
    for other in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(other, raising=False)
        monkeypatch.delenv(other.lower(), raising=False)
    monkeypatch.setenv(name, "127.0.0.1")
    async with Rest("http://127.0.0.1:1", limiter=Limiter("nobody")) as rest:
        assert rest._session is not None
        assert rest._session.trust_env == looks
