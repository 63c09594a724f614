"""Write a day's report: the page, and the list of days anew."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from psycopg import IsolationLevel

from perpflow.errors import BadConfiguration
from perpflow.exchange_clock import exchange_now
from perpflow.reports.facts import Facts, Summary, read
from perpflow.reports.folder import alone, page_name, reports_folder, write
from perpflow.reports.history import write_index
from perpflow.reports.page import headline, render
from perpflow.settings import Deployment
from perpflow.store.database import session


@dataclass(frozen=True, slots=True)
class Written:
    """A page that was written: where, and what it says in short."""

    page: Path
    summary: Summary

    @property
    def headline(self) -> str:
        """One sentence."""
        return headline(self.summary)


def write_report(deployment: Deployment, day: date, output: Path | None = None) -> Written:
    """Write the page of a day, and the list of days; given a file, that alone, in a folder that is there.

    Raises:
        StoreUnavailable: the database does not answer.
        BadConfiguration: it can't be written there.
    """
    if output is not None and not output.parent.is_dir():
        raise BadConfiguration(f"{output}: there is no folder {output.parent}.", hint="Make it, or name another file.")
    facts = gather(deployment, day)
    text, written = render(facts), Written(output or reports_folder() / page_name(day), Summary.of(facts))
    if output is not None:
        write(output, text, "Name a file in a folder that can be written to and has room.")
        return written
    with alone(written.page.parent):
        write(written.page, text)
        write_index(written.page.parent)
    return written


def gather(deployment: Deployment, day: date) -> Facts:
    """What there is to tell, of one state of the database.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    clock = exchange_now(deployment)
    with session(deployment.database_url) as connection:
        # What is published meanwhile would stand in one table and not in another.
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        with connection.transaction():
            return read(connection, deployment.collection, day, clock.now, clock.problem)
