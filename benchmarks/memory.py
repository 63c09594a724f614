"""Peak memory of a staging task: a month of one symbol against three years of it, from the simulated exchange."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from benchmarks.measurement import Measurement
from benchmarks.staging_task import STAGED
from perpflow import pipeline
from perpflow.batches import LoadRequest
from perpflow.settings import Deployment
from perpflow.windows import Window
from simulator.process import Handle, running

SYMBOL = "SOL/USDT"
END = datetime(2026, 10, 1, tzinfo=UTC)
SPANS = {"30 days": timedelta(days=30), "3 years": timedelta(days=3 * 365)}


def measure(stores: Deployment) -> list[Measurement]:
    """Rows and peak of each span, and how much the longer one needs more."""
    database_url = stores.database_url
    with running(seed=7) as exchange:
        _meet(database_url, exchange)
        seen = {name: _stage(database_url, exchange, Window(END - span, END)) for name, span in SPANS.items()}
    short, long = (each["peak_kib"] for each in seen.values())
    lines = [
        Measurement(f"peak memory, staging {name} ({each['rows']:,} rows)", f"{each['peak_kib'] / 1024:.0f} MiB")
        for name, each in seen.items()
    ]
    growth = Measurement("growth of peak memory", f"{(long / short - 1) * 100:+.1f} %", "under 10 %")
    return [*lines, growth]


def _meet(database_url: str, exchange: Handle) -> None:
    """Planning fills in what staging expects of the ledger: symbols and series."""
    deployment = Deployment(database_url=database_url, rest_url=exchange.url, archive_url=exchange.url)
    pipeline.plan(deployment, LoadRequest(STAGED, (SYMBOL,), END - timedelta(days=1), END, "benchmark"))


def _stage(database_url: str, exchange: Handle, window: Window) -> dict[str, int]:
    addresses = {
        "PERPFLOW_DATABASE_URL": database_url,
        "PERPFLOW_REST_URL": exchange.url,
        "PERPFLOW_ARCHIVE_URL": exchange.url,
    }
    edges = (window.start.isoformat(), window.end.isoformat())
    task = [sys.executable, "-m", "benchmarks.staging_task", SYMBOL, *edges]
    done = subprocess.run(task, env=os.environ | addresses, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))
