"""What every section of collection.yaml is made of: no unknown keys, no words for numbers, times as in cron."""

from __future__ import annotations

import re
from typing import Annotated, Any

from croniter import croniter  # type: ignore[import-untyped]
from pydantic import AfterValidator, BaseModel, ConfigDict, field_validator

#: croniter's own fields of a random or, given an id, a hashed time: `R`, `r(0-5)`, `H/10`; not the R in FRI.
_RANDOM_FIELD = re.compile(r"\b[RH]\b", re.IGNORECASE)


def _cron_expression(text: str) -> str:
    # Airflow reads it with croniter too. Strict: a day that no month has would never come.
    if not (len(text.split()) == 5 and croniter.is_valid(text, strict=True)):
        raise ValueError("not a cron expression of 5 fields; write one such as '*/5 * * * *', every five minutes")
    if _RANDOM_FIELD.search(text):
        raise ValueError("R is another time at each reading; write fixed times, such as '7 * * * *'")
    return text


Cron = Annotated[str, AfterValidator(_cron_expression)]


def no_boolean(value: Any) -> Any:
    """A value that is neither `yes` nor `no`, which pydantic would take for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("yes and no mean nothing here")
    return value


class Section(BaseModel):
    """A part of collection.yaml: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Switchless(Section):
    """A section without switches: `yes` is no number in it, although pydantic would take it for 1."""

    _boolean = field_validator("*", mode="before")(no_boolean)
