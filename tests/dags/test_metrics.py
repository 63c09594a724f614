"""Counters as Airflow's metrics: what a task's process counts reaches a collector that Airflow is told of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.dags.otlp_collector import collecting

ROOT = Path(__file__).resolve().parents[2]

#: What becomes of metrics in a task's process: Airflow sets them up before the body, and ends it by `sys.exit`.
TASK = """
from airflow.sdk.configuration import conf
from airflow.sdk.observability.metrics import stats_utils
from airflow.sdk.observability.stats import Stats
legacy = conf.getboolean("metrics", "legacy_names_on")
Stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=legacy)

from perpflow.counters import COUNTS
from perpflow.orchestration.defaults import default_args
COUNTS.count("requests.klines", 12)
COUNTS.count("rows.ohlcv.inserted", 3000)
for callback in ("on_retry_callback", "on_success_callback"):
    default_args(retries=0)[callback]({})
    COUNTS.count("requests.klines")
"""


def run(home: Path, **settings: str) -> None:
    """A task's process with these settings of Airflow's metrics."""
    environment = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "plugins"), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-c", TASK],
        env=os.environ | environment | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_a_collector_gets_each_count_once(tmp_path: Path) -> None:
    with collecting() as collector:
        run(tmp_path, **collector.settings)
        ours = {name: amount for name, amount in collector.sums.items() if name.startswith("airflow.perpflow.")}
    assert ours == {"airflow.perpflow.requests.klines": 13, "airflow.perpflow.rows.ohlcv.inserted": 3000}


def test_nobody_is_told_anything_where_metrics_are_off(tmp_path: Path) -> None:
    with collecting() as collector:
        run(tmp_path, **collector.settings | {"AIRFLOW__METRICS__OTEL_ON": "False"})
        assert collector.sums == {}
