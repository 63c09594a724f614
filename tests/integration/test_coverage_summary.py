"""The coverage summary on real ledger rows: every point is there, or has a reason, or is called unexplained."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from perpflow.coverage_summary import Reason, SeriesSummary, summarise
from perpflow.coverage_table import WIDTH, render
from perpflow.store.database import Connection, session

START = datetime(2026, 10, 1, tzinfo=UTC)
NOW = START + timedelta(days=10)
STEP = timedelta(minutes=5)
DAY_POINTS = 288


@pytest.fixture
def connection(empty_database_url: str) -> Iterator[Connection]:
    with session(empty_database_url) as opened:
        yield opened


def ledger_row(connection: Connection, **ranges: tuple[int, int]) -> None:
    """One series of open interest whose ledger names days, counted from the start."""
    spans = {
        name: f"{{[{START + timedelta(days=first):%Y-%m-%d},{START + timedelta(days=last):%Y-%m-%d})}}"
        for name, (first, last) in ranges.items()
    }
    connection.execute(
        """INSERT INTO coverage (dataset, symbol, series, available_from, present, missing_upstream, quarantined)
           VALUES ('open_interest', 'SOL/USDT', '5m', %s, %s, %s, %s)""",
        [START, *(spans.get(name, "{}") for name in ("present", "missing_upstream", "quarantined"))],
    )


def store_days(connection: Connection, first: int, last: int, source: str = "archive") -> None:
    connection.execute(
        """INSERT INTO open_interest (symbol, time, open_interest, open_interest_value, source)
           SELECT 'SOL/USDT', t, 1, 1, %s FROM generate_series(%s::timestamptz, %s::timestamptz, '5 minutes') t""",
        [source, START + timedelta(days=first), START + timedelta(days=last) - STEP],
    )


def only(connection: Connection) -> SeriesSummary:
    (summary,) = summarise(connection, start=START, now=NOW)
    return summary


def test_a_whole_series_has_no_hole(connection: Connection) -> None:
    ledger_row(connection, present=(0, 10))
    store_days(connection, 0, 8)
    store_days(connection, 8, 10, "rest")
    summary = only(connection)
    assert (summary.rows, summary.expected, summary.holes) == (10 * DAY_POINTS, 10 * DAY_POINTS, ())
    assert (summary.archive, summary.rest) == (8 * DAY_POINTS, 2 * DAY_POINTS)
    assert (summary.first, summary.last) == (START, NOW - STEP)


def test_what_no_source_has_and_what_the_gate_withheld_are_explained(connection: Connection) -> None:
    ledger_row(connection, present=(0, 6), missing_upstream=(6, 9), quarantined=(9, 10))
    store_days(connection, 0, 6)
    summary = only(connection)
    assert [(hole.reason, hole.points) for hole in summary.holes] == [
        (Reason.NO_SOURCE, 3 * DAY_POINTS),
        (Reason.WITHHELD, DAY_POINTS),
    ]
    assert summary.complete
    assert (summary.missing, summary.withheld) == (4 * DAY_POINTS, DAY_POINTS)


def test_a_young_gap_waits_for_the_archive_and_an_old_one_is_unexplained(connection: Connection) -> None:
    ledger_row(connection, present=(0, 5))
    store_days(connection, 0, 5)
    summary = only(connection)
    assert [(hole.reason, hole.points) for hole in summary.holes] == [
        (Reason.TOO_YOUNG, 3 * DAY_POINTS),
        (Reason.UNEXPLAINED, 2 * DAY_POINTS),
    ]
    assert not summary.complete


def test_rows_that_the_ledger_promises_and_the_table_lacks_are_found(connection: Connection) -> None:
    ledger_row(connection, present=(0, 10))
    store_days(connection, 0, 9)
    summary = only(connection)
    assert [(hole.reason, hole.points) for hole in summary.holes] == [(Reason.DISAGREES, DAY_POINTS)]
    assert not summary.complete


def test_the_table_names_every_hole_without_cutting_anything_off(connection: Connection) -> None:
    ledger_row(connection, present=(0, 6), missing_upstream=(6, 10))
    store_days(connection, 0, 6)
    console = Console(width=WIDTH, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(render([only(connection)]))
    text = captured.get()
    assert "…" not in text
    assert "open_interest SOL/USDT 5m: 1,152 points 2026-10-07 00:00 to 2026-10-11 00:00: no source has it" in text
