"""Archive and REST are held against each other; what differs is counted and named, and changed nowhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perpflow import reconciling
from perpflow.datasets import DATASETS
from perpflow.errors import BatchFaulty
from perpflow.reconciling import Reconciled
from perpflow.settings import Deployment
from perpflow.store.database import session
from simulator.process import Handle
from tests.loading import deployment_of, facts, load, request, rows

DAYS = 5
#: The whole days before the exchange's now, 2026-10-15: of 8 October on some open interest is nowhere.
START = "2026-10-09"
CANDLES = [spec.name for spec in DATASETS.values() if spec.series_in_key]


@pytest.fixture
def deployment(empty_database_url: str, exchange: Handle) -> Iterator[Deployment]:
    hourly = dict.fromkeys(CANDLES, {"timeframes": ["1h"]})
    made = deployment_of(empty_database_url, exchange, symbols=("SOL/USDT",), datasets=hourly)
    load(made, request("all", START))
    yield made
    exchange.clear_faults()


def reconcile(deployment: Deployment, *datasets: str, days: int = DAYS) -> dict[tuple[str, str], Reconciled]:
    asked = request("reconcile", datasets=datasets or tuple(DATASETS), symbols=None)
    found = reconciling.reconcile(deployment, asked, days)
    assert {one.symbol for one in found} <= {"SOL/USDT"}
    return {(one.dataset, one.column): one for one in found}


def test_sources_that_agree_do_so_point_by_point_and_nothing_is_touched(deployment: Deployment) -> None:
    before = {name: facts(deployment.database_url, name) for name in DATASETS}
    found = reconcile(deployment)
    reconciling.complain(found.values())
    assert {name for name, _ in found} == set(DATASETS) - {"funding_rate"}
    for (dataset, column), one in found.items():
        ratio = dataset == "long_short_ratio"
        points = DAYS * (24 if dataset in CANDLES else 288)
        assert one.agree + one.within == points, one
        assert (one.within > points / 2) == ratio, (column, one)
        assert (one.beyond, one.archive_only, one.rest_only, one.sample) == (0, 0, 0, [])
        assert one.tolerance == (1e-4 if ratio else 0)
    assert {name: facts(deployment.database_url, name) for name in DATASETS} == before
    with session(deployment.database_url) as connection:
        assert rows(connection, "SELECT count(*)::int FROM reconciliations") == [(len(found),)]
        left = [rows(connection, f"TABLE staging.{name}") for name in (*DATASETS, "manifests")]
    assert left == [[]] * (len(DATASETS) + 1)


def test_values_that_differ_are_counted_and_named_with_both(deployment: Deployment, exchange: Handle) -> None:
    for kind in ("klines", "metrics"):
        exchange.add_fault(
            "corrupt_rows", dataset=kind, symbol="SOLUSDT", date="2026-10-12", what="revised", only="archive"
        )
    found = reconcile(deployment)
    beyond = {key: one.beyond for key, one in found.items() if one.beyond}
    assert beyond == {
        ("ohlcv", "close"): 3,
        ("open_interest", "open_interest"): 3,
        ("open_interest", "open_interest_value"): 3,
        ("long_short_ratio", "top_account"): 3,
    }
    sample = found["open_interest", "open_interest"].sample
    assert [entry["archive"] / entry["rest"] for entry in sample] == [pytest.approx(1.01, rel=1e-6)] * 3
    assert sample[0]["time"].startswith("2026-10-12T06:00")
    with pytest.raises(BatchFaulty, match=r"ohlcv SOL/USDT 1h close: 3 points .* 2026-10-12T06:00"):
        reconciling.complain(found.values())
    # What stands in the tables is neither one's mean, nor the other's value.
    assert reconcile(deployment, "open_interest")["open_interest", "open_interest"].beyond == 3


def test_points_that_one_source_lacks_are_counted_apart(deployment: Deployment, exchange: Handle) -> None:
    exchange.add_fault(
        "corrupt_rows", dataset="metrics", symbol="SOLUSDT", date="2026-10-12", what="missing", only="archive"
    )
    found = reconcile(deployment, "open_interest")["open_interest", "open_interest"]
    assert (found.agree, found.rest_only, found.beyond) == ((DAYS - 1) * 288, 288, 0)
    reconciling.complain([found])


def test_a_day_whose_file_is_not_there_yet_is_not_compared(deployment: Deployment, exchange: Handle) -> None:
    exchange.add_fault("late_archive", match="SOLUSDT-metrics-2026-10-14", hours=48)
    found = reconcile(deployment, "open_interest")["open_interest", "open_interest"]
    assert (found.agree, found.rest_only) == ((DAYS - 1) * 288, 0)


def test_funding_is_compared_in_the_months_that_the_archive_has(deployment: Deployment) -> None:
    load(deployment, request("september", "2026-09-16", datasets=("funding_rate",)))
    found = reconcile(deployment, "funding_rate", days=1)
    assert {column: (one.agree, one.beyond) for (_, column), one in found.items()} == {
        "funding_rate": ((30 - 15) * 3, 0),
    }


def test_of_all_symbols_some_have_their_turn(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    load(deployment, request("btc", START, datasets=("open_interest",), symbols=("BTC/USDT", "ETH/USDT")))
    everything = deployment.collection.model_copy(update={"symbols": "all"})
    asked = request("reconcile", datasets=("open_interest",), symbols=None)
    of_all = deployment.model_copy(update={"collection": everything})
    monkeypatch.setattr(reconciling, "SYMBOLS_A_RUN", 1)
    runs = [{one.symbol for one in reconciling.reconcile(of_all, asked, 1)} for _ in range(3)]
    assert sorted(runs, key=sorted) == [{"BTC/USDT"}, {"ETH/USDT"}, {"SOL/USDT"}]
    monkeypatch.setattr(reconciling, "SYMBOLS_A_RUN", 3)
    assert len({one.symbol for one in reconciling.reconcile(of_all, asked, 1)}) == 3


def test_each_series_is_compared_where_its_own_files_are(empty_database_url: str, exchange: Handle) -> None:
    candles = {"ohlcv": {"timeframes": ["5m", "1h"]}}
    made = deployment_of(empty_database_url, exchange, symbols=("SOL/USDT",), datasets=candles)
    load(made, request("all", START, datasets=("ohlcv",)))
    lacking = exchange.add_fault("not_found", match="SOLUSDT-1h-2026-10-14")
    asked = request("reconcile", datasets=("ohlcv",), symbols=None)
    found = {one.series: one for one in reconciling.reconcile(made, asked, 2) if one.column == "close"}
    exchange.remove_fault(lacking)
    assert {series: (one.agree, one.rest_only) for series, one in found.items()} == {"5m": (576, 0), "1h": (24, 0)}


def test_a_contract_that_rest_no_longer_knows_is_not_compared(deployment: Deployment, exchange: Handle) -> None:
    unknown = {"code": -1121, "msg": "Invalid symbol."}
    refusing = exchange.add_fault("status", code=400, body=unknown, match="/fapi/v1/klines")
    found = reconcile(deployment, "ohlcv", "open_interest", days=1)
    exchange.remove_fault(refusing)
    assert {dataset for dataset, _ in found} == {"open_interest"}
