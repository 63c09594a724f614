"""Each documented refusal becomes the error that says whether trying again can help."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from perpflow.errors import (
    AccessDenied,
    ExchangeUnavailable,
    IpBanned,
    PerpflowError,
    RateLimited,
    RequestRejected,
    UnknownSymbol,
)
from perpflow.exchange.limiter import penalty_of
from perpflow.exchange.refusals import Answer, Asked, error_for
from perpflow.windows import Window, from_ms

NOW = datetime(2026, 10, 15, 12, tzinfo=UTC)
WAF = "<html><body><h1>403 Forbidden</h1></body></html>"
BAN = "Way too much request weight used; IP banned until 1785050129644. Please use WebSocket Streams."


def answer(status: int, body: object = "", **headers: str) -> Answer:
    text = body if isinstance(body, str) else json.dumps(body)
    parsed = None if isinstance(body, str) else body
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, text, parsed, "GET /x")


REFUSALS = [
    (answer(400, {"code": -1121, "msg": "Invalid symbol."}), UnknownSymbol),
    (answer(400, {"code": -1130, "msg": "parameter 'startTime' is invalid."}), RequestRejected),
    (answer(400, {"code": -1120, "msg": "Invalid interval."}), RequestRejected),
    (answer(400, {"code": -1127, "msg": "lookup interval is too big"}), RequestRejected),
    (answer(400, {"code": -1102, "msg": "Mandatory parameter missing"}), RequestRejected),
    (answer(400, {"status": "ERROR", "code": "000002", "errorData": {"limit": "too great"}}), RequestRejected),
    (answer(200, {"status": "ERROR", "code": "000002", "errorData": {"limit": "too great"}}), RequestRejected),
    (answer(404, "not here"), RequestRejected),
    (answer(301, ""), RequestRejected),
    (answer(400, {"code": -1000, "msg": "UNKNOWN"}), ExchangeUnavailable),
    (answer(400, {"code": -1001, "msg": "DISCONNECTED"}), ExchangeUnavailable),
    (answer(400, {"code": -1007, "msg": "TIMEOUT"}), ExchangeUnavailable),
    (answer(408), ExchangeUnavailable),
    (answer(500, "<html>"), ExchangeUnavailable),
    (answer(503, {"code": 0, "msg": "Service Unavailable."}), ExchangeUnavailable),
    (answer(504), ExchangeUnavailable),
    (answer(451, {"code": 0, "msg": "Service unavailable from a restricted location"}), AccessDenied),
    (answer(403, WAF), AccessDenied),
    (answer(202), AccessDenied),
    (answer(202, "<html>", x_amzn_waf_action="challenge"), AccessDenied),
    (answer(405, "<html>", x_amzn_waf_action="captcha"), AccessDenied),
    (answer(429, {"code": -1003, "msg": "Too many requests"}, retry_after="7"), RateLimited),
    (answer(400, {"code": -1003, "msg": "Too many requests"}), RateLimited),
    (answer(418, {"code": -1003, "msg": BAN}, retry_after="240"), IpBanned),
]


@pytest.mark.parametrize(
    ("refusal", "kind"), REFUSALS, ids=lambda value: getattr(value, "__name__", None) or str(value)
)
def test_a_refusal_has_its_error(refusal: Answer, kind: type[PerpflowError]) -> None:
    assert type(error_for(refusal, NOW)) is kind


@pytest.mark.parametrize("body", [[], [[1, "2"]], {"serverTime": 1}, {"code": 200}, {"code": 0}])
def test_an_answer_is_no_error(body: object) -> None:
    assert error_for(answer(200, body), NOW) is None


def test_an_error_names_symbol_window_and_answer_and_says_what_to_do() -> None:
    window = Window(NOW - timedelta(days=1), NOW)
    error = error_for(answer(451, "no"), NOW, Asked("SOLUSDT", window))
    assert str(error) == (
        f"SOLUSDT {window}: GET /x answered HTTP 451: no. "
        "The exchange does not serve this country. Run from another address, or set exchange.proxy in "
        "collection.yaml."
    )
    assert error is not None
    assert (error.symbol, error.window) == ("SOLUSDT", window)


def test_a_long_page_is_cut_short_in_the_message() -> None:
    assert len(str(error_for(answer(503, "x" * 10_000), NOW))) < 400


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({}, 60.0),
        ({"retry_after": "soon"}, 60.0),
        ({"retry_after": "0"}, 60.0),
        ({"retry_after": "9" * 400}, 3 * 86_400.0),
    ],
)
def test_a_rate_limit_carries_when_to_return(header: dict[str, str], seconds: float) -> None:
    error = error_for(answer(429, "", **header), NOW)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == seconds


@pytest.mark.parametrize(
    ("refusal", "until"),
    [
        (answer(418, {"code": -1003, "msg": BAN}, retry_after="9"), from_ms(1785050129644)),
        (answer(418, "", retry_after="240"), NOW + timedelta(seconds=240)),
        (answer(418, "", retry_after="0"), NOW + timedelta(minutes=2)),
        (answer(418, "", retry_after="9" * 20), NOW + timedelta(days=3)),
        (answer(418), NOW + timedelta(minutes=2)),
    ],
)
def test_a_ban_carries_its_end(refusal: Answer, until: datetime) -> None:
    error = error_for(refusal, NOW)
    assert isinstance(error, IpBanned)
    assert error.banned_until == until


@pytest.mark.parametrize(
    ("refusal", "seconds"),
    [
        (answer(429, "", retry_after="7"), 7.0),
        (answer(418, {"code": -1003, "msg": BAN}, retry_after="240"), 240.0),
        (answer(418, f"banned until {1792065600000 + 300_000}"), 300.0),
        (answer(418, "banned until 1500000000000"), 120.0),
        (answer(418, f"banned until {1792065600000 + 300_000}", retry_after="0"), 300.0),
        (answer(418, "banned until 9999999999999"), 3 * 86_400.0),
        (answer(503), None),
    ],
)
def test_limits_and_bans_stop_everyone_for_a_while(refusal: Answer, seconds: float | None) -> None:
    error = error_for(refusal, NOW)
    assert error is not None
    penalty = penalty_of(error)
    assert (penalty.seconds if penalty else None) == seconds


@pytest.mark.parametrize(("text", "used"), [("17", 17), ("-1", -1), ("", None), ("n/a", None), ("9" * 5000, None)])
def test_the_used_weight_is_read_where_it_is_a_number(text: str, used: int | None) -> None:
    assert answer(200, [], x_mbx_used_weight_1m=text).used_weight == used
