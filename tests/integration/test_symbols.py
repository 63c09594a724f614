"""Contracts that did not survive: found in the archive, with their lives, and loaded to their very end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta

import httpx
import pytest

from perpflow import pipeline, reporting
from perpflow.datasets import DATASETS
from perpflow.errors import ExchangeUnavailable
from perpflow.exchange import archive as archive_module
from perpflow.exchange import retry_policy
from perpflow.exchange.archive import Archive
from perpflow.settings import Deployment
from perpflow.store import ledger
from perpflow.store.database import session
from perpflow.symbols import closed_sessions
from perpflow.windows import DAY, TIMEFRAMES, Window, subtract
from simulator.process import Handle, running
from simulator.truth import Truth
from tests.expected import Expected
from tests.loading import Row, deployment_of, facts, load, request, rows, utc

NOW = utc("2026-10-15T12:34:56")
DELISTED = utc("2026-06-30T09:00")
LAST_MONTHS = Window(utc("2026-05-01"), utc("2026-08-01"))
FTM = ("FTM/USDT", "FTMUSDT", "PERPETUAL", "DELISTED", utc("2020-08-25T07:00"), DELISTED)
ICP = ("ICP/USDT#SETTLED", "ICPUSDTSETTLED", "PERPETUAL", "DELISTED", utc("2021-05-11"), utc("2022-06-13T09:00"))


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once; how long they wait has tests of its own."""
    monkeypatch.setattr(retry_policy, "FIRST_DELAY_S", 0.001)


@pytest.fixture(scope="module")
def exchange() -> Iterator[Handle]:
    with running() as handle:
        yield handle


@pytest.fixture
def market(exchange: Handle) -> Iterator[Handle]:
    """The exchange, put right afterwards."""
    yield exchange
    exchange.clear_faults()
    exchange.set_now(exchange.now)


@pytest.fixture
def deployment(empty_database_url: str, market: Handle) -> Deployment:
    return deployment_of(empty_database_url, market, symbols="all", datasets={"ohlcv": {"timeframes": ["5m", "4h"]}})


@pytest.fixture(scope="module")
def truth(exchange: Handle) -> Truth:
    return Truth(exchange.seed)


def asked(deployment: Deployment, statement: str) -> list[Row]:
    with session(deployment.database_url) as connection:
        return rows(connection, statement)


def gone(deployment: Deployment) -> list[Row]:
    return asked(
        deployment,
        """SELECT symbol, exchange_symbol, contract_type, status, onboarded_at, delisted_at
             FROM symbols WHERE status = 'DELISTED' ORDER BY symbol""",
    )


# --- the table


def test_what_only_the_archive_knows_is_taken_up_with_its_life(deployment: Deployment) -> None:
    synced = pipeline.sync_symbols(deployment)
    assert gone(deployment) == [FTM, ICP]
    assert (synced.archived, synced.deliveries, synced.unreadable) == (2, 1, ())
    listed = {row[0] for row in asked(deployment, "SELECT symbol FROM symbols WHERE status = 'TRADING'")}
    assert "币安人生/USDT" in listed
    assert len(listed) == synced.known


def test_syncing_again_changes_nothing_and_asks_for_no_candles(deployment: Deployment, market: Handle) -> None:
    pipeline.sync_symbols(deployment)
    before = asked(deployment, "SELECT s.*, h.* FROM symbols s JOIN symbol_history h USING (symbol) ORDER BY 1")
    market.clear_requests()
    assert pipeline.sync_symbols(deployment).archived == 0
    assert asked(deployment, "SELECT s.*, h.* FROM symbols s JOIN symbol_history h USING (symbol) ORDER BY 1") == before
    assert not [path for path in market.requests()["paths"] if path.startswith("/data/")]


def test_the_sessions_of_the_markets_of_tradfi_contracts_are_kept(deployment: Deployment, market: Handle) -> None:
    pipeline.sync_symbols(deployment)
    with session(deployment.database_url) as connection:
        first = closed_sessions(connection)
    assert first.keys() == {"TSLA/USDT"}
    assert [(day.weekday(), length) for day, length in saturdays(first)] == [(5, 2 * DAY)]
    market.set_now(NOW + 7 * DAY)
    pipeline.sync_symbols(deployment)
    with session(deployment.database_url) as connection:
        both = closed_sessions(connection, ["TSLA/USDT", "SOL/USDT"])
    assert [(day.weekday(), length) for day, length in saturdays(both)] == [(5, 2 * DAY)] * 2
    assert set(first["TSLA/USDT"]) < set(both["TSLA/USDT"])


def test_where_sessions_are_refused_contracts_that_are_gone_are_found_all_the_same(
    deployment: Deployment, market: Handle, caplog: pytest.LogCaptureFixture
) -> None:
    refusing = market.add_fault("status", code=400, body={"code": -1, "msg": "no"}, match="tradingSchedule")
    pipeline.sync_symbols(deployment)
    market.remove_fault(refusing)
    assert gone(deployment) == [FTM, ICP]
    (said,) = [record.message for record in caplog.records if "TradFi" in record.message]
    assert said.startswith("when the markets of TradFi contracts are closed is not known beyond what was: ")


def saturdays(closed: dict[str, list[Window]]) -> list[tuple[datetime, timedelta]]:
    return [(window.start, window.length) for windows in closed.values() for window in windows]


def test_a_change_of_what_the_history_does_not_tell_makes_no_row_of_it(deployment: Deployment) -> None:
    pipeline.sync_symbols(deployment)
    with session(deployment.database_url) as connection:
        connection.execute("UPDATE symbols SET market = NULL")
    before = asked(deployment, "SELECT * FROM symbol_history ORDER BY 1, 2")
    pipeline.sync_symbols(deployment)
    assert asked(deployment, "SELECT * FROM symbol_history ORDER BY 1, 2") == before
    assert asked(deployment, "SELECT market FROM symbols WHERE symbol = 'TSLA/USDT'") == [("EQUITY",)]


def test_every_change_is_kept_with_when_it_was_seen(deployment: Deployment, market: Handle) -> None:
    market.set_now("2026-06-20T00:00:00Z")
    pipeline.sync_symbols(deployment)
    market.set_now(NOW)
    pipeline.sync_symbols(deployment)
    history = asked(
        deployment,
        "SELECT status, onboarded_at, delisted_at FROM symbol_history WHERE symbol = 'FTM/USDT' ORDER BY seen_at",
    )
    # The exchange had announced the end while it still traded.
    assert history == [("TRADING", FTM[4], DELISTED), ("DELISTED", FTM[4], DELISTED)]
    listed_since = asked(deployment, "SELECT count(*) FROM symbol_history WHERE symbol = 'NEW/USDT'")
    assert listed_since == [(1,)]


def test_an_end_is_left_open_while_the_archive_may_have_more(deployment: Deployment, market: Handle) -> None:
    market.set_now("2026-07-02T12:00:00Z")
    pipeline.sync_symbols(deployment)
    assert gone(deployment)[0] == (*FTM[:5], None)
    market.set_now("2026-07-05T12:00:00Z")
    pipeline.sync_symbols(deployment)
    assert gone(deployment)[0] == FTM


def test_an_end_that_cannot_be_read_is_put_too_late_rather_than_too_early(
    deployment: Deployment, market: Handle
) -> None:
    market.add_fault("bad_checksum", match="FTMUSDT-5m-2026-06-30")
    pipeline.sync_symbols(deployment)
    assert gone(deployment)[0] == (*FTM[:5], utc("2026-07-01"))


def test_a_contract_that_is_listed_again_goes_on(deployment: Deployment, market: Handle) -> None:
    pipeline.sync_symbols(deployment)
    load(deployment, request("last", "2026-06-29", "2026-07-01", datasets=("open_interest",), symbols=("FTM/USDT",)))
    market.set_now("2026-06-20T00:00:00Z")
    pipeline.sync_symbols(deployment)
    assert asked(deployment, "SELECT available_to FROM coverage WHERE symbol = 'FTM/USDT'") == [(None,)]


def list_as(market: Handle, exchange_symbol: str, base: str, quote: str) -> None:
    """Let exchangeInfo name a contract that trades, cut into this base and quote."""
    told = httpx.get(f"{market.url}/fapi/v1/exchangeInfo").json()
    cut = {"symbol": exchange_symbol, "pair": exchange_symbol, "baseAsset": base, "quoteAsset": quote}
    like = next(contract for contract in told["symbols"] if contract["symbol"] == "SOLUSDT")
    others = [contract for contract in told["symbols"] if contract["symbol"] != exchange_symbol]
    market.add_fault(
        "status", code=200, body=json.dumps(told | {"symbols": [*others, like | cut]}), match="exchangeInfo"
    )


def test_what_the_archive_named_first_keeps_its_name_though_the_exchange_lists_it_by_another(
    deployment: Deployment, market: Handle
) -> None:
    pipeline.sync_symbols(deployment)
    list_as(market, "FTMUSDT", "FT", "MUSDT")
    for _ in range(2):
        pipeline.sync_symbols(deployment)
    named = "SELECT symbol, base, quote, status FROM symbols WHERE exchange_symbol = 'FTMUSDT'"
    assert asked(deployment, named) == [("FTM/USDT", "FTM", "USDT", "TRADING")]
    assert gone(deployment) == [ICP]
    history = "SELECT symbol, status FROM symbol_history WHERE symbol LIKE 'FT%%' ORDER BY seen_at, status"
    assert asked(deployment, history)[-2:] == [("FTM/USDT", "DELISTED"), ("FTM/USDT", "TRADING")]


def test_an_empty_exchange_info_delists_nobody(deployment: Deployment, market: Handle) -> None:
    pipeline.sync_symbols(deployment)
    market.add_fault("status", code=200, body='{"symbols": []}', match="exchangeInfo")
    with pytest.raises(ExchangeUnavailable, match="lists no perpetual"):
        pipeline.sync_symbols(deployment)
    assert gone(deployment) == [FTM, ICP]


def test_a_name_that_cannot_be_read_is_reported_and_left_alone(
    deployment: Deployment, market: Handle, caplog: pytest.LogCaptureFixture
) -> None:
    folders = "".join(
        f"<CommonPrefixes><Prefix>data/futures/um/monthly/fundingRate/{name}/</Prefix></CommonPrefixes>"
        for name in ("SOLUSDT", "SOLUSDT_PERP", "ETHEUR", "BTCUSDT_230331")
    )
    answer = f"<ListBucketResult><IsTruncated>false</IsTruncated>{folders}</ListBucketResult>"
    market.add_fault("status", code=200, body=answer, match="fundingRate*delimiter")
    synced = pipeline.sync_symbols(deployment)
    assert synced.unreadable == ("ETHEUR", "SOLUSDT_PERP")
    assert synced.deliveries == 2
    assert "ETHEUR: the archive has it" in caplog.text
    assert gone(deployment) == [FTM, ICP]


async def test_a_listing_of_several_pages_gives_every_symbol_once(
    market: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "LISTING_PAGE", 3)
    async with Archive(market.url) as archive:
        found = await archive.symbols("klines", "daily")
    assert found == sorted(found, key=str.encode)
    assert {"FTMUSDT", "ICPUSDTSETTLED", "币安人生USDT", "BTCUSDT_261225", "SOLUSDT"} <= {*found}
    assert len(found) == len(set(found)) > 6


# --- histories


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_last_months_of_a_delisted_contract_are_whole_and_its_ledger_has_no_gap(
    deployment: Deployment, truth: Truth, dataset: str
) -> None:
    span, expected = LAST_MONTHS, Expected(truth, NOW)
    planned = load(deployment, request("last", span.start, span.end, datasets=(dataset,), symbols=("FTM/USDT",)))
    reporting.report(deployment, planned)
    assert not planned.rejected
    wanted = sorted(expected.rows(dataset, "FTM/USDT", span, deployment.collection.series(dataset)))
    assert sorted(facts(deployment.database_url, dataset)) == wanted
    assert {row[-1] for row in wanted} == {"archive"}
    with session(deployment.database_url) as connection:
        for row in ledger.read(connection, (dataset,)):
            assert row.available_to == DELISTED
            assert subtract([Window(span.start, DELISTED)], [*row.present, *row.missing_upstream]) == []
            assert row.quarantined == []
            grid = DATASETS[dataset].timeframe_of(row.series) or TIMEFRAMES["1h"]
            assert max(window.end for window in row.present) <= grid.ceil(DELISTED)
    again = pipeline.plan(deployment, request("again", span.start, datasets=(dataset,), symbols=("FTM/USDT",)))
    assert again.batches == []


def test_a_history_of_a_delisted_contract_asks_rest_for_none_of_its_candles(
    deployment: Deployment, market: Handle
) -> None:
    pipeline.sync_symbols(deployment)
    market.clear_requests()
    load(deployment, request("last", "2026-06-01", "2026-07-01", datasets=("ohlcv",), symbols=("FTM/USDT",)))
    assert "/fapi/v1/klines" not in market.requests()["paths"]


def test_rows_after_the_end_are_counted_and_never_become_facts(deployment: Deployment) -> None:
    pipeline.sync_symbols(deployment)
    earlier = DELISTED - timedelta(days=1, hours=1)
    asked(deployment, f"UPDATE symbols SET delisted_at = '{earlier}' WHERE symbol = 'FTM/USDT' RETURNING 1")  # noqa: S608
    span = Window(utc("2026-06-28"), utc("2026-07-10"))
    load(deployment, request("last", span.start, span.end, datasets=("open_interest",), symbols=("FTM/USDT",)))
    stored = [row[1] for row in facts(deployment.database_url, "open_interest")]
    assert stored == list(TIMEFRAMES["5m"].points(Window(span.start, earlier)))
    trimmed = (utc("2026-06-30") - earlier) // timedelta(minutes=5)
    assert asked(deployment, "SELECT (normalised ->> 'trimmed')::int FROM data_versions") == [(trimmed,)]


def test_all_of_a_history_are_those_whose_life_touches_it(deployment: Deployment) -> None:
    pipeline.sync_symbols(deployment)
    spans = {
        ("2022-06-01", "2022-06-02"): {"ICP/USDT#SETTLED", "FTM/USDT", "SOL/USDT"},
        ("2026-06-29", "2026-07-02"): {"FTM/USDT", "SOL/USDT", "币安人生/USDT"},
        ("2026-09-10", "2026-09-11"): {"SOL/USDT", "币安人生/USDT", "NEW/USDT"},
    }
    every = set().union(*spans.values())
    for span, alive in spans.items():
        wanted = request("all", *span, datasets=("funding_rate",), symbols=("all",))
        planned = {batch.symbols[0] for batch in pipeline.plan(deployment, wanted).batches}
        assert planned & every == alive, span


def test_an_increment_of_all_takes_those_that_trade(deployment: Deployment) -> None:
    pipeline.sync_symbols(deployment)
    planned = {batch.symbols[0] for batch in pipeline.plan_increment(deployment, "funding_rate", "now").batches}
    assert {"SOL/USDT", "币安人生/USDT"} <= planned
    assert planned.isdisjoint({"FTM/USDT", "ICP/USDT#SETTLED"})


def test_an_unknown_symbol_that_is_asked_for_by_name_is_looked_for_in_the_archive(deployment: Deployment) -> None:
    symbols = ("ICP/USDT#SETTLED", "NOSUCH/USDT", "SO/LUSDT")
    asked_for = request("names", "2022-06-01", "2022-06-02", datasets=("open_interest",), symbols=symbols)
    planned = pipeline.plan(deployment, asked_for)
    assert [batch.symbols for batch in planned.batches] == [("ICP/USDT#SETTLED",)]
    assert gone(deployment) == [ICP]
    assert [reason.partition(":")[0] for reason in planned.rejected] == ["NOSUCH/USDT", "SO/LUSDT"]


def test_the_first_history_of_all_finds_those_that_are_gone_by_itself(deployment: Deployment) -> None:
    wanted = request("all", "2022-06-01", "2022-06-02", datasets=("funding_rate",), symbols=("all",))
    planned = {batch.symbols[0] for batch in pipeline.plan(deployment, wanted).batches}
    assert {"ICP/USDT#SETTLED", "FTM/USDT", "SOL/USDT"} <= planned
    assert gone(deployment) == [FTM, ICP]
