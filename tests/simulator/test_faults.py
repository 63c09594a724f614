"""Each fault does what it says, where it says, as often as it says."""

from __future__ import annotations

import hashlib
import io
import re
import time
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import httpx
import pytest

from simulator.faults import parse_fault
from simulator.grid import FIVE_MINUTES, to_ms
from simulator.process import Handle, running
from tests.simulator.archive_reading import kline_key, lines, metrics_key, page
from tests.simulator.conftest import SEED

KLINES = "/fapi/v1/klines?symbol=BTCUSDT&interval=5m&limit=3"
METRICS = metrics_key("BTCUSDT", "2026-09-10")
DAY = "2026-09-16"


@pytest.fixture(scope="module")
def process() -> Iterator[Handle]:
    """One simulator for this module."""
    with running(seed=SEED) as handle:
        yield handle


@pytest.fixture
def faulty(process: Handle) -> Iterator[Handle]:
    """The module's simulator, its faults and counters cleared after each test."""
    yield process
    process.clear_faults()
    process.clear_requests()


@pytest.fixture
def web(faulty: Handle) -> Iterator[httpx.Client]:
    """A client of the faulty simulator."""
    with httpx.Client(base_url=faulty.url, timeout=10) as client:
        yield client


def test_a_status_strikes_so_many_times(faulty: Handle, web: httpx.Client) -> None:
    body = {"code": -1003, "msg": "Too many requests"}
    faulty.add_fault("status", code=429, body=body, headers={"Retry-After": 7}, match="/klines*BTCUSDT", times=2)
    answers = [web.get(KLINES) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "7"
    assert answers[0].json() == body
    assert web.get("/fapi/v1/ping").status_code == 200
    assert [fault["struck"] for fault in faulty.faults()] == [2]


def test_firewall_answers_are_not_json(faulty: Handle, web: httpx.Client) -> None:
    number = faulty.add_fault("waf403", match="/fapi/")
    blocked = web.get(KLINES)
    assert blocked.status_code == 403
    assert blocked.headers["content-type"].startswith("text/html")
    faulty.remove_fault(number)
    faulty.add_fault("waf202")
    challenge = web.get(KLINES)
    assert challenge.status_code == 202
    assert challenge.headers["x-amzn-waf-action"] == "challenge"
    assert challenge.content == b""


def test_malformed_json_arrives_whole_but_does_not_parse(faulty: Handle, web: httpx.Client) -> None:
    faulty.add_fault("malformed_json", match="klines")
    with pytest.raises(ValueError, match=r"delimiter|string|value"):
        web.get(KLINES).json()


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [(403, "text/html", "403 Forbidden"), (502, "text/html", "Bad Gateway"), (418, "text/html", "")],
)
def test_a_status_comes_with_the_page_that_usually_comes_with_it(
    faulty: Handle, web: httpx.Client, code: int, kind: str, text: str
) -> None:
    faulty.add_fault("status", code=code)
    answer = web.get(KLINES)
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (code, kind)
    assert text in answer.text


def test_a_restricted_place_and_a_challenge_are_told_by_their_status(faulty: Handle, web: httpx.Client) -> None:
    number = faulty.add_fault("status", code=451)
    assert web.get(KLINES).json()["code"] == 0
    assert web.get(KLINES).json()["msg"].startswith("Service unavailable from a restricted location")
    faulty.remove_fault(number)
    faulty.add_fault("status", code=202)
    assert web.get(KLINES).headers["x-amzn-waf-action"] == "challenge"


def test_chance_strikes_in_an_order_that_seed_and_number_decide() -> None:
    def statuses(handle: Handle) -> list[int]:
        number = handle.add_fault("status", code=503, probability=0.3, match="ping")
        with httpx.Client(base_url=handle.url) as web:
            answers = [web.get("/fapi/v1/ping").status_code for _ in range(60)]
        assert [fault["struck"] for fault in handle.faults()] == [answers.count(503)]
        handle.remove_fault(number)
        return answers

    with running(seed=SEED) as one, running(seed=SEED) as same, running(seed=SEED + 1) as other:
        first, again = statuses(one), statuses(one)
        assert first == statuses(same)
        assert 5 < first.count(503) < 35
        assert len({tuple(first), tuple(again), tuple(statuses(other))}) == 3


def test_chance_and_times_bound_a_fault_together(faulty: Handle, web: httpx.Client) -> None:
    faulty.add_fault("waf403", probability=0.5, times=3)
    assert [web.get("/fapi/v1/ping").status_code for _ in range(60)].count(403) == 3


@pytest.mark.parametrize("path", [KLINES, f"/{METRICS}"])
def test_a_reset_comes_before_any_byte(faulty: Handle, web: httpx.Client, path: str) -> None:
    faulty.add_fault("reset", times=1)
    with pytest.raises(httpx.ReadError):
        web.get(path)
    assert web.get(path).status_code == 200


def test_a_reset_comes_in_the_middle_of_a_body(faulty: Handle, web: httpx.Client) -> None:
    month = f"/{kline_key('BTCUSDT', '1m', '2026-09')}"
    whole = len(web.get(month).content)
    faulty.add_fault("reset_body", times=1)
    with web.stream("GET", month) as answer:
        assert (answer.status_code, int(answer.headers["content-length"])) == (200, whole)
        with pytest.raises(httpx.ReadError):
            answer.read()
    assert len(web.get(month).content) == whole


def test_the_weight_header_can_be_missing_or_senseless(faulty: Handle, web: httpx.Client) -> None:
    faulty.add_fault("weight_header", times=1)
    faulty.add_fault("weight_header", value=-1, times=1)
    answers = [web.get(KLINES) for _ in range(3)]
    assert [answer.headers.get("X-MBX-USED-WEIGHT-1M") for answer in answers] == [None, "-1", "3"]
    assert [answer.json() for answer in answers[:2]] == [answers[2].json()] * 2


def test_the_envelope_of_another_backend_can_come_anywhere(faulty: Handle, web: httpx.Client) -> None:
    faulty.add_fault("envelope", match="klines")
    answer = web.get(KLINES)
    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (400, "000002", "ERROR")


def test_files_can_be_late(faulty: Handle, web: httpx.Client) -> None:
    key, folder = metrics_key("BTCUSDT", "2026-10-14"), "data/futures/um/daily/metrics/BTCUSDT/"
    faulty.add_fault("late_archive", match="/daily/metrics/", hours=5)
    try:
        # Usually at 08:40; the module's clock stands at 12:34:56.
        assert web.get(f"/{key}").status_code == 404
        assert web.get(f"/{key}.CHECKSUM").status_code == 404
        assert page(web, f"{folder}BTCUSDT-metrics-2026-10-14").keys == []
        assert web.get(f"/{kline_key('BTCUSDT', '5m', '2026-10-14')}").status_code == 200
        faulty.set_now("2026-10-15T13:40:00")
        assert web.get(f"/{key}").headers["last-modified"] == "Thu, 15 Oct 2026 13:40:00 GMT"
        assert page(web, f"{folder}BTCUSDT-metrics-2026-10-14").keys == [key, f"{key}.CHECKSUM"]
    finally:
        faulty.set_now("2026-10-15T12:34:56")
    faulty.clear_faults()
    assert web.get(f"/{key}").headers["last-modified"] == "Thu, 15 Oct 2026 08:40:00 GMT"


def test_a_share_of_the_files_can_be_late_the_same_ones_each_time(faulty: Handle, web: httpx.Client) -> None:
    faulty.add_fault("late_archive", match="metrics", hours=24 * 30, probability=0.4)
    prefix = "data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2026-10-"
    found = page(web, prefix).keys
    assert 2 <= len(found) // 2 < 14
    assert page(web, prefix).keys == found


@pytest.mark.parametrize("path", [KLINES, f"/{METRICS}"])
def test_a_truncated_body_breaks_the_connection(faulty: Handle, web: httpx.Client, path: str) -> None:
    faulty.add_fault("truncated_body", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        web.get(path)
    assert web.get(path).status_code == 200


def test_a_truncated_zip_does_not_fit_the_checksum_of_the_whole(faulty: Handle, web: httpx.Client) -> None:
    whole = web.get(f"/{METRICS}").content
    faulty.add_fault("truncated_zip", match=METRICS)
    cut = web.get(f"/{METRICS}").content
    assert len(cut) < len(whole)
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(cut))
    assert web.get(f"/{METRICS}.CHECKSUM").text.split()[0] == hashlib.sha256(whole).hexdigest()


def test_a_bad_checksum_names_another_hash(faulty: Handle, web: httpx.Client) -> None:
    faulty.add_fault("bad_checksum", match="metrics")
    content = web.get(f"/{METRICS}").content
    said = web.get(f"/{METRICS}.CHECKSUM").text
    assert said.split()[1] == METRICS.split("/")[-1]
    assert said.split()[0] != hashlib.sha256(content).hexdigest()


def test_a_checksum_that_is_healed_is_another_object_to_the_listing(faulty: Handle, web: httpx.Client) -> None:
    def marks(name: str) -> tuple[str, str]:
        listed = re.search(rf"<Key>{name}</Key>.*?<ETag>&quot;(\w+)&quot;", web.get("/", params={"prefix": name}).text)
        assert listed is not None
        return listed[1], web.head(f"/{name}").headers["etag"].strip('"')

    whole, checksum = marks(METRICS), marks(f"{METRICS}.CHECKSUM")
    assert checksum[0] == checksum[1]
    damage = faulty.add_fault("bad_checksum", match="metrics")
    assert marks(METRICS) == whole
    spoiled = marks(f"{METRICS}.CHECKSUM")
    assert spoiled[0] == spoiled[1] != checksum[0]
    faulty.remove_fault(damage)
    assert marks(f"{METRICS}.CHECKSUM") == checksum


def test_latency_holds_answers_back(faulty: Handle, web: httpx.Client) -> None:
    faulty.add_fault("latency", ms=150, match="ping")
    begun = time.monotonic()
    web.get("/fapi/v1/ping")
    assert time.monotonic() - begun >= 0.15


def test_an_object_can_go_missing(faulty: Handle, web: httpx.Client) -> None:
    faulty.add_fault("not_found", match=METRICS)
    assert web.get(f"/{METRICS}").status_code == 404
    assert web.get(f"/{METRICS}.CHECKSUM").status_code == 404


def rest_klines(web: httpx.Client, interval: str = "5m") -> list[list[Any]]:
    """A day of REST candles."""
    start = to_ms(DAY)
    query = {"symbol": "BTCUSDT", "interval": interval, "startTime": start, "endTime": start + 86_399_999, "limit": 300}
    return list(web.get("/fapi/v1/klines", params={name: str(value) for name, value in query.items()}).json())


def spoil(handle: Handle, what: str, dataset: str = "klines", **more: object) -> None:
    """Corrupt the day of BTCUSDT."""
    handle.add_fault("corrupt_rows", dataset=dataset, symbol="BTCUSDT", date=DAY, what=what, **more)


@pytest.mark.parametrize(
    "what",
    [
        "high_below_low",
        "negative_volume",
        "taker_above_volume",
        "nan_price",
        "zero_price",
        "price_spike",
        "off_grid_time",
        "swapped_high_low",
        "price_unit",
        "amounts_unit",
        "shifted",
        "other_symbol",
    ],
)
def test_corrupt_candles_are_the_same_in_archive_and_rest(faulty: Handle, web: httpx.Client, what: str) -> None:
    good = rest_klines(web)
    spoil(faulty, what)
    bad = rest_klines(web)
    changed = [index for index, (before, after) in enumerate(zip(good, bad, strict=True)) if before != after]
    assert changed == [72, 73, 74]
    for label in (DAY, DAY[:7]):
        archived = [row for row in lines(web, kline_key("BTCUSDT", "5m", label)) if row[0][:1].isdigit()]
        first = next(index for index, row in enumerate(archived) if int(row[0]) >= to_ms(DAY))
        assert archived[first : first + 288] == [[str(field) for field in row] for row in bad]
    checks = {
        "high_below_low": lambda row: float(row[2]) < float(row[3]),
        "negative_volume": lambda row: float(row[5]) < 0,
        "taker_above_volume": lambda row: float(row[9]) > float(row[5]),
        "nan_price": lambda row: row[4] == "NaN",
        "zero_price": lambda row: float(row[3]) == 0,
        "price_spike": lambda row: float(row[4]) > 2 * float(row[1]),
        "off_grid_time": lambda row: row[0] % FIVE_MINUTES == 137_000,
        "swapped_high_low": lambda row: float(row[2]) < float(row[3]),
        "price_unit": lambda row: float(row[7]) < float(row[3]) * float(row[5]) / 900,
        "amounts_unit": lambda row: float(row[7]) > 999 * float(good[0][7]) / float(good[0][5]),
        "shifted": lambda row: row[1:6] in [before[1:6] for before in good[71:74]],
        "other_symbol": lambda row: float(row[4]) < float(good[0][4]) / 5,
    }
    assert all(checks[what](bad[index]) for index in changed)


def test_corruption_changes_the_version_mark_and_goes_away_again(faulty: Handle, web: httpx.Client) -> None:
    key = kline_key("BTCUSDT", "5m", DAY)
    good = web.get(f"/{key}")
    spoil(faulty, "negative_volume", interval="5m")
    bad = web.get(f"/{key}")
    assert bad.headers["etag"] != good.headers["etag"]
    assert page(web, key).etags[0] == bad.headers["etag"]
    other = kline_key("BTCUSDT", "1h", DAY)
    assert lines(web, other)[1:] == [[str(field) for field in row] for row in rest_klines(web, "1h")]
    faulty.clear_faults()
    assert web.get(f"/{key}").content == good.content


def test_conflicting_duplicates_and_lost_rows_change_the_count(faulty: Handle, web: httpx.Client) -> None:
    spoil(faulty, "conflicting_duplicate", count=1)
    rows = rest_klines(web)
    assert len(rows) == 289
    assert rows[72][0] == rows[73][0]
    assert rows[72] != rows[73]
    faulty.clear_faults()
    spoil(faulty, "missing")
    assert rest_klines(web) == []
    assert lines(web, kline_key("BTCUSDT", "5m", DAY)) == [lines(web, kline_key("BTCUSDT", "5m", "2026-09-15"))[0]]


def test_a_day_can_repeat_one_value(faulty: Handle, web: httpx.Client) -> None:
    spoil(faulty, "all_same_value")
    rows = rest_klines(web)
    assert len({tuple(row[1:6]) for row in rows}) == 1
    assert len({row[0] for row in rows}) == len({row[6] for row in rows}) == 288


@pytest.mark.parametrize(
    "what",
    [
        *("negative_value", "nan_value", "negative_ratio", "blank_ratio", "value_spike", "off_grid_time"),
        *("amount_unit", "both_units", "ratio_spike", "shifted", "other_symbol"),
    ],
)
def test_corrupt_metrics_show_in_archive_and_rest(faulty: Handle, web: httpx.Client, what: str) -> None:
    def both() -> tuple[list[list[str]], list[dict[str, Any]]]:
        query = {"symbol": "BTCUSDT", "period": "5m", "startTime": str(to_ms(DAY)), "limit": "288"}
        names = ("openInterestHist", "topLongShortAccountRatio")
        rest = [web.get(f"/futures/data/{name}", params=query).json() for name in names]
        return lines(web, metrics_key("BTCUSDT", DAY))[1:], [
            up | down for up, down in zip(rest[0][::-1], rest[1], strict=True)
        ]

    archive, rest = both()
    spoil(faulty, what, "metrics")
    bad_archive, bad_rest = both()
    assert [i for i in range(288) if archive[i] != bad_archive[i]] == [72, 73, 74]
    assert [i for i in range(288) if rest[i] != bad_rest[i]] == [72, 73, 74]


def test_a_share_of_a_days_rows_can_be_spoiled(faulty: Handle, web: httpx.Client) -> None:
    good = rest_klines(web)
    spoil(faulty, "nan_price", probability=0.2)
    bad = rest_klines(web)
    changed = [index for index in range(288) if good[index] != bad[index]]
    assert 25 < len(changed) < 95
    assert {bad[index][4] for index in changed} == {"NaN"}
    assert rest_klines(web) == bad
    archived = lines(web, kline_key("BTCUSDT", "5m", DAY))[1:]
    assert archived == [[str(field) for field in row] for row in bad]


def test_shifted_labels_move_the_archive_only(faulty: Handle, web: httpx.Client) -> None:
    good = lines(web, metrics_key("BTCUSDT", DAY))[1:]
    spoil(faulty, "label_shift", "metrics")
    moved = lines(web, metrics_key("BTCUSDT", DAY))[1:]
    assert [row[1:] for row in moved] == [row[1:] for row in good]
    assert (moved[0][0], moved[-1][0]) == (f"{DAY} 00:05:00", "2026-09-17 00:00:00")


@pytest.mark.parametrize(("what", "rate"), [("absurd_rate", "5.00000000"), ("nan_value", "NaN")])
def test_corrupt_funding_shows_in_archive_and_rest(faulty: Handle, web: httpx.Client, what: str, rate: str) -> None:
    spoil(faulty, what, "fundingRate")
    query = {"symbol": "BTCUSDT", "startTime": str(to_ms(DAY)), "limit": "3"}
    assert web.get("/fapi/v1/fundingRate", params=query).json()[0]["fundingRate"] == rate


@pytest.mark.parametrize(
    "details",
    [
        {"kind": "nothing"},
        {"kind": "status"},
        {"kind": "status", "code": 503, "probability": 0},
        {"kind": "waf403", "probability": "often"},
        {"kind": "late_archive", "match": "metrics"},
        {
            "kind": "corrupt_rows",
            "dataset": "metrics",
            "symbol": "BTCUSDT",
            "date": DAY,
            "what": "label_shift",
            "probability": 0.5,
        },
        {"kind": "corrupt_rows", "dataset": "klines", "symbol": "BTCUSDT", "date": DAY, "what": "nothing"},
        {"kind": "corrupt_rows", "dataset": "klines", "symbol": "NOPE", "date": DAY, "what": "missing"},
        {"kind": "corrupt_rows", "dataset": "klines", "what": "missing"},
    ],
)
def test_senseless_faults_are_refused(faulty: Handle, details: dict[str, object]) -> None:
    with pytest.raises(HTTPError) as refusal:
        faulty.control("POST", "faults", details)
    assert refusal.value.code == 400
    refusal.value.close()
    assert faulty.faults() == []


def test_faults_can_be_written_short_or_as_json() -> None:
    short = parse_fault("status,code=503,match=/fapi/v1/klines,times=2")
    assert short == {"kind": "status", "code": "503", "match": "/fapi/v1/klines", "times": "2"}
    assert parse_fault('{"kind": "waf403"}') == {"kind": "waf403"}
    with pytest.raises(ValueError, match="key=value"):
        parse_fault("status,503")


def test_faults_of_the_command_line_are_on_from_the_start() -> None:
    with running(seed=SEED, faults=["status,code=503,times=1", {"kind": "latency", "ms": 1}]) as handle:
        assert httpx.get(f"{handle.url}/fapi/v1/ping").status_code == 503
        assert httpx.get(f"{handle.url}/fapi/v1/ping").status_code == 200
