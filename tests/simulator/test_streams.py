"""What streams send and when, and the rules of connections, with a clock that only the test moves."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from simulator.grid import to_datetime
from simulator.stream_connection import BACKLOG
from simulator.stream_names import LEGACY, MARKET, PUBLIC
from simulator.truth import Truth
from tests.simulator.conftest import SEED
from tests.simulator.stream_clients import NOW, Venue


@pytest.fixture
def venue() -> Venue:
    """A hub without liquidations."""
    return Venue()


def test_mark_prices_are_the_truths_at_their_event_time_even_beside_a_frozen_clock(venue: Venue) -> None:
    _, wire = venue.connect("btcusdt@markPrice@1s")
    venue.pass_time(5)
    events = wire.events()
    assert [told["E"] for told in events] == [NOW + 1000 * second for second in range(1, 6)]
    truth = Truth(SEED)
    assert [float(told["p"]) for told in events] == [
        truth.mark_price("BTCUSDT", to_datetime(told["E"])) for told in events
    ]


@pytest.mark.parametrize(
    ("name", "seconds", "frames"),
    [
        ("btcusdt@markPrice", 9, 3), ("btcusdt@markPrice@1s", 9, 9), ("btcusdt@aggTrade", 2, 20),
        ("btcusdt@ticker", 8, 4), ("!ticker@arr", 8, 8),
    ],
)  # fmt: skip
def test_each_stream_has_its_cadence(venue: Venue, name: str, seconds: int, frames: int) -> None:
    _, wire = venue.connect(name)
    venue.pass_time(seconds)
    assert len(wire.events()) == frames


def test_all_mark_prices_come_in_parts_with_other_margins_and_markets_among_them(venue: Venue) -> None:
    _, wire = venue.connect("!markPrice@arr@1s")
    venue.pass_time(1)
    parts = wire.events()
    assert len(parts) > 1
    entries = {entry["s"]: entry for part in parts for entry in part}
    assert len(entries) == sum(map(len, parts))
    assert {symbol for symbol, entry in entries.items() if entry["st"] == 2} == {
        "BTCUSD_PERP", "ETHUSD_PERP", "BTCUSD_261225",
    }  # fmt: skip
    assert {"TSLAUSDT", "币安人生USDT"} < entries.keys()
    assert not {"FTMUSDT", "ICPUSDTSETTLED"} & entries.keys()
    assert (entries["BTCUSDT_261225"]["r"], entries["BTCUSDT_261225"]["T"]) == ("", 0)


def test_trades_are_numbered_without_gaps_and_only_for_listed_symbols(venue: Venue) -> None:
    _, wire = venue.connect("ethusdt@aggTrade", "ftmusdt@aggTrade")
    venue.pass_time(3)
    numbers = [told["a"] for told in wire.events()]
    assert numbers == list(range(numbers[0], numbers[0] + 30))


def test_all_tickers_are_those_that_changed(venue: Venue) -> None:
    _, wire = venue.connect("!ticker@arr")
    venue.pass_time(4)
    first, *later = wire.events()
    last = {ticker["s"]: ticker for ticker in first}
    assert len(last) == 12
    for tickers in later:
        for ticker in tickers:
            assert any(ticker[field] != last[ticker["s"]][field] for field in ("c", "o", "h", "l", "v"))
        last |= {ticker["s"]: ticker for ticker in tickers}
    assert sum(map(len, later)) < 12 * len(later)


def test_all_tickers_of_a_second_come_in_one_frame_with_its_time_and_the_symbols_own_price(venue: Venue) -> None:
    _, all_wire = venue.connect("!ticker@arr")
    _, wire = venue.connect("btcusdt@ticker")
    venue.pass_time(4)
    frames = all_wire.events()
    assert [{ticker["E"] for ticker in frame} for frame in frames] == [{NOW + 1000 * n} for n in range(1, 5)]
    told = {ticker["E"]: ticker for frame in frames for ticker in frame if ticker["s"] == "BTCUSDT"}
    assert [told[ticker["E"]] for ticker in wire.events()] == [told[NOW + 2000], told[NOW + 4000]]


def test_bid_and_ask_stand_around_the_price(venue: Venue) -> None:
    _, wire = venue.connect("btcusdt@bookTicker", category=PUBLIC)
    venue.pass_time(1)
    assert all(float(told["b"]) < float(told["a"]) for told in wire.events())


@pytest.mark.parametrize(
    ("category", "flowing"), [(MARKET, {"aggTrade"}), (PUBLIC, {"bookTicker"}), (LEGACY, {"bookTicker"})]
)
def test_streams_of_another_category_are_silent(venue: Venue, category: str, flowing: set[str]) -> None:
    names = ["btcusdt@aggTrade", "btcusdt@bookTicker", "BTCUSDT@aggTrade", "btcusdt@kline_1m", "nonsense"]
    connection, wire = venue.connect(*names, category=category)
    venue.pass_time(2)
    assert {told["e"] for told in wire.events()} == flowing
    assert connection.subscribed() == names
    assert len(venue.hub.listening.report(0)) == 1


def test_a_clock_that_is_set_brings_no_flood_of_the_time_between(venue: Venue) -> None:
    _, wire = venue.connect("btcusdt@aggTrade")
    venue.pass_time(1)
    venue.hub._clock.move(NOW + 86_400_000)
    wire.frames()
    venue.pass_time(1)
    assert 9 <= len(wire.events()) <= 11


def test_a_connection_lives_no_longer_than_it_may(venue: Venue) -> None:
    venue.hub.change_settings({"lifetime_s": 30})
    connection, wire = venue.connect("btcusdt@markPrice")
    venue.pass_time(29.5)
    assert wire.ended is None
    venue.pass_time(1)
    assert (wire.ended, connection.reason) == ("closed", "lifetime")
    opcode, payload = wire.frames()[-1]
    assert (opcode, struct.unpack("!H", payload[:2])[0]) == (8, 1001)


def test_pings_come_every_three_minutes_and_want_their_own_payload_back(venue: Venue) -> None:
    connection, wire = venue.connect()
    pings = []
    for _ in range(3):
        venue.pass_time(180, step=1.0)
        pings += [payload for opcode, payload in wire.frames() if opcode == 9]
    assert len(pings) == 3
    connection.pong(b"something else", venue.seconds)
    venue.pass_time(230, step=1.0)
    assert wire.ended is None
    connection.pong(pings[0], venue.seconds)
    venue.pass_time(20, step=1.0)
    assert wire.ended is None, "the oldest unanswered ping is younger than ten minutes"
    venue.pass_time(180, step=1.0)
    assert (wire.ended, connection.reason) == ("closed", "no pong")


def test_a_pong_answers_all_pings_before_its_own(venue: Venue) -> None:
    connection, wire = venue.connect()
    for _ in range(8):
        venue.pass_time(180, step=1.0)
        pings = [payload for opcode, payload in wire.frames() if opcode == 9]
        connection.pong(pings[-1], venue.seconds)
    assert wire.ended is None


def test_who_does_not_read_is_dropped(venue: Venue) -> None:
    connection, wire = venue.connect("btcusdt@aggTrade")
    wire.waiting = BACKLOG + 1
    venue.pass_time(0.1)
    assert (wire.ended, connection.reason) == ("reset", "reads too slowly")


def test_intervals_of_listening_end_with_the_last_listener(venue: Venue) -> None:
    name = "ethusdt@markPrice"
    first, _ = venue.connect(name)
    venue.pass_time(2)
    second, _ = venue.connect(name)
    venue.pass_time(2)
    first.unsubscribe([name])
    venue.pass_time(2)
    second.gone("lost")
    venue.pass_time(2)
    third, _ = venue.connect(name)
    assert venue.hub.report()["listened"] == {name: [[0.0, 6.0], [8.0, None]]}
    venue.pass_time(1)
    venue.hub.clear()
    report: dict[str, Any] = venue.hub.report()
    assert report["listened"] == {name: [[9.0, None]]}
    assert [known["id"] for known in report["connections"]] == [first.number, third.number]


def test_more_than_ten_messages_a_second_end_a_connection_and_the_fourth_time_bring_a_ban(venue: Venue) -> None:
    for floods in range(1, 5):
        connection, wire = venue.connect()
        for _ in range(10):
            connection.ping(b"", venue.seconds)
        assert wire.ended is None
        assert venue.limits.banned() is None
        connection.pong(b"", venue.seconds)
        assert (wire.ended, connection.reason) == ("closed", "too many messages")
        assert venue.hub.report()["rate_violations"] == floods
    assert venue.limits.banned() is not None


def test_messages_at_the_allowed_pace_go_on(venue: Venue) -> None:
    connection, wire = venue.connect()
    for _ in range(100):
        venue.pass_time(0.1)
        connection.ping(b"", venue.seconds)
    assert wire.ended is None


@pytest.mark.parametrize(("kind", "name"), [("aggTrade", "btcusdt@aggTrade"), ("markPrice", "!markPrice@arr@1s")])
def test_a_burst_sends_as_many_as_it_says(venue: Venue, kind: str, name: str) -> None:
    _, wire = venue.connect(name, combined=True)
    venue.pass_time(0.1)
    wire.frames()
    venue.hub.start_burst({"kind": kind, "per_s": 5000, "seconds": 2})
    venue.pass_time(3, step=0.02)
    events = wire.events()
    assert 10_000 <= len(events) <= 10_040
    assert {told["stream"] for told in events} == {name}
    (burst,) = venue.hub.report()["bursts"]  # type: ignore[misc]
    assert (burst["sent"], burst["over"]) == (10_000, True)
    if kind == "aggTrade":
        numbers = [told["data"]["a"] for told in events]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_burst_that_makes_no_sense_is_refused(venue: Venue) -> None:
    for spec in ({}, {"kind": "kline", "per_s": 1, "seconds": 1}, {"kind": "aggTrade", "per_s": 0, "seconds": 1}):
        with pytest.raises(ValueError, match="burst"):
            venue.hub.start_burst(spec)


@pytest.mark.parametrize("wrong", [{"lifetime": 1}, {"ping_s": -1}, {"ping_s": "soon"}])
def test_settings_that_make_no_sense_are_refused(venue: Venue, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="lifetime|ping_s|soon"):
        venue.hub.change_settings(wrong)
