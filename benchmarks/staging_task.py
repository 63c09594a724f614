"""One staging task in a process of its own: stage a symbol's candles and metrics, print rows and peak memory as JSON.

    python -m benchmarks.staging_task SOL/USDT 2026-09-01 2026-10-01

Database, exchange and archive are those of PERPFLOW_DATABASE_URL, PERPFLOW_REST_URL and PERPFLOW_ARCHIVE_URL.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from perpflow import pipeline
from perpflow.batches import Batch
from perpflow.datasets import DATASETS, by_archive_kind
from perpflow.settings import deployment_from_environment
from perpflow.windows import Window, parse_instant

STAGED = ("ohlcv", "open_interest", "long_short_ratio")


def run(symbol: str, window: Window) -> dict[str, int]:
    """Stage each archive folder's batch of the window, whole; returns staged rows and this process's peak memory."""
    deployment = deployment_from_environment()
    staged = 0
    for datasets in by_archive_kind(STAGED):
        kind = DATASETS[datasets[0]].archive.kind
        batch = Batch(f"benchmark {kind} {window.start:%Y-%m-%d}", "benchmark", datasets, (symbol,), window, again=True)
        staged += sum(pipeline.stage(deployment, batch).values())
    return {"rows": staged, "peak_kib": peak_kib()}


def peak_kib() -> int:
    """This program's own peak; `ru_maxrss` would be that of the process which started it, if that was larger."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found.group(1))


if __name__ == "__main__":
    symbol, start, end = sys.argv[1:]
    print(json.dumps(run(symbol, Window(parse_instant(start), parse_instant(end)))))
