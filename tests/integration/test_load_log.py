"""Old entries of the load log become one per day and group of symbols, and nothing that anybody needs is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from perpflow.store import ledger
from perpflow.store.database import Connection, from_multirange, query, session, to_range
from perpflow.windows import Window
from tests.loading import rows

KEEP = timedelta(days=30)
#: Noon of a day that is over for longer than that, wherever in today the test runs.
OLD = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - KEEP - timedelta(days=3)
HOUR = timedelta(hours=1)
COUNTS = ("staged", "inserted", "updated", "corrected", "unchanged", "quarantined")


@pytest.fixture
def connection(empty_database_url: str) -> Iterator[Connection]:
    with session(empty_database_url) as opened:
        yield opened


def log_load(connection: Connection, number: int, published_at: datetime, **changed: Any) -> None:
    """A batch's entry: the hour of its number, of two symbols, with counts that tell entries apart."""
    entry = {
        "batch": f"batch {number}",
        "dataset": "ohlcv",
        "symbols": ["BTC/USDT", "SOL/USDT"],
        "window": to_range(Window(OLD + number * HOUR, OLD + (number + 1) * HOUR)),
        "sources": ["rest"],
        **dict(zip(COUNTS, (24, 12 + number, 4, 1, 8 - number, 0), strict=True)),
        "normalised": Jsonb({"duplicate": number, "snapped": 1} if number else {}),
        "warnings": Jsonb([]),
        "run": f"run {number}",
        "code_version": "1",
    }
    connection.execute(query("publish_version"), entry | changed)
    connection.execute("UPDATE data_versions SET published_at = %s WHERE batch = %s", [published_at, f"batch {number}"])


def entries(connection: Connection) -> list[tuple[Any, ...]]:
    return rows(
        connection,
        'SELECT run, dataset, symbols, lower("window"), upper("window"), batches FROM data_versions ORDER BY 1, 4',
    )


def sums(connection: Connection) -> list[tuple[Any, ...]]:
    """What the quality table and the summary of what was asked make of the log."""
    asked = connection.execute(query("summary_asked"), {"dataset": "ohlcv", "symbols": ["SOL/USDT", "ETH/USDT"]})
    quality = [tuple(row.values()) for row in connection.execute(query("summary_quality"))]
    corrected = rows(connection, "SELECT dataset, sum(corrected)::bigint FROM data_versions GROUP BY 1 ORDER BY 1")
    return [*quality, *corrected, *sorted((row["symbol"], *from_multirange(row["asked"])) for row in asked)]


def test_the_old_entries_of_a_day_and_the_same_symbols_become_one_whose_counts_are_their_sums(
    connection: Connection,
) -> None:
    for number in range(4):
        log_load(connection, number, OLD + number * HOUR)
    before = sums(connection)
    assert ledger.fold_log(connection, KEEP) == (4, 1)
    both = ["BTC/USDT", "SOL/USDT"]
    assert entries(connection) == [("folded", "ohlcv", both, OLD, OLD + 4 * HOUR, 4)]
    assert sums(connection) == before
    assert rows(connection, "SELECT normalised, published_at, sources, code_version FROM data_versions") == [
        ({"duplicate": 6, "snapped": 3}, OLD + 3 * HOUR, ["rest"], "1")
    ]


def test_folding_again_changes_nothing_and_takes_in_what_has_grown_old_meanwhile(connection: Connection) -> None:
    for number in range(3):
        log_load(connection, number, OLD)
    ledger.fold_log(connection, KEEP)
    assert ledger.fold_log(connection, KEEP) == (0, 0)
    log_load(connection, 3, OLD)
    before = sums(connection)
    assert ledger.fold_log(connection, KEEP) == (2, 1)
    assert [entry[3:] for entry in entries(connection)] == [(OLD, OLD + 4 * HOUR, 4)]
    assert sums(connection) == before


@pytest.mark.parametrize(
    "changed",
    [
        {"dataset": "open_interest"},
        {"symbols": ["SOL/USDT"]},
        {"sources": ["archive"]},
        {"code_version": "2"},
        {"window": to_range(Window(OLD + 90 * HOUR, OLD + 91 * HOUR))},
        {"quarantined": 1},
        {"warnings": Jsonb([{"object": "data/futures/x.zip", "verdict": "damaged", "detail": ""}])},
    ],
    ids=["dataset", "symbols", "sources", "code", "windows apart", "withheld", "warned"],
)
def test_what_differs_or_was_withheld_or_warned_of_keeps_its_own_entry(
    connection: Connection, changed: dict[str, Any]
) -> None:
    for number in range(3):
        log_load(connection, number, OLD)
    log_load(connection, 3, OLD, **changed)
    before, alone = sums(connection), rows(connection, "SELECT * FROM data_versions WHERE batch = 'batch 3'")
    assert ledger.fold_log(connection, KEEP) == (3, 1)
    assert rows(connection, "SELECT * FROM data_versions WHERE batch = 'batch 3'") == alone
    assert sums(connection) == before


def test_another_day_and_what_is_not_old_yet_are_left_apart(connection: Connection) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    for number, published_at in enumerate((OLD, OLD, OLD - timedelta(days=1), yesterday, yesterday)):
        log_load(connection, number, published_at)
    assert ledger.fold_log(connection, KEEP) == (2, 1)
    assert [entry[0] for entry in entries(connection)] == ["folded", "run 2", "run 3", "run 4"]


def test_two_that_fold_at_once_do_it_once(connection: Connection, empty_database_url: str) -> None:
    for number in range(200):
        log_load(connection, number, OLD, normalised=Jsonb({}), unchanged=0)
    before = sums(connection)

    def fold() -> None:
        with session(empty_database_url) as other:
            ledger.fold_log(other, KEEP)

    threads = [threading.Thread(target=fold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry[3:] for entry in entries(connection)] == [(OLD, OLD + 200 * HOUR, 200)]
    assert sums(connection) == before


def test_the_room_of_folded_entries_serves_the_next_ones(connection: Connection) -> None:
    def grown(first: int) -> int:
        for number in range(first, first + 200):
            log_load(connection, number, OLD, normalised=Jsonb({}), unchanged=0)
        size = rows(connection, "SELECT pg_relation_size('data_versions')")[0][0]
        ledger.fold_log(connection, KEEP)
        return int(size)

    first, *later = (grown(number) for number in (0, 200, 400, 600))
    assert max(later) <= 1.5 * first
