"""Suites are validated without Great Expectations, and a broken one says what is wrong where."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

import perpflow
from perpflow.datasets import DATASETS, TABLES
from perpflow.errors import BadSuite
from perpflow.quality.suites import load_suite, staged_columns

GOOD: dict[str, Any] = {
    "type": "expect_column_values_to_be_between",
    "kwargs": {"column": "open_interest", "min_value": 0},
    "severity": "critical",
    "notes": "Open interest is never negative.",
    "meta": {"rule": "row"},
}
QUERY: dict[str, Any] = {
    "type": "unexpected_rows_expectation",
    "kwargs": {"unexpected_rows_query": "SELECT row_id FROM {batch} WHERE time IS NULL"},
    "severity": "critical",
    "notes": "A point has a time.",
    "meta": {"rule": "row", "name": "has_time", "columns": ["time"]},
}


def changed(entry: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The entry with some fields replaced; None removes one."""
    return {key: value for key, value in (deepcopy(entry) | changes).items() if value is not None}


PAIR = "expect_column_pair_values_to_be_equal"
NOON, EAST = "2026-01-01T12:00:00", "2026-01-01T23:00:00+14:00"
IN_SET = "expect_column_values_to_be_in_set"


@pytest.fixture
def suite_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERPFLOW_INCLUDE", str(tmp_path))
    (tmp_path / "expectations").mkdir()
    return tmp_path / "expectations" / "open_interest.json"


@pytest.mark.parametrize("dataset", TABLES)
def test_every_dataset_has_a_suite_that_judges_rows_and_days(dataset: str) -> None:
    suite = load_suite(dataset)
    assert {expectation.rule for expectation in suite.expectations} == {"row", "set"}
    assert suite["time_inside_window"].columns == ("time",)


@pytest.mark.parametrize("dataset", TABLES)
def test_every_expectation_says_why(dataset: str) -> None:
    assert all(len(expectation.reason.split()) > 5 for expectation in load_suite(dataset).expectations)


def test_suites_load_without_great_expectations() -> None:
    program = "import sys; from perpflow.quality.suites import load_suite; load_suite('ohlcv'); print(*sys.modules)"
    source = str(Path(perpflow.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": source}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "great_expectations" not in done.stdout.split()


def test_a_name_is_made_from_type_and_columns(suite_file: Path) -> None:
    suite_file.write_text(json.dumps({"expectations": [GOOD, QUERY]}))
    first, second = load_suite("open_interest").expectations
    assert first.name == "expect_column_values_to_be_between(open_interest)"
    assert (second.name, second.columns) == ("has_time", ("time",))


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "has no expectations"),
        (["x"], "expectation 1 is no object"),
        ([changed(GOOD, kwargs=None)], "expectation 1 is no object"),
        ([changed(GOOD, type="expect_miracles")], "unknown type 'expect_miracles'"),
        ([changed(GOOD, type=["x"])], "unknown type"),
        ([changed(GOOD, kwargs={"column": "opne_interest"})], "'opne_interest', which open_interest does not have"),
        ([changed(GOOD, kwargs={**GOOD["kwargs"], "row_condition": "x"})], "has a row_condition"),
        ([changed(GOOD, kwargs={**GOOD["kwargs"], "mostly": 0.99})], "has a mostly"),
        ([changed(GOOD, kwargs={"column": "time", "minimum": 0})], "has the unknown argument 'minimum'"),
        ([changed(GOOD, kwargs={"column": "time"})], "has neither min_value nor max_value"),
        ([changed(GOOD, kwargs={"column": "time", "min_value": "soon"})], "has min_value 'soon'"),
        ([changed(GOOD, kwargs={"column": "time", "min_value": True})], "has min_value True"),
        ([changed(GOOD, kwargs={"column": "time", "min_value": 10**400})], "has to be a number or an instant"),
        (
            [changed(GOOD, kwargs={**GOOD["kwargs"], "min_value": 2.5, "max_value": 2})],
            "a min_value above its max_value",
        ),
        ([changed(GOOD, kwargs={"column": "time", "min_value": NOON, "max_value": 1})], "a number and an instant"),
        ([changed(GOOD, kwargs={**GOOD["kwargs"], "min_value": 5, "max_value": 5, "strict_min": True})], "and strict"),
        ([changed(GOOD, kwargs={"column": "time", "min_value": NOON, "max_value": EAST})], "above its max_value"),
        ([changed(GOOD, kwargs={**GOOD["kwargs"], "strict_min": "yes"})], "has strict_min 'yes'"),
        ([changed(GOOD, type=IN_SET, kwargs={"column": "symbol"})], "lacks value_set"),
        ([changed(GOOD, type=IN_SET, kwargs={"column": "symbol", "value_set": []})], "has value_set []"),
        ([changed(GOOD, type="expect_column_values_to_be_increasing")], "that it can evaluate in SQL"),
        ([changed(QUERY, kwargs={"unexpected_rows_query": ["SELECT row_id FROM {batch}", 1]})], "has to be SQL"),
        ([changed(GOOD, severity=None)], "has severity None"),
        ([changed(GOOD, severity="info")], "critical, warning"),
        ([changed(GOOD, meta=None)], "has meta.rule None"),
        ([changed(GOOD, meta={"rule": "col"})], "row, set"),
        ([changed(GOOD, notes=" ")], "has no `notes`"),
        ([changed(GOOD, severity="warning")], "no expectation is critical"),
        ([GOOD, GOOD], "is there 2 times"),
        ([changed(GOOD, kwargs={"min_value": 0})], "names too few columns"),
        ([changed(GOOD, type=PAIR, kwargs={"column_A": "open_interest"})], "names too few columns"),
        ([changed(QUERY, meta={"rule": "row", "name": ["n"], "columns": ["time"]})], "`meta.name` that is no text"),
        ([changed(QUERY, meta={"rule": "row", "columns": ["time"]})], "lacks `meta.name`"),
        ([changed(QUERY, meta={"rule": "row", "name": "n"})], "lacks `meta.name` or `meta.columns`"),
        ([changed(QUERY, meta={"rule": "row", "name": "n", "columns": ["when"]})], "'when'"),
        ([changed(QUERY, kwargs={"unexpected_rows_query": "SELECT 1"})], "does not give row_id from {batch}"),
    ],
)
def test_a_broken_suite_says_what_is_wrong_and_where(suite_file: Path, entries: list[Any], said: str) -> None:
    suite_file.write_text(json.dumps({"expectations": entries}))
    with pytest.raises(BadSuite) as caught:
        load_suite("open_interest")
    assert said in str(caught.value)
    assert "expectations/open_interest.json" in str(caught.value)
    assert caught.value.dataset == "open_interest"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("kind", "kwargs"),
    [
        ("expect_column_values_to_be_between", {"column": "open_interest", "min_value": 5, "max_value": 5}),
        ("expect_column_values_to_be_between", {"column": "open_interest", "min_value": None, "max_value": 1.5}),
        ("expect_column_kl_divergence_to_be_less_than", {"column": "open_interest", "threshold": 0.1}),
        (
            "expect_column_quantile_values_to_be_between",
            {"column": "open_interest", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[1, 2]]}},
        ),
    ],
)
def test_arguments_that_something_passes_are_taken(suite_file: Path, kind: str, kwargs: dict[str, Any]) -> None:
    suite_file.write_text(json.dumps({"expectations": [changed(GOOD, type=kind, kwargs=kwargs)]}))
    (expectation,) = load_suite("open_interest").expectations
    assert expectation.kwargs == kwargs


def test_a_missing_suite_keeps_the_gate_shut(suite_file: Path) -> None:
    with pytest.raises(BadSuite, match="the suite is missing"):
        load_suite("open_interest")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"name": "a", "name": "b"}', "'name' is there 2 times in one object"),
        (b"[]", "no expectations"),
        (b'{"expectations": {}}', "no expectations"),
        (b'{"expectations": [{}], "limit": {}}', "the unknown part 'limit'"),
    ],
)
def test_a_file_that_is_no_suite_is_refused(suite_file: Path, content: bytes, said: str) -> None:
    suite_file.write_bytes(content)
    with pytest.raises(BadSuite, match=said):
        load_suite("open_interest")


def test_a_folder_is_no_suite(suite_file: Path) -> None:
    suite_file.mkdir()
    with pytest.raises(BadSuite, match="cannot be read"):
        load_suite("open_interest")


def test_suites_may_speak_of_wire_columns_and_of_the_window() -> None:
    assert {"close_time_ms", "timeframe", "window_start", "source"} <= staged_columns(DATASETS["ohlcv"])
    assert {"reported_open_interest", "series"} <= staged_columns(DATASETS["open_interest"])


LIMITED: dict[str, Any] = {
    "limits": {"far": {"notes": "Beyond it is far.", "*": 3}},
    "derived": {"neighbours": ["SELECT row_id", "FROM {batch}"], "far_ones": "SELECT row_id FROM {neighbours}"},
    "expectations": [
        changed(
            QUERY,
            kwargs={"unexpected_rows_query": ["SELECT row_id FROM {far_ones}", "WHERE '{{}}' <> '' AND 1 > {far}"]},
        )
    ],
}


def test_sql_may_be_lines_and_name_limits_and_derived_tables(suite_file: Path) -> None:
    suite_file.write_text(json.dumps(LIMITED))
    suite = load_suite("open_interest")
    text = suite.expectations[0].kwargs["unexpected_rows_query"]
    assert text == "SELECT row_id FROM derived_far_ones\nWHERE '{{}}' <> '' AND 1 > (3)::float8"
    assert suite.derived == {
        "neighbours": "SELECT row_id\nFROM {batch}",
        "far_ones": "SELECT row_id FROM derived_neighbours",
    }
    assert suite.derived_of([text]) == ["neighbours", "far_ones"]
    assert suite.derived_of(["SELECT row_id FROM derived_neighbours"]) == ["neighbours"]
    assert suite.derived_of(["SELECT row_id FROM gate_batch"]) == []


def test_a_limit_may_differ_by_timeframe() -> None:
    suite = load_suite("ohlcv")
    limit = "(CASE timeframe WHEN '4h' THEN 0.2"
    assert limit in suite["no_lone_spike"].kwargs["unexpected_rows_query"]
    assert "(1 + (0.1)::float8)" in suite.derived["moves"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"limits": []}, "limits or derived is no object"),
        ({"limits": {"far": 3}}, r"limits\.far is not one"),
        ({"limits": {"far": {"*": 3}}}, r"limits\.far is not one"),
        ({"limits": {"far": {"notes": "why", "*": -3}}}, r"limits\.far is not one"),
        ({"limits": {"far": {"notes": "why", "*": True}}}, r"limits\.far is not one"),
        ({"limits": {"far": {"notes": "why", "*": float("nan")}}}, r"limits\.far is not one"),
        ({"limits": {"far": {"notes": "why", "*": 10**400}}}, r"limits\.far is not one"),
        ({"limits": {"far": {"notes": "why", "*": float("-inf")}}}, r"limits\.far is not one"),
        ({"limits": {"far": {"notes": "why", "1d": 3}}}, r"limits\.far is not one"),
        ({"limits": {"far": {"notes": "why", "*": 3, "1d": 4}}}, r"limits\.far is not one"),
        ({"limits": {"batch": {"notes": "why", "*": 3}}}, "'batch' is no name"),
        ({"derived": {"Far ones": "SELECT"}}, "'Far ones' is no name"),
        ({"derived": {"far_ones": None}}, r"derived\.far_ones is no SQL"),
        ({"derived": {"far_ones": []}}, r"derived\.far_ones is no SQL"),
        ({"derived": {"far": "SELECT row_id FROM {batch}"}}, "'far' is no name"),
        ({"limits": {}}, r"speaks of \{far\}, which nothing defines"),
        ({"derived": {"far_ones": "SELECT row_id FROM {nobody}"}}, r"derived\.far_ones speaks of \{nobody\}"),
        ({"derived": {"far_ones": "SELECT '{'"}}, r"derived\.far_ones has a brace without its pair"),
    ],
)
def test_what_a_suite_defines_wrongly_is_said(suite_file: Path, changes: dict[str, Any], said: str) -> None:
    suite_file.write_text(json.dumps({**LIMITED, **changes}))
    with pytest.raises(BadSuite, match=said):
        load_suite("open_interest")


def test_an_unknown_timeframe_of_a_limit_is_said(suite_file: Path) -> None:
    limits = {"far": {"notes": "why", "*": 3, "7m": 4}}
    (suite_file.parent / "ohlcv.json").write_text(json.dumps({**LIMITED, "limits": limits}))
    with pytest.raises(BadSuite, match="unknown timeframe '7m'"):
        load_suite("ohlcv")
