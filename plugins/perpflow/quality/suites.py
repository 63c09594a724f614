"""Expectation suites: `include/expectations/<dataset>.json`, read and validated without Great Expectations.

DAGs load their suites when they are parsed, so that a broken suite is an import error in the UI and not a failed run;
importing Great Expectations there would cost seconds. A suite is the JSON that Great Expectations itself reads; on top
of that Perpflow asks of every expectation for a `severity` (`critical` withholds, `warning` is recorded), `notes` that
say why, and `meta`: the `rule` (`row` judges rows, `set` judges days or batches), and for SQL of the suite's own also
the `name` and the `columns` that it is about.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from perpflow.datasets import PROVENANCE, TABLES
from perpflow.errors import BadSuite
from perpflow.include import include_path
from perpflow.quality.expectation_types import KNOWN_TYPES, QUERY_TYPE
from perpflow.specs import DatasetSpec

Rule = Literal["row", "set"]
Severity = Literal["critical", "warning"]

#: What the gate adds to a staged row: its address, and the window that was asked for.
BATCH_COLUMNS = ("row_id", "window_start", "window_end")
#: Arguments of Great Expectations' types that name columns.
COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list", "sum_column")


@dataclass(frozen=True, slots=True)
class Expectation:
    """One expectation. `name` is its id in verdicts, in `withheld` and in the quarantine; `reason` says why it is."""

    name: str
    type: str
    kwargs: dict[str, Any]
    severity: Severity
    rule: Rule
    columns: tuple[str, ...]
    reason: str

    def configuration(self) -> dict[str, Any]:
        """What Great Expectations is given; the name comes back with each result."""
        return {
            "type": self.type,
            "kwargs": self.kwargs,
            "severity": self.severity,
            "notes": self.reason,
            "meta": {"rule": self.rule, "name": self.name},
        }


@dataclass(frozen=True, slots=True)
class Suite:
    """The expectations of a dataset, in the file's order."""

    dataset: str
    path: Path
    expectations: tuple[Expectation, ...]

    def __getitem__(self, name: str) -> Expectation:
        return next(expectation for expectation in self.expectations if expectation.name == name)


def suite_path(dataset: str) -> Path:
    """Where the dataset's suite stands."""
    return include_path() / "expectations" / f"{dataset}.json"


def load_suite(dataset: str) -> Suite:
    """The dataset's suite, validated.

    Raises:
        BadSuite: the file is missing or broken; names the file, the expectation, the column and what to do.
    """
    path = suite_path(dataset)
    entries = _read(dataset, path)
    reader = _Reader(TABLES[dataset], path)
    suite = Suite(dataset, path, tuple(reader.expectation(index, entry) for index, entry in enumerate(entries)))
    _refuse_twins(suite)
    if not any(expectation.severity == "critical" for expectation in suite.expectations):
        _refuse(dataset, path, "no expectation is critical.", "Such a gate lets everything through: make one critical.")
    return suite


def staged_columns(spec: DatasetSpec) -> frozenset[str]:
    """Every column that a suite may speak of: the dataset's, the wire's and the gate's own."""
    names = {column.name for column in (*spec.columns, PROVENANCE[0])}
    return frozenset({*names, *spec.wire_columns, spec.series_column, "origin", *BATCH_COLUMNS})


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the entries of one file, and says which one is broken."""

    spec: DatasetSpec
    path: Path

    def expectation(self, index: int, entry: Any) -> Expectation:
        """The expectation that the file's entry number `index` describes; refused where it is broken."""
        subject = f"expectation {index + 1}"
        if not isinstance(entry, dict) or not isinstance(entry.get("kwargs"), dict):
            self.refuse(f"{subject} is no object with `type` and `kwargs`.", "Write it like its neighbours.")
        kind, kwargs, meta = entry.get("type"), entry["kwargs"], entry.get("meta")
        if not isinstance(kind, str) or kind not in KNOWN_TYPES:
            self.refuse(
                f"{subject} has the unknown type {kind!r}.", "Use a type of Great Expectations, in lower_snake_case."
            )
        meta = meta if isinstance(meta, dict) else {}
        columns = tuple(_columns(kind, kwargs, meta))
        name = meta.get("name") or f"{kind}({','.join(columns)})"
        subject = f"{subject}, {name},"
        self._check_columns(subject, columns)
        self._check_query(subject, kind, kwargs, meta)
        return Expectation(
            name=name,
            type=kind,
            kwargs=kwargs,
            severity=self._choice(subject, "severity", entry.get("severity"), get_args(Severity)),
            rule=self._choice(subject, "meta.rule", meta.get("rule"), get_args(Rule)),
            columns=columns,
            reason=self._notes(subject, entry.get("notes")),
        )

    def _check_columns(self, subject: str, columns: tuple[str, ...]) -> None:
        known = staged_columns(self.spec)
        for column in columns:
            if column not in known:
                self.refuse(
                    f"{subject} names the column {column!r}, which {self.spec.name} does not have.",
                    f"Its columns: {', '.join(sorted(known))}.",
                )

    def _check_query(self, subject: str, kind: str, kwargs: dict[str, Any], meta: dict[str, Any]) -> None:
        if "row_condition" in kwargs:
            # Great Expectations leaves the condition out of the query that finds the failing rows: too many would go.
            self.refuse(f"{subject} has a row_condition.", f"Write the condition into an {QUERY_TYPE}.")
        if kind != QUERY_TYPE:
            return
        if not (meta.get("name") and meta.get("columns")):
            self.refuse(
                f"{subject} lacks `meta.name` or `meta.columns`.", "SQL does not say what it is about: add them."
            )
        text = str(kwargs.get("unexpected_rows_query"))
        if "{batch}" not in text or "row_id" not in text:
            hint = "The query has to give the row_id of the failing rows, read from {batch}."
            self.refuse(f"{subject} does not give row_id from {{batch}}.", hint)

    def _choice(self, subject: str, field: str, value: Any, allowed: tuple[Any, ...]) -> Any:
        if value not in allowed:
            self.refuse(f"{subject} has {field} {value!r}.", f"Use one of: {', '.join(allowed)}.")
        return value

    def _notes(self, subject: str, notes: Any) -> str:
        if not isinstance(notes, str) or not notes.strip():
            self.refuse(f"{subject} has no `notes`.", "Say why it is expected: the quarantine shows it as the reason.")
        return notes.strip()

    def refuse(self, problem: str, hint: str) -> NoReturn:
        """Raise BadSuite about the file that is being read."""
        _refuse(self.spec.name, self.path, problem, hint)


def _columns(kind: str, kwargs: dict[str, Any], meta: dict[str, Any]) -> Iterator[str]:
    for value in [meta.get("columns")] if kind == QUERY_TYPE else [kwargs.get(name) for name in COLUMN_ARGUMENTS]:
        if isinstance(value, list):
            yield from map(str, value)
        elif value is not None:
            yield str(value)


def _read(dataset: str, path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        _refuse(dataset, path, "the suite is missing.", "Without one nothing may be published: restore the file.")
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        _refuse(dataset, path, f"it is not JSON: {error}.", "Mend the file at that place.", error)
    entries = content.get("expectations") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        _refuse(dataset, path, "it has no expectations.", 'Write {"name": ..., "expectations": [...]}.')
    return entries


def _refuse_twins(suite: Suite) -> None:
    for name, count in Counter(expectation.name for expectation in suite.expectations).items():
        if count > 1:
            _refuse(suite.dataset, suite.path, f"{name} is there {count} times.", "Tell them apart with `meta.name`.")


def _refuse(dataset: str, path: Path, problem: str, hint: str, cause: Exception | None = None) -> NoReturn:
    raise BadSuite(f"{path.parent.name}/{path.name}: {problem}", dataset=dataset, hint=hint) from cause
