"""Airflow's own linter rules for what version 3 removed or moved."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_no_file_uses_what_airflow_3_removed_or_moved() -> None:
    folders = [str(ROOT / name) for name in ("dags", "plugins")]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--preview",
            "--isolated",
            "--select",
            "AIR",
            "--target-version",
            "py311",
            *folders,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
