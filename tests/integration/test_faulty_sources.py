"""Whatever the exchange does wrong: it is named, withheld or left out, and never half-loaded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from perpflow import pipeline, reporting
from perpflow.batches import Plan
from perpflow.coverage_summary import Reason, summarise
from perpflow.datasets import DATASETS, by_archive_kind
from perpflow.errors import AccessDenied, BadSuite, BatchFaulty, ExchangeUnavailable, StoreUnavailable
from perpflow.exchange import retry_policy
from perpflow.exchange.archive import ArchiveObject
from perpflow.include import include_path
from perpflow.settings import Deployment
from perpflow.store import ledger
from perpflow.store.database import session
from perpflow.store.ledger import Coverage
from perpflow.windows import TIMEFRAMES, Window, subtract, to_ms
from simulator.process import Handle
from simulator.truth import Truth
from tests.archive_server import serving, zip_of
from tests.expected import Expected
from tests.loading import Row, deployment_of, facts, load, request, rows, run_batch, utc, windows_of

#: A day that both the archive and REST have.
DAY = Window(utc("2026-10-10"), utc("2026-10-11"))
#: A day that only the archive has of the statistics.
OLD_DAY = Window(utc("2026-09-10"), utc("2026-09-11"))
FIVE = timedelta(minutes=5)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once; how long they wait has tests of its own."""
    monkeypatch.setattr(retry_policy, "FIRST_DELAY_S", 0.001)


@pytest.fixture
def deployment(empty_database_url: str, exchange: Handle) -> Iterator[Deployment]:
    yield deployment_of(empty_database_url, exchange, datasets={"ohlcv": {"timeframes": ["5m", "1h"]}})
    exchange.clear_faults()


@pytest.fixture(scope="module")
def expected(exchange: Handle) -> Expected:
    return Expected(Truth(exchange.seed), exchange.now)


def load_day(deployment: Deployment, run: str, *datasets: str, window: Window = DAY, **asked: Any) -> Plan:
    return load(deployment, request(run, window.start, window.end, datasets=datasets, **asked))


def complaint(deployment: Deployment, run: str, planned: Plan) -> str:
    """What the report says when it turns the run red."""
    with pytest.raises(BatchFaulty) as red:
        reporting.report(deployment, planned)
    return str(red.value)


def coverage(deployment: Deployment, dataset: str) -> dict[str, Coverage]:
    with session(deployment.database_url) as connection:
        return {row.series: row for row in ledger.read(connection, (dataset,))}


def table(deployment: Deployment, text: str, *parameters: Any) -> list[Row]:
    with session(deployment.database_url) as connection:
        return rows(connection, text, *parameters)


def assert_nothing_anywhere(deployment: Deployment) -> None:
    """No fact, no quarantine, no log, nothing covered."""
    names = (*DATASETS, "quarantine", "data_versions", "archive_objects")
    assert {name: table(deployment, f"TABLE {name}") for name in names} == {name: [] for name in names}
    assert set(table(deployment, "SELECT present::text, quarantined::text, missing_upstream::text FROM coverage")) <= {
        ("{}", "{}", "{}")
    }


# --- damaged objects


@pytest.mark.parametrize("kind", ["bad_checksum", "truncated_zip"])
def test_a_damaged_object_is_left_out_named_and_replaced_by_rest(
    deployment: Deployment, exchange: Handle, expected: Expected, kind: str
) -> None:
    exchange.add_fault(kind, match="SOLUSDT-5m-2026-10-10")
    planned = load_day(deployment, "run", "ohlcv")
    key = "data/futures/um/daily/klines/SOLUSDT/5m/SOLUSDT-5m-2026-10-10.zip"
    assert f"left out: {key} (wrong checksum: " in complaint(deployment, "run", planned)
    candles = [row[:-1] for row in facts(deployment.database_url, "ohlcv")]
    wanted = [row[:-1] for timeframe in ("1h", "5m") for row in expected.ohlcv("SOL/USDT", timeframe, DAY)]
    assert candles == wanted
    assert table(deployment, "SELECT timeframe, source FROM ohlcv GROUP BY 1, 2 ORDER BY 1") == [
        ("1h", "archive"),
        ("5m", "rest"),
    ]
    assert table(
        deployment, "SELECT key, verdict, attempts FROM archive_objects WHERE sha256 IS NOT NULL AND rows IS NULL"
    ) == [(key, "wrong checksum", 1)]
    assert coverage(deployment, "ohlcv")["5m"].present == [DAY]


def test_a_damaged_month_is_replaced_by_its_days(deployment: Deployment, exchange: Handle) -> None:
    exchange.add_fault("bad_checksum", match="/monthly/klines/SOLUSDT/5m/SOLUSDT-5m-2026-09")
    window = Window(utc("2026-09-01"), utc("2026-09-06"))
    planned = load_day(deployment, "run", "ohlcv", window=window)
    assert "SOLUSDT-5m-2026-09.zip" in complaint(deployment, "run", planned)
    assert table(deployment, "SELECT source, count(*) FROM ohlcv WHERE timeframe = '5m' GROUP BY 1") == [
        ("archive", 5 * 288)
    ]
    days = table(deployment, "SELECT key FROM archive_objects WHERE key LIKE '%%daily%%' AND verdict = 'ok'")
    assert len(days) == 5


@pytest.mark.parametrize(
    "members",
    [[b"1791590400000,1\n"] * 2, [b"1791590400000,1,1,1\n"], [b"1791590400000\xff,1\n"]],
    ids=["two files", "columns", "text"],
)
def test_an_object_of_another_shape_is_left_out_and_rest_answers_for_it(
    deployment: Deployment, members: list[bytes]
) -> None:
    held = ArchiveObject("klines", "daily", "SOLUSDT", "5m", DAY)
    with serving(held, zip_of(*members)) as url:
        elsewhere = deployment.model_copy(update={"archive_url": url})
        planned = load_day(elsewhere, "run", "ohlcv")
    assert f"left out: {held.key} (structurally bad: " in complaint(deployment, "run", planned)
    assert table(deployment, "SELECT source, count(*) FROM ohlcv WHERE timeframe = '5m' GROUP BY 1") == [("rest", 288)]
    assert table(deployment, "SELECT key, verdict FROM archive_objects") == [(held.key, "structurally bad")]


def test_what_only_a_damaged_object_has_stays_a_gap(deployment: Deployment, exchange: Handle) -> None:
    damage = exchange.add_fault("bad_checksum", match="SOLUSDT-metrics-2026-09-10")
    planned = load_day(deployment, "run", "open_interest", window=OLD_DAY)
    assert "SOLUSDT-metrics-2026-09-10.zip" in complaint(deployment, "run", planned)
    row = coverage(deployment, "open_interest")["5m"]
    assert (row.present, row.missing_upstream, row.quarantined) == ([], [], [])
    with session(deployment.database_url) as connection:
        (summary,) = summarise(connection, start=OLD_DAY.start, now=OLD_DAY.end)
    assert [(hole.reason, hole.windows, hole.points) for hole in summary.holes] == [(Reason.REFUSED, (OLD_DAY,), 288)]
    assert summary.complete
    exchange.remove_fault(damage)
    again = load_day(deployment, "again", "open_interest", window=OLD_DAY)
    reporting.report(deployment, again)
    assert coverage(deployment, "open_interest")["5m"].present == [OLD_DAY]


def test_a_settlement_whose_interval_is_absurd_proves_nothing_and_rest_answers_beside_it(
    deployment: Deployment, exchange: Handle, expected: Expected
) -> None:
    august = Window(utc("2026-08-01"), utc("2026-09-01"))
    settled = [(time, rate) for _, time, rate, *_ in expected.funding_rate("SOL/USDT", august)]
    lines = [f"{to_ms(time)},{10**15 if n == 10 else 8},{rate}" for n, (time, rate) in enumerate(settled)]
    held = ArchiveObject("fundingRate", "monthly", "SOLUSDT", None, august)
    with serving(held, zip_of("\n".join(lines).encode())) as url:
        elsewhere = deployment.model_copy(update={"archive_url": url})
        planned = load_day(elsewhere, "run", "funding_rate", window=august)
    reporting.report(deployment, planned)
    assert [(row[1], row[2]) for row in facts(deployment.database_url, "funding_rate")] == settled
    assert {row[4] for row in facts(deployment.database_url, "funding_rate")} == {8}
    assert table(deployment, "SELECT key, verdict FROM archive_objects") == [(held.key, "ok")]
    assert table(deployment, "SELECT time FROM funding_rate WHERE source = 'rest'") == [(settled[10][0],)]


# --- sources that do not answer


@pytest.mark.parametrize(
    ("kind", "error"),
    [("waf403", AccessDenied), ("waf202", AccessDenied), ("malformed_json", ExchangeUnavailable)],
)
def test_an_exchange_that_does_not_answer_leaves_no_row_anywhere(
    deployment: Deployment, exchange: Handle, kind: str, error: type[Exception]
) -> None:
    today = Window(utc("2026-10-15"), utc("2026-10-15T12:00:00"))
    planned = pipeline.plan(deployment, request("run", today.start, today.end))
    for path in (source.path for spec in DATASETS.values() for source in spec.rest):
        exchange.add_fault(kind, match=path)
    for batch in planned.batches:
        with pytest.raises(error):
            pipeline.stage(deployment, batch)
    assert len(planned.batches) == len(by_archive_kind(tuple(DATASETS)))
    assert_nothing_anywhere(deployment)
    said = complaint(deployment, "run", planned)
    assert [batch.label for batch in planned.batches if f"not published: {batch.label}" not in said] == []


def test_a_batch_that_fails_does_not_block_the_others(deployment: Deployment, exchange: Handle) -> None:
    exchange.add_fault("waf403", match="klines/SOLUSDT/1h")
    planned = pipeline.plan(deployment, request("run", DAY.start, DAY.end, datasets=("ohlcv", "open_interest")))
    candles, metrics = planned.batches
    with pytest.raises(AccessDenied):
        pipeline.stage(deployment, candles)
    pipeline.stage(deployment, metrics)
    pipeline.check(deployment, metrics)
    pipeline.publish(deployment, metrics)
    assert f"1 faults:\n  not published: {candles.label}" in complaint(deployment, "run", planned)
    assert facts(deployment.database_url, "ohlcv") == []
    assert len(facts(deployment.database_url, "open_interest")) == 288


def test_nothing_is_asked_for_whose_suite_is_broken_and_all_else_is_loaded(
    deployment: Deployment, exchange: Handle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = pipeline.plan(deployment, request("run", DAY.start, DAY.end, datasets=("ohlcv", "open_interest")))
    candles, metrics = planned.batches
    copy = tmp_path / "include"
    shutil.copytree(include_path(), copy)
    (copy / "expectations" / "ohlcv.json").write_text("{ not json")
    monkeypatch.setenv("PERPFLOW_INCLUDE", str(copy))
    exchange.clear_requests()
    with pytest.raises(BadSuite, match=r"ohlcv\.json: it is not JSON"):
        pipeline.stage(deployment, candles)
    assert exchange.requests()["total"] == 0
    run_batch(deployment, metrics)
    assert len(facts(deployment.database_url, "open_interest")) == 288


def test_a_database_that_is_away_is_said_to_be(exchange: Handle) -> None:
    away = deployment_of("postgresql://nobody:secret@127.0.0.1:1/none", exchange)
    with pytest.raises(StoreUnavailable, match="market database does not answer") as refusal:
        pipeline.plan(away, request("run", DAY.start, DAY.end))
    assert "perpflow services status" in str(refusal.value)
    assert "secret" not in str(refusal.value)


# --- rows that are wrong

SIX = datetime.fromisoformat("2026-10-10T06:00:00+00:00")
THREE = [SIX, SIX + FIVE, SIX + 2 * FIVE]
SETTLEMENTS = [DAY.start + n * timedelta(hours=8) for n in range(3)]
#: Dataset, what the exchange does, the withheld instants, the columns that are blamed.
CORRUPTIONS = [
    ("ohlcv", "negative_volume", THREE, {"volume", "volume, taker_buy_volume, quote_volume, taker_buy_quote_volume"}),
    ("ohlcv", "nan_price", THREE, {"close", "open, high, low, close"}),
    ("ohlcv", "conflicting_duplicate", THREE, {"source, timeframe, time"}),
    ("mark_price", "nan_price", THREE, {"close", "open, high, low, close"}),
    ("premium_index", "nan_price", THREE, {"close", "open, high, low, close"}),
    ("open_interest", "negative_value", THREE, {"open_interest"}),
    ("open_interest", "conflicting_duplicate", THREE, {"source, time, series"}),
    ("long_short_ratio", "negative_ratio", THREE, {"top_account"}),
    ("funding_rate", "absurd_rate", SETTLEMENTS, {"funding_rate"}),
]


def corrupt(exchange: Handle, dataset: str, what: str, **details: object) -> None:
    """Spoil rows of the day at their source, the 5m candles only."""
    if DATASETS[dataset].series_in_key:
        details["interval"] = "5m"
    kind = DATASETS[dataset].archive.kind
    exchange.add_fault("corrupt_rows", dataset=kind, symbol="SOLUSDT", date="2026-10-10", what=what, **details)


@pytest.mark.parametrize(("dataset", "what", "instants", "columns"), CORRUPTIONS)
def test_exactly_the_wrong_rows_are_withheld(
    deployment: Deployment,
    exchange: Handle,
    expected: Expected,
    dataset: str,
    what: str,
    instants: list[datetime],
    columns: set[str],
) -> None:
    corrupt(exchange, dataset, what)
    planned = load_day(deployment, "run", dataset)
    withheld = table(deployment, 'SELECT time, expectation, "column", reason, source, origin, batch FROM quarantine')
    assert sorted({row[0] for row in withheld}) == instants
    assert {row[2] for row in withheld} == columns
    assert all(row[3] and row[5] for row in withheld)
    assert {row[6] for row in withheld} == {planned.batches[0].id}
    assert {row[4] for row in withheld} == {"rest" if dataset == "funding_rate" else "archive"}

    at = DATASETS[dataset].key.index("time")
    stored = [row for row in facts(deployment.database_url, dataset) if "1h" not in row]
    assert stored == [row for row in clean(expected, dataset) if row[at] not in instants]

    said = complaint(deployment, "run", planned)
    assert f"rows of {dataset} SOL/USDT" in said
    assert [row[1] for row in withheld if row[1] not in said] == []
    assert_quarantined(deployment, dataset, instants, untouched=("1h",))


def clean(expected: Expected, dataset: str) -> list[Row]:
    """The day as it should be; of candles those of 5m."""
    return expected.rows(dataset, "SOL/USDT", DAY, ("5m",))


def assert_quarantined(
    deployment: Deployment, dataset: str, instants: list[datetime], untouched: tuple[str, ...]
) -> None:
    """The ledger marks exactly these points, in the series that they belong to."""
    step = TIMEFRAMES["1h" if dataset == "funding_rate" else "5m"]
    for series, row in coverage(deployment, dataset).items():
        quarantined = [] if series in untouched else windows_of(instants, step)
        assert row.quarantined == quarantined, series
        assert row.present == subtract([DAY], quarantined), series
        assert row.missing_upstream == []


def test_the_quarantine_keeps_the_row_as_it_came(deployment: Deployment, exchange: Handle, expected: Expected) -> None:
    corrupt(exchange, "ohlcv", "nan_price", count=1)
    load_day(deployment, "run", "ohlcv")
    (close,) = table(deployment, """SELECT symbol, series, value, reason, row ->> 'volume', row ->> 'time', origin
                                    FROM quarantine WHERE "column" = 'close'""")  # fmt: skip
    candle = next(row for row in expected.ohlcv("SOL/USDT", "5m", DAY) if row[2] == SIX)
    assert close[:3] == ("SOL/USDT", "5m", "NaN")
    assert float(close[4]) == candle[7]
    assert utc(close[5][:19]) == SIX
    assert close[6] == "data/futures/um/daily/klines/SOLUSDT/5m/SOLUSDT-5m-2026-10-10.zip"


def test_a_day_that_hangs_is_withheld_whole_and_its_neighbours_are_published(
    deployment: Deployment, exchange: Handle
) -> None:
    corrupt(exchange, "open_interest", "all_same_value")
    window = Window(utc("2026-10-09"), utc("2026-10-12"))
    planned = load_day(deployment, "run", "open_interest", window=window)
    row = coverage(deployment, "open_interest")["5m"]
    assert row.quarantined == [DAY]
    assert row.present == [Window(window.start, DAY.start), Window(DAY.end, window.end)]
    assert "no_open_interest_repeated_all_day" in complaint(deployment, "run", planned)


def test_what_is_quarantined_is_not_fetched_again(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "open_interest", "negative_value")
    load_day(deployment, "run", "open_interest")
    exchange.clear_requests()
    assert load_day(deployment, "again", "open_interest").batches == []
    paths = exchange.requests()["paths"]
    assert [path for path in paths if "metrics" in path or "/futures/data" in path] == []
    assert len(table(deployment, "TABLE quarantine")) == 3


# --- requests that make little sense


def test_an_unknown_symbol_is_rejected_and_the_others_load(deployment: Deployment) -> None:
    planned = load_day(deployment, "run", "funding_rate", symbols=("NOPE/USDT", "SOL/USDT"))
    assert planned.rejected == ["NOPE/USDT: neither the exchange nor its archive knows such a perpetual"]
    assert len(facts(deployment.database_url, "funding_rate")) == 3
    assert "1 faults:\n  rejected NOPE/USDT" in complaint(deployment, "run", planned)


def test_a_range_that_begins_before_the_listing_is_trimmed_with_a_note(deployment: Deployment) -> None:
    window = Window(utc("2026-09-04"), utc("2026-09-07"))
    planned = load_day(deployment, "run", *DATASETS, window=window, symbols=("NEW/USDT",))
    assert len(planned.notes) == sum(len(deployment.collection.series(name)) for name in DATASETS)
    begins = "ohlcv NEW/USDT 5m: begins 2026-09-05 12:30 UTC (first row of /fapi/v1/klines)"
    assert any(begins in note for note in planned.notes)
    reporting.report(deployment, planned)
    assert facts(deployment.database_url, "ohlcv")[-1][1:3] == ("5m", utc("2026-09-06T23:55"))
    assert coverage(deployment, "ohlcv")["5m"].present == [Window(utc("2026-09-05T12:30"), window.end)]
