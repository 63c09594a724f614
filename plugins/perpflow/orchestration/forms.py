"""Fields of the forms that runs are triggered with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow.sdk import Param

from perpflow.datasets import DATASETS
from perpflow.settings import SYMBOL_PATTERN

AGAIN = Param(
    False,
    type="boolean",
    title="Load again",
    description="Also what the ledger holds already; unchanged facts stay untouched.",
)
AUDIT_AGAIN = Param(
    False,
    type="boolean",
    title="Look again",
    description="Also at what was audited since it was published: whoever changes tables by hand tells nobody.",
)
SYMBOLS_PER_TASK = Param(1, type="integer", minimum=1, maximum=100, title="Symbols per task")

DAYS = Param(3, type="integer", minimum=1, maximum=29, title="Days", description="How many whole days back.")


def symbols_per_task(default: int | None) -> Param:
    """How many of an increment's symbols share a mapped task."""
    return Param(
        default,
        type=["null", "integer"],
        minimum=1,
        maximum=1000,
        title="Symbols per task",
        description="Left empty: as many as leave some tens of tasks to the run.",
    )


def symbols(default: list[str], description: str) -> Param:
    """Symbols as in SOL/USDT, or `all`. May be left empty: the form marks as required whatever may not be null."""
    return Param(
        default,
        type=["null", "array"],
        items={"type": "string", "pattern": f"^all$|{SYMBOL_PATTERN}"},
        title="Symbols",
        description=description,
    )


def datasets(names: Iterable[str] = DATASETS) -> Param:
    """Which of these datasets; all of them at first."""
    offered = list(names)
    return Param(
        offered,
        type="array",
        items={"type": "string", "enum": offered},
        examples=offered,
        minItems=1,
        title="Datasets",
    )


def datasets_and_range() -> dict[str, Any]:
    """Which datasets, from which day to which."""
    return {
        "datasets": datasets(),
        "start": Param(
            None,
            type=["null", "string"],
            format="date",
            title="From (UTC day)",
            description="Inclusive; left empty: the configured start.",
        ),
        "end": Param(
            None,
            type=["null", "string"],
            format="date",
            title="To (UTC day)",
            description="Exclusive; left empty: now.",
        ),
    }
