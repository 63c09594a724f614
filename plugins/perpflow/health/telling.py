"""Telling of findings, so that nobody is left out and nobody is told the same again and again.

What was told is written down in more than one place, after it was sent: whoever is killed in between sends once more,
and never less than once. The market database is one of these places; while it is away the others know.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import psycopg

from perpflow.errors import PerpflowError
from perpflow.health.finding import Finding
from perpflow.health.news import LEVELS, Memory, Message, Told, merged, message_of, news_for, remembered
from perpflow.health.surroundings import impatient_database
from perpflow.monitoring import AlertSettings
from perpflow.store.database import query, session

log = logging.getLogger(__name__)

Send = Callable[[AlertSettings, Message], None]


class Place(Protocol):
    """Where it is written down who was told what.

    Both raise PerpflowError or psycopg.Error where it can't be reached, or does not let us in.
    """

    def read(self) -> Memory:
        """All that is known there."""
        ...

    def write(self, memory: Memory) -> None:
        """Note what was told; what was told later stays."""
        ...


class TableOfAlerts:
    """The table `alerts` of the market database."""

    def __init__(self, database_url: str) -> None:
        self._url = impatient_database(database_url)

    def read(self) -> Memory:
        """As `Place` says."""
        with session(self._url) as connection:
            rows = connection.execute(query("alerts_read")).fetchall()
        return {
            (row["recipient"], row["finding"]): Told(LEVELS[row["level"]], row["since"], row["told_at"]) for row in rows
        }

    def write(self, memory: Memory) -> None:
        """As `Place` says."""
        values = {
            "recipients": [recipient for recipient, _ in memory],
            "findings": [title for _, title in memory],
            "levels": [str(told.level) for told in memory.values()],
            "since": [told.since for told in memory.values()],
            "told_at": [told.at for told in memory.values()],
        }
        with session(self._url) as connection:
            connection.execute(query("alerts_write"), values)


def tell(
    alerts: Sequence[AlertSettings],
    findings: list[Finding],
    places: Sequence[Place],
    send: Send,
    now: datetime,
    repeat_after: timedelta,
) -> list[str]:
    """Tell each recipient what is news to it, in one message; returns whom it could not tell and why.

    Args:
        send: raises whatever went wrong.
    """
    memory, faults = _read(places), []
    for alert in alerts:
        news = news_for(alert, findings, memory, now, repeat_after)
        if not news:
            continue
        try:
            send(alert, message_of(news, now))
        except Exception as error:  # each library has its own; the others must be told, and the caller is told of it
            log.warning("%s was not told", alert.name, exc_info=True)
            faults.append(f"{alert.name}: {error or type(error).__name__}")
            continue
        memory |= remembered(alert, news, memory, now)
        if not _write(places, memory):
            faults.append(f"{alert.name}: was told, and will be again: nobody could write it down")
    return faults


def _read(places: Sequence[Place]) -> Memory:
    known = []
    for place in places:
        try:
            known.append(place.read())
        except (PerpflowError, psycopg.Error) as error:
            log.warning("What was told can't be read from %s: %s", type(place).__name__, error)
    return merged(known)


def _write(places: Sequence[Place], memory: Memory) -> bool:
    """Whether at least one place has taken it."""
    taken = False
    for place in places:
        try:
            place.write(memory)
            taken = True
        except (PerpflowError, psycopg.Error) as error:
            log.warning("What was told can't be written to %s: %s", type(place).__name__, error)
    return taken
