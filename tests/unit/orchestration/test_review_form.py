"""The form of an answer about quarantined rows: Airflow marks as required whatever may not be null."""

from __future__ import annotations

import pytest

from perpflow.orchestration.review_operator import FORM


def test_the_note_alone_is_required() -> None:
    assert [name for name, field in FORM.items() if "null" not in field.schema["type"]] == ["note"]


@pytest.mark.parametrize("name", ["rows", "reject_rivals"])
def test_what_is_not_required_may_be_left_out(name: str) -> None:
    field = FORM[name]
    field.value = None
    assert field.resolve() is None
