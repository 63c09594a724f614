"""The README's table of datasets, generated from the dataset table: `python -m perpflow.dataset_table`.

A test compares what stands in the README with this, so that the two never differ.
"""

from __future__ import annotations

from datetime import timedelta

from perpflow.datasets import PROVENANCE, TABLES
from perpflow.specs import Column, DatasetSpec, LoadedSpec, RestSource, StreamedSpec

HEADINGS = ("Dataset = table", "Key", "Columns beyond the key (unit)", "Series in `coverage`", "Sources, best first")


def markdown() -> str:
    """The table, one row per dataset, and what all tables have in common below it."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(_row(spec) for spec in TABLES.values())]
    common = ", ".join(f"`{column.name}` ({column.meaning})" for column in PROVENANCE)
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", f"Every table also has {common}."])


def _row(spec: DatasetSpec) -> tuple[str, ...]:
    return (
        f"`{spec.name}`",
        ", ".join(f"`{name}`" for name in spec.key),
        "; ".join(_column(column) for column in spec.values),
        ", ".join(f"`{name}`" for name in spec.series),
        _sources(spec),
    )


def _sources(spec: DatasetSpec) -> str:
    if isinstance(spec, LoadedSpec):
        return f"{_archive(spec)}; {_rest(spec)}"
    assert isinstance(spec, StreamedSpec)
    return f"stream `{spec.stream}`, and nothing else"


def _column(column: Column) -> str:
    said = ": ".join(filter(None, (column.unit, column.meaning)))
    return f"`{column.name}` ({said})" if said else f"`{column.name}`"


def _archive(spec: LoadedSpec) -> str:
    return f"archive `{spec.archive.kind}` ({', '.join(spec.archive.granularities)})"


def _rest(spec: LoadedSpec) -> str:
    paths = ", ".join(f"`{source.path}`" for source in spec.rest)
    return f"REST {paths} ({_reach(spec.rest[0])})"


def _reach(source: RestSource) -> str:
    if source.reach is None:
        return "whole history"
    # An hour less than what the exchange documents: its edge moves while one asks.
    return f"last {(source.reach + timedelta(hours=1)).days} days"


if __name__ == "__main__":
    print(markdown())
