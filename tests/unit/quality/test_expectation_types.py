"""The frozen list of expectation types is the installed library's."""

from __future__ import annotations

import os
import warnings

from perpflow.quality.expectation_types import BATCH_TYPES, QUERY_TYPE, ROW_TYPES


def test_the_frozen_types_are_those_of_the_installed_great_expectations() -> None:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations.expectations as library
        from great_expectations.expectations import expectation as base
    maps = (base.ColumnMapExpectation, base.ColumnPairMapExpectation, base.MulticolumnMapExpectation)
    kinds = [kind for kind in vars(library).values() if isinstance(kind, type) and issubclass(kind, base.Expectation)]
    named = {kind.expectation_type: kind for kind in kinds if kind.expectation_type}
    row_types = {name for name, kind in named.items() if issubclass(kind, maps)}
    assert row_types == ROW_TYPES
    assert set(named) - row_types - {QUERY_TYPE} == BATCH_TYPES
