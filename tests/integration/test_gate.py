"""The gate against a real database: each expectation catches its corruption, withholds those rows and no others."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from perpflow.datasets import DATASETS
from perpflow.errors import BadSuite, StoreUnavailable
from perpflow.quality import validation
from perpflow.quality.gate import check
from perpflow.quality.suites import load_suite
from perpflow.quality.verdict import Finding, Verdict
from perpflow.store.database import Connection
from perpflow.windows import TIMEFRAMES, Window, to_ms
from tests.staged_rows import (
    CANDLES,
    ENDED,
    FIVE,
    MAKERS,
    NEIGHBOUR_RULES,
    RATIOS,
    SET_RULES,
    SET_WARNINGS,
    STAGE_IDS,
    START,
    WINDOW,
    Row,
    candle,
    day,
    funding,
    interest,
    moved,
    ratios,
)


def critical(verdict: Verdict) -> list[Finding]:
    return [finding for finding in verdict.findings if finding.severity == "critical"]


def not_null(column: str) -> str:
    return f"expect_column_values_to_not_be_null({column})"


def between(column: str) -> str:
    return f"expect_column_values_to_be_between({column})"


NAN, INFINITE = float("nan"), float("inf")
HIGHEST, LOWEST, TAKERS = "high_is_the_highest", "low_is_the_lowest", "taker_buys_within_all"
VOLUMES = ("volume", "quote_volume", "trade_count", "taker_buy_volume", "taker_buy_quote_volume")
SHARES = tuple(f"{name}_long_share" for name in RATIOS[:3])


def corrupt_candles(dataset: str) -> list[tuple[str, Row, set[str]]]:
    """What may be wrong with a candle of any kind."""
    above, below = (0.2, -0.2) if dataset == "premium_index" else (200, 1)
    wrong: list[tuple[Row, set[str]]] = [
        *(({name: None}, {not_null(name)}) for name in ("open", "high", "low", "close")),
        ({"high": NAN}, {between("high")}),
        ({"high": INFINITE}, {between("high")}),
        ({"open": NAN}, {between("open"), HIGHEST}),
        ({"close": INFINITE}, {between("close"), HIGHEST}),
        ({"low": -INFINITE}, {between("low")}),
        ({"open": above}, {HIGHEST}),
        ({"close": above}, {HIGHEST}),
        ({"open": below}, {LOWEST}),
        ({"close": below}, {LOWEST}),
        ({"close_time_ms": to_ms(START)}, {"close_time_fits_timeframe"}),
        ({"close_time_ms": None}, {"close_time_fits_timeframe"}),
        ({"timeframe": "7m"}, {"expect_column_values_to_be_in_set(timeframe)"}),
        ({"open_time_ms": None}, {not_null("time")}),
    ]
    return [(dataset, row, names) for row, names in wrong]


#: (dataset, what the wire says instead, the expectations that must fail: these and no others)
CORRUPTIONS: list[tuple[str, Row, set[str]]] = [
    *[corruption for name in CANDLES for corruption in corrupt_candles(name)],
    *[("ohlcv", {name: None}, {not_null(name)}) for name in VOLUMES],
    *[(name, {"low": 0}, {between("low")}) for name in ("ohlcv", "mark_price")],
    ("ohlcv", {"volume": INFINITE}, {between("volume")}),
    ("ohlcv", {"quote_volume": NAN}, {between("quote_volume")}),
    ("ohlcv", {"taker_buy_volume": -1}, {between("taker_buy_volume")}),
    ("ohlcv", {"taker_buy_quote_volume": -1}, {between("taker_buy_quote_volume")}),
    ("ohlcv", {"volume": -1, "taker_buy_volume": -2}, {between("volume"), between("taker_buy_volume")}),
    ("ohlcv", {"trade_count": -1}, {between("trade_count")}),
    ("ohlcv", {"taker_buy_volume": 12.01, "taker_buy_quote_volume": 1200.0}, {TAKERS}),
    (
        "ohlcv",
        {"taker_buy_quote_volume": 1e6},
        {TAKERS, "taker_quote_volume_fits_the_prices"},
    ),
    ("ohlcv", {"quote_volume": 5000.0}, {"quote_volume_fits_the_prices"}),
    ("ohlcv", {"taker_buy_quote_volume": 300.0}, {"taker_quote_volume_fits_the_prices"}),
    *[(name, {"symbol": "NOBODY/KNOWS"}, {"contract_is_known"}) for name in DATASETS],
    *[(name, {"symbol": ENDED}, {"before_the_contract_ended"}) for name in DATASETS],
    *[
        (name, {"exchange_symbol": "XUSDT"}, {"row_is_of_its_contract"})
        for name in ("open_interest", "long_short_ratio")
    ],
    ("open_interest", {"create_time": None}, {not_null("time")}),
    ("open_interest", {"reported_open_interest": -1}, {between("open_interest")}),
    ("open_interest", {"reported_open_interest": NAN}, {between("open_interest")}),
    ("open_interest", {"reported_open_interest_value": INFINITE}, {between("open_interest_value")}),
    (
        "open_interest",
        {"reported_open_interest": None},
        {not_null("open_interest"), not_null("open_interest_value")},
    ),
    ("funding_rate", {"funding_time_ms": None}, {not_null("time")}),
    ("funding_rate", {"funding_rate": None}, {not_null("funding_rate")}),
    ("funding_rate", {"funding_rate": 0.06}, {between("funding_rate")}),
    ("funding_rate", {"funding_rate": -0.06}, {between("funding_rate")}),
    ("funding_rate", {"funding_rate": NAN}, {between("funding_rate")}),
    ("funding_rate", {"mark_price": -INFINITE}, {between("mark_price")}),
    ("funding_rate", {"mark_price": 0}, {between("mark_price")}),
    ("long_short_ratio", {"create_time": None}, {not_null("time")}),
    ("long_short_ratio", dict.fromkeys(RATIOS), {"at_least_one_ratio"}),
    *[("long_short_ratio", {name: -1}, {between(name)}) for name in RATIOS],
    *[("long_short_ratio", {name: INFINITE}, {between(name)}) for name in RATIOS],
    *[("long_short_ratio", {name: 1.5}, {between(name)}) for name in SHARES],
    *[("long_short_ratio", {f"{name}_long_share": 0.4}, {f"{name}_fits_its_share"}) for name in RATIOS[:3]],
    (
        "long_short_ratio",
        {"taker_buy_volume": 90.0, "taker_sell_volume": 120.0},
        {"taker_volume_fits_its_volumes"},
    ),
    *[("long_short_ratio", {name: NAN}, {between(name)}) for name in ("taker_buy_volume", "taker_sell_volume")],
]


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_clean_day_passes_untouched(gates: Any, dataset: str) -> None:
    gate = gates(dataset)
    gate.stage(rows := day(dataset))
    assert gate.check() == Verdict(dataset, True, len(rows), ())
    assert gate.withheld() == {}


@pytest.mark.parametrize(("dataset", "corruption", "expected"), CORRUPTIONS)
def test_a_corrupt_row_is_caught_by_its_rules_alone_and_goes_alone(
    gates: Any, dataset: str, corruption: Row, expected: set[str]
) -> None:
    gate = gates(dataset)
    make = MAKERS[dataset]
    gate.stage(
        [make(START, n=1), {**make(START + timedelta(hours=8), n=2), **corruption}, make(START, n=3, symbol="X")]
    )
    verdict = gate.check()
    assert {finding.expectation for finding in critical(verdict)} == expected
    assert {origin: set(names) for origin, names in gate.withheld().items()} == {1: expected}
    assert (verdict.passed, verdict.rows) == (False, 3)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize(("by", "expected"), [(timedelta(days=2), "time_inside_window"), (timedelta(minutes=2), "")])
def test_time_has_to_lie_on_the_grid_and_in_the_window(gates: Any, dataset: str, by: timedelta, expected: str) -> None:
    grids = {name: "open_time_on_grid" for name, spec in DATASETS.items() if spec.series_in_key}
    grids["funding_rate"] = "time_on_the_hour"
    gate = gates(dataset)
    rows = day(dataset)[:3]
    gate.stage([rows[0], moved(dataset, rows[1], by), rows[2]])
    gate.check()
    assert gate.withheld() == {1: [expected or grids.get(dataset, "time_on_grid")]}


def test_a_row_before_the_window_is_withheld_and_one_at_its_start_is_not(gates: Any) -> None:
    gate = gates("ohlcv")
    gate.stage([candle(START - FIVE), candle(START)])
    gate.check()
    assert gate.withheld() == {0: ["time_inside_window"]}


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_every_timeframe_has_its_grid(gates: Any, timeframe: str) -> None:
    grid = TIMEFRAMES[timeframe]
    points = list(grid.points(Window(START, START + timedelta(days=70))))[:3]
    beside = candle(points[1] + timedelta(seconds=30), timeframe)
    beside["close_time_ms"] = to_ms(grid.after(points[1]) + timedelta(seconds=30)) - 1
    gate = gates("ohlcv")
    gate.stage([*(candle(point, timeframe, n) for n, point in enumerate(points)), beside])
    gate.check(Window(START, START + timedelta(days=200)))
    assert gate.withheld() == {len(points): ["open_time_on_grid"]}


@pytest.mark.parametrize("dataset", DATASETS)
def test_conflicting_duplicates_are_all_withheld_and_their_day_is_not(gates: Any, dataset: str) -> None:
    gate = gates(dataset)
    rows = day(dataset)
    first = MAKERS[dataset](START, n=99)
    gate.stage([*rows, first])
    verdict = gate.check()
    assert gate.withheld() == {0: ["one_row_per_key"], len(rows): ["one_row_per_key"]}
    assert [(finding.failing, finding.withheld) for finding in critical(verdict)] == [(2, 2)]


@pytest.mark.parametrize("dataset", DATASETS)
def test_two_sources_may_give_one_key(gates: Any, dataset: str) -> None:
    gate = gates(dataset)
    gate.stage([MAKERS[dataset](START, n=n, source=source) for n, source in enumerate(("archive", "rest"))])
    assert gate.check().passed


def test_rest_rows_of_one_key_give_a_ratio_each(gates: Any) -> None:
    gate = gates("long_short_ratio")
    none = dict.fromkeys(RATIOS)
    gate.stage([ratios(START, source="rest", series=name, **{**none, name: 1.2}) for name in RATIOS])
    assert gate.check().passed


def test_ten_thousand_failing_rows_are_all_withheld(gates: Any, connection: Connection) -> None:
    gate = gates("ohlcv")
    gate.stage([candle(START, low=-5.0)])
    copies = sql.SQL("""
        INSERT INTO staging.ohlcv (stage_id, origin, source, symbol, timeframe, open_time_ms, close_time_ms, open, high,
            low, close, volume, quote_volume, trade_count, taker_buy_volume, taker_buy_quote_volume)
        SELECT stage_id, n, source, symbol, timeframe, open_time_ms + n * 300000::bigint, close_time_ms, open + n,
            high + n, low, close + n, volume, quote_volume, trade_count, taker_buy_volume, taker_buy_quote_volume
        FROM staging.ohlcv, generate_series(1, 9999) AS n WHERE stage_id = {}""")
    connection.execute(copies.format(sql.Literal(gate.stage_id)))
    verdict = gate.check(Window(START, START + timedelta(days=60)))
    counts = {finding.expectation: (finding.failing, finding.withheld) for finding in verdict.findings}
    assert counts == {between("low"): (10000, 10000), "close_time_fits_timeframe": (9999, 9999)}
    assert len(gate.withheld()) == 10000
    assert all(len(finding.sample) == 3 for finding in verdict.findings)
    assert len(json.dumps(verdict.to_json())) < 2500


def test_a_warning_is_recorded_and_withholds_nothing(gates: Any) -> None:
    gate = gates("funding_rate")
    gate.stage([funding(START), funding(START + timedelta(hours=16), interval_hours=16)])
    verdict = gate.check()
    assert verdict.passed
    assert [(f.expectation, f.severity, f.failing, f.withheld) for f in verdict.findings] == [
        (between("interval_hours"), "warning", 1, 0)
    ]
    assert gate.withheld() == {}


def test_checking_again_starts_afresh(gates: Any, connection: Connection) -> None:
    gate = gates("ohlcv")
    gate.stage([candle(START, low=-5.0), candle(START + FIVE, low=-5.0)])
    first = gate.check()
    assert gate.check() == first
    assert gate.withheld() == {0: [between("low")], 1: [between("low")]}
    connection.execute("UPDATE staging.ohlcv SET low = 99 WHERE origin = 1 AND stage_id = %s", [gate.stage_id])
    assert [finding.failing for finding in gate.check().findings] == [1]
    assert gate.withheld() == {0: [between("low")]}


def test_other_batches_are_neither_read_nor_marked(gates: Any) -> None:
    bad, good = gates("ohlcv"), gates("ohlcv")
    bad.stage([candle(START, low=-5.0)])
    good.stage([candle(START)])
    assert good.check().passed
    assert bad.withheld() == {}


def test_an_empty_batch_passes_with_no_rows(gates: Any) -> None:
    assert gates("open_interest").check() == Verdict("open_interest", True, 0, ())


def test_a_finding_quotes_its_rows(gates: Any) -> None:
    gate = gates("ohlcv")
    gate.stage([candle(START, open=1.0)])
    (finding,) = gate.check().findings
    assert finding.sample == ("SOL/USDT 5m 2026-04-17 00:00:00+00 open=1 high=102 low=99 close=101",)
    assert finding.reason == "The low is the lowest price of the candle."


def test_every_expectation_of_every_suite_has_a_corruption() -> None:
    tried = {(dataset, name) for dataset, _, names in CORRUPTIONS for name in names}
    tried |= {(dataset, name) for dataset, name, _ in (*SET_RULES, *SET_WARNINGS)}
    tried |= {("funding_rate", between("interval_hours")), *NEIGHBOUR_RULES}
    general = {"one_row_per_key", "time_inside_window", "open_time_on_grid", "time_on_grid", "time_on_the_hour"}
    for dataset in DATASETS:
        for expectation in load_suite(dataset).expectations:
            counted = expectation.name in general or expectation.name.startswith("no_more_")
            assert counted or (dataset, expectation.name) in tried, expectation


@pytest.fixture
def edited_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts other expectations in front of open_interest's gate."""

    def edit(*entries: Row) -> None:
        path = tmp_path / "open_interest.json"
        whole = [{"severity": "critical", "notes": "for a test", "meta": {"rule": "row"}, **entry} for entry in entries]
        path.write_text(json.dumps({"expectations": whole}))
        monkeypatch.setattr("perpflow.quality.suites.suite_path", lambda dataset: tmp_path / f"{dataset}.json")

    return edit


@pytest.mark.parametrize(
    "entry",
    [
        {
            "type": "unexpected_rows_expectation",
            "kwargs": {"unexpected_rows_query": "SELECT row_id FROM {batch} WHERE no_such_column = 1"},
            "meta": {"rule": "row", "name": "broken", "columns": ["time"]},
        },
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "open_interest", "regex": "^1"}},
        *(
            {
                "type": "unexpected_rows_expectation",
                "kwargs": {"unexpected_rows_query": ["SELECT", row_id, "AS row_id FROM {batch}"]},
                "meta": {"rule": "row", "name": "broken", "columns": ["time"]},
            }
            for row_id in ("NULL", "1", "'x'", "'(0,9999)'", "'(99999999999,1)'", "'(0,99999)'")
        ),
    ],
)
def test_an_expectation_that_cannot_be_evaluated_is_an_error_and_never_a_pass(
    gates: Any, edited_suite: Any, entry: Row
) -> None:
    edited_suite(entry)
    gate = gates("open_interest")
    gate.stage([interest(START)])
    with pytest.raises(BadSuite, match=r"open_interest\.json: expectation 1, .*, could not be evaluated"):
        gate.check()
    assert gate.withheld() == {}


def test_rows_of_another_batch_are_none_of_this_one(gates: Any, edited_suite: Any) -> None:
    text = "SELECT s.ctid AS row_id FROM staging.open_interest AS s, {batch}"
    edited_suite(
        {
            "type": "unexpected_rows_expectation",
            "kwargs": {"unexpected_rows_query": text},
            "meta": {"rule": "row", "name": "elsewhere", "columns": ["time"]},
        }
    )
    other, gate = gates("open_interest"), gates("open_interest")
    other.stage([interest(START)])
    gate.stage([interest(START + FIVE)])
    with pytest.raises(BadSuite, match=r"expectation 1, elsewhere, .* row_id '\(\d+,\d+\)', and no row of the batch"):
        gate.check()
    assert (gate.withheld(), other.withheld()) == ({}, {})


def test_a_row_that_a_query_gives_twice_is_one_row(gates: Any, edited_suite: Any) -> None:
    edited_suite(
        {
            "type": "unexpected_rows_expectation",
            "kwargs": {"unexpected_rows_query": "SELECT row_id FROM {batch} UNION ALL SELECT row_id FROM {batch}"},
            "meta": {"rule": "row", "name": "twice", "columns": ["time"]},
        }
    )
    gate = gates("open_interest")
    gate.stage([interest(START)])
    (finding,) = gate.check().findings
    assert (finding.failing, finding.withheld) == (1, 1)


def test_a_result_left_out_is_an_error(gates: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "_validate", lambda reader, suite: [])
    with pytest.raises(BadSuite, match="no result"):
        gates("open_interest").check()


def test_a_batch_wide_expectation_that_fails_withholds_the_batch(gates: Any, edited_suite: Any) -> None:
    edited_suite({"type": "expect_table_row_count_to_be_between", "kwargs": {"max_value": 1}, "meta": {"rule": "set"}})
    gate = gates("open_interest")
    gate.stage([interest(START), interest(START + FIVE)])
    assert [finding.withheld for finding in gate.check().findings] == [2]


def test_percent_signs_and_braces_in_a_suite_query_are_taken_literally(gates: Any, edited_suite: Any) -> None:
    text = "SELECT row_id FROM {batch} WHERE symbol LIKE 'S%' AND '{{}}'::text[] IS NOT NULL"
    meta = {"rule": "row", "name": "100% {it's}", "columns": ["symbol"]}
    edited_suite({"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": text}, "meta": meta})
    gate = gates("open_interest")
    gate.stage([interest(START), interest(START, symbol="X")])
    gate.check()
    assert gate.withheld() == {0: ["100% {it's}"]}


def test_a_database_that_is_away_is_said_to_be(connection: Connection) -> None:
    with pytest.raises(StoreUnavailable):
        check(connection, "postgresql://nobody@127.0.0.1:1/none", "ohlcv", next(STAGE_IDS), WINDOW)


def test_a_session_that_breaks_during_the_check_is_no_verdict(
    gates: Any, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = validation._batch

    def broken(gx: Any, reader: Any) -> Any:
        batch = genuine(gx, reader)
        connection.execute("SELECT pg_terminate_backend(%s)", [reader.info.backend_pid])
        return batch

    monkeypatch.setattr(validation, "_batch", broken)
    with pytest.raises(StoreUnavailable):
        gates("open_interest").check()


def test_a_session_that_breaks_just_before_the_check_is_no_verdict_either(connection: Connection) -> None:
    with psycopg.connect(connection.info.dsn, password=connection.info.password) as reader:
        connection.execute("SELECT pg_terminate_backend(%s)", [reader.info.backend_pid])
        with pytest.raises(StoreUnavailable):
            validation.run(reader, load_suite("open_interest"))
