"""Where the project's `include/` folder is: data, found by path because plain Airflow cannot import it."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


def include_path() -> Path:
    """The folder `include/`: collection.yaml, sql and expectations; `PERPFLOW_INCLUDE` names another."""
    configured = os.environ.get("PERPFLOW_INCLUDE")
    return Path(configured) if configured else Path(__file__).resolve().parents[2] / "include"


@cache
def redis_script(name: str) -> str:
    """The text of `include/redis/<name>.lua`, which runs inside Redis, atomically."""
    return (include_path() / "redis" / f"{name}.lua").read_text()
