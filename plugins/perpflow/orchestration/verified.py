"""The assets of what is verified, and their events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from perpflow.orchestration.load_group import MOST_IN_AN_EVENT

if TYPE_CHECKING:
    from perpflow.auditing import Audited


def verified_asset(dataset: str) -> Asset:
    """The asset that is updated when `verified_until` of any of the dataset's series has moved."""
    return Asset(name=f"verified_{dataset}", uri=f"perpflow://verified/{dataset}")


def tell(events: Any, done: Audited) -> None:
    """Update the assets of the datasets whose verification has moved; an event names series and instants.

    Who is woken by it asks `verified_until` all the same: several events may come as one, which names some series only.
    """
    from perpflow.audit_command import plain_series

    by_dataset: dict[str, list[dict[str, Any]]] = {}
    for series in done.moved:
        by_dataset.setdefault(series.dataset, []).append(plain_series(series))
    for dataset, moved in by_dataset.items():
        events.add(verified_asset(dataset), extra={"moved": len(moved), "series": moved[:MOST_IN_AN_EVENT]})
