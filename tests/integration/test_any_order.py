"""Any set of windows, overlapping, from any mix of sources, in any order or at once: the same rows and ledger.

Tasks of different runs stage, check and publish side by side: here in an order of steps that hypothesis chooses, and by
processes that run at the same time. With servers and processes killed meanwhile it is the soak's business.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perpflow import pipeline
from perpflow.batches import Batch
from perpflow.datasets import DATASETS
from perpflow.settings import Deployment
from perpflow.store import ledger
from perpflow.store.database import session
from perpflow.windows import Window, merge
from simulator.process import Handle, running
from simulator.truth import Truth
from tests.loading import Row, deployment_of, facts, request, run_batch, utc

# Everything is loaded again and again, in other orders.
pytestmark = pytest.mark.timeout(900)

#: Within REST's thirty days, so that each source can give all of it; no quirk of SOLUSDT falls on these days.
FIRST, DAYS = utc("2026-09-20"), 8
SYMBOL, EXCHANGE_SYMBOL = "SOL/USDT", "SOLUSDT"
LOADED = ("ohlcv", "long_short_ratio")
Step = Callable[[Deployment, Batch], Any]
DRAWN = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PROCESSES = 3
STEPS: tuple[Step, ...] = (pipeline.stage, pipeline.check, pipeline.publish)


@dataclass(frozen=True)
class Load:
    """A range of one dataset, in hours since the first day, and whether REST alone has it."""

    dataset: str
    start: int
    length: int
    rest_only: bool

    @property
    def window(self) -> Window:
        start = FIRST + timedelta(hours=self.start)
        return Window(start, start + timedelta(hours=self.length))


LOADS = st.builds(
    Load,
    dataset=st.sampled_from(LOADED),
    start=st.integers(0, DAYS * 24 - 1),
    length=st.integers(1, 60),
    rest_only=st.booleans(),
)


@dataclass(frozen=True)
class Served:
    """A deployment on an exchange that has both sources, and the same on one whose archive is empty."""

    both: Deployment
    rest_alone: Deployment

    def of(self, load: Load) -> Deployment:
        return self.rest_alone if load.rest_only else self.both


def planned(served: Served, loads: list[Load]) -> list[tuple[Deployment, Batch]]:
    """Every batch of every load, and the deployment that it is loaded with."""
    found = []
    for number, load in enumerate(loads):
        window, deployment = load.window, served.of(load)
        asked = request(f"{number}", window.start, window.end, datasets=(load.dataset,), again=True)
        found += [(deployment, batch) for batch in pipeline.plan(deployment, asked).batches]
    return found


def interleaved(order: Random, batches: list[tuple[Deployment, Batch]]) -> None:
    """Take every batch its whole way, the steps of different batches in a drawn order."""
    ways: list[tuple[Deployment, Batch, list[Step]]] = [(*batch, [*STEPS]) for batch in batches]
    while ways:
        deployment, batch, steps = way = order.choice(ways)
        steps.pop(0)(deployment, batch)
        if not steps:
            ways.remove(way)


def covered(loads: list[Load], dataset: str, *, rest_only: bool | None = None) -> list[Window]:
    return merge(load.window for load in loads if load.dataset == dataset and rest_only in (None, load.rest_only))


def within(instant: Any, windows: list[Window]) -> bool:
    return any(instant in window for window in windows)


def expected_candles(truth: Truth, loads: list[Load]) -> list[Row]:
    windows = covered(loads, "ohlcv")
    end = FIRST + timedelta(days=DAYS + 3)
    return [row for row in truth.ohlcv(EXCHANGE_SYMBOL, "1h", FIRST, end) if within(row[0], windows)]


def expected_ratios(truth: Truth, loads: list[Load]) -> list[Row]:
    """The archive's eight decimals wherever a load had the archive, REST's shares wherever one had REST alone."""
    end = FIRST + timedelta(days=DAYS + 3)
    archive, rest = (truth.long_short_ratio(EXCHANGE_SYMBOL, FIRST, end, source) for source in ("archive", "rest"))
    by_archive = covered(loads, "long_short_ratio", rest_only=False)
    by_rest = covered(loads, "long_short_ratio", rest_only=True)
    found = []
    for precise, shared in zip(archive, rest, strict=True):
        has_archive, has_rest = within(precise[0], by_archive), within(precise[0], by_rest)
        if has_archive or has_rest:
            ratios = precise[:5] if has_archive else shared[:5]
            found.append((*ratios, *(shared[5:] if has_rest else (None,) * 5)))
    return found


@pytest.fixture(scope="module")
def served(database_url: str, exchange: Handle) -> Iterator[Served]:
    timeframes = {"ohlcv": {"timeframes": ["1h"]}}
    without_archive = running(seed=exchange.seed, faults=[{"kind": "not_found", "match": "/data/futures/um/"}])
    with without_archive as alone:
        yield Served(
            deployment_of(database_url, exchange, datasets=timeframes),
            deployment_of(database_url, alone, datasets=timeframes),
        )


@pytest.fixture(scope="module")
def truth(exchange: Handle) -> Truth:
    return Truth(exchange.seed)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        yield pool


def emptied(deployment: Deployment) -> None:
    with session(deployment.database_url) as connection:
        connection.execute(
            "TRUNCATE ohlcv, long_short_ratio, coverage, data_versions, archive_objects, quarantine, staging.manifests"
        )


def check(served: Served, truth: Truth, loads: list[Load]) -> None:
    """Rows and ledger are what was loaded and nothing else."""
    url = served.both.database_url
    assert [row[2:-1] for row in facts(url, "ohlcv")] == expected_candles(truth, loads)
    assert [row[1:-1] for row in facts(url, "long_short_ratio")] == expected_ratios(truth, loads)
    with session(url) as connection:
        for row in ledger.read(connection, LOADED):
            if row.series in ("1h", *DATASETS["long_short_ratio"].series):
                assert row.present == covered(loads, row.dataset), row
                assert row.missing_upstream == row.quarantined == []


@DRAWN
@given(loads=st.lists(LOADS, min_size=1, max_size=5), order=st.randoms(use_true_random=False))
def test_rows_and_ledger_depend_on_what_was_loaded_and_on_nothing_else(
    served: Served, truth: Truth, loads: list[Load], order: Random
) -> None:
    emptied(served.both)
    interleaved(order, planned(served, loads))
    check(served, truth, loads)


@DRAWN
@given(loads=st.lists(LOADS, min_size=2, max_size=6))
def test_nor_do_they_depend_on_what_was_loaded_at_the_same_time(
    served: Served, truth: Truth, processes: ProcessPoolExecutor, loads: list[Load]
) -> None:
    emptied(served.both)
    running_now = [processes.submit(run_batch, *batch) for batch in planned(served, loads)]
    for batch in running_now:
        batch.result()
    check(served, truth, loads)
