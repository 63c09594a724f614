"""Which day a report is asked for. Apart from the page, whose plots take a second to import."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from perpflow.errors import BadConfiguration
from perpflow.windows import parse_instant


def day_asked(text: str | None, now: datetime) -> date:
    """The UTC day that somebody asks for; left out: the last one that is over.

    Raises:
        BadConfiguration: it is no day, or one to come.
    """
    hint = "Write a UTC day such as 2026-11-26, no later than today."
    if not text:
        return (now - timedelta(days=1)).date()
    try:
        day = parse_instant(text).date()
    except ValueError as error:
        raise BadConfiguration(f"{text!r} is no day.", hint=hint) from error
    if day > now.date():
        raise BadConfiguration(f"{day} is still to come.", hint=hint)
    return day
