"""The review of the quarantine against a real database: what is released is published, what is rejected never is."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from perpflow import pipeline, reporting, review_forms, reviewing
from perpflow.datasets import DATASETS, LIQUIDATIONS
from perpflow.errors import BadConfiguration, BatchFaulty, NothingToReview, ReviewRefused
from perpflow.quarantine_tables import row_lines
from perpflow.reviewing import Decided, Judgement, Selection
from perpflow.settings import Deployment
from perpflow.store.database import connection_options
from perpflow.store.received import DatabaseEntries, Told
from perpflow.windows import Window, subtract
from simulator.process import Handle
from tests.loading import facts, load, request, run_batch, utc, windows_of
from tests.reviewed import (
    DAY,
    FIVE,
    SIX,
    THREE,
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
    times,
)


@pytest.fixture
def deployment(empty_database_url: str, exchange: Handle) -> Iterator[Deployment]:
    yield from reviewed(empty_database_url, exchange)


# --- release


@pytest.mark.parametrize(
    ("dataset", "what", "instants"),
    [
        ("ohlcv", "high_below_low", THREE),
        ("open_interest", "negative_value", THREE),
        ("long_short_ratio", "negative_ratio", THREE),
        ("funding_rate", "absurd_rate", [DAY.start, DAY.start + timedelta(hours=8), DAY.start + timedelta(hours=16)]),
    ],
)
def test_released_rows_are_published_with_their_values_and_the_ledger_has_them(
    deployment: Deployment, exchange: Handle, dataset: str, what: str, instants: list[datetime]
) -> None:
    corrupt(exchange, dataset, what)
    load_day(deployment, "run", dataset)
    series = {"funding_rate": "settlement", "long_short_ratio": "top_account"}.get(dataset, "5m")
    held = coverage(deployment, dataset, series).quarantined
    assert held != []
    ((counts,),) = [published.values() for published in release(deployment, datasets=(dataset,))]
    assert (counts["inserted"], counts["quarantined"]) == (len(instants), 0)
    assert set(instants) <= times(deployment, dataset)
    row = coverage(deployment, dataset, series)
    assert (row.quarantined, row.present, row.missing_upstream) == ([], [DAY], [])
    kept = table(deployment, "SELECT DISTINCT decision, note, decided_by, settled_at IS NOT NULL FROM quarantine")
    assert kept == [("released", "looked at", "ada", True)]
    assert table(deployment, f"TABLE staging.{dataset}") == []


def test_source_and_origin_of_a_released_row_are_its_own(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "ohlcv", "high_below_low", count=1)
    load_day(deployment, "run", "ohlcv")
    release(deployment, datasets=("ohlcv",))
    assert table(deployment, "SELECT source FROM ohlcv WHERE time = %s AND timeframe = '5m'", SIX) == [("archive",)]
    ((stored,),) = table(deployment, "SELECT to_jsonb(o) FROM ohlcv o WHERE time = %s AND timeframe = '5m'", SIX)
    ((came,),) = table(deployment, "SELECT DISTINCT row FROM quarantine")
    assert {name: stored[name] for name in ("open", "high", "low", "close", "volume")} == {
        name: came[name] for name in ("open", "high", "low", "close", "volume")
    }
    assert stored["high"] < stored["low"]


def test_a_released_row_passes_whenever_it_is_read_again_and_another_does_not(
    deployment: Deployment, exchange: Handle
) -> None:
    corrupt(exchange, "ohlcv", "high_below_low")
    load_day(deployment, "run", "ohlcv")
    first, *others = ids(deployment, "time = '2026-10-10T06:00Z'")
    release(deployment, first)
    assert set(ids(deployment, "decision = 'released'")) == {first, *others}
    planned = load_day(deployment, "again", "ohlcv", again=True)
    (entry,) = table(deployment, "SELECT quarantined, unchanged FROM data_versions WHERE run = 'again'")
    assert entry == (2, 288 + 24 - 2)
    with pytest.raises(BatchFaulty, match="withheld: 2 rows of ohlcv SOL/USDT"):
        reporting.report(deployment, planned)
    assert coverage(deployment, "ohlcv").quarantined == windows_of(THREE[1:], DATASETS["ohlcv"].timeframe_of("5m"))


def test_where_all_is_released_a_re_read_is_green(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "ohlcv", "high_below_low")
    load_day(deployment, "run", "ohlcv")
    release(deployment, datasets=("ohlcv",))
    planned = load_day(deployment, "again", "ohlcv", again=True)
    (entry,) = reporting.report(deployment, planned)
    assert (entry["quarantined"], entry["unchanged"]) == (0, 288 + 24)


def test_a_row_of_other_values_is_not_excused(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "ohlcv", "high_below_low", count=1)
    load_day(deployment, "run", "ohlcv")
    release(deployment, datasets=("ohlcv",))
    exchange.clear_faults()
    corrupt(exchange, "ohlcv", "negative_volume", count=1)
    load_day(deployment, "again", "ohlcv", again=True)
    assert table(deployment, "SELECT quarantined FROM data_versions WHERE run = 'again'") == [(1,)]
    assert ids(deployment, "decision IS NULL") != []
    # What is published stays so, and is no hole.
    assert coverage(deployment, "ohlcv").present == [DAY]


def test_a_row_released_from_one_thing_still_fails_another(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "ohlcv", "nan_price", count=1)
    load_day(deployment, "run", "ohlcv")
    names = [name for (name,) in table(deployment, "SELECT expectation FROM quarantine ORDER BY id")]
    assert len(names) == 2
    (counts,) = release(deployment, expectation=names[0])
    assert counts["ohlcv"]["quarantined"] == 1
    assert coverage(deployment, "ohlcv").quarantined == [Window(SIX, SIX + FIVE)]
    assert table(deployment, "SELECT expectation, decision FROM quarantine ORDER BY id") == [
        (names[0], "released"),
        (names[1], None),
    ]
    number, _ = ids(deployment)
    told = "\n".join(row_lines(reviewing.show(deployment, number)))
    assert f"UTC, withheld again for {names[1]}: looked at" in told
    (counts,) = release(deployment, expectation=names[1], review="second")
    assert counts["ohlcv"]["inserted"] == 1
    assert coverage(deployment, "ohlcv").quarantined == []
    told = "\n".join(row_lines(reviewing.show(deployment, number)))
    assert told.count("UTC, published: looked at") == 2


def test_a_number_stands_for_the_whole_row(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "ohlcv", "nan_price", count=1)
    load_day(deployment, "run", "ohlcv")
    first, _ = ids(deployment)
    assert decide(deployment, "released", first).marked == 2


def test_a_day_that_hangs_is_released_whole(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "open_interest", "all_same_value")
    load_day(deployment, "run", "open_interest")
    assert coverage(deployment, "open_interest").quarantined == [DAY]
    (counts,) = release(deployment, expectation="no_open_interest_repeated_all_day")
    assert counts["open_interest"]["inserted"] == 288
    assert coverage(deployment, "open_interest").present == [DAY]
    load_day(deployment, "again", "open_interest", again=True)
    assert table(deployment, "SELECT quarantined FROM data_versions WHERE run = 'again'") == [(0,)]


def test_months_are_batches_of_their_own(deployment: Deployment, exchange: Handle) -> None:
    for day in ("2026-09-10", "2026-10-10"):
        exchange.add_fault(
            "corrupt_rows", dataset="metrics", symbol="SOLUSDT", date=day, what="negative_value", count=1
        )
    load(deployment, request("run", "2026-09-10", "2026-10-11", datasets=("open_interest",)))
    assert len(ids(deployment)) == 2
    assert len(release(deployment, datasets=("open_interest",))) == 2
    assert coverage(deployment, "open_interest").quarantined == []


# --- reject


def test_rejected_rows_are_never_published_and_their_hole_stays_explained(
    deployment: Deployment, exchange: Handle
) -> None:
    corrupt(exchange, "ohlcv", "high_below_low")
    load_day(deployment, "run", "ohlcv")
    decided = decide(deployment, "rejected", datasets=("ohlcv",))
    assert decided.reviews == ()
    assert carry_out(deployment) == []
    load_day(deployment, "again", "ohlcv", again=True)
    row = coverage(deployment, "ohlcv")
    assert row.quarantined == windows_of(THREE, DATASETS["ohlcv"].timeframe_of("5m"))
    assert row.present == subtract([DAY], row.quarantined)
    assert table(deployment, "SELECT DISTINCT decision FROM quarantine") == [("rejected",)]
    assert pipeline.plan(deployment, request("more", DAY.start, DAY.end, datasets=("ohlcv",))).batches == []


def test_a_rejected_row_is_withheld_in_other_company_too(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "ohlcv", "conflicting_duplicate", count=1)
    load_day(deployment, "run", "ohlcv")
    decide(deployment, "rejected", *ids(deployment))
    held = table(deployment, "SELECT * FROM quarantine ORDER BY id")
    # The file has one of the two alone now: nothing is wrong with it but that it was rejected.
    exchange.clear_faults()
    planned = load_day(deployment, "again", "ohlcv", again=True)
    assert table(deployment, "SELECT quarantined FROM data_versions WHERE run = 'again'") == [(1,)]
    assert table(deployment, "SELECT 1 FROM ohlcv WHERE time = %s AND timeframe = '5m'", SIX) == []
    assert coverage(deployment, "ohlcv").quarantined == [Window(SIX, SIX + FIVE)]
    assert table(deployment, "SELECT * FROM quarantine ORDER BY id") == held
    (entry,) = reporting.report(deployment, planned)
    (warning,) = entry["warnings"]
    assert (warning["expectation"], warning["withheld"], warning["rejected"]) == ("one_row_per_key", 1, 1)
    assert warning["sample"] != []


def test_a_rejected_row_that_is_read_again_is_no_fault_of_the_run_and_a_waiting_one_is(
    deployment: Deployment, exchange: Handle
) -> None:
    corrupt(exchange, "ohlcv", "high_below_low")
    load_day(deployment, "run", "ohlcv")
    decide(deployment, "rejected", *ids(deployment, "time < '2026-10-10T06:10Z'"))
    planned = load_day(deployment, "again", "ohlcv", again=True)
    with pytest.raises(BatchFaulty, match="withheld: 1 rows of ohlcv SOL/USDT"):
        reporting.report(deployment, planned)
    decide(deployment, "rejected", datasets=("ohlcv",), review="rest")
    planned = load_day(deployment, "once more", "ohlcv", again=True)
    (entry,) = reporting.report(deployment, planned)
    assert entry["quarantined"] == 3


# --- killed in between


def test_a_decision_that_is_recorded_again_changes_nothing(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "ohlcv", "high_below_low")
    load_day(deployment, "run", "ohlcv")
    first = decide(deployment, "released", datasets=("ohlcv",))
    before = table(deployment, "SELECT * FROM quarantine ORDER BY id")
    assert decide(deployment, "released", datasets=("ohlcv",)) == first
    assert table(deployment, "SELECT * FROM quarantine ORDER BY id") == before


def answer(deployment: Deployment, option: str, *numbers: int) -> Decided:
    """Answer about the first group, always in the same run of review_quarantine."""
    group = {
        "label": "a group",
        "dataset": "ohlcv",
        "expectation": "high_is_the_highest",
        "symbols": [],
        "up_to": 10**9,
    }
    said = {"note": "looked at", "rows": [str(number) for number in numbers], "reject_rivals": False}
    given = {"chosen_options": [option], "params_input": said, "responded_by_user": {"name": "ada"}}
    return review_forms.answer(deployment, group, given, "run|a group")


def test_another_answer_of_a_cleared_task_decides_the_rest_and_never_otherwise(
    deployment: Deployment, exchange: Handle
) -> None:
    corrupt(exchange, "ohlcv", "high_below_low")
    load_day(deployment, "run", "ohlcv")
    first, second, third = ids(deployment, "expectation = 'high_is_the_highest'")
    assert answer(deployment, "reject", first).marked == 2
    assert answer(deployment, "reject", second).marked == 2
    assert len(ids(deployment, "decision = 'rejected'")) == 4
    # Of what is named some is recorded already.
    assert answer(deployment, "reject", first, second, third).marked == 6
    assert ids(deployment, "decision IS NULL") == []
    with pytest.raises(ReviewRefused, match=f"{first} was rejected by ada"):
        answer(deployment, "release", first)
    with pytest.raises(ReviewRefused, match=f"{first} was rejected by ada"):
        answer(deployment, "release")
    assert answer(deployment, "reject").marked == 3


def test_an_answer_about_the_rest_of_a_group_leaves_what_was_answered_by_number(
    deployment: Deployment, exchange: Handle
) -> None:
    corrupt(exchange, "ohlcv", "high_below_low")
    load_day(deployment, "run", "ohlcv")
    first, *_ = ids(deployment, "expectation = 'high_is_the_highest'")
    answer(deployment, "reject", first)
    assert answer(deployment, "release").marked == 2
    assert ids(deployment, "decision = 'rejected' AND expectation = 'high_is_the_highest'") == [first]


def test_a_wrong_number_in_an_answer_loses_nothing_that_was_said_of_the_others(
    deployment: Deployment, exchange: Handle
) -> None:
    corrupt(exchange, "ohlcv", "high_below_low")
    load_day(deployment, "run", "ohlcv")
    first, second, third = ids(deployment, "expectation = 'high_is_the_highest'")
    decide(deployment, "rejected", third, review="another")
    for _ in range(2):  # A task that is run again says the same.
        with pytest.raises(
            ReviewRefused,
            match=rf"^999999: no such rows .*{third} was rejected by ada .* of all other rows is recorded: 4 entries",
        ):
            answer(deployment, "release", first, 999_999, second, third)
    assert ids(deployment, "expectation = 'high_is_the_highest' AND decision = 'released'") == [first, second]
    # They are published with the rest of the run.
    assert [counts["ohlcv"]["inserted"] for counts in carry_out(deployment)] == [2]
    with pytest.raises(ReviewRefused, match="^999999: no such rows in the quarantine, or the filters leave them out"):
        answer(deployment, "release", 999_999)


def test_what_somebody_marked_by_hand_is_not_published(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "ohlcv", "high_below_low", count=1)
    load_day(deployment, "run", "ohlcv")
    table(deployment, "UPDATE quarantine SET decision = 'released', reviewed_at = now(), note = 'by hand' RETURNING 1")
    assert carry_out(deployment) == []
    assert reviewing.waiting(deployment, Selection()).unsettled == 0
    with pytest.raises(NothingToReview):
        decide(deployment, "released", datasets=("ohlcv",))


@pytest.mark.parametrize("steps", [0, 1, 2], ids=["decided", "staged", "checked"])
def test_what_a_killed_release_has_left_the_next_one_publishes(
    deployment: Deployment, exchange: Handle, steps: int
) -> None:
    corrupt(exchange, "ohlcv", "high_below_low")
    load_day(deployment, "run", "ohlcv")
    decided = decide(deployment, "released", datasets=("ohlcv",))
    (batch,) = reviewing.plan(deployment, "killed", decided.reviews).batches
    for step in (pipeline.stage, pipeline.check)[:steps]:
        step(deployment, batch)
    assert reviewing.waiting(deployment, Selection()).unsettled == len(ids(deployment))
    again = decide(deployment, "released", datasets=("ohlcv",), review="second")
    assert (again.marked, again.reviews) == (0, ("review",))
    (counts,) = carry_out(deployment, again.reviews)
    assert counts["ohlcv"]["inserted"] == 3
    assert reviewing.waiting(deployment, Selection()).unsettled == 0
    assert carry_out(deployment) == []


def test_publishing_a_release_again_changes_nothing(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "ohlcv", "high_below_low")
    load_day(deployment, "run", "ohlcv")
    decided = decide(deployment, "released", datasets=("ohlcv",))
    (batch,) = reviewing.plan(deployment, "run", decided.reviews).batches
    first = run_batch(deployment, batch)
    before = facts(deployment.database_url, "ohlcv")
    assert pipeline.publish(deployment, batch) == first
    assert pipeline.stage(deployment, batch) == {}
    assert facts(deployment.database_url, "ohlcv") == before


def test_a_crash_that_empties_staging_is_mended_by_publishing(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "ohlcv", "high_below_low")
    load_day(deployment, "run", "ohlcv")
    decided = decide(deployment, "released", datasets=("ohlcv",))
    (batch,) = reviewing.plan(deployment, "run", decided.reviews).batches
    pipeline.stage(deployment, batch)
    pipeline.check(deployment, batch)
    table(deployment, "DELETE FROM staging.ohlcv RETURNING 1")
    assert pipeline.publish(deployment, batch)["ohlcv"]["inserted"] == 3


# --- liquidations


def liquidation(**changes: Any) -> Told:
    order = {
        "s": "SOLUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "116.5", "p": "3.80300", "ap": "3.85642",
        "X": "FILLED", "l": "25.2", "z": "116.5", "T": 1_791_391_082_119, "st": 1,
    } | changes  # fmt: skip
    event = {"e": "forceOrder", "E": 1_791_391_083_124, "o": order}
    return Told(json.dumps({"stream": "!forceOrder@arr", "data": event}).encode(), 1_791_391_083_144)


async def put(deployment: Deployment, *entries: Told) -> None:
    url = deployment.database_url
    async with await psycopg.AsyncConnection.connect(url, **connection_options(url)) as connection:
        await DatabaseEntries(connection).append(entries)


def drain(deployment: Deployment, *entries: Told) -> None:
    """Have the stream receive them, and drain."""
    asyncio.run(put(deployment, *entries))
    for batch in pipeline.plan_drain(deployment, "drain", 0).batches:
        run_batch(deployment, batch)


def test_a_liquidation_is_released_and_others_of_its_instant_are_no_rivals(deployment: Deployment) -> None:
    drain(deployment, liquidation(z="0"), liquidation(z="-1"))
    assert len(ids(deployment)) >= 2
    (counts,) = release(deployment, datasets=("liquidations",))
    assert counts["liquidations"]["inserted"] == 2
    assert sorted(row[4] for row in facts(deployment.database_url, LIQUIDATIONS.name)) == [-1.0, 0.0]
    assert table(deployment, "SELECT symbol FROM coverage") == [("*",)]
    drain(deployment, liquidation(z="0"))
    assert ids(deployment, "decision IS NULL") == []


def test_a_contract_that_is_known_by_now_is_released_under_its_name(deployment: Deployment) -> None:
    drain(deployment, liquidation(s="WEIRD"))
    assert table(deployment, "SELECT symbol, expectation FROM quarantine") == [("WEIRD", "contract_is_known")]
    table(
        deployment,
        """INSERT INTO symbols (symbol, exchange_symbol, base, quote, contract_type, status)
           VALUES ('WEI/RD', 'WEIRD', 'WEI', 'RD', 'PERPETUAL', 'TRADING') RETURNING 1""",
    )
    release(deployment, expectation="contract_is_known")
    assert [row[0] for row in facts(deployment.database_url, LIQUIDATIONS.name)] == ["WEI/RD"]


def test_a_contract_that_is_known_by_now_passes_what_it_was_released_from(deployment: Deployment) -> None:
    drain(deployment, liquidation(s="WEIRD", z="0"))
    assert len(ids(deployment)) >= 2
    table(
        deployment,
        """INSERT INTO symbols (symbol, exchange_symbol, base, quote, contract_type, status)
           VALUES ('WEI/RD', 'WEIRD', 'WEI', 'RD', 'PERPETUAL', 'TRADING') RETURNING 1""",
    )
    (counts,) = release(deployment, *ids(deployment))
    assert (counts["liquidations"]["inserted"], counts["liquidations"]["quarantined"]) == (1, 0)
    assert ids(deployment, "decision IS NULL") == []


def test_a_frame_that_nobody_can_read_can_only_be_rejected(deployment: Deployment) -> None:
    drain(deployment, Told(b"\xff no frame", 1_791_391_083_124))
    (number,) = ids(deployment)
    with pytest.raises(ReviewRefused, match=f"{number} is a frame that nobody can read. Reject it"):
        decide(deployment, "released", number)
    assert reviewing.show(deployment, number).neighbours == []
    assert decide(deployment, "rejected", number).marked == 1


# --- what can't be decided


def test_a_row_without_what_the_table_demands_can_only_be_rejected(deployment: Deployment) -> None:
    quarantine(deployment, "{'time': null}", time=None)
    quarantine(deployment, '{"time": "x", "symbol": "SOL/USDT", "timeframe": "5m", "open": 1}')
    without_time, without_values = ids(deployment)
    with pytest.raises(ReviewRefused, match=f"{without_time} has no instant"):
        decide(deployment, "released", without_time)
    with pytest.raises(ReviewRefused, match=f"{without_values} has no high, low, close, volume"):
        decide(deployment, "released", without_values)


def test_a_decision_about_many_rows_takes_none_of_them_along(deployment: Deployment) -> None:
    quarantine(deployment, json.dumps(WHOLE | {"symbol": "SOL/USDT"}), utc("2020-01-01"), count=20_000)
    decide(deployment, "rejected", *ids(deployment)[:3], review="some")
    tracemalloc.start()
    try:
        assert decide(deployment, "released", datasets=("ohlcv",)).marked == 19_997
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # As dicts they were twenty times as much.
    assert peak < 1_000_000
    with pytest.raises(ReviewRefused, match=r"4 was released by ada.*; and 19992 more\. A decision stands"):
        decide(deployment, "rejected", *ids(deployment)[3:], review="otherwise")


def test_years_that_python_does_not_know_are_listed_and_can_only_be_rejected(deployment: Deployment) -> None:
    quarantine(deployment, "{}", time="20000-01-01Z")
    (found,) = reviewing.waiting(deployment, Selection()).rows
    assert found["time"] is None
    with pytest.raises(ReviewRefused, match="has no instant"):
        decide(deployment, "released", found["id"])
    assert decide(deployment, "rejected", found["id"]).marked == 1


def test_bad_input_is_refused_and_nothing_is_recorded(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "ohlcv", "high_below_low", count=1)
    load_day(deployment, "run", "ohlcv")
    known = ids(deployment)
    with pytest.raises(ReviewRefused, match="999999: no such rows"):
        decide(deployment, "released", known[0], 999999)
    with pytest.raises(ReviewRefused, match="nothing that waits for a decision matches"):
        decide(deployment, "rejected", expectation="no_such_expectation")
    with pytest.raises(BadConfiguration, match="no rows are chosen"):
        decide(deployment, "rejected")
    with pytest.raises(BadConfiguration, match="nonsense is none"):
        decide(deployment, "rejected", datasets=("nonsense",))
    with pytest.raises(BadConfiguration, match="the note is empty"):
        Judgement("rejected", " \n", "ada", "review")
    assert ids(deployment, "decision IS NOT NULL") == []
    decide(deployment, "rejected", *known)
    with pytest.raises(ReviewRefused, match=f"{known[0]} was rejected by ada on 20.* UTC: looked at"):
        decide(deployment, "released", known[0], review="second")
    with pytest.raises(ReviewRefused, match="no such rows"):
        reviewing.show(deployment, 999999)


def test_what_came_after_a_person_looked_is_not_decided(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "ohlcv", "high_below_low", count=1)
    load_day(deployment, "run", "ohlcv")
    seen = max(ids(deployment))
    quarantine(deployment, "{}")
    decide(deployment, "rejected", datasets=("ohlcv",), up_to=seen)
    assert len(ids(deployment, "decision IS NULL")) == 1


# --- looking


def test_what_waits_is_grouped_and_filtered(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "ohlcv", "high_below_low")
    corrupt(exchange, "open_interest", "negative_value", count=1)
    load_day(deployment, "run", "ohlcv")
    load_day(deployment, "run", "open_interest")
    found = reviewing.waiting(deployment, Selection())
    assert {group["dataset"] for group in found.groups} == {"ohlcv", "open_interest"}
    assert sum(group["rows"] for group in found.groups) == len(found.rows) == len(ids(deployment))
    only = reviewing.waiting(deployment, Selection(datasets=("open_interest",), symbols=("SOL/USDT",)))
    (group,) = only.groups
    assert (group["rows"], group["symbols"], group["first"]) == (1, ["SOL/USDT"], SIX)
    assert [row["expectation"] for row in only.rows] == [group["expectation"]]
    assert reviewing.waiting(deployment, Selection(symbols=("BTC/USDT",))).groups == []
    assert reviewing.waiting(deployment, Selection(since=utc("2100-01-01"))).groups == []
    assert len(reviewing.waiting(deployment, Selection(), most=2).rows) == 2


def test_a_row_is_shown_with_all_that_it_fails_and_its_neighbours(deployment: Deployment, exchange: Handle) -> None:
    corrupt(exchange, "ohlcv", "nan_price", count=1)
    load_day(deployment, "run", "ohlcv")
    number = ids(deployment)[-1]
    shown = reviewing.show(deployment, number)
    assert [entry["id"] for entry in shown.entries] == ids(deployment)
    assert all(entry["reason"] for entry in shown.entries)
    around = [(n["place"], n["time"], n["row"]["timeframe"]) for n in shown.neighbours]
    assert around == [("before", SIX - FIVE, "5m"), ("after", SIX + FIVE, "5m")]
    assert shown.rivals == []
