"""The dataset table is consistent in itself: what one field names, another one has."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from perpflow.datasets import DATASETS, PROVENANCE, TABLES, by_archive_kind
from perpflow.include import include_path
from perpflow.quality.suites import load_suite
from perpflow.specs import DatasetSpec, LoadedSpec, RestSource
from perpflow.windows import TIMEFRAMES

SPECS = pytest.mark.parametrize("spec", TABLES.values(), ids=TABLES)
LOADED = pytest.mark.parametrize("spec", DATASETS.values(), ids=DATASETS)
REST = pytest.mark.parametrize("source", [s for spec in DATASETS.values() for s in spec.rest], ids=lambda s: s.method)


@SPECS
def test_names_and_columns_are_there_once(spec: DatasetSpec) -> None:
    names = [column.name for column in (*spec.columns, *PROVENANCE)]
    assert len(set(names)) == len(names)
    assert TABLES[spec.name] is spec
    assert re.fullmatch(r"[a-z_]+", spec.name)


@SPECS
def test_the_key_comes_first_and_leads_with_the_symbol(spec: DatasetSpec) -> None:
    assert tuple(column.name for column in spec.columns)[: len(spec.key)] == spec.key
    assert spec.key[0] == "symbol"
    assert "time" in spec.key
    assert ("timeframe" in spec.key) == spec.series_in_key


@SPECS
def test_every_number_has_a_unit(spec: DatasetSpec) -> None:
    assert [column.name for column in spec.columns if column.type != "text" and not column.unit] == []


@SPECS
def test_some_source_gives_every_value(spec: DatasetSpec) -> None:
    given = {name.removeprefix("reported_") for name in spec.wire_columns}
    assert {column.name for column in spec.values} <= given
    assert spec.archive_values <= {column.name for column in spec.values}


@LOADED
def test_exactly_one_endpoint_gives_each_series(spec: LoadedSpec) -> None:
    for series in spec.series:
        assert [source for source in spec.rest if source.series in (None, series)] == [spec.rest_for(series)]
    assert {source.series for source in spec.rest} <= {None, *spec.series}
    assert spec.partial_rows == (len(spec.rest) > 1)


@SPECS
def test_series_have_the_grid_that_they_are_named_after(spec: DatasetSpec) -> None:
    for series in spec.series:
        grid = spec.timeframe_of(series)
        assert grid is TIMEFRAMES.get(series, spec.grid)
    if spec.grid is not None and spec.tolerance is not None and spec.grid.length is not None:
        assert spec.tolerance < spec.grid.length / 2


@SPECS
def test_a_query_that_a_dataset_names_is_there(spec: DatasetSpec) -> None:
    queries = {path.stem for path in (include_path() / "sql" / "queries").glob("*.sql")}
    assert spec.derive is None or spec.derive in queries
    assert (spec.derive is None) == (spec.lead_in is None)


@SPECS
def test_a_dataset_has_a_suite(spec: DatasetSpec) -> None:
    assert load_suite(spec.name).dataset == spec.name


@REST
def test_an_endpoints_first_field_is_its_time(source: RestSource) -> None:
    assert source.fields[0][1].endswith("_ms")
    assert len({name for _, name in source.fields}) == len(source.fields)
    assert source.path.startswith(("/fapi/v1/", "/futures/data/"))
    assert (source.budget == "statistics") == source.path.startswith("/futures/data/")
    assert (source.reach is not None) == (source.budget == "statistics")


@REST
def test_ccxt_has_the_method(source: RestSource) -> None:
    import ccxt

    assert callable(getattr(ccxt.binanceusdm(), source.method))


def test_statistics_are_asked_for_no_earlier_than_the_exchange_keeps_them() -> None:
    reaches = {source.reach for spec in DATASETS.values() for source in spec.rest if source.reach}
    assert len(reaches) == 1
    assert timedelta(days=29) < reaches.pop() < timedelta(days=30)


def test_the_archive_is_asked_monthly_first() -> None:
    assert {spec.archive.granularities for spec in DATASETS.values()} <= {
        ("monthly", "daily"),
        ("daily",),
        ("monthly",),
    }


def test_datasets_of_one_archive_folder_are_loaded_together() -> None:
    groups = by_archive_kind(tuple(DATASETS))
    assert [name for group in groups for name in group] != list(DATASETS)
    assert ("open_interest", "long_short_ratio") in groups
    assert all(len({DATASETS[name].archive for name in group}) == 1 for group in groups)
    assert by_archive_kind(("funding_rate", "ohlcv")) == [("ohlcv",), ("funding_rate",)]
    assert by_archive_kind(("long_short_ratio",)) == [("long_short_ratio",)]


@SPECS
def test_what_a_suite_judges_by_is_loaded_first(spec: DatasetSpec) -> None:
    suite = load_suite(spec.name)
    queries = [*suite.derived.values(), *(str(each.kwargs.get("unexpected_rows_query")) for each in suite.expectations)]
    read = {name for text in queries for name in re.findall(r"\b(?:FROM|JOIN) (\w+)", text)} & TABLES.keys()
    # Two that judge each other: one of them has to come first.
    first = {name for name in read if spec.name in TABLES[name].judged_by}
    assert read - first - {spec.name} == set(spec.judged_by)
    order = [name for group in by_archive_kind(tuple(DATASETS)) for name in group]
    assert all(order.index(judge) < order.index(spec.name) for judge in spec.judged_by if spec.name in order)
