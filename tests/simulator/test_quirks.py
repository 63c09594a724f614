"""Each quirk happens where the table says, and nowhere with quirks off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from simulator.grid import DAY, FIVE_MINUTES, to_date, to_ms
from simulator.process import running
from simulator.quirks import QUIRKS, Quirk
from tests.simulator.archive_reading import funding_key, kline_key, lines, metrics_key
from tests.simulator.conftest import SEED


@pytest.fixture(scope="module")
def plain() -> Iterator[httpx.Client]:
    """The same market without quirks."""
    with running(seed=SEED, quirks=False) as handle, httpx.Client(base_url=handle.url) as client:
        yield client


def named(name: str, dataset: str) -> list[Quirk]:
    """The table's entries of one kind."""
    return [quirk for quirk in QUIRKS if (quirk.name, quirk.dataset) == (name, dataset)]


def day_of(quirk: Quirk) -> str:
    """The UTC date on which a quirk begins."""
    return to_date(quirk.start).isoformat()


def test_old_kline_files_have_no_header_and_new_ones_do(http: httpx.Client, plain: httpx.Client) -> None:
    assert lines(http, kline_key("SOLUSDT", "1h", "2026-06-30"))[0][0].isdigit()
    assert lines(http, kline_key("SOLUSDT", "1h", "2026-06"))[0][0].isdigit()
    assert lines(http, kline_key("SOLUSDT", "1h", "2026-07-01"))[0][0] == "open_time"
    assert lines(http, kline_key("SOLUSDT", "1h", "2026-07"))[0][0] == "open_time"
    assert lines(plain, kline_key("SOLUSDT", "1h", "2026-06-30"))[0][0] == "open_time"


@pytest.mark.parametrize("label", ["2026-08-12", "2026-08"])
def test_a_kline_day_comes_doubled(http: httpx.Client, plain: httpx.Client, label: str) -> None:
    rows, once = (lines(client, kline_key("BTCUSDT", "5m", label))[1:] for client in (http, plain))
    assert len(rows) == len(once) + 288
    assert {times for times in Counter(map(tuple, rows)).values()} <= {1, 2}
    doubled = {row for row, times in Counter(map(tuple, rows)).items() if times == 2}
    assert all(to_ms("2026-08-12") <= int(row[0]) < to_ms("2026-08-13") for row in doubled)


@pytest.mark.parametrize("quirk", named("doubled", "metrics"), ids=day_of)
def test_a_metrics_day_comes_doubled(http: httpx.Client, quirk: Quirk) -> None:
    rows = lines(http, metrics_key(quirk.symbol or "", day_of(quirk)))[1:]
    assert rows[::2] == rows[1::2]
    assert len(rows) in (576, 574)


def test_a_metrics_day_comes_unsorted(http: httpx.Client, plain: httpx.Client) -> None:
    key = metrics_key("BTCUSDT", "2026-09-20")
    rows = lines(http, key)[1:]
    times = [to_ms(row[0]) for row in rows]
    assert sum(after < before for before, after in zip(times, times[1:], strict=False)) == 3
    assert sorted(rows) == lines(plain, key)[1:]


def test_a_metrics_day_lies_off_the_grid_by_seconds(http: httpx.Client) -> None:
    times = [to_ms(row[0]) for row in lines(http, metrics_key("BTCUSDT", "2026-08-19"))[1:]]
    assert {time % FIVE_MINUTES for time in times} == {1000, 2000, 3000}


@pytest.mark.parametrize("quirk", named("missing_tail", "metrics"), ids=day_of)
def test_metrics_days_miss_their_tails(http: httpx.Client, quirk: Quirk) -> None:
    rows = lines(http, metrics_key(quirk.symbol or "", day_of(quirk)))[1:]
    assert to_ms(rows[-1][0]) == quirk.start - FIVE_MINUTES


def test_rest_has_the_tail_that_the_archive_lacks(http: httpx.Client) -> None:
    query = {"symbol": "SOLUSDT", "period": "5m", "startTime": to_ms("2026-10-03T13:35"), "limit": 125}
    rows = http.get("/futures/data/openInterestHist", params=query).json()
    assert [len(rows), rows[0]["timestamp"]] == [125, to_ms("2026-10-03T23:55")]


def test_a_metrics_file_is_missing(http: httpx.Client, plain: httpx.Client) -> None:
    key = metrics_key("ALICEUSDT", "2026-08-05")
    assert http.get(f"/{key}").status_code == 404
    assert key not in http.get("/", params={"prefix": key[:-6], "delimiter": "/"}).text
    assert plain.get(f"/{key}").status_code == 200


@pytest.mark.parametrize(
    ("name", "amounts", "values"),
    [("zero_all", {"0"}, {"0"}), ("zero_value", None, {"0"}), ("blank", {""}, {""})],
)
def test_open_interest_is_zero_or_blank_in_runs(
    http: httpx.Client, name: str, amounts: set[str] | None, values: set[str]
) -> None:
    for quirk in named(name, "metrics"):
        rows = lines(http, metrics_key(quirk.symbol or "", day_of(quirk)))[1:]
        inside = [row for row in rows if quirk.start <= to_ms(row[0]) < quirk.end]
        assert len(inside) == (quirk.end - quirk.start) // FIVE_MINUTES
        assert {row[3] for row in inside} == values
        assert amounts is None or {row[2] for row in inside} == amounts
        assert all(float(row[2]) > 0 for row in inside if name == "zero_value")
        assert all(float(row[3]) > 0 for row in rows if row not in inside)
        assert all(float(row[4]) > 0 for row in rows)


def test_recent_zeros_are_on_rest_as_well(http: httpx.Client) -> None:
    query = {"symbol": "SOLUSDT", "period": "5m", "startTime": to_ms("2026-10-08T01:55"), "limit": 8}
    rows = http.get("/futures/data/openInterestHist", params=query).json()
    assert [float(row["sumOpenInterest"]) > 0 for row in rows] == [True, *[False] * 6, True]


def test_rest_has_a_hole_that_the_archive_has_not(http: httpx.Client) -> None:
    query = {"symbol": "ETHUSDT", "period": "5m", "startTime": to_ms("2026-10-01T07:55"), "limit": 4}
    times = [row["timestamp"] for row in http.get("/futures/data/openInterestHist", params=query).json()]
    assert times == [to_ms("2026-10-01T08:10"), to_ms("2026-10-01T07:55")]
    assert len(lines(http, metrics_key("ETHUSDT", "2026-10-01"))) == 289


def test_the_open_interest_list_descends(http: httpx.Client, plain: httpx.Client) -> None:
    query = {"symbol": "BTCUSDT", "period": "1h"}
    down, up = (client.get("/futures/data/openInterestHist", params=query).json() for client in (http, plain))
    assert down == up[::-1]
    assert up[0]["timestamp"] < up[-1]["timestamp"]


def test_a_monthly_file_lacks_a_day_that_the_daily_has(http: httpx.Client) -> None:
    first, last = to_ms("2026-06-09"), to_ms("2026-06-10")
    times = [int(row[0]) for row in lines(http, kline_key("SOLUSDT", "5m", "2026-06"))]
    assert len(times) == 29 * 288
    assert not [time for time in times if first <= time < last]
    assert len(lines(http, kline_key("SOLUSDT", "5m", "2026-06-09"))) == 288
    assert len(lines(http, kline_key("SOLUSDT", "15m", "2026-06"))) == 30 * 96


def test_funding_times_jitter_and_old_mark_prices_are_blank(http: httpx.Client, plain: httpx.Client) -> None:
    query = {"symbol": "BTCUSDT", "startTime": to_ms("2026-05-31"), "limit": "20"}
    rows = http.get("/fapi/v1/fundingRate", params=query).json()
    offsets = {row["fundingTime"] % (DAY // 3) for row in rows}
    assert offsets <= set(range(18))
    assert len(offsets) > 3
    assert [row["markPrice"] == "" for row in rows[:4]] == [True, True, True, False]
    assert {row["rateType"] for row in rows} == {"Regular"}
    calm = plain.get("/fapi/v1/fundingRate", params=query).json()
    assert {row["fundingTime"] % (DAY // 3) for row in calm} == {0}
    assert all(row["markPrice"] for row in calm)
    archived = lines(http, funding_key("BTCUSDT", "2026-06"))[1:]
    assert int(archived[0][0]) == rows[3]["fundingTime"]
