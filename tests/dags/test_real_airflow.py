"""Real Airflow: its scheduler runs the DAGs against a simulated exchange, and this asks its REST API what came of it.

The market holds one corrupted day, so the first history run must end red with everything else published.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perpflow.datasets import DATASETS
from simulator.truth import Truth
from tests.dags.otlp_collector import Collector
from tests.running_airflow import Airflow, awaited

pytestmark = pytest.mark.timeout(600)

CORRUPTED_DAY = datetime(2026, 10, 10, tzinfo=UTC)
START, END = datetime(2026, 10, 9, tzinfo=UTC), datetime(2026, 10, 12, tzinfo=UTC)
RANGE = {"symbols": ["SOL/USDT"], "start": "2026-10-09", "end": "2026-10-12"}


@pytest.fixture(scope="module")
def history(airflow: Airflow) -> tuple[str, str]:
    """The first history run, over a range that holds the corrupted day: (run id, final state)."""
    airflow.exchange.add_fault(
        "corrupt_rows",
        dataset="klines",
        symbol="SOLUSDT",
        interval="5m",
        date=f"{CORRUPTED_DAY:%Y-%m-%d}",
        what="high_below_low",
        count=3,
    )
    # Again: a schedule's first run of history_* may have taken up some of it meanwhile.
    return airflow.run("load_history", {**RANGE, "again": True})


def test_no_dag_file_has_an_import_error(airflow: Airflow) -> None:
    assert airflow.client.import_errors() == []


def test_a_run_with_withheld_rows_ends_red_by_its_report_alone(airflow: Airflow, history: tuple[str, str]) -> None:
    run, state = history
    assert state == "failed"
    assert [task.task for task in airflow.tasks("load_history", run) if task.state != "success"] == ["report"]


def test_the_report_names_dataset_symbol_and_expectation(airflow: Airflow, history: tuple[str, str]) -> None:
    run, _ = history
    (report,) = (task for task in airflow.tasks("load_history", run) if task.task == "report")
    log = "\n".join(airflow.client.log_tail("load_history", run, report, 200))
    assert "withheld: 3 rows of ohlcv SOL/USDT" in log


def test_exactly_the_corrupted_rows_are_quarantined_and_their_neighbours_published(
    airflow: Airflow, history: tuple[str, str]
) -> None:
    assert history
    bad = [CORRUPTED_DAY + timedelta(hours=6, minutes=5 * i) for i in range(3)]
    quarantined = airflow.rows(
        "SELECT DISTINCT symbol, series, time FROM quarantine WHERE dataset <> 'liquidations' ORDER BY time"
    )
    assert quarantined == [("SOL/USDT", "5m", time) for time in bad]
    stored = airflow.rows("SELECT time, open, high, low, close FROM ohlcv WHERE timeframe = '5m' ORDER BY time")
    truth = [row[:5] for row in Truth().ohlcv("SOLUSDT", "5m", START, END) if row[0] not in bad]
    assert stored == truth


def test_what_the_tasks_counted_is_in_airflow_s_metrics(
    airflow: Airflow, metrics: Collector, history: tuple[str, str]
) -> None:
    assert history
    logged = airflow.rows(
        "SELECT dataset, sum(inserted)::bigint, sum(quarantined)::bigint FROM data_versions "
        "WHERE dataset <> 'liquidations' GROUP BY dataset"
    )
    expected = {
        f"airflow.perpflow.rows.{dataset}.{fate}": amount
        for dataset, *amounts in logged
        for fate, amount in zip(("inserted", "quarantined"), amounts, strict=True)
        if amount
    }
    # A task's process reports when it exits, which is after its run may have gone on.
    reported = awaited(lambda: metrics.sums, lambda sums: expected.items() <= sums.items(), timeout_s=20)
    assert {name: reported[name] for name in expected} == expected
    assert len(expected) == len(DATASETS) + 1
    assert reported["airflow.perpflow.weight"] > 0


def test_mapped_tasks_carry_symbol_kind_and_day_as_their_label(airflow: Airflow, history: tuple[str, str]) -> None:
    labels = {task.label for task in airflow.tasks("load_history", history[0]) if task.task == "batch.stage_rows"}
    assert labels == {f"SOL/USDT {kind} 2026-10-09" for kind in {spec.archive.kind for spec in DATASETS.values()}}


def test_a_history_says_what_it_will_take_and_how_far_it_is(airflow: Airflow, history: tuple[str, str]) -> None:
    run, _ = history
    plan = airflow.client.returned("load_history", run, "plan_windows", "plan")
    tasks = airflow.tasks("load_history", run)
    publishing = [task for task in tasks if task.task == "batch.publish_rows"]
    assert plan["batches"] == len(publishing)
    assert plan["archive_files"] > 0
    (planning,) = (task for task in tasks if task.task == "plan_windows")
    assert any(line.startswith("plan: about ") for line in airflow.client.log_tail("load_history", run, planning, 1000))
    said = [line for task in publishing for line in airflow.client.log_tail("load_history", run, task, 1000)]
    assert any(line.startswith(f"{len(publishing)} of {len(publishing)} batches done, 100 %") for line in said)


def test_published_datasets_update_their_assets(airflow: Airflow, history: tuple[str, str]) -> None:
    assert history
    # Airflow spells a URI without a path with a closing slash.
    updated = {uri.removesuffix("/") for uri in airflow.client.updated_assets()}
    assert updated >= {spec.asset_uri for spec in DATASETS.values()}


def test_loading_the_same_range_once_more_is_green_and_changes_no_row(
    airflow: Airflow, history: tuple[str, str]
) -> None:
    assert history
    contents = "SELECT 'ohlcv', o::text FROM ohlcv o UNION ALL SELECT 'coverage', c::text FROM coverage c ORDER BY 1, 2"
    before = airflow.rows(contents)
    _, state = airflow.run("load_history", RANGE)
    assert state == "success"
    assert airflow.rows(contents) == before


def test_an_unknown_symbol_is_named_while_the_others_are_loaded(airflow: Airflow, history: tuple[str, str]) -> None:
    assert history
    form = {"symbols": ["NOSUCH/USDT", "BTC/USDT"], "datasets": ["funding_rate"], "start": "2026-10-09"}
    run, state = airflow.run("load_history", form)
    assert state == "failed"
    assert [task.task for task in airflow.tasks("load_history", run) if task.state == "failed"] == ["report"]
    assert airflow.rows("SELECT count(*) > 10 FROM funding_rate WHERE symbol = 'BTC/USDT'") == [(True,)]


def test_an_end_before_the_start_fails_at_once_before_any_request(airflow: Airflow, history: tuple[str, str]) -> None:
    assert history
    asked = airflow.exchange.requests()["total"]
    run, state = airflow.run("load_history", {**RANGE, "start": "2026-10-12", "end": "2026-10-09"})
    assert state == "failed"
    (plan,) = (task for task in airflow.tasks("load_history", run) if task.task == "plan_windows")
    assert plan.tries == 1
    assert airflow.exchange.requests()["total"] == asked


def test_a_malformed_symbol_is_refused_by_the_form_itself(airflow: Airflow) -> None:
    with pytest.raises(Exception, match="400"):
        airflow.client.trigger("load_history", {"symbols": ["solusdt"]})


def test_ingest_brings_a_dataset_up_to_the_exchange_s_now(airflow: Airflow, history: tuple[str, str]) -> None:
    assert history
    airflow.client.pause("ingest_open_interest", paused=False)
    _, state = airflow.run("ingest_open_interest", {})
    assert state == "success"
    newest = airflow.rows("SELECT max(time) FROM open_interest WHERE symbol = 'SOL/USDT'")
    assert newest == [(datetime(2026, 10, 15, 12, 25, tzinfo=UTC),)]


def test_symbols_of_the_archive_are_taken_up_and_counted(airflow: Airflow) -> None:
    airflow.client.pause("sync_symbols", paused=False)
    run, state = airflow.run("sync_symbols", {})
    assert state == "success"
    assert airflow.client.returned("sync_symbols", run, "sync").keys() == {
        "known",
        "archived",
        "deliveries",
        "unreadable",
    }
    ended = airflow.rows("SELECT exchange_symbol, delisted_at FROM symbols WHERE status = 'DELISTED' ORDER BY 1")
    assert ended == [
        ("FTMUSDT", datetime(2026, 6, 30, 9, tzinfo=UTC)),
        ("ICPUSDTSETTLED", datetime(2022, 6, 13, 9, tzinfo=UTC)),
    ]


def test_no_request_of_any_run_went_beyond_the_exchange_s_limits(airflow: Airflow, history: tuple[str, str]) -> None:
    assert history
    asked = airflow.exchange.requests()
    assert {name for name, window in asked["windows"].items() if window["peak"]} == {"weight", "statistics", "funding"}
    assert (asked["violations"], asked["bans"]) == (0, 0), asked


def test_a_task_that_meets_a_ban_comes_back_when_it_ends_and_nobody_asks_before(
    airflow: Airflow, history: tuple[str, str]
) -> None:
    assert history
    airflow.exchange.clear_requests()
    airflow.exchange.ban(20)
    form = {"symbols": ["ETH/USDT"], "datasets": ["funding_rate"], "start": "2026-10-09", "end": "2026-10-12"}
    run, state = airflow.run("load_history", form)
    assert state == "success"
    (plan,) = (task for task in airflow.tasks("load_history", run) if task.task == "plan_windows")
    assert plan.tries == 2
    (ban,) = airflow.exchange.requests()["ban_log"]
    assert ban["refused"] == 1
