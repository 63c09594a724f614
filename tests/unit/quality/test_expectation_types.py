"""The frozen list of expectation types, and of their arguments, is the installed library's."""

from __future__ import annotations

import os
import warnings
from typing import Any

import pytest

from perpflow.quality.expectation_types import ARGUMENTS, BATCH_TYPES, KINDS, QUERY_TYPE, ROW_TYPES, Kind

#: Of whatever a suite may not say (suites.py), or says elsewhere.
NOT_OURS = {
    *("id", "meta", "notes", "result_format", "description", "catch_exceptions", "rendered_content", "severity"),
    *("windows", "batch_id", "mostly", "row_condition", "condition_parser", "library_metadata"),
}
#: One value or several of each kind, of which an argument takes one.
SAMPLES: dict[Kind, list[Any]] = {
    "true or false": [True],
    "a number": [1.5, 0],
    "a number or an instant": [1.5, 1, "2026-01-01T00:00:00Z"],
    "a text": ["x", "any", "iqr", "neither", "both_values_are_missing", "all_values_are_missing"],
    "a list": [["x"], ["x", "y"], [["x", "y"]]],
    "an object": [{"quantiles": [0.5], "value_ranges": [[0, 1]]}],
    "SQL": ["SELECT row_id FROM {batch}"],
}


@pytest.fixture(scope="module")
def types() -> dict[str, Any]:
    """The library's types by name."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations.expectations as library
        from great_expectations.expectations.expectation import Expectation
    kinds = [kind for kind in vars(library).values() if isinstance(kind, type) and issubclass(kind, Expectation)]
    return {kind.expectation_type: kind for kind in kinds if kind.expectation_type}


def judges_rows(kind: Any) -> bool:
    return getattr(kind, "map_metric", None) is not None


def runs_in_sql(kind: Any) -> bool:
    from great_expectations.expectations.registry import _registered_metrics

    return "SqlAlchemyExecutionEngine" in _registered_metrics[f"{kind.map_metric}.condition"]["providers"]


def arguments(kind: Any) -> str:
    fields = {name: field for name, field in kind.__fields__.items() if name not in NOT_OURS}
    return " ".join(name if field.required else f"{name}?" for name, field in fields.items())


def test_the_frozen_types_are_those_of_the_installed_great_expectations(types: dict[str, Any]) -> None:
    found = {name: arguments(kind) for name, kind in types.items() if name != QUERY_TYPE}
    assert {name: found[name] for name in found if judges_rows(types[name]) and runs_in_sql(types[name])} == ROW_TYPES
    assert {name: found[name] for name in found if not judges_rows(types[name])} == BATCH_TYPES
    assert arguments(types[QUERY_TYPE]) == ARGUMENTS[QUERY_TYPE]


def test_the_library_takes_what_an_argument_has_to_be(types: dict[str, Any]) -> None:
    names = {(kind, name.rstrip("?")) for kind, takes in ARGUMENTS.items() for name in takes.split()}
    assert {name for _, name in names} == KINDS.keys()
    for kind, name in names:
        field = types[kind].__fields__[name]
        assert any(not field.validate(value, {}, loc=name)[1] for value in SAMPLES[KINDS[name]]), (kind, name)
