"""Rows of one key: what the quarantine has of it besides, and what is published. One at most is let out."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from perpflow import pipeline, releasing, reviewing
from perpflow.errors import ReviewRefused
from perpflow.reviewing import Selection
from perpflow.settings import Deployment
from perpflow.store.database import query, session
from simulator.process import Handle
from tests.loading import Row
from tests.reviewed import (
    DAY,
    SIX,
    WHOLE,
    carry_out,
    corrupt,
    coverage,
    decide,
    ids,
    load_day,
    quarantine,
    release,
    reviewed,
    table,
)


@pytest.fixture
def deployment(empty_database_url: str, exchange: Handle) -> Iterator[Deployment]:
    yield from reviewed(empty_database_url, exchange)


def test_of_two_rows_of_one_key_one_is_released_and_the_other_rejected(
    deployment: Deployment, exchange: Handle
) -> None:
    corrupt(exchange, "open_interest", "conflicting_duplicate", count=1)
    load_day(deployment, "run", "open_interest")
    one, other = ids(deployment)
    with pytest.raises(ReviewRefused, match=f"{other} has the same key as {one}.*--reject-rivals"):
        decide(deployment, "released", one)
    with pytest.raises(ReviewRefused, match="One of them at most can be right"):
        decide(deployment, "released", datasets=("open_interest",), reject_rivals=True)
    assert ids(deployment, "decision IS NOT NULL") == []
    decide(deployment, "rejected", other, review="first")
    (counts,) = release(deployment, one)
    assert counts["open_interest"]["inserted"] == 1
    ((released,),) = table(deployment, "SELECT row ->> 'open_interest' FROM quarantine WHERE id = %s", one)
    assert table(deployment, "SELECT open_interest FROM open_interest WHERE time = %s", SIX) == [(float(released),)]
    # Read again, the one passes and the other does not.
    load_day(deployment, "again", "open_interest", again=True)
    assert table(deployment, "SELECT quarantined FROM data_versions WHERE run = 'again'") == [(1,)]
    assert coverage(deployment, "open_interest").present == [DAY]


def volume(deployment: Deployment) -> list[Row]:
    """Of the candle at six that is published."""
    return table(deployment, "SELECT volume FROM ohlcv WHERE time = %s AND timeframe = '5m'", SIX)


def two_versions(deployment: Deployment, exchange: Handle, other: str) -> list[int]:
    """Have two versions of the candle at six in the quarantine: the first is released in review `A`; of the others.

    The first has a high below its low, and the other fails what is said.
    """
    corrupt(exchange, "ohlcv", "high_below_low", count=1)
    load_day(deployment, "run", "ohlcv")
    assert decide(deployment, "released", *ids(deployment), review="A").reviews == ("A",)
    exchange.clear_faults()
    corrupt(exchange, "ohlcv", other, count=1)
    load_day(deployment, "again", "ohlcv", again=True)
    return ids(deployment, "decision IS NULL")


def decisions(deployment: Deployment) -> list[Row]:
    return table(deployment, "SELECT DISTINCT row_hash, decision FROM quarantine ORDER BY decision DESC")


def test_a_release_may_reject_its_rivals_even_one_that_was_released(deployment: Deployment, exchange: Handle) -> None:
    others = two_versions(deployment, exchange, "negative_volume")
    carry_out(deployment, ("A",))
    ((before,),) = volume(deployment)
    assert before > 0
    with pytest.raises(ReviewRefused, match=r"has the same key as .*--reject-rivals"):
        decide(deployment, "released", *others, review="B")
    assert volume(deployment) == [(before,)]
    (counts,) = release(deployment, *others, review="B", reject_rivals=True)
    assert (counts["ohlcv"]["updated"], counts["ohlcv"]["corrected"]) == (1, 1)
    assert volume(deployment)[0] < (0,)
    assert [decision for _, decision in decisions(deployment)] == ["released", "rejected"]
    assert set(ids(deployment, "decision = 'released'")) == set(others)
    # Whichever is read again, the decisions stand.
    exchange.clear_faults()
    corrupt(exchange, "ohlcv", "high_below_low", count=1)
    load_day(deployment, "once more", "ohlcv", again=True)
    assert volume(deployment)[0] < (0,)


def test_a_published_row_of_the_same_source_is_not_replaced_without_being_told_to(
    deployment: Deployment, exchange: Handle
) -> None:
    load_day(deployment, "run", "ohlcv")
    corrupt(exchange, "ohlcv", "negative_volume", count=1)
    load_day(deployment, "spoiled", "ohlcv", again=True)
    before = volume(deployment)
    assert {row["published"] for row in reviewing.waiting(deployment, Selection()).rows} == {"archive"}
    with pytest.raises(ReviewRefused, match="would replace what archive gave and is published.*--reject-rivals"):
        decide(deployment, "released", datasets=("ohlcv",))
    assert ids(deployment, "decision IS NOT NULL") == []
    assert volume(deployment) == before
    decided = decide(deployment, "released", datasets=("ohlcv",), reject_rivals=True)
    assert (decided.replaces, decided.rivals_rejected) == (1, 0)
    (counts,) = carry_out(deployment, decided.reviews)
    assert counts["ohlcv"]["corrected"] == 1
    assert volume(deployment) < [(0,)]


def test_a_published_row_of_the_same_values_or_of_another_source_is_no_rival(
    deployment: Deployment, exchange: Handle
) -> None:
    load_day(deployment, "run", "ohlcv")
    corrupt(exchange, "ohlcv", "negative_volume", count=1)
    load_day(deployment, "spoiled", "ohlcv", again=True)
    table(deployment, "UPDATE ohlcv SET source = 'rest' WHERE time = %s RETURNING 1", SIX)
    decided = decide(deployment, "released", datasets=("ohlcv",))
    assert decided.replaces == 0
    carry_out(deployment, decided.reviews)
    assert volume(deployment) < [(0,)]
    table(deployment, "UPDATE quarantine SET decision = NULL, settled_at = NULL RETURNING 1")
    assert decide(deployment, "released", datasets=("ohlcv",), review="same").replaces == 0


def test_a_rejected_row_of_another_symbol_excuses_no_rival(deployment: Deployment) -> None:
    for symbol in ("SOL/USDT", "BTC/USDT"):
        for row_hash in (1, 2):
            quarantine(deployment, json.dumps(WHOLE | {"symbol": symbol}), symbol=symbol, row_hash=row_hash)
    one, other, twin, its_rival = ids(deployment)
    decide(deployment, "rejected", other, review="first")
    with pytest.raises(ReviewRefused, match=f"{its_rival} has the same key as {twin}"):
        decide(deployment, "released", one, twin)
    assert decide(deployment, "released", one, twin, reject_rivals=True).rivals_rejected == 1
    assert ids(deployment, "decision = 'rejected'") == [other, its_rival]


def test_what_is_rejected_after_it_was_checked_is_not_published(deployment: Deployment, exchange: Handle) -> None:
    others = two_versions(deployment, exchange, "negative_volume")
    (batch,) = reviewing.plan(deployment, "run of A", ("A",)).batches
    pipeline.stage(deployment, batch)
    pipeline.check(deployment, batch)
    (counts,) = release(deployment, *others, review="B", reject_rivals=True)
    assert counts["ohlcv"]["inserted"] == 1
    late = pipeline.publish(deployment, batch)
    assert (late["ohlcv"]["updated"], late["ohlcv"]["quarantined"]) == (0, 1)
    assert volume(deployment)[0] < (0,)
    assert [decision for _, decision in decisions(deployment)] == ["released", "rejected"]


def test_a_release_that_fails_something_else_rejects_nothing_that_is_published(
    deployment: Deployment, exchange: Handle
) -> None:
    two_versions(deployment, exchange, "nan_price")
    carry_out(deployment, ("A",))
    before = volume(deployment)
    assert len(before) == 1
    (first, second) = [
        name for (name,) in table(deployment, "SELECT expectation FROM quarantine WHERE decision IS NULL ORDER BY id")
    ]
    (counts,) = release(deployment, expectation=first, review="B", reject_rivals=True)
    assert counts["ohlcv"]["quarantined"] == 1
    assert volume(deployment) == before
    assert ids(deployment, "decision = 'rejected'") == []
    release(deployment, expectation=second, review="C", reject_rivals=True)
    assert [decision for _, decision in decisions(deployment)] == ["released", "rejected"]


def test_a_decision_waits_for_who_publishes_and_publishers_do_not_wait_for_each_other(deployment: Deployment) -> None:
    url = deployment.database_url
    with session(url) as one, session(url) as other, session(url) as person, one.transaction(), other.transaction():
        releasing.hold_reviews(one)
        releasing.hold_reviews(other)
        person.execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            person.execute(query("review_begin"))


def test_rivals_of_a_row_are_shown(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "open_interest", "conflicting_duplicate", count=1)
    load_day(deployment, "run", "open_interest")
    one, other = ids(deployment)
    assert [rival["id"] for rival in reviewing.show(deployment, one).rivals] == [other]
