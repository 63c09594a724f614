"""Expectation suites: `include/expectations/<dataset>.json`, read and validated without Great Expectations.

Suites are loaded when DAG files are parsed, so that a broken suite is an import error in the UI and not a failed run;
importing Great Expectations there would cost seconds. A suite is the JSON that Great Expectations itself reads; on top
of that Perpflow asks of every expectation for a `severity` (`critical` withholds, `warning` is recorded), `notes` that
say why, and `meta`: the `rule` (`row` judges rows, `set` judges days or batches), and for SQL of the suite's own also
the `name` and the `columns` that it is about.

SQL may be a list of lines, and beside `{batch}` speak of what the suite itself defines. `limits` are numbers with their
notes, by timeframe where they differ, `"*"` for all others: `{move}` is the one that holds for a row, `{least_move}`
the smallest. `derived` are queries that are run once for each batch, such as the candles that moved far: `{moves}` is
the table of their rows.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from string import Formatter
from typing import Any, Literal, NoReturn, get_args

from perpflow.datasets import PROVENANCE, TABLES
from perpflow.errors import BadSuite
from perpflow.include import include_path
from perpflow.quality.expectation_types import ARGUMENTS, KINDS, QUERY_TYPE, Kind
from perpflow.specs import DatasetSpec
from perpflow.windows import TIMEFRAMES

Rule = Literal["row", "set"]
Severity = Literal["critical", "warning"]

#: What the gate adds to a staged row: its address, and the window that was asked for.
BATCH_COLUMNS = ("row_id", "window_start", "window_end")
#: Arguments of Great Expectations' types that name columns.
COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list", "sum_column")
#: What a suite consists of.
PARTS = ("name", "notes", "limits", "derived", "expectations")


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
    #: Queries by the name of the table that holds their rows while a batch is checked.
    derived: dict[str, str] = field(default_factory=dict)
    #: Numbers by name and timeframe, `*` for all others; audits read the same ones.
    limits: dict[str, dict[str, float]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Expectation:
        return next(expectation for expectation in self.expectations if expectation.name == name)

    def numbered(self, subject: str) -> str:
        """An expectation's name behind its number in the file; what is none stays as it is."""
        names = [expectation.name for expectation in self.expectations]
        return f"expectation {names.index(subject) + 1}, {subject}," if subject in names else subject

    def derived_of(self, queries: list[str]) -> list[str]:
        """The derived tables that any of the queries reads, directly or through another one, in the file's order."""
        needed: list[str] = []
        for name in reversed(self.derived):
            if any(re.search(rf"\bderived_{name}\b", text) for text in queries):
                needed.insert(0, name)
                queries = [*queries, self.derived[name]]
        return needed


def suite_path(dataset: str) -> Path:
    """Where the dataset's suite stands."""
    return include_path() / "expectations" / f"{dataset}.json"


def load_suite(dataset: str) -> Suite:
    """The dataset's suite, validated.

    Raises:
        BadSuite: the file is missing or broken; names the file, the expectation, the column and what to do.
    """
    path = suite_path(dataset)
    content = _read(dataset, path)
    terms = _Terms(dataset, path)
    derived = terms.define(content.get("limits", {}), content.get("derived", {}))
    reader = _Reader(TABLES[dataset], path, terms)
    expectations = tuple(reader.expectation(index, entry) for index, entry in enumerate(content["expectations"]))
    suite = Suite(dataset, path, expectations, derived, terms.limits)
    _refuse_twins(suite)
    if not any(expectation.severity == "critical" for expectation in suite.expectations):
        _refuse(dataset, path, "no expectation is critical.", "Such a gate lets everything through: make one critical.")
    return suite


def broken_suites() -> dict[str, BadSuite]:
    """What is wrong with the suites that cannot be loaded, by dataset: no DAG of theirs may run, all others may."""
    found = {}
    for dataset in TABLES:
        try:
            load_suite(dataset)
        except BadSuite as error:
            found[dataset] = error
    return found


def staged_columns(spec: DatasetSpec) -> frozenset[str]:
    """Every column that a suite may speak of: the dataset's, the wire's and the gate's own."""
    names = {column.name for column in (*spec.columns, PROVENANCE[0])}
    return frozenset({*names, *spec.wire_columns, spec.series_column, "origin", *BATCH_COLUMNS})


@dataclass(frozen=True, slots=True)
class _Terms:
    """What SQL of one suite may name in braces, beside `{batch}`, and the SQL that stands for it."""

    dataset: str
    path: Path
    sql: dict[str, str] = field(default_factory=dict)
    limits: dict[str, dict[str, float]] = field(default_factory=dict)

    def define(self, limits: Any, derived: Any) -> dict[str, str]:
        """Take up the suite's limits and derived tables; returns the queries of the latter."""
        if not isinstance(limits, dict) or not isinstance(derived, dict):
            _refuse(self.dataset, self.path, "limits or derived is no object.", "Write them as objects, by name.")
        for name in (*limits, *derived):
            if not re.fullmatch(r"[a-z][a-z_0-9]*", name) or name == "batch" or (name in limits and name in derived):
                hint = "Use small letters, digits and _; each name once, and not batch."
                _refuse(self.dataset, self.path, f"{name!r} is no name for a limit or a derived table.", hint)
        for name, limit in limits.items():
            values = self.limits[name] = self._values(name, limit)
            # To PostgreSQL a bare 0.1 is exact decimal, whose arithmetic takes a hundred times as long.
            cases = " ".join(f"WHEN '{key}' THEN {value!r}" for key, value in values.items() if key != "*")
            text = f"CASE timeframe {cases} ELSE {values['*']!r} END" if cases else repr(values["*"])
            self.sql[name] = f"({text})::float8"
            self.sql[f"least_{name}"] = f"({min(values.values())!r})::float8"
        # One after another: a query may read what an earlier one gives.
        queries = {}
        for name, lines in derived.items():
            if not _is_sql(lines):
                _refuse(self.dataset, self.path, f"derived.{name} is no SQL.", "Write a text, or a list of lines.")
            queries[name] = self.resolved(f"derived.{name}", lines)
            self.sql[name] = f"derived_{name}"
        return queries

    def _values(self, name: str, limit: Any) -> dict[str, float]:
        values = {key: value for key, value in limit.items() if key != "notes"} if isinstance(limit, dict) else {}
        numbers = all(_is_number(value) and value >= 0 for value in values.values())
        series = TABLES[self.dataset].series_in_key
        if "*" not in values or not numbers or not (series or len(values) == 1) or not limit.get("notes"):
            shape = '{"notes": "why", "*": 0.1, "1d": 0.3}' if series else '{"notes": "why", "*": 0.1}'
            hint = f"Write it like {shape}, in numbers from 0 on."
            _refuse(self.dataset, self.path, f"limits.{name} is not one.", hint)
        for timeframe in set(values) - {"*", *TIMEFRAMES}:
            hint = f"Use the exchange's: {', '.join(TIMEFRAMES)}; or * for all others."
            _refuse(self.dataset, self.path, f"limits.{name} has the unknown timeframe {timeframe!r}.", hint)
        return values

    def resolved(self, subject: str, lines: Any) -> str:
        """SQL in which every name in braces but `{batch}` has been replaced by what it stands for."""
        text = "\n".join(map(str, lines)) if isinstance(lines, list) else str(lines)
        try:
            return "".join(self._part(subject, literal, name) for literal, name, _, _ in Formatter().parse(text))
        except ValueError as error:
            _refuse(
                self.dataset,
                self.path,
                f"{subject} has a brace without its pair: {error}.",
                "Double a literal one.",
                error,
            )

    def _part(self, subject: str, literal: str, name: str | None) -> str:
        known = {"batch": "{batch}", **self.sql}
        if name is not None and name not in known:
            hint = f"Define it under `limits` or `derived`; there is {', '.join(known)}."
            _refuse(self.dataset, self.path, f"{subject} speaks of {{{name}}}, which nothing defines.", hint)
        # Great Expectations formats the rest: what is to stay a brace stays doubled.
        return literal.replace("{", "{{").replace("}", "}}") + (known[name] if name is not None else "")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the entries of one file, and says which one is broken."""

    spec: DatasetSpec
    path: Path
    terms: _Terms

    def expectation(self, index: int, entry: Any) -> Expectation:
        """The expectation that the file's entry number `index` describes; refused where it is broken."""
        subject = f"expectation {index + 1}"
        if not isinstance(entry, dict) or not isinstance(entry.get("kwargs"), dict):
            self.refuse(f"{subject} is no object with `type` and `kwargs`.", "Write it like its neighbours.")
        kind, kwargs, meta = entry.get("type"), entry["kwargs"], entry.get("meta")
        if not isinstance(kind, str) or kind not in ARGUMENTS:
            hint = "Use a type of Great Expectations that it can evaluate in SQL, in lower_snake_case."
            self.refuse(f"{subject} has the unknown type {kind!r}.", hint)
        meta = meta if isinstance(meta, dict) else {}
        columns = tuple(_columns(kind, kwargs, meta))
        name = meta.get("name") or f"{kind}({','.join(columns)})"
        subject = f"{subject}, {name},"
        if not isinstance(name, str):
            self.refuse(f"{subject} has a `meta.name` that is no text.", "Write a name that tells it from the others.")
        self._check_columns(subject, kind, columns)
        self._check_query(subject, kind, kwargs, meta)
        self._check_arguments(subject, kind, kwargs)
        return Expectation(
            name=name,
            type=kind,
            kwargs=self._resolved(subject, kind, kwargs),
            severity=self._choice(subject, "severity", entry.get("severity"), get_args(Severity)),
            rule=self._choice(subject, "meta.rule", meta.get("rule"), get_args(Rule)),
            columns=columns,
            reason=self._notes(subject, entry.get("notes")),
        )

    def _check_columns(self, subject: str, kind: str, columns: tuple[str, ...]) -> None:
        known = staged_columns(self.spec)
        if len(columns) < (2 if "_pair_" in kind else 1 if kind.startswith("expect_column_") else 0):
            arguments = "`column_A` and `column_B`" if "_pair_" in kind else "`column`"
            self.refuse(f"{subject} names too few columns.", f"Give it {arguments}, as Great Expectations calls it.")
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
        if "mostly" in kwargs:
            # As long as few enough fail it would succeed, and those few be published.
            self.refuse(f"{subject} has a mostly.", "Each row is judged by itself: leave it out, or make it a warning.")
        if kind != QUERY_TYPE:
            return
        if not (meta.get("name") and meta.get("columns")):
            self.refuse(
                f"{subject} lacks `meta.name` or `meta.columns`.", "SQL does not say what it is about: add them."
            )
        text = str(kwargs.get("unexpected_rows_query"))
        if not re.search(r"\{\w+\}", text) or "row_id" not in text:
            hint = "The query has to give the row_id of the failing rows, read from {batch} or a derived table of it."
            self.refuse(f"{subject} does not give row_id from {{batch}}.", hint)

    def _check_arguments(self, subject: str, kind: str, kwargs: dict[str, Any]) -> None:
        takes = ARGUMENTS[kind].split()
        names = [name.rstrip("?") for name in takes]
        for name in kwargs.keys() - names:
            self.refuse(f"{subject} has the unknown argument {name!r}.", f"{kind} takes {', '.join(names)}.")
        given = {name: value for name, value in kwargs.items() if value is not None}
        for name in {name for name in takes if not name.endswith("?")} - given.keys():
            self.refuse(f"{subject} lacks {name}.", f"{kind} takes {', '.join(names)}.")
        for name, value in given.items():
            if not _fits(value, KINDS[name]):
                self.refuse(f"{subject} has {name} {value!r}.", f"It has to be {KINDS[name]}.")
        bounds = [given[name] for name in ("min_value", "max_value") if name in given]
        # One type takes a threshold instead.
        if "min_value" in names and "threshold" not in given and not bounds:
            self.refuse(f"{subject} has neither min_value nor max_value.", "Such an expectation lets everything pass.")
        if len(bounds) == 2 and _is_number(bounds[0]) != _is_number(bounds[1]):
            self.refuse(f"{subject} has a number and an instant as bounds.", "Write two of the same kind.")
        is_strict = bool(given.get("strict_min") or given.get("strict_max"))
        # Where both are the same, something passes unless one is strict.
        if len(bounds) == 2 and (_bound(bounds[0]), is_strict) > (_bound(bounds[1]), False):
            self.refuse(f"{subject} has a min_value above its max_value, or at it and strict.", "Nothing would pass.")

    def _resolved(self, subject: str, kind: str, kwargs: dict[str, Any]) -> dict[str, Any]:
        if kind != QUERY_TYPE:
            return kwargs
        return {**kwargs, "unexpected_rows_query": self.terms.resolved(subject, kwargs["unexpected_rows_query"])}

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


def _fits(value: Any, kind: Kind) -> bool:
    """Whether a value is what an argument of that kind takes. Empty lists and texts are none."""
    match kind:
        case "true or false":
            return isinstance(value, bool)
        case "a number":
            return _is_number(value)
        case "a number or an instant":
            return _is_number(value) or _is_instant(value)
        case "a text":
            return isinstance(value, str) and value != ""
        case "a list":
            return isinstance(value, list) and value != []
        case "an object":
            return isinstance(value, dict)
        case "SQL":
            return _is_sql(value)


def _is_instant(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _bound(value: Any) -> Any:
    """A bound as what can be compared with another one: a number, or an instant, UTC where it says nothing else."""
    if _is_number(value):
        return value
    instant = datetime.fromisoformat(value)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _is_sql(value: Any) -> bool:
    lines = value if isinstance(value, list) else [value]
    return all(isinstance(line, str) for line in lines) and any(line.strip() for line in lines)


def _is_number(value: Any) -> bool:
    # Python reads NaN and Infinity as JSON: nothing lies beyond such a limit.
    # Nor is a whole number one that no float holds.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _columns(kind: str, kwargs: dict[str, Any], meta: dict[str, Any]) -> Iterator[str]:
    for value in [meta.get("columns")] if kind == QUERY_TYPE else [kwargs.get(name) for name in COLUMN_ARGUMENTS]:
        if isinstance(value, list):
            yield from map(str, value)
        elif value is not None:
            yield str(value)


def _read(dataset: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_each_once)
    except FileNotFoundError:
        _refuse(dataset, path, "the suite is missing.", "Without one nothing may be published: restore the file.")
    except OSError as error:
        _refuse(dataset, path, f"it cannot be read: {error.strerror}.", "Restore the file.", error)
    except (ValueError, RecursionError) as error:
        _refuse(dataset, path, f"it is not JSON: {error}.", "Mend the file at that place.", error)
    entries = content.get("expectations") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        _refuse(dataset, path, "it has no expectations.", 'Write {"name": ..., "expectations": [...]}.')
    for name in set(content) - set(PARTS):
        _refuse(dataset, path, f"it has the unknown part {name!r}.", f"A suite has {', '.join(PARTS)}.")
    return dict(content)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of two values for one name JSON would drop one in silence.

    Raises:
        ValueError: a name is there twice.
    """
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise ValueError(f"{name!r} is there {count} times in one object")
    return dict(pairs)


def _refuse_twins(suite: Suite) -> None:
    for name, count in Counter(expectation.name for expectation in suite.expectations).items():
        if count > 1:
            _refuse(suite.dataset, suite.path, f"{name} is there {count} times.", "Tell them apart with `meta.name`.")


def _refuse(dataset: str, path: Path, problem: str, hint: str, cause: Exception | None = None) -> NoReturn:
    raise BadSuite(f"{path.parent.name}/{path.name}: {problem}", dataset=dataset, hint=hint) from cause
