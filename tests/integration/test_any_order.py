"""Any set of windows, overlapping, from any mix of sources, its steps interleaved in any way: the same rows and ledger.

Tasks of different runs stage, check and publish side by side. Here their steps are put into an order that hypothesis
chooses; that two of them run at the same instant is the soak's business (and `test_atomicity`'s, for one batch).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from simulator.process import Handle
from simulator.truth import Truth
from tests.loading import Row, deployment_of, facts, request, utc

#: Within REST's thirty days, so that each source can give all of it; no quirk of SOLUSDT falls on these days.
FIRST, DAYS = utc("2026-09-20"), 8
SYMBOL, EXCHANGE_SYMBOL = "SOL/USDT", "SOLUSDT"
LOADED = ("ohlcv", "long_short_ratio")
Step = Callable[[Deployment, Batch], Any]
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


@contextmanager
def served(exchange: Handle, load: Load) -> Iterator[None]:
    """The archive, or none."""
    hidden = exchange.add_fault("not_found", match="/data/futures/um/") if load.rest_only else None
    yield
    if hidden is not None:
        exchange.remove_fault(hidden)


def interleaved(order: Random, loads: list[Load], deployment: Deployment) -> None:
    """Take every batch of every load its whole way, the steps of different batches in a drawn order."""
    ways: list[tuple[Load, Batch, list[Step]]] = []
    for number, load in enumerate(loads):
        window = load.window
        asked = request(f"{number}", window.start, window.end, datasets=(load.dataset,), again=True)
        ways += [(load, batch, [*STEPS]) for batch in pipeline.plan(deployment, asked).batches]
    while ways:
        load, batch, steps = way = order.choice(ways)
        with served(EXCHANGE[0], load):
            steps.pop(0)(deployment, batch)
        if not steps:
            ways.remove(way)


#: The module's exchange: hypothesis and fixtures of a function do not go together.
EXCHANGE: list[Handle] = []


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
def deployment(database_url: str, exchange: Handle) -> Iterator[Deployment]:
    EXCHANGE.append(exchange)
    yield deployment_of(database_url, exchange, datasets={"ohlcv": {"timeframes": ["1h"]}})
    EXCHANGE.clear()


def emptied(deployment: Deployment) -> None:
    with session(deployment.database_url) as connection:
        connection.execute(
            "TRUNCATE ohlcv, long_short_ratio, coverage, data_versions, archive_objects, quarantine, staging.manifests"
        )


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(loads=st.lists(LOADS, min_size=1, max_size=5), order=st.randoms(use_true_random=False))
def test_rows_and_ledger_depend_on_what_was_loaded_and_on_nothing_else(
    deployment: Deployment, loads: list[Load], order: Random
) -> None:
    emptied(deployment)
    interleaved(order, loads, deployment)
    truth = Truth(EXCHANGE[0].seed)
    assert [row[2:-1] for row in facts(deployment.database_url, "ohlcv")] == expected_candles(truth, loads)
    assert [row[1:-1] for row in facts(deployment.database_url, "long_short_ratio")] == expected_ratios(truth, loads)
    with session(deployment.database_url) as connection:
        for row in ledger.read(connection, LOADED):
            if row.series in ("1h", *DATASETS["long_short_ratio"].series):
                assert row.present == covered(loads, row.dataset), row
                assert row.missing_upstream == row.quarantined == []
