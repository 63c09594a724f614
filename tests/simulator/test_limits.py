"""Rate limits: sliding windows with a moved clock, and 429 and 418 over a real socket."""

from __future__ import annotations

from urllib.error import HTTPError

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.grid import to_ms
from simulator.limits import BAN_S, TOLERATED_REJECTIONS, RateLimits, SlidingWindow
from simulator.process import Handle
from simulator.rest import klines_weight


class Time:
    """Seconds that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_window_slides_over_the_turn_of_the_minute() -> None:
    time = Time()
    limits = RateLimits(monotonic=time)
    time.now += 59
    assert all(limits.charge("weight", 10) is None for _ in range(240))
    time.now += 2
    refused = limits.charge("weight", 1)
    assert refused is not None
    assert (refused.status, refused.retry_after) == (429, 58)
    time.now += 58
    assert limits.charge("weight", 1) is None


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 50)), max_size=60))
def test_a_window_counts_exactly_what_lies_inside_it(steps: list[tuple[float, int]]) -> None:
    window, now, seen = SlidingWindow("weight", 100, 60), 0.0, []
    for step, weight in steps:
        now += step
        seen.append((now, weight))
        inside = sum(amount for at, amount in seen if at > now - 60)
        assert window.add(now, weight) == (inside <= 100)
        assert window.used(now) == inside


def test_asking_on_during_429_brings_418_for_two_minutes_on_every_path() -> None:
    time = Time()
    limits = RateLimits(monotonic=time)
    limits.funding.limit = 1
    assert limits.charge("funding", 1) is None
    answers = [limits.charge("funding", 1) for _ in range(TOLERATED_REJECTIONS + 1)]
    assert [answer.status for answer in answers if answer] == [429] * TOLERATED_REJECTIONS + [418]
    other = limits.charge("weight", 1)
    assert other is not None
    assert other.status == 418
    time.now += BAN_S
    assert limits.charge("weight", 1) is None


def test_windows_do_not_share_their_counts() -> None:
    limits = RateLimits(monotonic=Time())
    limits.statistics.limit = 1
    assert limits.charge("statistics", 1) is None
    assert limits.charge("statistics", 1) is not None
    assert limits.charge("weight", 1) is None
    assert limits.charge("funding", 1) is None


@pytest.mark.parametrize(
    ("limit", "weight"), [("99", 1), ("100", 2), ("499", 2), ("500", 5), ("1000", 5), ("1500", 10)]
)
def test_klines_weigh_by_their_limit(limit: str, weight: int) -> None:
    assert klines_weight({"limit": limit}) == weight
    assert klines_weight({}) == 5


def test_the_weight_header_counts_on_fapi_only(mutable: Handle) -> None:
    with httpx.Client(base_url=mutable.url) as http:
        query = {"symbol": "BTCUSDT", "interval": "5m", "limit": "1500"}
        assert http.get("/fapi/v1/klines", params=query).headers["X-MBX-USED-WEIGHT-1M"] == "10"
        assert http.get("/fapi/v1/premiumIndex").headers["X-MBX-USED-WEIGHT-1M"] == "20"
        assert http.get("/fapi/v1/fundingRate", params={"symbol": "BTCUSDT"}).headers["X-MBX-USED-WEIGHT-1M"] == "20"
        statistic = http.get("/futures/data/takerlongshortRatio", params={"symbol": "BTCUSDT", "period": "5m"})
        assert "X-MBX-USED-WEIGHT-1M" not in statistic.headers
    windows = mutable.requests()["windows"]
    assert {name: window["peak"] for name, window in windows.items()} == {"weight": 20, "statistics": 1, "funding": 1}


def test_the_report_says_how_many_rows_came_for_which_weight(mutable: Handle) -> None:
    with httpx.Client(base_url=mutable.url) as http:
        for limit in ("99", "499"):
            http.get("/fapi/v1/klines", params={"symbol": "BTCUSDT", "interval": "5m", "limit": limit})
        mutable.add_fault("status", code=503, times=1)
        http.get("/fapi/v1/klines", params={"symbol": "BTCUSDT", "interval": "5m", "limit": "99"})
        http.get("/fapi/v1/fundingRate", params={"symbol": "BTCUSDT", "startTime": "1567296000000", "limit": "7"})
    report = mutable.requests()
    assert report["rows"] == {"/fapi/v1/klines": 99 + 499, "/fapi/v1/fundingRate": 7}
    assert report["weights"] == {"/fapi/v1/klines": 1 + 2 + 1, "/fapi/v1/fundingRate": 1}
    assert {name: window["total"] for name, window in report["windows"].items()} == {
        "weight": 4, "statistics": 0, "funding": 1,
    }  # fmt: skip
    mutable.clear_requests()
    cleared = mutable.requests()
    assert (cleared["rows"], cleared["weights"], cleared["windows"]["weight"]["total"]) == ({}, {}, 0)


def test_violations_are_told_by_limit(mutable: Handle) -> None:
    mutable.set_limits(statistics=1)
    with httpx.Client(base_url=mutable.url) as http:
        query = {"symbol": "BTCUSDT", "period": "5m"}
        answers = [http.get("/futures/data/takerlongshortRatio", params=query).status_code for _ in range(3)]
        assert http.get("/fapi/v1/ping").status_code == 200
    assert answers == [200, 429, 429]
    report = mutable.requests()
    assert report["violations_by_limit"] == {"weight": 0, "statistics": 2, "funding": 0}
    assert (report["violations"], report["asked_while_banned"]) == (2, 0)


def test_a_ban_that_is_told_to_begin_refuses_every_rest_path_until_its_end() -> None:
    time = Time()
    limits = RateLimits(monotonic=time)
    assert limits.charge("weight", 1) is None
    limits.ban(30)
    for elapsed, window in ((0.25, "weight"), (10.25, "statistics"), (29.5, "funding")):
        time.now = 1000.0 + elapsed
        refused = limits.charge(window, 1)
        assert refused is not None
        assert (refused.status, refused.wait) == (418, 30 - elapsed)
    time.now = 1030.0
    assert limits.charge("weight", 1) is None
    report = limits.report()
    assert (report["bans"], report["asked_while_banned"], report["violations"]) == (1, 3, 3)
    assert report["violations_by_limit"] == {"weight": 0, "statistics": 0, "funding": 0}
    assert report["ban_log"] == [
        {"seconds": 30, "remaining_s": 0.0, "refused": 3, "asked_after_s": [0.25, 10.25, 29.5]}
    ]


def test_the_report_tells_who_asked_on_during_a_ban_from_who_did_not(mutable: Handle) -> None:
    mutable.ban(600)
    with httpx.Client(base_url=mutable.url) as http:
        refused = http.get("/fapi/v1/time")
        assert refused.status_code == 418
        assert 590 < int(refused.headers["Retry-After"]) <= 600
        until = int(refused.json()["msg"].partition("banned until ")[2].partition(".")[0])
        assert to_ms("2026-10-15T12:44:46") < until <= to_ms("2026-10-15T12:44:56")
        assert http.get("/", params={"prefix": "data/", "delimiter": "/"}).status_code == 200
        (ban,) = mutable.requests()["ban_log"]
        assert (ban["seconds"], ban["refused"], len(ban["asked_after_s"])) == (600, 1, 1)
        assert 0 <= ban["asked_after_s"][0] < 600 - ban["remaining_s"] + 0.001
        mutable.clear_requests()
        assert http.get("/fapi/v1/time").status_code == 200


@pytest.mark.parametrize("seconds", [0, -1, "soon", None])
def test_senseless_bans_are_refused(mutable: Handle, seconds: object) -> None:
    with pytest.raises(HTTPError) as refusal:
        mutable.control("POST", "ban", {"seconds": seconds})
    assert refusal.value.code == 400
    refusal.value.close()


def test_over_the_limit_the_bodies_are_the_exchanges(mutable: Handle) -> None:
    mutable.set_limits(weight=3)
    with httpx.Client(base_url=mutable.url) as http:
        answers = [http.get("/fapi/v1/ping") for _ in range(4 + TOLERATED_REJECTIONS)]
        assert [answer.status_code for answer in answers] == [200] * 3 + [429] * TOLERATED_REJECTIONS + [418]
        assert answers[3].json()["code"] == answers[-1].json()["code"] == -1003
        assert 1 <= int(answers[3].headers["Retry-After"]) <= 60
        assert int(answers[-1].headers["Retry-After"]) == BAN_S
        assert "IP banned until 1792067816000." in answers[-1].json()["msg"]
        # The archive is another host; bans do not reach it.
        assert http.get("/", params={"prefix": "data/", "delimiter": "/"}).status_code == 200
    report = mutable.requests()
    assert (report["violations"], report["bans"]) == (TOLERATED_REJECTIONS + 1, 1)
    mutable.clear_requests()
    assert mutable.requests()["total"] == 0
    assert httpx.get(f"{mutable.url}/fapi/v1/ping").status_code == 200
