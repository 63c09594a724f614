"""Frames of the market streams: documented ones, recorded ones, and whatever else may come."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpflow.errors import StructurallyBad
from perpflow.frames import AggTrade, ForceOrder, Frame, MarkPrice, Ticker, decode, funding_of, subscribe

TRADE: dict[str, Any] = {
    "e": "aggTrade", "E": 1791391082024, "a": 3478018549, "s": "BTCUSDT", "p": "83434.40", "q": "0.016", "nq": "0.016",
    "f": 8154045700, "l": 8154045704, "T": 1791391081874, "m": True, "st": 1,
}  # fmt: skip
MARK: dict[str, Any] = {
    "e": "markPriceUpdate", "E": 1786171884000, "s": "BTCUSDT", "p": "64991.37858696", "ap": "64991.37858696",
    "P": "64980.01344384", "i": "65016.05673913", "r": "0.00003936", "T": 1786176000000, "st": 1,
}  # fmt: skip
ORDER: dict[str, Any] = {
    "s": "ILVUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "116.5", "p": "3.80300", "ap": "3.85642", "X": "FILLED",
    "l": "25.2", "z": "116.5", "T": 1791391082119, "ps": "ILVUSDT", "st": 1,
}  # fmt: skip


def frame(data: object, stream: str = "some") -> bytes:
    return json.dumps({"stream": stream, "data": data}).encode()


def test_a_trade_is_its_price_and_its_time() -> None:
    assert decode(frame(TRADE, "btcusdt@aggTrade")) == Frame(
        "btcusdt@aggTrade", (AggTrade(1791391082024, "BTCUSDT", 83434.40, 1),)
    )


def test_a_mark_price_brings_index_and_funding() -> None:
    (event,) = decode(frame(MARK)).events
    assert event == MarkPrice(1786171884000, "BTCUSDT", 64991.37858696, 65016.05673913, "0.00003936", 1786176000000, 1)
    assert isinstance(event, MarkPrice)
    assert funding_of(event) == 0.00003936


def test_a_contract_without_funding_has_none() -> None:
    (event,) = decode(frame(MARK | {"s": "BTCUSDT_261225", "r": "", "T": 0})).events
    assert isinstance(event, MarkPrice)
    assert (funding_of(event), event.next_funding_ms) == (None, 0)


@pytest.mark.parametrize("rate", ["nan", "inf", "-inf", "none"])
def test_a_rate_that_is_no_number_is_none(rate: str) -> None:
    (event,) = decode(frame(MARK | {"r": rate})).events
    assert isinstance(event, MarkPrice)
    assert funding_of(event) is None


def test_a_ticker_is_its_last_price() -> None:
    ticker = {"e": "24hrTicker", "E": 5, "s": "BTCUSDT", "p": "0.0015", "c": "0.0025", "w": "0.0018"}
    assert decode(frame(ticker)).events == (Ticker(5, "BTCUSDT", 0.0025),)


def test_of_a_liquidation_all_that_was_filled_and_its_average_price_count() -> None:
    (event,) = decode(frame({"e": "forceOrder", "E": 1791391083124, "o": ORDER}, "!forceOrder@arr")).events
    assert isinstance(event, ForceOrder)
    order = event.order
    assert (order.side, order.filled_quantity, order.average_price, order.price) == (
        "SELL",
        116.5,
        3.85642,
        3.803,
    )
    assert (event.exchange_symbol, order.trade_ms, event.market) == ("ILVUSDT", 1791391082119, 1)


@pytest.mark.parametrize(
    "change",
    [
        *({name: value} for name in ("q", "p", "ap", "z") for value in ("", "many", None, True, "1e999")),
        *({"T": value} for value in (0, -1, 10**16, "soon", None)),
        *({name: value} for name in ("S", "o", "f", "X") for value in ("", "a b", "x" * 41, "SELL\n", "\0", None)),
        *({"s": value} for value in ("", "A B", "x" * 61, "BTC\0USDT", None)),
    ],
    ids=str,
)
def test_a_liquidation_that_no_table_could_hold_is_unreadable(change: dict[str, Any]) -> None:
    read = decode(frame({"e": "forceOrder", "E": 1791391083124, "o": ORDER | change}))
    assert (read.events, len(read.unreadable)) == ((), 1)


def test_contracts_may_have_names_in_chinese_characters() -> None:
    (event,) = decode(frame({"e": "forceOrder", "E": 1791391083124, "o": ORDER | {"s": "币安人生USDT"}})).events
    assert event.exchange_symbol == "币安人生USDT"


def test_older_frames_lack_the_market_and_newer_ones_name_coin_margined_contracts() -> None:
    old = {name: value for name, value in MARK.items() if name != "st"}
    events = decode(frame([old, MARK | {"s": "BTCUSD_PERP", "st": 2}])).events
    assert [(event.exchange_symbol, event.market) for event in events] == [("BTCUSDT", 1), ("BTCUSD_PERP", 2)]


def test_of_a_list_what_is_as_documented_is_read_and_the_rest_named() -> None:
    read = decode(frame([MARK, MARK | {"p": "none"}, {"e": "kline"}, 5, MARK | {"s": "ETHUSDT"}]))
    assert [event.exchange_symbol for event in read.events] == ["BTCUSDT", "ETHUSDT"]
    assert len(read.unreadable) == 3
    assert "'kline'" in read.unreadable[1]


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity", "", "1e400", None, True])
def test_what_no_market_has_is_no_price(price: object) -> None:
    read = decode(frame(TRADE | {"p": price}))
    assert (read.events, len(read.unreadable)) == ((), 1)


def test_replies_are_told_apart() -> None:
    assert decode(b'{"result":null,"id":7}') == Frame("", reply_to=7)
    assert decode(b'{"code":2,"msg":"Invalid request"}') == Frame("", refusal="Invalid request (code 2)")
    nested = b'{"error":{"code":2,"msg":"Invalid request"},"id":3}'
    assert decode(nested) == Frame("", reply_to=3, refusal="Invalid request (code 2)")


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b"null", b"5", b'"text"', b"\xff\xfe", b'{"stream":"x"}'])
def test_what_is_no_frame_is_an_error_that_quotes_its_beginning(raw: bytes) -> None:
    with pytest.raises(StructurallyBad, match=r"a frame of \d+ bytes is not as documented"):
        decode(raw)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    with suppress(StructurallyBad):
        assert isinstance(decode(raw), Frame)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*TRADE, "o", "z"]), inner, max_size=5),
    max_leaves=12,
)


@given(st.lists(JSON | st.sampled_from([TRADE, MARK]), max_size=5))
def test_every_entry_of_a_list_is_an_event_or_named_as_unreadable(entries: list[Any]) -> None:
    read = decode(frame(entries))
    assert len(read.events) + len(read.unreadable) == len(entries)


def test_a_subscription_is_asked_for_as_documented() -> None:
    asked = json.loads(subscribe(["btcusdt@aggTrade", "!forceOrder@arr"], 3))
    assert asked == {"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade", "!forceOrder@arr"], "id": 3}


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
def test_a_frame_with_bytes_changed_is_read_or_refused(at: int, changed: bytes) -> None:
    raw = frame({"e": "forceOrder", "E": 1791391083124, "o": ORDER}, "!forceOrder@arr")
    at %= len(raw)
    with suppress(StructurallyBad):
        assert isinstance(decode(raw[:at] + changed + raw[at + len(changed) :]), Frame)


@pytest.mark.parametrize("at", [-1, 10**18, 2**63, 2**64])
def test_a_time_that_nothing_newer_would_replace_is_none(at: int) -> None:
    for event in (TRADE, MARK):
        read = decode(frame(event | {"E": at}))
        assert (read.events, len(read.unreadable)) == ((), 1)
