"""The truth equals what a careful reader gets over the wire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from simulator.grid import to_datetime, to_ms
from simulator.truth import Truth
from tests.simulator.archive_reading import funding_key, kline_key, lines, metrics_key
from tests.simulator.conftest import SEED

TRUTH = Truth(SEED)


def utc(text: str) -> datetime:
    """An aware datetime of an ISO text."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "1000PEPEUSDT", "NEWUSDT"])
@pytest.mark.parametrize("timeframe", ["1m", "5m", "1h", "1d"])
def test_ohlcv_is_what_the_daily_file_parses_to(http: httpx.Client, symbol: str, timeframe: str) -> None:
    rows = lines(http, kline_key(symbol, timeframe, "2026-09-17"))[1:]
    parsed = [
        (to_datetime(int(row[0])), *map(float, (*row[1:6], row[7])), int(row[8]), float(row[9]), float(row[10]))
        for row in rows
    ]
    assert TRUTH.ohlcv(symbol, timeframe, utc("2026-09-17"), utc("2026-09-18")) == parsed


def test_open_interest_leaves_out_zeros_blanks_and_what_a_source_lacks(http: httpx.Client) -> None:
    rows = lines(http, metrics_key("SOLUSDT", "2026-06-16"))[1:]
    parsed = [(utc(row[0]), float(row[2]), float(row[3])) for row in rows]
    day = utc("2026-06-16"), utc("2026-06-17")
    assert TRUTH.open_interest("SOLUSDT", *day, "archive") == parsed
    assert len(TRUTH.open_interest("SOLUSDT", *day)) == 288
    zeros = utc("2026-08-27"), utc("2026-08-28")
    assert len(TRUTH.open_interest("SOLUSDT", *zeros)) == 276
    holes = TRUTH.missing("open_interest", "SOLUSDT", "archive", *zeros)
    assert (holes[0], len(holes)) == (utc("2026-08-27T04:00"), 12)
    assert len(Truth(SEED, quirks=False).open_interest("SOLUSDT", *zeros)) == 288


def test_ratios_are_those_of_the_source(http: httpx.Client) -> None:
    day = utc("2026-10-03"), utc("2026-10-04")
    archive = [
        (utc(row[0]), float(row[5]), float(row[4]), float(row[6]), float(row[7]), *[None] * 5)
        for row in lines(http, metrics_key("SOLUSDT", "2026-10-03"))[1:]
    ]
    assert TRUTH.long_short_ratio("SOLUSDT", *day) == archive
    query = {"symbol": "SOLUSDT", "period": "5m", "startTime": str(to_ms(day[0])), "limit": "288"}
    names = ("topLongShortPositionRatio", "topLongShortAccountRatio", "globalLongShortAccountRatio")
    position, account, everyone, taker = (
        http.get(f"/futures/data/{name}", params=query).json() for name in (*names, "takerlongshortRatio")
    )
    rest = [
        (
            to_datetime(t["timestamp"]),
            *(float(x["longShortRatio"]) for x in (p, a, g)),
            float(t["buySellRatio"]),
            *(float(x["longAccount"]) for x in (p, a, g)),
            float(t["buyVol"]),
            float(t["sellVol"]),
        )
        for p, a, g, t in zip(position, account, everyone, taker, strict=True)
    ]
    assert TRUTH.long_short_ratio("SOLUSDT", *day, "rest") == rest
    assert len(TRUTH.missing("long_short_ratio", "SOLUSDT", "archive", *day)) == 288 - len(archive)


@pytest.mark.parametrize(
    ("symbol", "day", "points"),
    [
        ("ETHUSDT", "2026-06-01", 288),
        ("BTCUSDT", "2026-08-26", 288),
        ("SOLUSDT", "2026-05-08", 163),
        ("SOLUSDT", "2026-05-13", 216),
        ("SOLUSDT", "2026-05-19", 287),
        ("BTCUSDT", "2022-06-01", 0),
    ],
)
def test_late_labels_change_nothing_and_absent_rows_are_missing(symbol: str, day: str, points: int) -> None:
    window = utc(day), utc(day) + timedelta(days=1)
    whole = Truth(SEED, quirks=False)
    for dataset in ("open_interest", "long_short_ratio"):
        missing = TRUTH.missing(dataset, symbol, "archive", *window)
        assert len(missing) == 288 - points
        have, everything = (getattr(truth, dataset)(symbol, *window, "archive") for truth in (TRUTH, whole))
        assert have == [row for row in everything if row[0] not in missing]


def test_a_blank_ratio_is_missing_in_its_series_only(http: httpx.Client) -> None:
    day = utc("2026-07-21"), utc("2026-07-22")
    parsed = [
        (utc(row[0]), *(float(row[column]) if row[column] else None for column in (5, 4, 6, 7)), *[None] * 5)
        for row in lines(http, metrics_key("ETHUSDT", "2026-07-21"))[1:]
    ]
    assert TRUTH.long_short_ratio("ETHUSDT", *day) == parsed
    assert TRUTH.missing("long_short_ratio", "ETHUSDT", "archive", *day) == []
    blank = [utc(f"2026-07-21T10:{minute:02}") for minute in (0, 5, 10)]
    for series, holes in {
        "top_account": blank,
        "taker_volume": blank,
        "top_position": [],
        "global_account": [],
    }.items():
        assert TRUTH.missing("long_short_ratio", "ETHUSDT", "archive", *day, series=series) == holes
    assert TRUTH.missing("long_short_ratio", "ETHUSDT", "rest", *day, series="top_account") == []
    assert len(TRUTH.open_interest("ETHUSDT", *day, "archive")) == 288


@pytest.mark.parametrize("timeframe", ["4h", "1d"])
def test_the_candle_in_which_a_contract_is_listed_is_archived(http: httpx.Client, timeframe: str) -> None:
    first, *_ = TRUTH.ohlcv("FTMUSDT", timeframe, utc("2020-08-25"), utc("2020-08-26"))
    for label in ("2020-08", "2020-08-25"):
        archived = [row for row in lines(http, kline_key("FTMUSDT", timeframe, label)) if row[0].isdigit()]
        assert int(archived[0][0]) == to_ms(first[0])
        assert float(archived[0][5]) == first[5]


def test_nothing_lives_after_its_delisting_whatever_the_archive_says() -> None:
    late = utc("2026-06-30T09:00"), utc("2026-07-03")
    assert TRUTH.ohlcv("FTMUSDT", "5m", *late) == TRUTH.open_interest("FTMUSDT", *late, "archive") == []
    assert TRUTH.long_short_ratio("FTMUSDT", *late) == TRUTH.funding_rate("FTMUSDT", *late) == []
    assert TRUTH.missing("open_interest", "FTMUSDT", "archive", *late) == []
    assert TRUTH.published("metrics", "FTMUSDT", utc("2026-10-15"))[-1].endswith("FTMUSDT-metrics-2026-07-02.zip")


def test_a_file_whose_checksum_never_fits_is_missing() -> None:
    day = utc("2026-05-14"), utc("2026-05-15")
    assert len(TRUTH.missing("open_interest", "ALICEUSDT", "archive", *day)) == 288
    assert TRUTH.long_short_ratio("ALICEUSDT", *day) == []
    assert TRUTH.published("metrics", "ALICEUSDT", day[1] + timedelta(hours=9))[-1].endswith("2026-05-14.zip")


def test_funding_lies_on_the_hour_with_the_interval_that_ended(http: httpx.Client) -> None:
    rows = TRUTH.funding_rate("ALICEUSDT", utc("2026-07-01"), utc("2026-08-01"))
    archived = lines(http, funding_key("ALICEUSDT", "2026-07"))[1:]
    assert [(row[1], row[3]) for row in rows] == [(float(line[2]), int(line[1])) for line in archived]
    assert all(row[0].minute == row[0].second == row[0].microsecond == 0 for row in rows)
    assert all(row[2] is not None for row in rows)
    assert all(row[2] is None for row in TRUTH.funding_rate("BTCUSDT", utc("2026-05-01"), utc("2026-06-01")))


def test_the_monthly_hole_is_known(http: httpx.Client) -> None:
    june = utc("2026-06-01"), utc("2026-07-01")
    holes = TRUTH.missing("ohlcv", "SOLUSDT", "archive_monthly", *june, timeframe="5m")
    assert (holes[0], len(holes)) == (utc("2026-06-09"), 288)
    assert TRUTH.missing("ohlcv", "SOLUSDT", "archive", *june, timeframe="5m") == []
    present = {int(row[0]) for row in lines(http, kline_key("SOLUSDT", "5m", "2026-06"))}
    everything = {to_ms(row[0]) for row in TRUTH.ohlcv("SOLUSDT", "5m", *june)}
    assert everything - present == {to_ms(hole) for hole in holes}


def test_published_keys_exist_and_the_next_one_does_not(http: httpx.Client) -> None:
    now = utc("2026-10-15T12:34:56")
    keys = TRUTH.published("metrics", "ALICEUSDT", now)
    assert not [key for key in keys if "2026-08-05" in key]
    assert keys[-1].endswith("2026-10-14.zip")
    assert http.head(f"/{keys[-1]}").status_code == 200
    assert http.head(f"/{keys[-1].replace('2026-10-14', '2026-10-15')}").status_code == 404


def test_available_from_is_the_first_row_of_any_source() -> None:
    assert TRUTH.available_from("ohlcv", "BTCUSDT", "5m") == utc("2019-09-08T17:55")
    assert TRUTH.available_from("open_interest", "BTCUSDT") == utc("2020-09-01")
    assert TRUTH.available_from("funding_rate", "BTCUSDT") == utc("2019-09-10T08:00")
    first = TRUTH.available_from("long_short_ratio", "NEWUSDT")
    assert TRUTH.long_short_ratio("NEWUSDT", first - timedelta(days=1), first + timedelta(hours=1))[0][0] == first
