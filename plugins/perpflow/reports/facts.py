"""What a day's report tells, read from the ledger, the load log, the quarantine and what audits have found.

A day of loads, corrections and reviews is one of the database's clock. What should be there by its end, and how far
behind it is, goes by the exchange's, which is the same clock but for simulated exchanges. A day that is over is told
the same whenever it is told, unless something of it has changed: a hole that was filled since is no hole any more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Self

from perpflow.batches import LoadRequest
from perpflow.datasets import DATASETS, TABLES
from perpflow.health.data import freshness_at
from perpflow.health.finding import Finding, Level
from perpflow.listening_summary import ListeningSummary, read_listening, since_first
from perpflow.never_loaded import NeverLoaded, described, never_loaded
from perpflow.reports.completeness import Series, read_series, total
from perpflow.settings import Collection
from perpflow.store.database import Connection, Row, one, query
from perpflow.windows import DAY, Window

#: As many single rows, files or series are shown of a kind; of more the page says how many.
MOST = 20


@dataclass(frozen=True, slots=True)
class Audits:
    """What audits have found, and how far each series is verified by them."""

    findings: list[Row]
    verified: list[Row]


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a page is made of.

    `now`: until when points are expected, on the exchange's clock; on this machine's where there is a `clock_problem`,
    which says why. `never_loaded`: what should be collected and of which the ledger has nothing, so that no hole tells
    of it; `to_load` says the same in words, with the commands that load it.
    """

    day: date
    now: datetime
    clock_problem: str | None
    series: list[Series]
    never_loaded: list[NeverLoaded]
    to_load: list[str]
    freshness: list[Finding]
    schedules: Mapping[str, str]
    listening: ListeningSummary | None
    loads: list[Row]
    by_hour: list[Row]
    normalised: list[Row]
    failures: list[Row]
    objects: list[Row]
    corrections: list[Row]
    quarantine: list[Row]
    waiting: int
    waiting_symbols: int
    waiting_rows: list[Row]
    audits: Audits
    reconciled: list[Row]

    @property
    def window(self) -> Window:
        """The day, `[00:00, 24:00)` UTC."""
        return window_of(self.day)


@dataclass(frozen=True, slots=True)
class Summary:
    """A day in a few numbers: the page's first line, and its line in the list of days.

    `share`: of the points that the exchange has, the part that is here; below 1 where any series was never loaded, of
    which nobody knows how many points there are. `never_loaded`: how many these are. `failed` and `warned`: rows that
    critical and other expectations failed in the day's loads.
    """

    day: date
    symbols: int
    datasets: int
    share: float
    missing: int
    never_loaded: int
    staged: int
    failed: int
    warned: int
    waiting: int
    corrected: int
    late: int
    audits: int

    @classmethod
    def of(cls, facts: Facts) -> Self:
        """What the facts come to."""
        points = total(facts.series)
        severities = [(row["severity"], row["failing"]) for row in facts.failures]
        return cls(
            day=facts.day,
            symbols=len({series.symbol for series in facts.series}),
            datasets=len({series.dataset for series in facts.series}),
            share=min(points.share, math.nextafter(1.0, 0.0)) if facts.never_loaded else points.share,
            missing=points.missing,
            never_loaded=len(facts.never_loaded),
            staged=sum(row["staged"] for row in facts.loads),
            failed=sum(rows for severity, rows in severities if severity == "critical"),
            warned=sum(rows for severity, rows in severities if severity != "critical"),
            waiting=facts.waiting,
            corrected=facts.corrections[0]["of"] if facts.corrections else 0,
            late=sum(finding.level is Level.RED for finding in facts.freshness),
            audits=sum(row["open"] for row in facts.audits.findings if not row["accepted"]),
        )


def window_of(day: date) -> Window:
    """A UTC day."""
    start = datetime.combine(day, time(), UTC)
    return Window(start, start + DAY)


def read(
    connection: Connection, collection: Collection, day: date, now: datetime, clock_problem: str | None = None
) -> Facts:
    """What there is to tell of a day; in a transaction that sees one state, or the parts may not fit together.

    Args:
        clock_problem: why `now` is this machine's clock, where it is.
        now: the exchange's clock; of a day that is over, nothing later than its end is looked at.
    """
    window = window_of(day)
    now = min(now, window.end)
    within: dict[str, Any] = {"start": window.start, "end": window.end, "most": MOST}

    def rows(name: str) -> list[Row]:
        return connection.execute(query(name), within).fetchall()

    waiting = one(connection, query("report_waiting"), within)
    collected = LoadRequest(tuple(DATASETS), symbols=None, start=None, end=None, run="report")
    never = never_loaded(connection, collection, collected)
    return Facts(
        day=day,
        now=now,
        clock_problem=clock_problem,
        series=read_series(connection, collection, now),
        never_loaded=never,
        to_load=list(described(never, collected)),
        freshness=freshness_at(connection, collection, now),
        schedules={name: collection.schedule(name) for name in TABLES},
        listening=since_first(read_listening(connection), now=now, at_most=DAY),
        loads=rows("report_loads"),
        by_hour=rows("report_by_hour"),
        normalised=rows("report_normalised"),
        failures=rows("report_failures"),
        objects=rows("report_objects"),
        corrections=rows("report_corrections"),
        quarantine=rows("report_quarantine"),
        waiting=waiting["rows"],
        waiting_symbols=waiting["symbols"],
        waiting_rows=rows("report_waiting_rows"),
        audits=_audits(connection, within),
        reconciled=rows("report_reconciled"),
    )


def _audits(connection: Connection, within: Mapping[str, Any]) -> Audits:
    findings = connection.execute(query("report_audits"), within).fetchall()
    return Audits(findings, connection.execute(query("report_verified")).fetchall())
