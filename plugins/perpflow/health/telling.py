"""Telling of findings, so that nobody is left out and nobody is told the same again and again.

What was told is written down in more than one place, after it was sent: whoever is killed in between sends once more,
and never less than once. The market database is one of these places; while it is away the others know.

All recipients are told at once, each in a thread of its own: one whose server says nothing holds up nobody.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import psycopg

from perpflow.errors import PerpflowError
from perpflow.health.finding import Finding
from perpflow.health.news import LEVELS, Memory, Message, Told, heard, merged, message_of, remembered
from perpflow.health.surroundings import impatient_database
from perpflow.monitoring import AlertSettings
from perpflow.store.database import query, session

log = logging.getLogger(__name__)

#: Of a recipient and a message what sends it, and asks for nothing that only the calling thread is given.
Prepare = Callable[[AlertSettings, Message], Callable[[], None]]

#: Whoever has not taken a message in this time is a fault: the task that tells has five minutes for all it does.
PATIENCE_S = 30.0


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
            (row["recipient"], row["finding"]): Told(
                LEVELS[row["level"]], row["since"], row["told_at"], row["looks_below"]
            )
            for row in rows
        }

    def write(self, memory: Memory) -> None:
        """As `Place` says."""
        values = {
            "recipients": [recipient for recipient, _ in memory],
            "findings": [title for _, title in memory],
            "levels": [str(told.level) for told in memory.values()],
            "since": [told.since for told in memory.values()],
            "told_at": [told.at for told in memory.values()],
            "looks_below": [told.below for told in memory.values()],
        }
        with session(self._url) as connection:
            connection.execute(query("alerts_write"), values)


class _Sending(threading.Thread):
    """A message on its way; `fault` says why it is not there."""

    def __init__(self, alert: AlertSettings, message: Message, prepare: Prepare) -> None:
        # A process may end while a server still says nothing.
        super().__init__(name=f"tell {alert.name}", daemon=True)
        self._alert = alert
        self.fault: str | None = None
        try:
            self._send = prepare(alert, message)
        except Exception as error:  # each library has its own; the others must be told, and the caller is told of it
            self._failed(error)
        else:
            self.fault = "it has not taken the message in time"
            self.start()

    def run(self) -> None:
        """Send it."""
        try:
            self._send()
        except Exception as error:  # as above
            self._failed(error)
        else:
            self.fault = None

    def _failed(self, error: Exception) -> None:
        log.warning("%s was not told", self._alert.name, exc_info=error)
        self.fault = str(error) or type(error).__name__

    def wait(self, until: float) -> str | None:
        """The fault once it has ended, or as it is at that instant of the monotonic clock."""
        if self.ident is not None:
            self.join(max(0.0, until - time.monotonic()))
        return self.fault


def tell(
    alerts: Sequence[AlertSettings],
    findings: list[Finding],
    places: Sequence[Place],
    prepare: Prepare,
    now: datetime,
    repeat_after: timedelta,
    *,
    is_whole: bool = True,
    patience_s: float = PATIENCE_S,
) -> list[str]:
    """Tell each recipient what is news to it, in one message; returns whom it could not tell and why.

    Args:
        prepare: it, or what it returns, raises whatever went wrong.
        is_whole: these are all findings of a look; then what is not among them is over.
        patience_s: how long to wait for all of them together.
    """
    memory, until = _read(places), time.monotonic() + patience_s
    found = {alert: heard(alert, findings, memory, now, repeat_after, is_whole=is_whole) for alert in alerts}
    sendings = {alert: _Sending(alert, message_of(of.news, now), prepare) for alert, of in found.items() if of.news}
    faults = {alert: fault for alert, sending in sendings.items() if (fault := sending.wait(until))}
    learned: Memory = {}
    for alert, of in found.items():
        learned |= {(alert.name, title): told for title, told in of.noted.items()}
        learned |= remembered(alert, of.news, memory, now) if alert not in faults else {}
    said = [f"{alert.name}: {fault}" for alert, fault in faults.items()]
    if learned and not _write(places, memory | learned):
        told = [alert.name for alert in sendings if alert not in faults]
        said += [f"{name}: was told, and will be again: nobody could write it down" for name in told]
    return said


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
