"""A task with many symbols asks for several of them at once: an exchange that answers nobody alone proves it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Queue

import pytest
from aiohttp import web

from perpflow import pipeline
from simulator.clock import Clock
from simulator.exchange import DEFAULT_NOW, synthetic
from simulator.process import Handle
from simulator.server import application
from tests.loading import deployment_of, ingest

TOGETHER = 5
LATER_MS = 6 * 3_600_000
SYMBOLS = ("ALICE/USDT", "BTC/USDT", "ETH/USDT", "ICX/USDT", "SOL/USDT", "1000PEPE/USDT")


class Gathering:
    """Holds requests to one path until so many symbols are asked for at the same time; then lets everybody through."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.under_way: set[str] = set()
        self.most = 0
        self._enough = asyncio.Event()

    async def __call__(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        symbol = request.query.get("symbol", "")
        if not request.path.endswith(self.path):
            return await handler(request)
        self.under_way.add(symbol)
        self.most = max(self.most, len(self.under_way))
        if self.most >= TOGETHER:
            self._enough.set()
        await self._enough.wait()
        self.under_way.discard(symbol)
        return await handler(request)


@contextmanager
def gathering(path: str) -> Iterator[tuple[str, Gathering]]:
    """A simulated exchange, hours later, that answers at `path` only to those who come together; and its address."""
    held, stop, addresses = Gathering(path), asyncio.Event(), Queue[str]()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        app = application(synthetic(7, Clock(DEFAULT_NOW + LATER_MS, frozen=True)))
        app.middlewares.append(web.middleware(held))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        addresses.put(f"http://127.0.0.1:{runner.addresses[0][1]}")
        await stop.wait()
        await runner.cleanup()

    with ThreadPoolExecutor(1) as threads:
        done = threads.submit(loop.run_until_complete, serve())
        try:
            yield addresses.get(timeout=30), held
        finally:
            loop.call_soon_threadsafe(stop.set)
            done.result(30)
            loop.close()


@pytest.mark.parametrize(("dataset", "path"), [("ohlcv", "/klines"), ("open_interest", "/openInterestHist")])
def test_the_symbols_of_a_task_are_asked_for_together_and_not_one_after_the_other(
    empty_database_url: str, exchange: Handle, dataset: str, path: str
) -> None:
    deployment = deployment_of(
        empty_database_url, exchange, symbols=SYMBOLS, datasets={"ohlcv": {"timeframes": ["1h"]}}
    )
    ingest(deployment, dataset, "before")
    with gathering(path) as (url, held):
        later = deployment.model_copy(update={"rest_url": url})
        (batch,) = pipeline.plan_increment(later, dataset, "later", len(SYMBOLS)).batches
        staged = pipeline.stage(later, batch)
    assert set(batch.symbols) == set(SYMBOLS)
    assert staged[dataset] >= 6 * len(SYMBOLS)
    assert held.most >= TOGETHER
