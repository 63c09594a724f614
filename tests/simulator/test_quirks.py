"""Each quirk happens where the table says, and nowhere with quirks off."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from simulator.grid import DAY, FIVE_MINUTES, to_date, to_ms
from simulator.process import running
from simulator.quirks import QUIRKS, Quirk
from tests.simulator.archive_reading import ROOT, all_keys, funding_key, kline_key, lines, metrics_key
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


def days_of(quirk: Quirk) -> list[str]:
    """The UTC dates on which a quirk happens."""
    return [to_date(at).isoformat() for at in range(quirk.start, quirk.end, DAY)]


def metrics_rows(client: httpx.Client, symbol: str, day: str) -> list[tuple[int, list[str]]]:
    """The rows of a metrics file with their instants, whatever its labels mean."""
    late = [quirk for quirk in named("end_labels", "metrics") if quirk.symbol == symbol and day in days_of(quirk)]
    return [(to_ms(row[0]) - (FIVE_MINUTES if late else 0), row) for row in lines(client, metrics_key(symbol, day))[1:]]


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
    times = [time for time, _ in metrics_rows(http, quirk.symbol or "", day_of(quirk))]
    assert times[-1] == quirk.start - FIVE_MINUTES


@pytest.mark.parametrize("quirk", named("missing_head", "metrics"), ids=day_of)
def test_metrics_days_miss_their_heads(http: httpx.Client, quirk: Quirk) -> None:
    times = [time for time, _ in metrics_rows(http, quirk.symbol or "", day_of(quirk))]
    assert times == list(range(quirk.end, quirk.start + DAY, FIVE_MINUTES))


@pytest.mark.parametrize(
    ("symbol", "day"),
    [("ETHUSDT", "2026-05-20"), ("ETHUSDT", "2026-06-01"), ("ETHUSDT", "2026-06-24"), ("BTCUSDT", "2026-08-26")],
)
def test_labels_stand_at_the_end_of_the_five_minutes(
    http: httpx.Client, plain: httpx.Client, symbol: str, day: str
) -> None:
    late, true = (lines(client, metrics_key(symbol, day))[1:] for client in (http, plain))
    following = to_date(to_ms(day) + DAY).isoformat()
    assert (late[0][0], late[-1][0], len(late)) == (f"{day} 00:05:00", f"{following} 00:00:00", 288)
    assert [to_ms(row[0]) for row in late] == [to_ms(row[0]) + FIVE_MINUTES for row in true]
    # On 24 June half an hour has no open interest besides.
    known = [index for index in range(288) if late[index][2]]
    assert len(known) in (288, 282)
    assert [late[index][1:] for index in known] == [true[index][1:] for index in known]


def test_the_days_around_a_generation_have_labels_at_the_beginning(http: httpx.Client) -> None:
    for symbol, day in (("ETHUSDT", "2026-05-19"), ("ETHUSDT", "2026-06-25"), ("BTCUSDT", "2026-08-25")):
        rows = lines(http, metrics_key(symbol, day))[1:]
        assert (rows[0][0], rows[-1][0]) == (f"{day} 00:00:00", f"{day} 23:55:00")


@pytest.mark.parametrize(
    ("day", "first", "last", "late"),
    [
        ("2026-05-08", "2026-05-08 00:05:00", "2026-05-08 13:35:00", True),
        ("2026-05-13", "2026-05-13 06:05:00", "2026-05-14 00:00:00", True),
        ("2026-05-19", "2026-05-19 00:05:00", "2026-05-19 23:55:00", False),
    ],
)
def test_where_rows_are_missing_only_the_price_tells_what_labels_mean(
    http: httpx.Client, day: str, first: str, last: str, late: bool
) -> None:
    rows = lines(http, metrics_key("SOLUSDT", day))[1:]
    assert (rows[0][0], rows[-1][0]) == (first, last)
    opens = {int(row[0]): float(row[1]) for row in lines(http, kline_key("SOLUSDT", "5m", day))}
    for row in rows:
        instant = to_ms(row[0]) - (FIVE_MINUTES if late else 0)
        assert float(row[3]) / float(row[2]) == pytest.approx(opens[instant], rel=1e-12)


def test_the_oldest_files_have_one_row_with_a_bare_date(http: httpx.Client, plain: httpx.Client) -> None:
    for day in ("2022-06-01", "2022-06-02", "2022-06-03"):
        (row,) = lines(http, metrics_key("BTCUSDT", day))[1:]
        midnight = lines(plain, metrics_key("BTCUSDT", day))[1]
        assert (row[0], row[1:]) == (day, midnight[1:])
    assert len(lines(http, metrics_key("BTCUSDT", "2022-06-04"))) == 289
    assert len(lines(http, metrics_key("BTCUSDT", "2022-05-31"))) == 289


def test_two_ratios_are_blank_in_three_rows(http: httpx.Client, plain: httpx.Client) -> None:
    rows, whole = (lines(client, metrics_key("ETHUSDT", "2026-07-21"))[1:] for client in (http, plain))
    changed = [index for index in range(288) if rows[index] != whole[index]]
    assert [rows[index][0] for index in changed] == [f"2026-07-21 10:{minute:02}:00" for minute in (0, 5, 10)]
    for index in changed:
        assert rows[index] == [*whole[index][:4], "", *whole[index][5:7], ""]


@pytest.mark.parametrize(("interval", "label"), [("5m", "2026-06-30"), ("15m", "2026-06"), ("1m", "2026-06-30")])
def test_candles_go_on_after_the_delisting_without_trades(
    http: httpx.Client, plain: httpx.Client, interval: str, label: str
) -> None:
    key, end = kline_key("FTMUSDT", interval, label), to_ms("2026-06-30T09:00")
    rows, alive = lines(http, key), lines(plain, key)[1:]
    dead = rows[len(alive) :]
    assert rows[: len(alive)] == alive
    assert int(alive[-1][6]) == end - 1
    step = int(alive[-1][6]) - int(alive[-1][0]) + 1
    assert [int(row[0]) for row in dead] == list(range(end, end + 8 * FIVE_MINUTES, step))
    assert {tuple(row[1:6] + row[7:]) for row in dead} == {(*[alive[-1][4]] * 4, "0", *["0"] * 5)}
    assert [int(row[6]) + 1 - int(row[0]) for row in dead] == [step] * len(dead)


def test_metrics_go_on_after_the_delisting_for_three_days(http: httpx.Client, plain: httpx.Client) -> None:
    end = to_ms("2026-06-30T09:00")
    alive = lines(plain, metrics_key("FTMUSDT", "2026-06-30"))[1:]
    rows = lines(http, metrics_key("FTMUSDT", "2026-06-30"))[1:]
    assert rows[:-8] == alive
    assert [to_ms(row[0]) for row in rows[-8:]] == list(range(end, end + 8 * FIVE_MINUTES, FIVE_MINUTES))
    for day in ("2026-07-01", "2026-07-02"):
        key = metrics_key("FTMUSDT", day)
        late = lines(http, key)[1:]
        assert [to_ms(row[0]) for row in late] == [to_ms(day) + step * FIVE_MINUTES for step in range(8)]
        assert {tuple(row[1:]) for row in late} == {tuple(alive[-1][1:])}
        assert plain.get(f"/{key}").status_code == 404
    assert all_keys(http, f"{ROOT}daily/metrics/FTMUSDT/")[-2] == metrics_key("FTMUSDT", "2026-07-02")


def test_a_checksum_never_fits(http: httpx.Client, plain: httpx.Client) -> None:
    key = metrics_key("ALICEUSDT", "2026-05-14")
    content, said = http.get(f"/{key}").content, http.get(f"/{key}.CHECKSUM").text
    assert said.split()[1] == key.rsplit("/", 1)[1]
    assert len(said.split()[0]) == 64
    assert said.split()[0] != hashlib.sha256(content).hexdigest()
    assert len(lines(plain, key)) == 289


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
        timed = metrics_rows(http, quirk.symbol or "", day_of(quirk))
        inside = [row for time, row in timed if quirk.start <= time < quirk.end]
        assert len(inside) == (quirk.end - quirk.start) // FIVE_MINUTES
        assert {row[3] for row in inside} == values
        assert amounts is None or {row[2] for row in inside} == amounts
        assert all(float(row[2]) > 0 for row in inside if name == "zero_value")
        assert all(float(row[3]) > 0 for _, row in timed if row not in inside)
        assert all(float(row[4]) > 0 for _, row in timed)


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
