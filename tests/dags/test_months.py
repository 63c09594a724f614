"""Which month a run of history_<dataset> is for, and which runs wait; in a fresh interpreter as a worker's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

#: A context as Airflow gives it: with a logical date all keys of the interval are there, without one none is.
ASK = """
import json, sys
from datetime import datetime
from types import SimpleNamespace
from perpflow.orchestration.months import ArchiveSensor, month_of_run

sensor = ArchiveSensor(task_id="wait")
for kind, start, run_after in json.loads(sys.argv[1]):
    context = {"dag_run": SimpleNamespace(run_after=datetime.fromisoformat(run_after), run_type=kind)}
    interval = {"data_interval_start": datetime.fromisoformat(start)} if start else {}
    month = month_of_run(context | interval)
    print(json.dumps([f"{month.start:%Y-%m-%d} {month.end:%Y-%m-%d}", sensor.poke(context | interval)]))
"""


def asked(home: Path, *runs: tuple[str, str | None, str]) -> list[list[Any]]:
    """Month and whether it goes on at once, by run."""
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "plugins"), *sys.path]),
    }
    line = [sys.executable, "-c", ASK, json.dumps(runs)]
    done = subprocess.run(line, env=os.environ | settings, capture_output=True, text=True, check=True, timeout=120)
    return [json.loads(answer) for answer in done.stdout.strip().splitlines()]


def test_a_run_is_for_its_interval_and_without_one_for_the_last_month_that_was_over(tmp_path: Path) -> None:
    found = asked(
        tmp_path,
        ("backfill", "2024-02-01T00:00:00+00:00", "2024-03-01T00:00:00+00:00"),
        ("scheduled", "2019-12-01T00:00:00+00:00", "2026-10-15T00:00:00+00:00"),
        ("manual", None, "2026-10-15T12:00:00+00:00"),
        ("manual", None, "2026-01-01T00:00:00+00:00"),
        # Somebody else's midnight: in UTC September is not over.
        ("manual", None, "2026-10-01T01:00:00+02:00"),
    )
    assert [month for month, _ in found] == [
        "2024-02-01 2024-03-01",
        "2019-12-01 2020-01-01",
        "2026-09-01 2026-10-01",
        "2025-12-01 2026-01-01",
        "2026-08-01 2026-09-01",
    ]


def test_only_a_scheduled_run_waits_and_only_for_what_is_not_published_yet(tmp_path: Path) -> None:
    this_month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).isoformat()
    later = (datetime.now(UTC) + timedelta(days=31)).isoformat()
    found = asked(
        tmp_path,
        ("scheduled", this_month, later),
        ("scheduled", "2024-02-01T00:00:00+00:00", later),
        ("backfill", this_month, later),
        ("manual", this_month, later),
    )
    assert [goes_on for _, goes_on in found] == [False, True, True, True]
