"""The DAG files under the real parser of Airflow, each time in a fresh interpreter with its own AIRFLOW_HOME."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perpflow.datasets import DATASETS
from tests.running_airflow import DAGS

ROOT = Path(__file__).resolve().parents[2]

#: Parses the DAG folder with every socket refused and reports what came of it.
PARSE = """
import json, socket, sys, time
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag

def refused(*_):
    raise RuntimeError("a DAG file opened a connection while it was parsed")

socket.socket.connect = refused
before = set(sys.modules)
bag = DagBag(sys.argv[1])
print(json.dumps({
    "errors": bag.import_errors,
    "dags": {name: {
        "tasks": [task.task_id for task in dag.tasks],
        "tags": sorted(dag.tags),
        "doc": dag.doc_md,
        "schedule": getattr(dag.timetable, "expression", None),
        "timetable": type(dag.timetable).__name__,
        "catchup": dag.catchup,
        "pools": {task.task_id: task.pool for task in dag.tasks},
        "retries": {task.task_id: task.retries for task in dag.tasks},
        "timeouts_s": {task.task_id: task.execution_timeout.total_seconds() for task in dag.tasks},
        "weights": [task.priority_weight for task in dag.tasks],
        "deadlines": [[alert.interval.total_seconds(), alert.callback.path] for alert in dag.deadline or ()],
        "params": {key: value for key, value in dag.params.dump().items()},
    } for name, dag in bag.dags.items()},
    "imported": sorted(set(sys.modules) - before),
}, default=str))
"""

HEAVY = {"ccxt", "pandas", "numpy", "great_expectations", "psycopg", "redis", "aiohttp"}


def parse(home: Path, **environment: str) -> dict[str, Any]:
    """What Airflow's parser makes of `dags/`."""
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    }
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT / "dags")],
        env=os.environ | settings | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return parse(tmp_path_factory.mktemp("airflow"))


def test_every_dag_file_parses(parsed: dict[str, Any]) -> None:
    assert parsed["errors"] == {}


def test_only_who_lists_the_whole_archive_may_plan_for_hours(parsed: dict[str, Any]) -> None:
    planning = {
        name: dag["timeouts_s"]["plan_windows"]
        for name, dag in parsed["dags"].items()
        if "plan_windows" in dag["timeouts_s"]
    }
    assert planning.pop("correct_reissued") == 3 * 3600
    assert set(planning.values()) == {30 * 60}


def test_each_dataset_has_its_ingest_and_its_history_and_nothing_else_is_registered(parsed: dict[str, Any]) -> None:
    assert set(parsed["dags"]) == DAGS


def test_a_dataset_that_is_switched_off_has_neither(tmp_path: Path) -> None:
    collection = tmp_path / "collection.yaml"
    collection.write_text("datasets:\n  funding_rate:\n    enabled: false\n")
    dags = set(parse(tmp_path, PERPFLOW_COLLECTION=str(collection))["dags"])
    assert dags == DAGS - {"ingest_funding_rate", "history_funding_rate"}


def test_parsing_imports_nothing_heavy_and_opens_no_connection(parsed: dict[str, Any]) -> None:
    assert HEAVY.isdisjoint(parsed["imported"])


def test_every_dag_says_what_it_does_and_carries_the_project_tag(parsed: dict[str, Any]) -> None:
    for name, dag in parsed["dags"].items():
        assert dag["doc"].strip().startswith("###"), name
        assert "perpflow" in dag["tags"], name


@pytest.mark.parametrize("dataset", DATASETS)
def test_an_ingest_dag_has_the_way_of_a_batch_and_its_schedule(parsed: dict[str, Any], dataset: str) -> None:
    dag = parsed["dags"][f"ingest_{dataset}"]
    steps = ["plan_windows", "batch.stage_rows", "batch.check_quality", "batch.publish_rows", "report"]
    assert dag["tasks"] == steps
    assert dag["schedule"] == DATASETS[dataset].schedule
    assert dataset in dag["tags"]


@pytest.mark.parametrize("dataset", [*DATASETS, "liquidations"])
def test_a_run_of_ingest_that_takes_too_long_is_told(parsed: dict[str, Any], dataset: str) -> None:
    callback = "perpflow.orchestration.alerting.tell_of_missed_deadline"
    assert parsed["dags"][f"ingest_{dataset}"]["deadlines"] == [[45 * 60, callback]]


def test_when_health_is_looked_at_is_a_setting(tmp_path: Path) -> None:
    collection = tmp_path / "collection.yaml"
    collection.write_text("health: {schedule: '*/7 * * * *', ingest_deadline_minutes: 9}\n")
    dags = parse(tmp_path, PERPFLOW_COLLECTION=str(collection))["dags"]
    assert dags["check_health"]["schedule"] == "*/7 * * * *"
    assert dags["ingest_ohlcv"]["deadlines"][0][0] == 9 * 60


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_history_dag_has_one_interval_a_month_and_waits_before_the_same_way(
    parsed: dict[str, Any], dataset: str
) -> None:
    dag = parsed["dags"][f"history_{dataset}"]
    steps = ["plan_windows", "batch.stage_rows", "batch.check_quality", "batch.publish_rows", "report"]
    assert dag["tasks"] == ["wait_for_archive", *steps]
    assert (dag["timetable"], dag["schedule"], dag["catchup"]) == ("CronDataIntervalTimetable", "0 0 1 * *", False)
    assert dag["pools"]["batch.stage_rows"] == "perpflow_archive"
    assert {"symbols", "again", "symbols_per_task"} == set(dag["params"])


def test_only_tasks_that_ask_the_exchange_take_its_pools(parsed: dict[str, Any]) -> None:
    history = parsed["dags"]["load_history"]["pools"]
    assert history["batch.stage_rows"] == history["plan_windows"] == "perpflow_archive"
    assert history["batch.check_quality"] == history["batch.publish_rows"] == "default_pool"
    assert parsed["dags"]["ingest_ohlcv"]["pools"]["batch.stage_rows"] == "perpflow_rest"


def test_live_work_goes_before_all_that_a_history_can_weigh(parsed: dict[str, Any]) -> None:
    # A task's weight is its own and those of all before it.
    history = sum(parsed["dags"]["load_history"]["weights"])
    repair = {name: parsed["dags"][name]["weights"] for name in ("repair_gaps", "correct_reissued")}
    assert all(min(weights) > history for weights in repair.values())
    assert all(
        min(parsed["dags"][f"ingest_{dataset}"]["weights"]) > max(map(max, repair.values())) for dataset in DATASETS
    )


def test_working_tasks_are_retried_and_the_report_is_not(parsed: dict[str, Any]) -> None:
    retries = parsed["dags"]["load_history"]["retries"]
    assert retries.pop("report") == 0
    assert all(count > 0 for count in retries.values())


def test_how_often_working_tasks_are_retried_is_a_setting_for_every_dag(tmp_path: Path) -> None:
    collection = tmp_path / "collection.yaml"
    collection.write_text("airflow:\n  task_retries: 7\n")
    dags = parse(tmp_path, PERPFLOW_COLLECTION=str(collection))["dags"]
    tasks = [(name, task, count) for name, dag in dags.items() for task, count in dag["retries"].items()]
    assert {name for name, _, _ in tasks} == DAGS
    others = {(name, task, count) for name, task, count in tasks if count != 7 and task != "report"}
    # The stream goes on until the next run is due, however often it fails; the next run of check_health looks anew.
    assert others == {("stream_market", "stream_live", 180), ("check_health", "check", 0)}


def test_the_form_offers_symbols_datasets_and_a_range(parsed: dict[str, Any]) -> None:
    form = parsed["dags"]["load_history"]["params"]
    assert {"symbols", "datasets", "start", "end", "again"} <= set(form)
    assert form["datasets"] == list(DATASETS)


def test_a_broken_collection_is_an_import_error_that_names_key_value_and_what_is_allowed(tmp_path: Path) -> None:
    broken = tmp_path / "collection.yaml"
    broken.write_text("datasets:\n  ohlcv:\n    timeframes: [7m]\n")
    error = parse(tmp_path, PERPFLOW_COLLECTION=str(broken))["errors"][str(ROOT / "dags" / "ingest.py")]
    assert "datasets.ohlcv.timeframes" in error
    assert "'7m'" in error
    assert "15m" in error


def include_without(folder: Path, damage: str, *datasets: str) -> Path:
    """A copy of `include/` in which these datasets' suites are missing, or broken."""
    include = folder / "include"
    (include / "expectations").mkdir(parents=True)
    (include / "collection.yaml").write_text((ROOT / "include" / "collection.yaml").read_text())
    for suite in (ROOT / "include" / "expectations").glob("*.json"):
        (include / "expectations" / suite.name).write_text(suite.read_text())
    for dataset in datasets:
        victim = include / "expectations" / f"{dataset}.json"
        victim.unlink() if damage == "missing" else victim.write_text("{ not json")
    return include


@pytest.mark.parametrize("damage", ["missing", "broken"])
def test_a_suite_that_is_missing_or_broken_is_an_import_error_of_its_own_dags_and_never_an_open_gate(
    tmp_path: Path, damage: str
) -> None:
    include = include_without(tmp_path, damage, "funding_rate", "ohlcv")
    parsed = parse(tmp_path, PERPFLOW_INCLUDE=str(include))
    ((file, error),) = parsed["errors"].items()
    assert file == str(ROOT / "dags" / "suites.py")
    assert all(f"{name}.json" in error for name in ("funding_rate", "ohlcv"))
    gone = {f"{kind}_{name}" for kind in ("ingest", "history") for name in ("funding_rate", "ohlcv")}
    assert parsed["dags"].keys() == DAGS - gone


def test_the_stream_goes_on_whatever_becomes_of_the_suite_of_liquidations(tmp_path: Path) -> None:
    parsed = parse(tmp_path, PERPFLOW_INCLUDE=str(include_without(tmp_path, "broken", "liquidations")))
    assert "liquidations.json" in parsed["errors"][str(ROOT / "dags" / "suites.py")]
    assert parsed["dags"].keys() == DAGS - {"ingest_liquidations"}
