"""Months of three symbols, quirks included, compared whole with what a correct collector stores.

The exchange stands at 2026-10-15T12:34:56Z: daily files exist to 14 October, monthly ones to September, and REST gives
statistics since 15 September.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perpflow import reporting
from perpflow.coverage_summary import summarise
from perpflow.datasets import DATASETS
from perpflow.store import ledger
from perpflow.store.database import session
from perpflow.store.ledger import Coverage
from perpflow.windows import DAY, TIMEFRAMES, Window, months
from simulator.process import Handle
from simulator.truth import Truth
from tests.expected import Expected, settled_points, stored_points
from tests.loading import EXCHANGE_SYMBOLS, Row, deployment_of, facts, load, request, rows, utc, windows_of

SYMBOLS = ("ALICE/USDT", "BTC/USDT", "SOL/USDT")
NOW = utc("2026-10-15T12:34:56")
#: In June the monthly file lacks the 9th and the metrics of the 16th break off for ever; in July ALICE changes its
#: funding interval; August to October hold the rest.
JUNE, JULY = Window(utc("2026-06-08"), utc("2026-06-18")), Window(utc("2026-07-18"), utc("2026-07-25"))
AUTUMN = Window(utc("2026-08-04"), NOW)


def spans_of(dataset: str, symbol: str) -> list[Window]:
    """What is loaded of a series, ascending."""
    if symbol == "SOL/USDT":
        return [JUNE, AUTUMN]
    return [JULY, AUTUMN] if (dataset, symbol) == ("funding_rate", "ALICE/USDT") else [AUTUMN]


@pytest.fixture(scope="module")
def loaded(database_url: str, exchange: Handle) -> str:
    """The database after both loads; their reports were clean, or this fixture fails."""
    deployment = deployment_of(database_url, exchange)
    for asked in (
        request("june", JUNE.start, JUNE.end),
        request("july", JULY.start, JULY.end, symbols=("ALICE/USDT",), datasets=("funding_rate",)),
        request("autumn", AUTUMN.start, AUTUMN.end, symbols=SYMBOLS, symbols_per_task=3),
    ):
        reporting.report(deployment, load(deployment, asked))
    return database_url


@pytest.fixture(scope="module")
def expected(exchange: Handle) -> Expected:
    return Expected(Truth(exchange.seed), exchange.now)


def expected_rows(expected: Expected, dataset: str) -> Iterator[Row]:
    for symbol in SYMBOLS:
        for span in spans_of(dataset, symbol):
            yield from expected.rows(dataset, symbol, span)


def coverage(url: str, dataset: str) -> list[Coverage]:
    with session(url) as connection:
        return ledger.read(connection, (dataset,))


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_table_equals_the_truth_row_by_row(loaded: str, expected: Expected, dataset: str) -> None:
    wanted = sorted(expected_rows(expected, dataset), key=lambda row: row[: len(DATASETS[dataset].key)])
    found = facts(loaded, dataset)
    assert {row[-1] for row in wanted} == {"archive", "rest"}
    assert len(found) == len(wanted)
    assert [pair for pair in zip(found, wanted, strict=True) if pair[0] != pair[1]][:5] == []


def test_the_expectation_holds_the_cases_that_it_is_about(expected: Expected) -> None:
    ratios = {row[1]: row for row in expected.long_short_ratio("SOL/USDT", AUTUMN)}
    interest = {row[1] for row in expected.open_interest("SOL/USDT", AUTUMN)}
    hours = {row[4] for row in expected.funding_rate("ALICE/USDT", AUTUMN)}
    assert ratios[utc("2026-10-03T13:30")][-1] == "archive"
    assert ratios[utc("2026-10-03T13:35")][-1] == "rest"
    assert utc("2026-10-08T02:00") in ratios
    assert utc("2026-10-08T02:00") not in interest
    assert utc("2026-08-05T12:00") not in {row[1] for row in expected.open_interest("ALICE/USDT", AUTUMN)}
    assert hours == {4}
    assert {row[4] for row in expected.funding_rate("ALICE/USDT", JULY)} == {4, 8}
    premiums = [row[3:7] for row in expected_rows(expected, "premium_index")]
    assert min(map(min, premiums)) < 0 < max(map(max, premiums))


@pytest.mark.parametrize("dataset", [name for name, spec in DATASETS.items() if spec.timeframe_of(spec.series[0])])
def test_every_expected_point_is_present_or_missing_for_a_reason(loaded: str, dataset: str) -> None:
    stored = stored_points(loaded, dataset)
    for row in coverage(loaded, dataset):
        grid = DATASETS[dataset].timeframe_of(row.series)
        assert grid is not None
        points = {point for span in spans_of(dataset, row.symbol) for point in settled_points(grid, span)}
        have = stored[row.symbol, row.series]
        assert have <= points
        assert row.present == windows_of(have, grid), (row.symbol, row.series)
        assert row.missing_upstream == windows_of(points - have, grid), (row.symbol, row.series)
        assert row.quarantined == []
        assert (row.recheck_at is None) == (points == have)


#: In August an hour, on 8 October half an hour from the archive and again from REST.
BLANK = 12 + 6 + 6

MISSING_INTEREST = {
    "ALICE/USDT": [("2026-08-05", "2026-08-06")],
    "BTC/USDT": [],
    "SOL/USDT": [
        ("2026-06-16T13:35", "2026-06-17"),
        ("2026-08-27T04:00", "2026-08-27T05:00"),
        ("2026-10-08T02:00", "2026-10-08T02:30"),
    ],
}

#: The hour around it is there.
MISSING_CANDLES = {("mark_price", "SOL/USDT", "5m"): [Window(utc("2026-09-10T03:40"), utc("2026-09-10T04:00"))]}


def test_what_no_reachable_source_has_is_missing_upstream_and_nothing_else_is(loaded: str) -> None:
    named = {symbol: [Window(utc(a), utc(b)) for a, b in spans] for symbol, spans in MISSING_INTEREST.items()}
    assert {row.symbol: row.missing_upstream for row in coverage(loaded, "open_interest")} == named
    # The ratios of those instants are there: open interest of zero says nothing about them.
    named["SOL/USDT"] = named["SOL/USDT"][:1]
    for row in coverage(loaded, "long_short_ratio"):
        assert row.missing_upstream == named[row.symbol], row.series
    for name in (name for name, spec in DATASETS.items() if spec.series_in_key):
        found = coverage(loaded, name)
        assert len(found) == len(SYMBOLS) * len(DATASETS[name].series)
        assert [
            row for row in found if row.missing_upstream != MISSING_CANDLES.get((name, row.symbol, row.series), [])
        ] == []


def test_funding_is_present_where_a_source_answered_the_whole_window(loaded: str) -> None:
    for row in coverage(loaded, "funding_rate"):
        spans = spans_of("funding_rate", row.symbol)
        assert [window.start for window in row.present] == [span.start for span in spans]
        # A settlement is over in an instant: the hour of the last one that may have been is covered whole.
        ends = [*(span.end for span in spans[:-1]), TIMEFRAMES["1h"].ceil(NOW - DATASETS["funding_rate"].settles_after)]
        assert [window.end for window in row.present] == ends


def test_the_life_of_a_series_is_where_any_source_begins(loaded: str, expected: Expected) -> None:
    for dataset in DATASETS:
        for row in coverage(loaded, dataset):
            timeframe = row.series if DATASETS[dataset].series_in_key else "5m"
            begins = expected.truth.available_from(dataset, EXCHANGE_SYMBOLS[row.symbol], timeframe)
            assert row.available_from == begins, row
            assert row.evidence


def test_the_load_log_accounts_for_every_staged_row(loaded: str, expected: Expected) -> None:
    with session(loaded) as connection:
        log = rows(
            connection,
            """SELECT dataset, sum(staged)::int, sum(inserted)::int, sum(updated)::int, sum(unchanged)::int,
                      sum(quarantined)::int
               FROM data_versions GROUP BY dataset ORDER BY dataset""",
        )
    wanted = []
    for name in sorted(DATASETS):
        staged = sum(staged_for(name, row) for row in expected_rows(expected, name))
        stored = len(facts(loaded, name))
        # Nothing was there before: what was staged and not inserted was united with another row.
        wanted.append((name, staged, stored, 0, staged - stored, 0))
    assert log == wanted
    assert [name for name, _, _, _, united, _ in log if united] == ["long_short_ratio"]


def staged_for(dataset: str, row: Row) -> int:
    """How many staged rows a stored one was made of: REST gives each ratio in a row of its own."""
    return len(DATASETS[dataset].series) if dataset == "long_short_ratio" and row[-1] == "rest" else 1


def test_normalisation_is_counted_by_rule(loaded: str) -> None:
    with session(loaded) as connection:
        counted = rows(
            connection,
            """SELECT dataset, rule, sum(count::int)::int
               FROM data_versions, jsonb_each_text(normalised) AS n (rule, count)
               WHERE rule <> 'trimmed' GROUP BY 1, 2 ORDER BY 1, 2""",
        )
    candles_of_a_day = 288 + 96 + 24 + 6 + 1
    assert ("ohlcv", "duplicate", candles_of_a_day) in counted
    assert ("open_interest", "snapped", 288) in counted
    assert ("long_short_ratio", "snapped", 288) in counted
    assert ("open_interest", "unsorted", 3) in counted
    assert ("open_interest", "blank", BLANK) in counted


def test_each_archive_object_is_read_once_and_recorded(loaded: str, expected: Expected) -> None:
    with session(loaded) as connection:
        recorded = rows(connection, "SELECT key, verdict, sha256 IS NOT NULL, rows > 0 FROM archive_objects")
    assert {row[1:] for row in recorded} == {("ok", True, True)}
    assert {row[0] for row in recorded} == set(wanted_objects(expected))


#: What SOL's months of 5m candles have not, their days may have.
LACKING_DAYS = (("klines", "2026-06-09"), ("markPriceKlines", "2026-09-10"))


def wanted_objects(expected: Expected) -> Iterator[str]:
    """Whole months as months, October and what the month lacks by the day, statistics by the day, funding by month."""
    folders = [(name, series) for name, spec in DATASETS.items() if spec.series_in_key for series in spec.series]
    for dataset, interval in (*folders, ("open_interest", None), ("funding_rate", None)):
        for symbol in SYMBOLS:
            name, kind = EXCHANGE_SYMBOLS[symbol], DATASETS[dataset].archive.kind
            spans = spans_of(dataset, symbol)
            yield from (key for key in expected.truth.published(kind, name, NOW, interval) if is_wanted(key, spans))


def is_wanted(key: str, spans: list[Window]) -> bool:
    label = key.removesuffix(".zip")[-10:]
    if "/monthly/" in key:
        return any(month.start == utc(f"{label[-7:]}-01") for span in spans for month in months(span))
    inside = any(utc(label) in Window(span.start, span.end) for span in spans)
    lacking = any(f"/{kind}/SOLUSDT/5m/" in key and label == day for kind, day in LACKING_DAYS)
    return inside and ("/metrics/" in key or label >= "2026-10-01" or lacking)


def test_gaps_are_what_was_never_asked_for(loaded: str) -> None:
    between = Window(JUNE.end, AUTUMN.start)
    with session(loaded) as connection:
        for spec in DATASETS.values():
            keys = {("SOL/USDT", series): Window(JUNE.start, AUTUMN.end - DAY) for series in spec.series}
            assert ledger.gaps(connection, spec, keys, now=NOW) == {key: [between] for key in keys}


def test_the_summary_finds_every_point_or_its_reason_and_calls_the_rest_not_loaded(loaded: str) -> None:
    with session(loaded) as connection:
        autumn = summarise(connection, start=AUTUMN.start, now=NOW)
        from_june = summarise(connection, start=JUNE.start, now=NOW)
    assert len(autumn) == len(SYMBOLS) * sum(len(spec.series) for spec in DATASETS.values())
    assert [summary for summary in autumn if not summary.complete or not summary.rows] == []
    between = {
        hole.windows
        for summary in from_june
        if summary.symbol == "SOL/USDT"
        for hole in summary.holes
        if not hole.reason.explains
    }
    assert between == {(Window(JUNE.end, AUTUMN.start),)}


def test_nothing_is_left_in_staging(loaded: str) -> None:
    with session(loaded) as connection:
        left = {name: rows(connection, f"TABLE staging.{name}") for name in (*DATASETS, "manifests")}
    assert left == {name: [] for name in (*DATASETS, "manifests")}
