"""What the demo calls passed: every run's work done, nothing unexplained, the exchange's limits kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from perpflow.coverage_summary import SeriesSummary, summarise
from perpflow.datasets import DATASETS
from perpflow.embedded.demo import LATER, SYMBOLS, live_shortcomings, own_collection, shortcomings
from perpflow.embedded.exchange_process import ExchangeProcess, Requests
from perpflow.settings import Collection, Deployment, load_collection
from perpflow.store.database import session
from perpflow.store.latest import LastPrice, Latest, Mark, OpenInterest
from perpflow.windows import Window, start_of_day
from simulator.process import Handle
from tests.loading import deployment_of, ingest, load, request

WITHIN_LIMITS = Requests(total=1, refused=0)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ExchangeProcess]:
    started = ExchangeProcess(tmp_path)
    try:
        started.start()
        yield started
    finally:
        started.stop()


def summaries_of(deployment: Deployment, start: datetime, until: datetime) -> list[SeriesSummary]:
    with session(deployment.database_url) as connection:
        return summarise(connection, start=start, now=until)


def test_the_demo_passes_when_the_last_ingest_is_done_and_not_before(empty_database_url: str, exchange: Handle) -> None:
    deployment = deployment_of(empty_database_url, exchange)
    start, until = start_of_day(exchange.now - timedelta(days=1)), exchange.now + LATER
    load(deployment, request("history", start, symbols=SYMBOLS, symbols_per_task=3))
    assert shortcomings(summaries_of(deployment, start, exchange.now), WITHIN_LIMITS) == []
    exchange.set_now(until)
    for dataset in DATASETS:
        found = shortcomings(summaries_of(deployment, start, until), WITHIN_LIMITS)
        assert [text for text in found if dataset in text], f"passed without ingest_{dataset}"
        assert ingest(deployment, dataset, f"ingest_{dataset}").batches
    assert shortcomings(summaries_of(deployment, start, until), WITHIN_LIMITS) == []


def test_the_demo_collects_its_own_symbols_whatever_somebody_has_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = tmp_path / "collection.yaml"
    configured.write_text("symbols: [ALICE/USDT]\n")
    monkeypatch.setenv("PERPFLOW_COLLECTION", str(configured))
    with own_collection(tmp_path):
        assert load_collection() == Collection(symbols=SYMBOLS)
    assert load_collection().symbols == ("ALICE/USDT",)


def test_the_demo_fails_where_nothing_was_loaded() -> None:
    found = shortcomings([], WITHIN_LIMITS)
    assert found == [f"{dataset} {symbol} has no rows at all." for dataset in DATASETS for symbol in SYMBOLS]


LIVE: dict[str, Latest | None] = {
    "SOL/USDT": Latest("SOL/USDT", LastPrice(1, 1, 1.0), Mark(1, 1, 1.0, 1.0), OpenInterest(1, 1, 1.0))
}
LISTENED = [Window(datetime(2026, 10, 15, tzinfo=UTC), datetime(2026, 10, 16, tzinfo=UTC))]


def test_the_demo_fails_where_something_live_is_missing() -> None:
    assert live_shortcomings(LIVE, {"rows": 1}, LISTENED) == []
    assert live_shortcomings({"SOL/USDT": None}, {"rows": 0}, LISTENED * 2) == [
        "SOL/USDT has no live price.",
        "SOL/USDT has no live mark.",
        "SOL/USDT has no live open interest.",
        "liquidations has no rows at all.",
        "liquidations were listened to in 2 stretches, although one stream followed another.",
    ]


def test_the_demo_fails_when_a_request_went_beyond_the_exchange_s_limits() -> None:
    (said,) = set(shortcomings([], Requests(total=500, refused=2))) - set(shortcomings([], WITHIN_LIMITS))
    assert said == "2 of 500 requests went beyond the exchange's limits and were refused."


def test_the_exchange_process_counts_requests_and_those_that_it_refused(process: ExchangeProcess) -> None:
    assert process.requests() == Requests(total=1, refused=0)  # its own, for an answer at the start
    httpx.post(f"{process.url}/_simulator/limits", json={"funding": 1}, trust_env=False).raise_for_status()
    answers = [httpx.get(f"{process.url}/fapi/v1/fundingRate", trust_env=False).status_code for _ in range(3)]
    assert answers == [200, 429, 429]
    assert process.requests() == Requests(total=4, refused=2)
