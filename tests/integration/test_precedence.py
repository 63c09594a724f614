"""What may overwrite what: the archive over REST, column by column, in whatever order they are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import permutations

import pytest

from perpflow.datasets import DATASETS
from perpflow.store.database import session
from perpflow.windows import Window
from simulator.process import Handle
from simulator.truth import Truth
from tests.loading import Row, deployment_of, facts, ingest, load, request, rows, utc

#: Before the daily files of 14 October appear (08:40), and after.
BEFORE, AFTER = utc("2026-10-15T06:00:00"), utc("2026-10-16T12:00:00")
DAY = Window(utc("2026-10-14"), utc("2026-10-15"))
#: When the month of funding is in the archive.
NOVEMBER = utc("2026-11-04T12:00:00")
#: Takes the archive's file of 14 October away: REST has to answer.
HIDDEN = {
    "ohlcv": "/daily/klines/*2026-10-14",
    "metrics": "/daily/metrics/*2026-10-14",
    "funding": "/fundingRate/*2026-10",
}


@pytest.fixture(scope="module")
def truth(exchange: Handle) -> Truth:
    return Truth(exchange.seed)


@pytest.fixture
def market(exchange: Handle) -> Iterator[Handle]:
    """The exchange, put right afterwards."""
    yield exchange
    exchange.clear_faults()
    exchange.set_now(exchange.now)


def day_of(url: str, dataset: str) -> list[Row]:
    at = [column.name for column in DATASETS[dataset].columns].index("time")
    return [row for row in facts(url, dataset) if row[at] in DAY]


def load_day(url: str, market: Handle, dataset: str, run: str, window: Window = DAY, hidden: str | None = None) -> None:
    """Load the day again, from the archive or, where its file is hidden, from REST."""
    fault = market.add_fault("not_found", match=hidden) if hidden else None
    load(
        deployment_of(url, market, datasets={"ohlcv": {"timeframes": ["1h"]}}),
        request(run, window.start, window.end, datasets=(dataset,), again=True),
    )
    if fault is not None:
        assert next(entry for entry in market.faults() if entry["id"] == fault)["struck"] > 0
        market.remove_fault(fault)


def archive_ratios(truth: Truth) -> list[Row]:
    return [row[1:5] for row in truth.long_short_ratio("SOLUSDT", DAY.start, DAY.end)]


def rest_ratios(truth: Truth) -> list[Row]:
    return [row[1:] for row in truth.long_short_ratio("SOLUSDT", DAY.start, DAY.end, "rest")]


def test_what_is_ingested_before_the_archive_appears_is_replaced_by_it_and_keeps_what_it_lacks(
    empty_database_url: str, market: Handle, truth: Truth
) -> None:
    deployment = deployment_of(empty_database_url, market, symbols=("SOL/USDT",), look_back_days=1)
    market.set_now(BEFORE)
    ingest(deployment, "long_short_ratio", "ingest")
    before = day_of(empty_database_url, "long_short_ratio")
    assert {row[-1] for row in before[72:]} == {"rest"}
    assert [row[2:-1] for row in before] == rest_ratios(truth)[-len(before) :]

    market.set_now(AFTER)
    load_day(empty_database_url, market, "long_short_ratio", "history")
    after = day_of(empty_database_url, "long_short_ratio")
    assert len(after) == 288
    assert {row[-1] for row in after} == {"archive"}
    assert [row[2:6] for row in after] == archive_ratios(truth)
    assert [row[6:11] for row in after][-len(before) :] == [row[4:] for row in rest_ratios(truth)][-len(before) :]


def test_rests_four_decimals_never_replace_the_archives_eight(
    empty_database_url: str, market: Handle, truth: Truth
) -> None:
    market.set_now(AFTER)
    load_day(empty_database_url, market, "long_short_ratio", "archive")
    load_day(empty_database_url, market, "long_short_ratio", "rest", hidden=HIDDEN["metrics"])
    stored = day_of(empty_database_url, "long_short_ratio")
    assert [row[2:6] for row in stored] == archive_ratios(truth)
    assert [row[6:11] for row in stored] == [row[4:] for row in rest_ratios(truth)]
    assert {row[-1] for row in stored} == {"archive"}


@pytest.mark.parametrize("order", [("rest", "archive"), ("archive", "rest"), ("rest", "archive", "rest")])
def test_rests_mark_price_survives_the_archives_row(
    empty_database_url: str, market: Handle, truth: Truth, order: tuple[str, ...]
) -> None:
    market.set_now(NOVEMBER)
    for n, source in enumerate(order):
        hidden = HIDDEN["funding"] if source == "rest" else None
        load_day(empty_database_url, market, "funding_rate", f"{n}", hidden=hidden)
    expected = truth.funding_rate("SOLUSDT", DAY.start, DAY.end)
    assert [row[1:5] for row in day_of(empty_database_url, "funding_rate")] == expected
    assert all(row[2] for row in expected)
    # A source that only confirms a row leaves it alone, its name included.
    assert {row[-1] for row in facts(empty_database_url, "funding_rate")} == {order[0]}


def test_the_archive_corrects_what_rest_had_wrong(empty_database_url: str, market: Handle, truth: Truth) -> None:
    market.set_now(AFTER)
    wrong = market.add_fault("corrupt_rows", dataset="klines", symbol="SOLUSDT", date="2026-10-14", what="price_spike")
    load_day(empty_database_url, market, "ohlcv", "rest", hidden=HIDDEN["ohlcv"])
    market.remove_fault(wrong)
    right = truth.ohlcv("SOLUSDT", "1h", DAY.start, DAY.end)
    spoiled = [row[2:-1] for row in day_of(empty_database_url, "ohlcv")]
    assert [n for n, (found, wanted) in enumerate(zip(spoiled, right, strict=True)) if found != wanted] == [6, 7, 8]
    seen = first_seen(empty_database_url)

    load_day(empty_database_url, market, "ohlcv", "archive")
    assert [row[2:] for row in day_of(empty_database_url, "ohlcv")] == [
        (*row, "archive" if n in (6, 7, 8) else "rest") for n, row in enumerate(right)
    ]
    assert [time for time, _ in first_seen(empty_database_url)] == [time for time, _ in seen]
    changed = [n for n, (a, b) in enumerate(zip(first_seen(empty_database_url), seen, strict=True)) if a != b]
    assert changed == [6, 7, 8]


def first_seen(url: str) -> list[tuple[datetime, datetime]]:
    """When each candle was first seen and last changed."""
    with session(url) as connection:
        return rows(connection, "SELECT first_seen_at, ingested_at FROM ohlcv ORDER BY time")


def test_rest_does_not_spoil_what_the_archive_gave(empty_database_url: str, market: Handle, truth: Truth) -> None:
    market.set_now(AFTER)
    load_day(empty_database_url, market, "ohlcv", "archive")
    market.add_fault("corrupt_rows", dataset="klines", symbol="SOLUSDT", date="2026-10-14", what="price_spike")
    load_day(empty_database_url, market, "ohlcv", "rest", hidden=HIDDEN["ohlcv"])
    right = truth.ohlcv("SOLUSDT", "1h", DAY.start, DAY.end)
    assert [row[2:] for row in day_of(empty_database_url, "ohlcv")] == [(*row, "archive") for row in right]


#: Overlapping pieces of the day and where each comes from.
PIECES = (("rest", "00:00", "12:00"), ("archive", "06:00", "18:00"), ("rest", "16:00", "20:00"))


@pytest.mark.parametrize("order", list(permutations(range(len(PIECES)))))
def test_overlapping_loads_give_the_same_rows_in_whatever_order(
    empty_database_url: str, market: Handle, truth: Truth, order: tuple[int, ...]
) -> None:
    market.set_now(AFTER)
    for n in order:
        source, start, end = PIECES[n]
        window = Window(utc(f"2026-10-14T{start}"), utc(f"2026-10-14T{end}"))
        hidden = HIDDEN["metrics"] if source == "rest" else None
        load_day(empty_database_url, market, "long_short_ratio", f"{n}", window, hidden)
    archive, rest = archive_ratios(truth), rest_ratios(truth)
    expected = []
    for n in range(20 * 12):
        by_archive, by_rest = 6 * 12 <= n < 18 * 12, n < 12 * 12 or n >= 16 * 12
        ratios = archive[n] if by_archive else rest[n][:4]
        expected.append((*ratios, *(rest[n][4:] if by_rest else [None] * 5), "archive" if by_archive else "rest"))
    assert [row[2:] for row in day_of(empty_database_url, "long_short_ratio")] == expected
