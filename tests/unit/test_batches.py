"""Requests, and the batches that are cut from them: they tile what is asked for, and a scheduler can map them."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpflow.batches import MOST_BATCHES, MOST_OF_AN_INCREMENT, Batch, LoadRequest, Plan, cut, symbols_per_task
from perpflow.errors import BadConfiguration
from perpflow.windows import Window, months

START = datetime(2020, 1, 1, tzinfo=UTC)
FORM: dict[str, Any] = {
    "datasets": ["ohlcv"],
    "symbols": ["SOL/USDT"],
    "start": "2026-04-01",
    "end": "2026-05-01",
    "again": False,
    "symbols_per_task": 1,
}


def request(symbols_per_task: int = 1, **changes: Any) -> LoadRequest:
    asked: dict[str, Any] = {"datasets": ("ohlcv",), "symbols": None, "start": None, "end": None, "run": "run"}
    return LoadRequest(**asked | changes, symbols_per_task=symbols_per_task)


@st.composite
def hulls(draw: st.DrawFn) -> dict[str, Window]:
    names = draw(st.lists(st.sampled_from([f"{n}COIN/USDT" for n in range(40)]), unique=True, max_size=12))
    starts = st.timedeltas(timedelta(0), timedelta(days=800))
    lengths = st.timedeltas(timedelta(minutes=5), timedelta(days=2500))
    return {name: Window(START + (first := draw(starts)), START + first + draw(lengths)) for name in names}


@given(hulls(), st.integers(1, 7))
def test_a_symbols_batches_cover_its_hull_and_do_not_overlap(wanted: dict[str, Window], symbols_per_task: int) -> None:
    covered = defaultdict(list)
    for batch in cut(request(symbols_per_task), ("ohlcv",), wanted):
        for symbol in batch.symbols:
            covered[symbol].append(batch.window)
    assert covered.keys() == wanted.keys()
    for symbol, windows in covered.items():
        assert windows[0].start <= wanted[symbol].start
        assert windows[-1].end >= wanted[symbol].end
        assert [a for a, b in zip(windows, windows[1:], strict=False) if a.end != b.start] == []


@given(st.integers(0, 2000))
def test_an_increment_has_a_task_for_each_symbol_until_there_would_be_too_many(symbols: int) -> None:
    per_task = symbols_per_task(symbols)
    assert -(-symbols // per_task) <= MOST_OF_AN_INCREMENT
    assert symbols > MOST_OF_AN_INCREMENT or per_task == 1


@given(hulls())
def test_batches_of_one_symbol_hold_its_hull_and_nothing_else(wanted: dict[str, Window]) -> None:
    lengths: dict[str, timedelta] = defaultdict(timedelta)
    for batch in cut(request(), ("ohlcv",), wanted):
        (symbol,) = batch.symbols
        assert batch.window.intersect(wanted[symbol]) == batch.window
        lengths[symbol] += batch.window.length
    assert lengths == {symbol: hull.length for symbol, hull in wanted.items()}


@given(hulls(), st.integers(1, 7))
def test_ids_are_stable_and_each_is_there_once(wanted: dict[str, Window], symbols_per_task: int) -> None:
    asked = request(symbols_per_task)
    first = [batch.id for batch in cut(asked, ("ohlcv",), wanted)]
    again = [batch.id for batch in cut(asked, ("ohlcv",), dict(reversed(wanted.items())))]
    assert first == again
    assert len(set(first)) == len(first)


def test_the_ids_of_two_runs_of_two_folders_and_of_a_run_that_is_planned_anew_differ() -> None:
    wanted = {"SOL/USDT": Window(START, START + timedelta(days=10))}
    asked = request(made_at=START)
    batches = [
        *cut(asked, ("ohlcv",), wanted),
        *cut(request(run="other", made_at=START), ("ohlcv",), wanted),
        *cut(asked, ("open_interest", "long_short_ratio"), wanted),
        *cut(request(made_at=START + timedelta(seconds=1)), ("ohlcv",), wanted),
    ]
    assert len({batch.id for batch in batches}) == 4


def test_a_batch_holds_no_more_symbols_than_asked_for() -> None:
    wanted = {f"{n}COIN/USDT": Window(START, START + timedelta(days=3)) for n in range(10)}
    assert [len(batch.symbols) for batch in cut(request(4), ("ohlcv",), wanted)] == [4, 4, 2]


def test_symbols_that_begin_at_different_times_share_batches() -> None:
    wanted = {
        "A/USDT": Window(START, START + timedelta(days=60)),
        "B/USDT": Window(START + timedelta(days=10), START + timedelta(days=60)),
    }
    batches = cut(request(2), ("ohlcv",), wanted)
    assert [(batch.symbols, batch.window) for batch in batches] == [
        (("A/USDT", "B/USDT"), month) for month in months(wanted["A/USDT"])
    ]


def test_a_universe_listed_one_by_one_can_be_mapped() -> None:
    end = START + timedelta(days=2400)
    wanted = {f"{n}COIN/USDT": Window(START + timedelta(days=n, minutes=5 * n), end) for n in range(600)}
    batches = cut(request(), ("ohlcv",), wanted)
    assert 0 < len(batches) <= MOST_BATCHES
    covered: dict[str, timedelta] = defaultdict(timedelta)
    for batch in batches:
        for symbol in batch.symbols:
            covered[symbol] += batch.window.length
    assert all(hull.length <= covered[symbol] for symbol, hull in wanted.items())


@pytest.mark.parametrize(("symbols", "years"), [(1, 10), (20, 6), (500, 6)])
def test_a_scheduler_can_map_whatever_is_asked_for(symbols: int, years: int) -> None:
    whole = Window(START, START + timedelta(days=365 * years))
    batches = cut(request(), ("ohlcv",), {f"{n}COIN/USDT": whole for n in range(symbols)})
    assert 0 < len(batches) <= MOST_BATCHES
    assert sum(batch.window.length.days * len(batch.symbols) for batch in batches) == whole.length.days * symbols


def test_a_month_at_a_time_is_the_rule() -> None:
    batches = cut(request(), ("ohlcv",), {"SOL/USDT": Window(START, START + timedelta(days=366))})
    assert [batch.window for batch in batches] == list(months(Window(START, START + timedelta(days=366))))


@given(hulls())
def test_a_plan_survives_json(wanted: dict[str, Window]) -> None:
    batches = cut(request(3, again=True), ("open_interest", "long_short_ratio"), wanted)
    planned = Plan(batches, ["a note"], ["X/USDT: no such perpetual"])
    assert Plan.from_json(json.loads(json.dumps(planned.to_json()))) == planned


def test_a_label_names_symbols_folder_and_start() -> None:
    window = Window(START, START + timedelta(days=1))
    one = Batch("id", "run", ("open_interest",), ("SOL/USDT",), window)
    three = Batch("id", "run", ("ohlcv",), ("BTC/USDT", "ETH/USDT", "SOL/USDT"), window)
    assert one.label == "SOL/USDT metrics 2020-01-01"
    assert three.label == "BTC/USDT +2 klines 2020-01-01"


# --- requests


def test_a_form_becomes_a_request() -> None:
    asked = LoadRequest.from_form("run", FORM | {"symbols": ["SOL/USDT", "BTC/USDT", "SOL/USDT"]})
    assert asked.symbols == ("SOL/USDT", "BTC/USDT")
    assert asked.start == datetime(2026, 4, 1, tzinfo=UTC)
    assert asked.end == datetime(2026, 5, 1, tzinfo=UTC)


def test_what_a_form_leaves_empty_is_left_to_the_configuration() -> None:
    asked = LoadRequest.from_form("run", FORM | {"symbols": [], "start": None, "end": ""})
    assert (asked.symbols, asked.start, asked.end) == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"end": "2026-04-01"}, "not after its start"),
        ({"end": "2026-03-01"}, "not after its start"),
        ({"start": "2026-04-01T12:00:00"}, "start = '2026-04-01T12:00:00'"),
        ({"end": "soon"}, "end = 'soon'"),
        ({"datasets": []}, "none is not among those that can be"),
        ({"datasets": ["ohlcv", "liquidations", "tea"]}, "liquidations, tea is not among those that can be loaded,"),
        ({"datasets": ["liquidations"]}, "A stream alone gives liquidations: nobody can ask for that again. Allowed:"),
        ({"symbols": ["SOLUSDT"]}, "SOLUSDT"),
        ({"symbols": ["sol/usdt"]}, "sol/usdt"),
        ({"symbols": ["all", "SOL/USDT"]}, "all stands alone"),
    ],
)
def test_a_form_that_makes_no_sense_is_refused_with_key_and_value(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadConfiguration) as refusal:
        LoadRequest.from_form("run", FORM | changes)
    assert said in str(refusal.value)


def test_a_batch_of_a_whole_universe_has_a_short_name_of_its_own() -> None:
    window = Window(START, START + timedelta(days=1))
    symbols = [f"COIN{number:03}/USDT" for number in range(600)]
    ids = set()
    for group in (symbols, symbols[1:], symbols[:20]):
        (batch,) = cut(request(1000), ("ohlcv",), dict.fromkeys(group, window))
        assert len(batch.id) < 1000
        ids.add(batch.id)
    assert len(ids) == 3


def test_a_batch_of_a_review_waits_in_no_stream_and_survives_xcom() -> None:
    window = Window(START, START + timedelta(minutes=5))
    batch = Batch("id", "run", ("liquidations",), ("*",), window, review="review_quarantine|manual|group")
    assert not batch.is_streamed
    assert batch.label == "released liquidations 2020-01-01"
    assert Batch.from_json(json.loads(json.dumps(batch.to_json()))) == batch
