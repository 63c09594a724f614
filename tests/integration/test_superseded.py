"""What a source has mended itself waits for nobody; what it gave after a good row does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perpflow import pipeline, reviewing
from perpflow.reviewing import Selection
from perpflow.settings import Deployment
from simulator.process import Handle
from tests.loading import request
from tests.reviewed import DAY, SIX, THREE, corrupt, decide, load_day, quarantine, reviewed, table, times


@pytest.fixture
def deployment(empty_database_url: str, exchange: Handle) -> Iterator[Deployment]:
    yield from reviewed(empty_database_url, exchange)


def decisions(deployment: Deployment) -> list[tuple[str | None, bool]]:
    """Of each entry the decision, and whether anybody still has to look at it."""
    return table(deployment, "SELECT decision, reviewed_at IS NULL FROM quarantine ORDER BY time, id")


def waiting(deployment: Deployment) -> int:
    return sum(group["rows"] for group in reviewing.waiting(deployment, Selection()).groups)


def test_rows_that_the_source_has_mended_wait_no_longer(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "ohlcv", "negative_volume", count=3)
    load_day(deployment, "spoiled", "ohlcv")
    assert waiting(deployment) > 0
    exchange.clear_faults()
    load_day(deployment, "mended", "ohlcv", again=True)
    assert times(deployment, "ohlcv").issuperset(THREE)
    assert set(decisions(deployment)) == {("superseded", False)}
    assert waiting(deployment) == 0
    (said,) = table(deployment, "SELECT DISTINCT decided_by, note ~ 'by mended' FROM quarantine")
    assert said == ("publishing", True)
    listed = reviewing.waiting(deployment, Selection(), superseded=True)
    assert {row["time"] for row in listed.rows} == set(THREE)
    assert sum(group["rows"] for group in listed.groups) == listed.superseded == len(decisions(deployment))
    assert reviewing.waiting(deployment, Selection()).superseded == listed.superseded


def test_what_the_source_takes_back_waits_again(deployment: Deployment, exchange: Handle) -> None:
    for run, is_spoiled in (("first", True), ("second", False), ("third", True)):
        exchange.clear_faults()
        if is_spoiled:
            corrupt(exchange, "ohlcv", "negative_volume", count=3)
        load_day(deployment, run, "ohlcv", again=True)
    # The good rows stay published, and a person sees that the source says something else now.
    assert times(deployment, "ohlcv").issuperset(THREE)
    assert set(decisions(deployment)) == {(None, True)}
    assert table(deployment, "SELECT DISTINCT note, decided_by, settled_at FROM quarantine") == [(None, None, None)]


def test_what_is_withheld_after_a_good_row_had_come_waits(deployment: Deployment, exchange: Handle) -> None:
    load_day(deployment, "good", "ohlcv")
    corrupt(exchange, "ohlcv", "negative_volume", count=3)
    load_day(deployment, "spoiled", "ohlcv", again=True)
    assert set(decisions(deployment)) == {(None, True)}


def test_what_was_staged_before_does_not_answer_for_what_the_source_gave_since(
    deployment: Deployment, exchange: Handle
) -> None:
    asked = request("stale", DAY.start, DAY.end, datasets=("ohlcv",), again=True)
    (stale,) = pipeline.plan(deployment, asked).batches
    pipeline.stage(deployment, stale)
    pipeline.check(deployment, stale)
    corrupt(exchange, "ohlcv", "negative_volume", count=3)
    load_day(deployment, "since", "ohlcv", again=True)
    pipeline.publish(deployment, stale)
    assert set(decisions(deployment)) == {(None, True)}


def test_who_looked_before_decides_nothing_of_what_came_again(deployment: Deployment, exchange: Handle) -> None:
    for run, is_spoiled in (("first", True), ("second", False)):
        exchange.clear_faults()
        if is_spoiled:
            corrupt(exchange, "ohlcv", "negative_volume", count=3)
        load_day(deployment, run, "ohlcv", again=True)
    quarantine(deployment, "{'a': 1}", symbol="BTC/USDT")
    ((seen,),) = table(deployment, "SELECT max(id) FROM quarantine")
    corrupt(exchange, "ohlcv", "negative_volume", count=3)
    load_day(deployment, "third", "ohlcv", again=True)
    decided = decide(deployment, "rejected", datasets=("ohlcv",), up_to=seen)
    assert decided.marked == 1
    assert waiting(deployment) > 0


def test_neither_a_decision_nor_another_symbol_is_touched(deployment: Deployment, exchange: Handle) -> None:
    load_day(deployment, "known symbols", "ohlcv")
    six, five_past = THREE[:2]
    quarantine(deployment, "{'a': 1}", six)
    quarantine(deployment, "{'a': 2}", five_past)
    quarantine(deployment, "{'a': 3}", six, symbol="BTC/USDT")
    (number,) = (row[0] for row in table(deployment, "SELECT id FROM quarantine WHERE time = %s", five_past))
    decide(deployment, "rejected", number)
    load_day(deployment, "again", "ohlcv", again=True)
    assert table(deployment, "SELECT symbol, decision FROM quarantine ORDER BY id") == [
        ("SOL/USDT", "superseded"),
        ("SOL/USDT", "rejected"),
        ("BTC/USDT", None),
    ]


def test_a_lesser_source_does_not_answer_for_a_better_one(deployment: Deployment, exchange: Handle) -> None:
    load_day(deployment, "known symbols", "ohlcv")
    quarantine(deployment, "{'a': 1}")
    exchange.add_fault("not_found", match="data/futures/um")
    load_day(deployment, "by REST alone", "ohlcv", again=True)
    assert table(deployment, "SELECT sources, unchanged > 0 FROM data_versions ORDER BY id DESC LIMIT 1") == [
        (["rest"], True)
    ]
    assert set(decisions(deployment)) == {(None, True)}


def test_a_better_source_that_had_spoken_before_does_not_hide_what_another_says(
    deployment: Deployment, exchange: Handle
) -> None:
    load_day(deployment, "good", "ohlcv")
    quarantine(deployment, "{'a': 1}")
    table(deployment, "UPDATE quarantine SET source = 'rest' RETURNING 1")
    load_day(deployment, "the same again", "ohlcv", again=True)
    assert set(decisions(deployment)) == {(None, True)}
    # What it publishes now, it says now.
    table(deployment, "DELETE FROM ohlcv WHERE time = %s AND timeframe = '5m' RETURNING 1", SIX)
    load_day(deployment, "anew", "ohlcv", again=True)
    assert set(decisions(deployment)) == {("superseded", False)}


def test_a_row_without_a_ratio_does_not_answer_for_it(deployment: Deployment) -> None:
    load_day(deployment, "known symbols", "long_short_ratio")
    for series, at in (("top_account", SIX), ("global_account", THREE[1])):
        quarantine(deployment, f"{{'{series}': -1}}", at)
        table(
            deployment,
            "UPDATE quarantine SET dataset = 'long_short_ratio', series = %s WHERE row ? %s RETURNING 1",
            series,
            series,
        )
    (batch,) = pipeline.plan(
        deployment, request("again", DAY.start, DAY.end, datasets=("long_short_ratio",), again=True)
    ).batches
    pipeline.stage(deployment, batch)
    blanked = (
        "UPDATE staging.long_short_ratio SET top_account = NULL WHERE time = %s AND source = 'archive' RETURNING 1"
    )
    assert table(deployment, blanked, SIX) == [(1,)]
    table(deployment, "DELETE FROM staging.long_short_ratio WHERE source = 'rest' RETURNING 1")
    left = table(deployment, "SELECT count(*) FROM staging.long_short_ratio")[0][0]
    counted = "UPDATE staging.manifests SET contents = jsonb_set(contents, %s, %s::text::jsonb) RETURNING 1"
    table(deployment, counted, ["long_short_ratio", "rows"], left)
    pipeline.check(deployment, batch)
    pipeline.publish(deployment, batch)
    assert table(deployment, "SELECT series, decision FROM quarantine ORDER BY time") == [
        ("top_account", None),
        ("global_account", "superseded"),
    ]


def test_rows_without_an_instant_that_are_alike_are_one_entry(deployment: Deployment) -> None:
    (batch,) = pipeline.plan(deployment, request("run", DAY.start, DAY.end, datasets=("ohlcv",))).batches
    pipeline.stage(deployment, batch)
    table(
        deployment,
        """UPDATE staging.ohlcv s SET (open_time_ms, open, high, low, close, volume, quote_volume, trade_count,
                                       taker_buy_volume, taker_buy_quote_volume)
               = (NULL, 1, 1, 1, 1, 1, 1, 1, 1, 1)
           WHERE timeframe = '5m' AND time IN (%s, %s) RETURNING 1""",
        *THREE[:2],
    )
    pipeline.check(deployment, batch)
    assert pipeline.publish(deployment, batch)["ohlcv"]["quarantined"] == 2
    assert set(table(deployment, "SELECT count(*) FROM quarantine GROUP BY expectation")) == {(1,)}
