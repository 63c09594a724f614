"""audit_<dataset> in a real Airflow: it runs because its dataset was published, and wakes what works downstream."""

from __future__ import annotations

import pytest

from perpflow.store.database import session
from tests.running_airflow import Airflow, awaited

pytestmark = pytest.mark.timeout(600)

SYMBOL = "ALICE/USDT"
FORM = {"symbols": [SYMBOL], "datasets": ["ohlcv"], "start": "2026-10-09", "end": "2026-10-11"}
VERIFIED = (
    "SELECT DISTINCT verified_until = covered_until AND verified_until > verified_from FROM verification "
    "WHERE dataset = 'ohlcv' AND symbol = 'ALICE/USDT'"
)


@pytest.fixture(scope="module", autouse=True)
def _nothing_loaded(airflow: Airflow) -> None:
    """Audits look at all that there is: what other tests have left of candles, spoiled ones too, is gone."""
    with session(airflow.database_url) as connection:
        connection.execute("DELETE FROM ohlcv")
        connection.execute("DELETE FROM coverage WHERE dataset = 'ohlcv'")
        connection.execute("DELETE FROM audit_findings")


def newest(airflow: Airflow, dag: str) -> str:
    """The latest run of a DAG that assets have started."""
    runs = awaited(
        lambda: [run for run in airflow.client.run_states(dag) if run.startswith("asset_triggered")], lambda runs: runs
    )
    return str(sorted(runs)[-1])


def test_what_is_published_is_audited_and_what_is_verified_is_used(airflow: Airflow) -> None:
    for dag in ("audit_ohlcv", "example_downstream"):
        airflow.client.pause(dag, paused=False)
    try:
        _, state = airflow.run("load_history", FORM)
        assert state == "success"
        assert airflow.ended("audit_ohlcv", newest(airflow, "audit_ohlcv")) == "success"
        assert airflow.rows(VERIFIED) == [(True,)]
        run = newest(airflow, "example_downstream")
        assert airflow.ended("example_downstream", run) == "success"
        found = airflow.client.returned("example_downstream", run, "hourly_returns")
        end = "2026-10-11T00:00:00+00:00"
        assert found == {"symbols": 1, "hours": 47, "verified_until": {"earliest": end, "latest": end}}
        assert "perpflow://verified/ohlcv" in airflow.client.updated_assets()
    finally:
        for dag in ("audit_ohlcv", "example_downstream"):
            airflow.client.pause(dag, paused=True)


def test_a_run_is_red_while_anything_is_disputed_and_names_it(airflow: Airflow) -> None:
    change = (
        "UPDATE ohlcv SET high = high * {} "
        "WHERE symbol = 'ALICE/USDT' AND timeframe = '1h' AND time = '2026-10-10Z' RETURNING 1"
    )
    airflow.client.pause("audit_ohlcv", paused=False)
    try:
        assert airflow.rows(change.format("1.01")) == [(1,)]
        run, state = airflow.run("audit_ohlcv", {"again": True})
        assert state == "failed"
        (report,) = (task for task in airflow.tasks("audit_ohlcv", run) if task.task == "report")
        log = "\n".join(airflow.client.log_tail("audit_ohlcv", run, report, 200))
        assert "cross_timeframe ohlcv: 2, first ALICE/USDT" in log
        assert airflow.rows(change.format("1 / 1.01")) == [(1,)]
    finally:
        airflow.client.pause("audit_ohlcv", paused=True)
