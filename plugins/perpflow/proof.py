"""What publishing must know of an attempt, as plain values for its manifest, and back again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from perpflow.fetching import Covered, Fetcher
from perpflow.specs import DatasetSpec
from perpflow.store.ledger import Answered, SeriesKey
from perpflow.windows import Window


def evidence_of(fetcher: Fetcher, now: datetime) -> dict[str, Any]:
    """What publishing must know of an attempt, as plain values for the manifest."""
    answered = [
        _answer(dataset, key, fetcher.evidence.answered(dataset, key))
        for dataset, series in fetcher.wanted.items()
        for key in series
    ]
    wanted = [
        {"dataset": dataset, "symbol": symbol, "series": series, "windows": _edges(windows)}
        for dataset, of_series in fetcher.wanted.items()
        for (symbol, series), windows in of_series.items()
    ]
    covered = {name: _known(by_series) for name, by_series in fetcher.covered().items()}
    origins = [origin.name for origin in fetcher.evidence.origins]
    read = {"origins": origins, "objects": fetcher.evidence.objects, "wanted": wanted}
    return {"now": now.isoformat(), "answered": answered, "covered": covered, **read}


def _known(covered: Covered) -> list[dict[str, Any]]:
    return [{"symbol": key[0], "series": key[1], "windows": _edges(windows)} for key, windows in covered.items()]


def _answer(dataset: str, key: SeriesKey, answered: Answered) -> dict[str, Any]:
    symbol, series = key
    edges = {"by_any": _edges(answered.by_any), "by_all": _edges(answered.by_all)}
    return {"dataset": dataset, "symbol": symbol, "series": series, **edges}


def _edges(windows: list[Window]) -> list[list[str]]:
    return [[window.start.isoformat(), window.end.isoformat()] for window in windows]


def windows_of(edges: list[list[str]]) -> list[Window]:
    """The windows of a list of pairs of instants."""
    return [Window(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in edges]


def answered_in(evidence: dict[str, Any], spec: DatasetSpec) -> dict[SeriesKey, Answered]:
    """What sources have answered for of a dataset, by (symbol, series)."""
    return {
        (entry["symbol"], entry["series"]): Answered(windows_of(entry["by_any"]), windows_of(entry["by_all"]))
        for entry in evidence["answered"]
        if entry["dataset"] == spec.name
    }


def covered_in(evidence: dict[str, Any], spec: DatasetSpec) -> dict[SeriesKey, list[Window]] | None:
    """What the staged rows of a dataset cover, where that is known without looking through them."""
    entries = evidence["covered"].get(spec.name)
    if entries is None:
        return None
    return {(entry["symbol"], entry["series"]): windows_of(entry["windows"]) for entry in entries}
