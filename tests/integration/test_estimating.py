"""What a plan says that it takes is what the exchange is then asked for, but for what holes cost."""

from __future__ import annotations

import pytest

from perpflow import pipeline
from perpflow.datasets import DATASETS
from perpflow.exchange import retry_policy
from perpflow.settings import Deployment
from simulator.process import Handle
from tests.loading import deployment_of, facts, request, run_batch

#: For every hundred files or requests so many more or fewer: holes are asked for again in the next source.
TOLERANCE = 0.1
PATHS = {source.path for spec in DATASETS.values() for source in spec.rest}


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once; how long they wait has tests of its own."""
    monkeypatch.setattr(retry_policy, "FIRST_DELAY_S", 0.001)


@pytest.fixture
def deployment(empty_database_url: str, exchange: Handle) -> Deployment:
    return deployment_of(empty_database_url, exchange, datasets={"ohlcv": {"timeframes": ["5m", "1h", "1d"]}})


@pytest.mark.parametrize(
    ("datasets", "of_rows"),
    # Which contracts settle funding more often than every eight hours nobody knows beforehand: ALICE does.
    [
        (("ohlcv",), TOLERANCE),
        (("mark_price",), TOLERANCE),
        (("open_interest", "long_short_ratio"), TOLERANCE),
        (("funding_rate",), 0.5),
    ],
)
def test_files_requests_and_rows_are_those_that_come(
    deployment: Deployment, exchange: Handle, datasets: tuple[str, ...], of_rows: float
) -> None:
    asked = request("history", "2026-08-10", datasets=datasets, symbols=("BTC/USDT", "ALICE/USDT"))
    plan = pipeline.plan(deployment, asked)
    exchange.clear_requests()
    for batch in plan.batches:
        run_batch(deployment, batch)
    paths, weights = exchange.requests()["paths"], exchange.requests()["weights"]
    said = plan.estimate
    assert said is not None
    assert said.batches == len(plan.batches)
    # A file and its checksum.
    files = sum(count for path, count in paths.items() if path.startswith("/data/")) / 2
    assert said.files == pytest.approx(files, rel=TOLERANCE)
    sent = sum(count for path, count in paths.items() if path in PATHS)
    assert said.requests.total() == pytest.approx(sent, rel=TOLERANCE, abs=2)
    assert said.units.total() == pytest.approx(sum(weights.get(path, 0) for path in PATHS), rel=TOLERANCE, abs=4)
    rows = sum(len(facts(deployment.database_url, name)) for name in datasets)
    assert said.rows == pytest.approx(rows, rel=of_rows)


def test_a_second_history_takes_only_what_the_first_has_not_loaded(deployment: Deployment) -> None:
    asked = request("first", "2026-08-01", "2026-10-01", datasets=("ohlcv",))
    plan = pipeline.plan(deployment, asked)
    assert plan.estimate is not None
    run_batch(deployment, plan.batches[0])
    rest = pipeline.plan(deployment, request("second", "2026-08-01", "2026-10-01", datasets=("ohlcv",))).estimate
    assert rest is not None
    assert (plan.estimate.batches, rest.batches) == (2, 1)
    assert (plan.estimate.files, rest.files) == (6, 3)
    assert rest.rows == 30 * (288 + 24 + 1)
    run_batch(deployment, plan.batches[1])
    nothing = pipeline.plan(deployment, request("third", "2026-08-01", "2026-10-01", datasets=("ohlcv",))).estimate
    assert nothing is not None
    assert (nothing.batches, nothing.files, nothing.rows) == (0, 0, 0)
