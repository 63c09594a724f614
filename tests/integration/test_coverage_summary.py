"""The coverage summary on real ledger rows: every point is there, or has a reason, or is called unexplained."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from perpflow.coverage_summary import Reason, SeriesSummary, summarise
from perpflow.coverage_table import WIDTH, render
from perpflow.datasets import STATISTICS_REACH
from perpflow.store.database import Connection, one, session, to_multirange, to_range
from perpflow.windows import Window

START = datetime(2026, 10, 1, tzinfo=UTC)
NOW = START + timedelta(days=10)
STEP = timedelta(minutes=5)
DAY_POINTS = 288


@pytest.fixture
def connection(empty_database_url: str) -> Iterator[Connection]:
    with session(empty_database_url) as opened:
        yield opened


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def ledger_row(connection: Connection, **ranges: tuple[int, int] | list[tuple[int, int]]) -> None:
    """One series of open interest whose ledger names days, counted from the start."""
    spans = {name: days if isinstance(days, list) else [days] for name, days in ranges.items()}
    covered = [
        to_multirange([Window(day(first), day(last)) for first, last in spans.get(name, [])])
        for name in ("present", "missing_upstream", "quarantined")
    ]
    connection.execute(
        """INSERT INTO coverage (dataset, symbol, series, available_from, present, missing_upstream, quarantined)
           VALUES ('open_interest', 'SOL/USDT', '5m', %s, %s, %s, %s)""",
        [START, *covered],
    )


def log_load(connection: Connection, first: int, last: int, symbols: str = "{BTC/USDT,SOL/USDT}") -> None:
    """The load log's entry of a batch that asked the sources for these days."""
    connection.execute(
        """INSERT INTO data_versions (batch, dataset, symbols, "window", sources, staged, inserted, updated, unchanged,
                                      quarantined, run, code_version)
           VALUES (%s, 'open_interest', %s, %s, '{}', 0, 0, 0, 0, 0, 'r', 'v')""",
        [f"{symbols} {first}", symbols, to_range(Window(day(first), day(last)))],
    )


def store_days(connection: Connection, first: int, last: int, source: str = "archive") -> None:
    connection.execute(
        """INSERT INTO open_interest (symbol, time, open_interest, open_interest_value, source)
           SELECT 'SOL/USDT', t, 1, 1, %s FROM generate_series(%s::timestamptz, %s::timestamptz, '5 minutes') t""",
        [source, day(first), day(last) - STEP],
    )


def only(connection: Connection, now: datetime = NOW) -> SeriesSummary:
    (summary,) = summarise(connection, start=START, now=now)
    return summary


def reasons(summary: SeriesSummary) -> list[tuple[Reason, int | None]]:
    return [(hole.reason, hole.points) for hole in summary.holes]


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


def test_of_what_rest_no_longer_keeps_nobody_says_that_it_was_asked(connection: Connection) -> None:
    ledger_row(connection, present=(0, 6), missing_upstream=(6, 10))
    store_days(connection, 0, 6)
    summary = only(connection, day(8) + STATISTICS_REACH + timedelta(minutes=1))
    explained = [hole for hole in summary.holes if hole.reason.explains]
    assert [(hole.reason, hole.windows) for hole in explained] == [
        (Reason.NO_SOURCE, (Window(day(8) + STEP, day(10)),)),
        (Reason.FORGOTTEN, (Window(day(6), day(8) + STEP),)),
    ]
    assert "REST were asked" not in Reason.FORGOTTEN


def test_what_lacks_while_the_market_of_a_contract_is_closed_is_explained_by_that(connection: Connection) -> None:
    ledger_row(connection, present=(0, 6), missing_upstream=(6, 10))
    store_days(connection, 0, 6)
    connection.execute(
        "INSERT INTO symbols (symbol, exchange_symbol, base, quote, contract_type, status, market)"
        " VALUES ('SOL/USDT', 'SOLUSDT', 'SOL', 'USDT', 'TRADIFI_PERPETUAL', 'TRADING', 'EQUITY')"
    )
    known, closed = [Window(day(0), day(20))], [Window(day(5), day(8))]
    connection.execute(
        "INSERT INTO market_sessions (market, known, closed) VALUES ('EQUITY', %s, %s)",
        [to_multirange(known), to_multirange(closed)],
    )
    assert reasons(only(connection)) == [(Reason.NO_SOURCE, 2 * DAY_POINTS), (Reason.CLOSED, 2 * DAY_POINTS)]
    assert only(connection).complete


@pytest.mark.parametrize("asked", [(0, 9), (0, 10)])
def test_what_has_settled_after_the_last_covered_instant_is_not_loaded_however_young(
    connection: Connection, asked: tuple[int, int]
) -> None:
    ledger_row(connection, present=(0, 9))
    store_days(connection, 0, 9)
    log_load(connection, *asked)
    minutes_later = only(connection, day(9) + timedelta(minutes=20, seconds=30))
    assert reasons(minutes_later) == [(Reason.NOT_LOADED, 4)]
    assert reasons(only(connection)) == [(Reason.NOT_LOADED, DAY_POINTS)]
    assert not only(connection).complete


def test_a_series_that_nothing_covers_is_not_loaded(connection: Connection) -> None:
    ledger_row(connection)
    log_load(connection, 0, 10)
    assert reasons(only(connection)) == [(Reason.NOT_LOADED, 10 * DAY_POINTS)]


def test_of_a_symbol_that_is_not_collected_only_what_lies_between_what_was_loaded_lacks(
    connection: Connection,
) -> None:
    ledger_row(connection, present=[(2, 4), (5, 6)])
    store_days(connection, 2, 4)
    store_days(connection, 5, 6)
    log_load(connection, 2, 6)
    (summary,) = summarise(connection, start=START, now=NOW, is_collected=lambda _: False)
    assert summary.window == Window(day(2), day(6))
    assert reasons(summary) == [(Reason.UNEXPLAINED, DAY_POINTS)]


def test_a_young_gap_that_was_asked_for_waits_for_the_archive(connection: Connection) -> None:
    ledger_row(connection, present=[(0, 8), (9, 10)])
    store_days(connection, 0, 8)
    store_days(connection, 9, 10)
    log_load(connection, 7, 10)
    assert reasons(only(connection)) == [(Reason.TOO_YOUNG, DAY_POINTS)]
    assert only(connection).complete


def test_a_day_is_young_as_a_whole_because_its_file_comes_as_a_whole(connection: Connection) -> None:
    ledger_row(connection, present=[(0, 6), (7, 10)])
    store_days(connection, 0, 6)
    store_days(connection, 7, 10)
    log_load(connection, 0, 10)
    assert reasons(only(connection, NOW - STEP)) == [(Reason.TOO_YOUNG, DAY_POINTS)]
    assert reasons(only(connection, NOW)) == [(Reason.UNEXPLAINED, DAY_POINTS)]


def test_a_gap_that_no_load_has_asked_for_is_not_loaded_however_young(connection: Connection) -> None:
    ledger_row(connection, present=[(0, 8), (9, 10)])
    store_days(connection, 0, 8)
    store_days(connection, 9, 10)
    log_load(connection, 0, 8)
    log_load(connection, 9, 10)
    log_load(connection, 0, 10, "{BTC/USDT}")
    assert reasons(only(connection)) == [(Reason.NOT_LOADED, DAY_POINTS)]


def test_an_old_gap_that_was_asked_for_is_unexplained(connection: Connection) -> None:
    ledger_row(connection, present=[(0, 2), (3, 10)])
    store_days(connection, 0, 2)
    store_days(connection, 3, 10)
    log_load(connection, 0, 10)
    assert reasons(only(connection)) == [(Reason.UNEXPLAINED, DAY_POINTS)]
    assert not only(connection).complete


def test_rows_that_the_ledger_promises_and_the_table_lacks_are_found(connection: Connection) -> None:
    ledger_row(connection, present=(0, 10))
    store_days(connection, 0, 9)
    summary = only(connection)
    assert reasons(summary) == [(Reason.LOST, DAY_POINTS)]
    assert not summary.complete


def test_rows_that_the_ledger_does_not_know_make_up_for_no_lost_ones(connection: Connection) -> None:
    ledger_row(connection, present=(0, 9), missing_upstream=(9, 10))
    store_days(connection, 0, 8)
    store_days(connection, 9, 10)
    summary = only(connection)
    assert reasons(summary) == [
        (Reason.NO_SOURCE, DAY_POINTS),
        (Reason.LOST, DAY_POINTS),
        (Reason.ORPHANED, DAY_POINTS),
    ]
    assert [hole.windows for hole in summary.holes if hole.reason is Reason.ORPHANED] == [(Window(day(9), day(10)),)]
    assert summary.missing == 2 * DAY_POINTS
    assert not summary.complete


def test_a_settlement_outside_of_what_was_answered_is_found_though_funding_has_no_grid(connection: Connection) -> None:
    connection.execute(
        """INSERT INTO coverage (dataset, symbol, series, available_from, present)
           VALUES ('funding_rate', 'SOL/USDT', 'settlement', %s, %s)""",
        [START, to_multirange([Window(START, day(9))])],
    )
    connection.execute(
        """INSERT INTO funding_rate (symbol, time, funding_rate, interval_hours, source)
           SELECT 'SOL/USDT', t, 0, 8, 'rest' FROM generate_series(%s::timestamptz, %s, '8 hours') t""",
        [START, day(9)],
    )
    assert reasons(only(connection)) == [(Reason.NOT_LOADED, None), (Reason.ORPHANED, 1)]


def test_the_table_names_every_hole_without_cutting_anything_off(connection: Connection) -> None:
    ledger_row(connection, present=(0, 6), missing_upstream=(6, 10))
    store_days(connection, 0, 6)
    console = Console(width=WIDTH, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(render([only(connection)]))
    text = captured.get()
    assert "…" not in text
    assert "open_interest SOL/USDT 5m: 1,152 points 2026-10-07 00:00 to 2026-10-11 00:00: no source has it" in text


def scans_of_the_log(connection: Connection) -> int:
    connection.execute("SELECT pg_stat_force_next_flush()")
    counted = "SELECT seq_scan + idx_scan AS scans FROM pg_stat_user_tables WHERE relname = 'data_versions'"
    return int(one(connection, counted, {})["scans"])


def test_the_log_is_read_once_for_all_the_symbols_of_a_dataset(connection: Connection) -> None:
    connection.execute(
        """INSERT INTO coverage (dataset, symbol, series, available_from, present)
           SELECT 'open_interest', 'S' || n || '/USDT', '5m', %s, %s FROM generate_series(1, 20) n""",
        [START, to_multirange([Window(day(0), day(10))])],
    )
    log_load(connection, 0, 10, "{S1/USDT,S20/USDT}")
    before = scans_of_the_log(connection)
    assert len(summarise(connection, start=START, now=NOW)) == 20
    assert scans_of_the_log(connection) - before == 1
