"""What is planned and what is not: edges of a life, healing, delisted symbols; one symbol's trouble is its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from perpflow import pipeline, reporting
from perpflow.datasets import DATASETS
from perpflow.errors import BadConfiguration
from perpflow.exchange import retry_policy
from perpflow.exchange.archive import ArchiveObject
from perpflow.settings import Deployment
from perpflow.store import ledger
from perpflow.store.database import session
from perpflow.store.ledger import Coverage
from perpflow.windows import DAY, TIMEFRAMES, Window, to_ms
from simulator.process import Handle
from simulator.truth import Truth
from tests.archive_server import serving, zip_of
from tests.expected import Expected
from tests.loading import deployment_of, facts, ingest, load, request, rows, utc, windows_of

FIVE = timedelta(minutes=5)
NOW = utc("2026-10-15T12:34:56")


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once; how long they wait has tests of its own."""
    monkeypatch.setattr(retry_policy, "FIRST_DELAY_S", 0.001)


@pytest.fixture
def market(exchange: Handle) -> Iterator[Handle]:
    """The exchange, put right afterwards."""
    yield exchange
    exchange.clear_faults()
    exchange.set_now(exchange.now)


@pytest.fixture
def deployment(empty_database_url: str, market: Handle) -> Deployment:
    return deployment_of(empty_database_url, market, symbols=("SOL/USDT",), datasets={"ohlcv": {"timeframes": ["5m"]}})


@pytest.fixture(scope="module")
def truth(exchange: Handle) -> Truth:
    return Truth(exchange.seed)


def coverage(deployment: Deployment, dataset: str, symbol: str = "SOL/USDT") -> Coverage:
    with session(deployment.database_url) as connection:
        return ledger.read(connection, (dataset,), (symbol,))[0]


def remember(deployment: Deployment, symbol: str, exchange_symbol: str) -> None:
    """As if the exchange had listed the symbol when somebody last looked."""
    with session(deployment.database_url) as connection:
        connection.execute(
            """INSERT INTO symbols (symbol, exchange_symbol, base, quote, contract_type, status)
               VALUES (%s, %s, %s, 'USDT', 'PERPETUAL', 'TRADING')""",
            [symbol, exchange_symbol, symbol.partition("/")[0]],
        )


# --- the edges of a life


def test_a_funding_history_begins_with_its_first_settlement_though_its_instant_jitters(
    deployment: Deployment, truth: Truth
) -> None:
    load(deployment, request("new", "2026-09-01", datasets=("funding_rate",), symbols=("NEW/USDT",)))
    latest = NOW - DATASETS["funding_rate"].settles_after
    wanted = truth.funding_rate("NEWUSDT", utc("2026-09-01"), latest)
    found = facts(deployment.database_url, "funding_rate")
    assert [(row[1], row[2], row[4]) for row in found] == [(time, rate, hours) for time, rate, _, hours in wanted]
    row = coverage(deployment, "funding_rate", "NEW/USDT")
    assert row.available_from == wanted[0][0]
    assert row.present == [Window(wanted[0][0], TIMEFRAMES["1h"].ceil(latest))]


@pytest.mark.parametrize("dataset", ["ohlcv", "open_interest", "long_short_ratio"])
def test_a_young_symbol_is_there_from_its_first_point(
    deployment: Deployment, market: Handle, truth: Truth, dataset: str
) -> None:
    span = Window(utc("2026-09-05"), utc("2026-09-07"))
    load(deployment, request("new", span.start, span.end, datasets=(dataset,), symbols=("NEW/USDT",)))
    begins = truth.available_from(dataset, "NEWUSDT", "5m")
    assert coverage(deployment, dataset, "NEW/USDT").available_from == begins
    at = DATASETS[dataset].key.index("time")
    assert {row[at] for row in facts(deployment.database_url, dataset)} == set(
        TIMEFRAMES["5m"].points(Window(begins, span.end))
    )


@pytest.mark.parametrize("dataset", ["open_interest", "long_short_ratio"])
def test_a_young_symbol_whose_first_file_is_late_begins_with_the_first_row_of_rest(
    deployment: Deployment, market: Handle, truth: Truth, dataset: str
) -> None:
    market.set_now("2026-09-09T12:00:00Z")
    market.add_fault("late_archive", hours=200, match="NEWUSDT-metrics-2026-09-05")
    market.add_fault("late_archive", hours=200, match="NEWUSDT-metrics-2026-09-06")
    refusal = {"code": -1130, "msg": "Data sent for parameter 'startTime' is not valid."}
    refused = market.add_fault("status", code=400, body=refusal, match="/futures/data/*NEWUSDT")
    asked = request("new", "2026-09-01", datasets=(dataset,), symbols=("NEW/USDT",))
    # The archive's first file alone is no evidence then.
    assert pipeline.plan(deployment, asked).rejected != []
    assert coverage(deployment, dataset, "NEW/USDT").available_from is None
    market.remove_fault(refused)
    assert pipeline.plan(deployment, asked).rejected == []
    row = coverage(deployment, dataset, "NEW/USDT")
    assert row.available_from == truth.available_from(dataset, "NEWUSDT", "5m")
    assert (row.evidence or "").startswith("first row of /futures/data/")


def test_a_settlement_at_the_full_hour_belongs_to_what_has_settled(deployment: Deployment, market: Handle) -> None:
    market.set_now("2026-10-15T16:05:00.500Z")
    ingest(deployment, "funding_rate", "at once")
    assert facts(deployment.database_url, "funding_rate")[-1][1] == utc("2026-10-15T16:00")
    assert coverage(deployment, "funding_rate").present[-1].end == utc("2026-10-15T17:00")


def test_a_range_that_has_not_begun_is_refused(deployment: Deployment) -> None:
    with pytest.raises(BadConfiguration, match=r"the range begins at 2026-10-15T13:00:00\+00:00"):
        pipeline.plan(deployment, request("future", "2026-10-15T13:00:00"))


@pytest.mark.parametrize("dataset", [name for name, spec in DATASETS.items() if spec.rest[0].reach is None])
def test_a_first_row_that_comes_after_whole_files_of_the_archive_is_not_believed(
    deployment: Deployment, market: Handle, truth: Truth, dataset: str
) -> None:
    late = to_ms(NOW - timedelta(hours=8))
    row = {"symbol": "SOLUSDT", "fundingTime": late, "fundingRate": "0.0001", "markPrice": "1", "rateType": "Regular"}
    candle = [late, "1", "1", "1", "1", "1", late + 299_999, "1", 1, "1", "1", "0"]
    body = [row if dataset == "funding_rate" else candle]
    wrong = market.add_fault("status", code=200, body=body, match=DATASETS[dataset].rest[0].path)
    pipeline.plan(deployment, request("plan", "2026-10-01", datasets=(dataset,)))
    market.remove_fault(wrong)
    row_of = coverage(deployment, dataset)
    begins = truth.available_from(dataset, "SOLUSDT", "5m")
    assert row_of.available_from is not None
    assert begins <= row_of.available_from < begins + 32 * DAY
    assert (row_of.evidence or "").startswith("first label of")


def test_a_life_that_is_looked_for_again_may_begin_earlier_and_never_later(
    deployment: Deployment, truth: Truth
) -> None:
    asked = request("plan", "2026-10-01", datasets=("ohlcv",))
    pipeline.plan(deployment, asked)
    begins = truth.available_from("ohlcv", "SOLUSDT", "5m")
    for wrong, found in ((begins + DAY, begins), (begins - DAY, begins - DAY)):
        with session(deployment.database_url) as connection:
            connection.execute("UPDATE coverage SET available_from = %s", [wrong])
        pipeline.plan(deployment, asked)
        assert coverage(deployment, "ohlcv").available_from == wrong
        pipeline.plan(deployment, request("again", "2026-10-01", datasets=("ohlcv",), again=True))
        assert coverage(deployment, "ohlcv").available_from == found


# --- healing


@pytest.mark.parametrize("dataset", DATASETS)
def test_an_increment_heals_what_lies_before_the_newest_point(
    deployment: Deployment, market: Handle, truth: Truth, dataset: str
) -> None:
    load(deployment, request("newest", NOW - timedelta(hours=9), datasets=(dataset,)))
    ingest(deployment, dataset, "heals")
    begins = NOW - timedelta(days=deployment.collection.look_back_days)
    expected = Expected(truth, NOW)
    span = Window(begins, NOW)
    wanted = expected.rows(dataset, "SOL/USDT", span, deployment.collection.series(dataset))
    key = len(DATASETS[dataset].key)
    assert [row[:key] for row in facts(deployment.database_url, dataset)] == sorted(row[:key] for row in wanted)


def test_an_increment_begins_where_the_ledger_ends_however_long_it_was_down(deployment: Deployment) -> None:
    load(deployment, request("old", "2026-09-20", "2026-09-21", datasets=("ohlcv",)))
    planned = pipeline.plan_increment(deployment, "ohlcv", "after downtime")
    assert [batch.window.start for batch in planned.batches] == [utc("2026-09-21"), utc("2026-10-01")]


def test_a_hole_before_the_look_back_is_left_to_history(deployment: Deployment) -> None:
    load(deployment, request("old", "2026-09-20", "2026-09-21", datasets=("ohlcv",)))
    load(deployment, request("newest", NOW - timedelta(hours=9), datasets=("ohlcv",)))
    planned = pipeline.plan_increment(deployment, "ohlcv", "increment")
    assert [batch.window.start for batch in planned.batches] == [utc("2026-10-13T12:35")]


# --- one symbol's trouble is its own


def test_a_symbol_for_which_the_exchange_refuses_to_answer_is_named_and_the_others_go_on(
    deployment: Deployment, market: Handle
) -> None:
    both = deployment_of(deployment.database_url, market, symbols=("NEW/USDT", "SOL/USDT"))
    refusal = {"code": -1130, "msg": "Data sent for parameter 'startTime' is not valid."}
    market.add_fault("status", code=400, body=refusal, match="/fapi/v1/klines*NEWUSDT")
    planned = pipeline.plan_increment(both, "ohlcv", "increment")
    assert {batch.symbols for batch in planned.batches} == {("SOL/USDT",)}
    assert [line for line in planned.rejected if line.startswith("ohlcv NEW/USDT 5m: ") and "-1130" in line] != []
    market.clear_faults()
    planned = pipeline.plan_increment(both, "ohlcv", "next")
    assert (planned.rejected, {batch.symbols for batch in planned.batches}) == ([], {("NEW/USDT",), ("SOL/USDT",)})


def test_a_symbol_that_the_exchange_no_longer_lists_stops_neither_plans_nor_increments(
    deployment: Deployment, market: Handle
) -> None:
    remember(deployment, "GONE/USDT", "GONEUSDT")
    both = deployment_of(deployment.database_url, market, symbols=("GONE/USDT", "SOL/USDT"))
    for dataset in DATASETS:
        planned = pipeline.plan_increment(both, dataset, dataset)
        assert {batch.symbols for batch in planned.batches} == {("SOL/USDT",)}
        assert [note for note in planned.notes if note.startswith("GONE/USDT: no longer listed")] != []
    asked = request("history", "2026-10-10", "2026-10-11", symbols=("GONE/USDT", "SOL/USDT"))
    assert {batch.symbols for batch in pipeline.plan(both, asked).batches} == {("SOL/USDT",)}


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_delisted_symbols_history_comes_from_the_archive_alone(
    deployment: Deployment, market: Handle, truth: Truth, dataset: str
) -> None:
    remember(deployment, "FTM/USDT", "FTMUSDT")
    span = Window(utc("2026-05-01"), utc("2026-06-01"))
    asked = request("history", span.start, span.end, datasets=(dataset,), symbols=("FTM/USDT",))
    reporting.report(deployment, load(deployment, asked))
    at = DATASETS[dataset].key.index("time")
    stored = {row[at] for row in facts(deployment.database_url, dataset)}
    if dataset == "funding_rate":
        assert stored == {row[0] for row in truth.funding_rate("FTMUSDT", span.start, span.end)}
    else:
        assert windows_of(stored, TIMEFRAMES["5m"]) == [span]


@pytest.mark.parametrize("kind", ["bad_checksum", "truncated_zip"])
def test_a_history_begins_with_the_day_of_its_first_file_though_that_is_damaged(
    deployment: Deployment, market: Handle, truth: Truth, kind: str
) -> None:
    first = Window(utc("2021-12-01"), utc("2021-12-02"))
    damage = market.add_fault(kind, match="SOLUSDT-metrics-2021-12-01")
    load(deployment, request("damaged", "2021-11-30", first.end, datasets=("open_interest",)))
    row = coverage(deployment, "open_interest")
    key = "data/futures/um/daily/metrics/SOLUSDT/SOLUSDT-metrics-2021-12-01.zip"
    assert (row.available_from, row.evidence) == (first.start, f"day of {key}, which can't be used as it is")
    assert (row.present, row.missing_upstream) == ([], [])
    market.remove_fault(damage)
    again = load(deployment, request("issued again", "2021-11-30", first.end, datasets=("open_interest",)))
    reporting.report(deployment, again)
    assert truth.available_from("open_interest", "SOLUSDT", "5m") == first.start
    assert coverage(deployment, "open_interest").present == [first]


@pytest.mark.parametrize(
    ("damaged", "begins", "evidence"),
    [
        ("/monthly/klines/FTMUSDT/5m/FTMUSDT-5m-2020-08", "2020-08-25T07:00", "first label of {day}"),
        ("FTMUSDT-5m-2020-08", "2020-08-25", "day of {day}, which can't be used as it is"),
    ],
    ids=["the month", "the month and its days"],
)
def test_where_the_first_month_is_damaged_its_first_day_tells_when_a_history_begins(
    deployment: Deployment, market: Handle, damaged: str, begins: str, evidence: str
) -> None:
    remember(deployment, "FTM/USDT", "FTMUSDT")
    market.add_fault("bad_checksum", match=damaged)
    pipeline.plan(
        deployment, request("history", "2020-08-01", "2020-08-02", datasets=("ohlcv",), symbols=("FTM/USDT",))
    )
    day = "data/futures/um/daily/klines/FTMUSDT/5m/FTMUSDT-5m-2020-08-25.zip"
    row = coverage(deployment, "ohlcv", "FTM/USDT")
    assert (row.available_from, row.evidence) == (utc(begins), evidence.format(day=day))


def test_where_the_first_month_is_unusable_and_has_no_days_a_history_begins_with_the_month(
    deployment: Deployment, market: Handle
) -> None:
    remember(deployment, "FTM/USDT", "FTMUSDT")
    held = ArchiveObject("klines", "monthly", "FTMUSDT", "5m", Window(utc("2020-08-01"), utc("2020-09-01")))
    asked = request("history", "2020-08-01", "2020-08-02", datasets=("ohlcv",), symbols=("FTM/USDT",))
    with serving(held, zip_of(b"one file", b"too many")) as url:
        pipeline.plan(deployment.model_copy(update={"archive_url": url}), asked)
    row = coverage(deployment, "ohlcv", "FTM/USDT")
    assert row.available_from == held.period.start
    assert row.evidence == f"month of {held.key}, which can't be used as it is"


# --- a month of settlements


def test_a_month_of_settlements_with_a_hole_is_asked_of_rest_too(deployment: Deployment, market: Handle) -> None:
    asked = []
    for fault in (None, "missing"):
        if fault:
            market.add_fault("corrupt_rows", dataset="fundingRate", symbol="SOLUSDT", date="2026-08-10", what=fault)
        with session(deployment.database_url) as connection:
            connection.execute("TRUNCATE coverage, funding_rate")
        market.clear_requests()
        month = request("month", "2026-08-01", "2026-09-01", datasets=("funding_rate",))
        reporting.report(deployment, load(deployment, month))
        asked.append(market.requests()["paths"]["/fapi/v1/fundingRate"])
    # Life and lead-in cost the same both times; the hole costs one more.
    assert asked[1] == asked[0] + 1
    assert len(rows_of_august(deployment)) == 93 - 3


def rows_of_august(deployment: Deployment) -> list[tuple[object, ...]]:
    with session(deployment.database_url) as connection:
        return rows(connection, "SELECT time FROM funding_rate WHERE time >= '2026-08-01Z' AND time < '2026-09-01Z'")
