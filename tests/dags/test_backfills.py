"""Backfills of history_<dataset>, as the UI's button makes them and as the command does: the same tables, whole.

Two months of two datasets; PERPFLOW_BACKFILL_MONTHS=12 takes a year of all of them, and prints how long it took.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from perpflow.datasets import DATASETS
from perpflow.settings import load_collection
from perpflow.windows import Window, month_of, months
from simulator.truth import Truth
from tests.expected import Expected
from tests.loading import facts
from tests.running_airflow import Airflow, awaited

MONTHS = int(os.environ.get("PERPFLOW_BACKFILL_MONTHS", "2"))
BACKFILLED = ("open_interest", "funding_rate") if MONTHS <= 2 else tuple(DATASETS)
pytestmark = pytest.mark.timeout(300 + 600 * MONTHS)

#: Not one that the schedule's own run loads meanwhile.
SYMBOL, EXCHANGE_SYMBOL = "ALICE/USDT", "ALICEUSDT"
CONF = {"symbols": [SYMBOL]}
#: The last whole months of the simulated exchange, the latest of them September.
LAST = datetime(2026, 9, 1, tzinfo=UTC)
FIRST = list(months(Window(datetime(2025, 1, 1, tzinfo=UTC), month_of(LAST).end)))[-MONTHS].start
SPAN = Window(FIRST, month_of(LAST).end)
#: A metrics file of that day never fits its checksum: its month is red, names it, and loads the other days.
DAMAGED = datetime(2026, 5, 14, tzinfo=UTC)

Contents = dict[str, list[tuple[Any, ...]]]


def await_backfill(airflow: Airflow, dataset: str) -> list[str]:
    """The final states of the backfill's runs, one per month."""
    dag = f"history_{dataset}"

    def states() -> list[str]:
        return [state for run, state in airflow.client.run_states(dag).items() if run.startswith("backfill__")]

    ended: list[str] = awaited(states, lambda found: {*found} <= {"success", "failed"} and len(found) == MONTHS, 3600)
    return sorted(ended)


def states_of(dataset: str) -> list[str]:
    """The states that the months have to end in, sorted."""
    red = int(DAMAGED in SPAN and DATASETS[dataset].archive.kind == "metrics")
    return ["failed"] * red + ["success"] * (MONTHS - red)


def await_completion(airflow: Airflow, dataset: str) -> None:
    """Airflow looks for backfills that have ended every half a minute; until then it refuses another one."""
    asked = {"dag_id": f"history_{dataset}"}
    awaited(
        lambda: airflow.client._call("GET", "backfills", params=asked)["backfills"],
        lambda backfills: all(backfill["completed_at"] for backfill in backfills),
    )


def from_the_button(airflow: Airflow, dataset: str) -> None:
    """What the UI sends when somebody has filled in its form."""
    form = {
        "dag_id": f"history_{dataset}",
        "from_date": FIRST.isoformat(),
        "to_date": LAST.isoformat(),
        "run_backwards": False,
        "reprocess_behavior": "none",
        "max_active_runs": 2,
        "dag_run_conf": CONF,
    }
    airflow.client._call("POST", "backfills", json=form)


def by_the_command(airflow: Airflow, dataset: str) -> None:
    """The same months once more."""
    await_completion(airflow, dataset)
    range_ = ("--from-date", f"{FIRST:%Y-%m-%d}", "--to-date", f"{LAST:%Y-%m-%d}")
    conf = ("--dag-run-conf", f'{{"symbols": ["{SYMBOL}"]}}', "--max-active-runs", "2")
    repeated = ("--reprocess-behavior", "completed")
    airflow.command("backfill", "create", "--dag-id", f"history_{dataset}", *range_, *conf, *repeated)


def contents(airflow: Airflow) -> Contents:
    """The symbol's facts and ledger, whole, but for when they were written."""
    found = {name: [row for row in facts(airflow.database_url, name) if row[0] == SYMBOL] for name in BACKFILLED}
    ledger = airflow.rows(
        f"""SELECT dataset, series, available_from, available_to, evidence, present::text, missing_upstream::text,
                   quarantined::text, recheck_at IS NULL
              FROM coverage WHERE symbol = '{SYMBOL}' ORDER BY dataset, series"""  # noqa: S608
    )
    return found | {"coverage": ledger}


def expected(dataset: str) -> list[tuple[Any, ...]]:
    """The dataset's rows of those months as they have to be."""
    market = Expected(Truth(), datetime(2026, 10, 15, 12, 34, 56, tzinfo=UTC))
    return sorted(market.rows(dataset, SYMBOL, SPAN, load_collection().series(dataset)))


@pytest.fixture(scope="module")
def backfills(airflow: Airflow) -> dict[str, Contents]:
    """What each way has left in the tables; emptied in between."""
    left = {}
    for way in (from_the_button, by_the_command):
        for table in (*DATASETS, "coverage"):
            airflow.rows(f"DELETE FROM {table} WHERE symbol = '{SYMBOL}' RETURNING 1")  # noqa: S608
        began = time.monotonic()
        for dataset in BACKFILLED:
            airflow.client.pause(f"history_{dataset}", paused=False)
            way(airflow, dataset)
        states = {dataset: await_backfill(airflow, dataset) for dataset in BACKFILLED}
        assert states == {dataset: states_of(dataset) for dataset in BACKFILLED}
        left[way.__name__] = contents(airflow)
        rows = {name: len(table) for name, table in left[way.__name__].items()}
        print(f"{way.__name__}: {MONTHS} months, {time.monotonic() - began:.0f} s, {rows}")
    return left


def test_button_and_command_leave_the_same_tables(backfills: dict[str, Contents]) -> None:
    assert backfills["from_the_button"] == backfills["by_the_command"]


@pytest.mark.parametrize("dataset", BACKFILLED)
def test_every_month_is_whole(backfills: dict[str, Contents], dataset: str) -> None:
    assert backfills["from_the_button"][dataset] == expected(dataset)


def test_nothing_but_the_months_asked_for_is_covered(backfills: dict[str, Contents]) -> None:
    for dataset, series, _, _, _, present, missing, withheld, _ in backfills["from_the_button"]["coverage"]:
        assert withheld == "{}"
        whole = present if missing == "{}" else f"{present} and {missing}"
        assert f"{FIRST:%Y-%m-%d} 00:00:00+00" in whole, (dataset, series)
        assert f"{SPAN.end:%Y-%m-%d} 00:00:00+00" in whole, (dataset, series)


def test_a_run_by_hand_with_a_date_is_for_the_month_before_it(airflow: Airflow) -> None:
    dag = "history_funding_rate"
    airflow.client.pause(dag, paused=False)
    asked = {"logical_date": "2024-05-20T10:00:00Z", "conf": {"symbols": ["ALICE/USDT#OLD", SYMBOL]}}
    run = airflow.client._call("POST", f"dags/{dag}/dagRuns", json=asked)
    assert run["data_interval_start"].startswith("2024-04-01T00:00:00")
    assert run["data_interval_end"].startswith("2024-05-01T00:00:00")
    # One symbol is unknown, which makes it red; the other is loaded.
    assert airflow.ended(dag, run["dag_run_id"]) == "failed"
    loaded = airflow.rows(
        f"SELECT min(time), max(time) FROM funding_rate WHERE symbol = '{SYMBOL}' AND time < '2025-01-01Z'"  # noqa: S608
    )
    assert loaded == [(datetime(2024, 4, 1, tzinfo=UTC), datetime(2024, 4, 30, 16, tzinfo=UTC))]
