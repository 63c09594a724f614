"""`backfill --symbols all`, as a person runs it: what it will take, then those that are gone, from the archive."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from perpflow.datasets import DATASETS
from perpflow.settings import COLLECTION_VARIABLE, Deployment
from perpflow.store import ledger
from perpflow.store.database import session
from perpflow.windows import Window, subtract
from simulator.process import Handle
from simulator.symbols import CONTRACTS
from simulator.truth import Truth
from tests.expected import Expected
from tests.loading import deployment_of, facts, utc

# The whole life of a contract is a thousand files.
pytestmark = pytest.mark.timeout(900)

#: Delisted more than four years before the simulated exchange's now.
GONE = "ICP/USDT#SETTLED"
TIMEFRAMES_OF = {name: ("1h", "1d") for name, spec in DATASETS.items() if spec.series_in_key}
LIFE = Window(utc("2021-05-11"), utc("2022-06-13T09:00"))
ASKED = ("--symbols", "all", "--start", "2021-05-01", "--end", "2022-07-01")


@pytest.fixture
def deployment(empty_database_url: str, exchange: Handle) -> Deployment:
    return deployment_of(empty_database_url, exchange)


@pytest.fixture
def environment(deployment: Deployment, exchange: Handle, tmp_path: Path) -> dict[str, str]:
    others = [f"{contract.base}/{contract.quote}" for contract in CONTRACTS]
    collection = {
        "symbols": "all",
        "exclude": sorted(set(others)),
        "datasets": {name: {"timeframes": list(timeframes)} for name, timeframes in TIMEFRAMES_OF.items()},
        "exchange": {"rate_share": 1, "processes": 8},
    }
    path = tmp_path / "collection.yaml"
    path.write_text(yaml.safe_dump(collection))
    named = {
        "PYTHONPATH": "plugins",
        "PERPFLOW_DATABASE_URL": deployment.database_url,
        "PERPFLOW_REST_URL": exchange.url,
        "PERPFLOW_ARCHIVE_URL": exchange.url,
        COLLECTION_VARIABLE: str(path),
    }
    return {name: value for name, value in os.environ.items() if name != "PERPFLOW_REDIS_URL"} | named


def backfill(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "perpflow", "backfill", *ASKED, *arguments]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=600, check=False)


def test_a_contract_that_was_delisted_years_ago_gets_its_whole_life_from_the_archive(
    deployment: Deployment, environment: dict[str, str], exchange: Handle
) -> None:
    dry = backfill(environment, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    said = re.search(r"plan: (\d+) batches, about ([\d,]+) rows", dry.stdout)
    assert said is not None, dry.stdout
    assert all(facts(deployment.database_url, name) == [] for name in DATASETS)

    exchange.clear_requests()
    done = backfill(environment)
    assert done.returncode == 0, done.stderr
    assert f"{said[1]} batches, all published" in done.stdout
    assert f"1 of {said[1]} batches done" in done.stdout
    assert exchange.requests()["paths"].keys().isdisjoint({"/fapi/v1/klines", "/futures/data/openInterestHist"})

    expected, loaded = Expected(Truth(exchange.seed), exchange.now), 0
    for name in DATASETS:
        found = sorted(facts(deployment.database_url, name))
        timeframes = TIMEFRAMES_OF.get(name, ())
        wanted = sorted(expected.rows(name, GONE, Window(LIFE.start, utc("2022-07-01")), timeframes))
        assert found == wanted, name
        assert {row[-1] for row in found} == {"archive"}
        loaded += len(found)
    assert int(said[2].replace(",", "")) == pytest.approx(loaded, rel=0.1)
    with session(deployment.database_url) as connection:
        for row in ledger.read(connection):
            assert row.symbol == GONE
            assert row.available_from is not None
            assert subtract([Window(row.available_from, LIFE.end)], [*row.present, *row.missing_upstream]) == []

    again = backfill(environment)
    assert again.returncode == 0, again.stderr
    assert "nothing to load" in again.stdout
