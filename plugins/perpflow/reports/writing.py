"""Write a day's report: the page, and the list of days anew."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from psycopg import IsolationLevel

from perpflow.errors import BadConfiguration, PerpflowError
from perpflow.health.surroundings import surroundings
from perpflow.reports.facts import Facts, Summary, read
from perpflow.reports.folder import page_name, reports_folder, write
from perpflow.reports.history import write_index
from perpflow.reports.page import headline, render
from perpflow.settings import Deployment
from perpflow.store.database import session
from perpflow.windows import parse_instant

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """A page that was written: where, and what it says in short."""

    page: Path
    summary: Summary

    @property
    def headline(self) -> str:
        """One sentence."""
        return headline(self.summary)


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


def write_report(deployment: Deployment, day: date, output: Path | None = None) -> Written:
    """Write the page of a day, and the list of days; given a file, that alone.

    Raises:
        StoreUnavailable: the database does not answer.
        BadConfiguration: it can't be written there.
    """
    facts = gather(deployment, day)
    page = output or reports_folder() / page_name(day)
    write(page, render(facts))
    if output is None:
        write_index(page.parent)
    return Written(page, Summary.of(facts))


def gather(deployment: Deployment, day: date) -> Facts:
    """What there is to tell, of one state of the database.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    now = asyncio.run(_now(deployment))
    with session(deployment.database_url) as connection:
        # What is published meanwhile would stand in one table and not in another.
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        with connection.transaction():
            return read(connection, deployment.collection, day, now)


async def _now(deployment: Deployment) -> datetime:
    """The exchange's clock, by which it is decided what has settled; this machine's where it does not answer."""
    try:
        # Asked once, and not for long: a report of an exchange that is away is wanted above all.
        async with surroundings(deployment) as around:
            return await around.rest.now()
    except PerpflowError as error:
        log.warning("by this machine's clock, since the exchange does not tell its own: %s", error)
        return datetime.now(UTC)
