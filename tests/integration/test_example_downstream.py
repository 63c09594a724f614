"""The example of what comes downstream: returns from one hour to the next, and none across a hole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from perpflow.example_downstream import hourly_returns, summary
from perpflow.settings import Deployment
from perpflow.store.database import session

START = datetime(2026, 11, 20, tzinfo=UTC)


def test_a_hole_that_is_explained_is_no_hour(empty_database_url: str) -> None:
    hours = [START + number * timedelta(hours=1) for number in range(24)]
    absent = hours[10:14]
    with session(empty_database_url) as connection:
        for number, hour in enumerate(hour for hour in hours if hour not in absent):
            close = 100.0 * (2.0 if hour > absent[-1] else 1.0) * 1.01**number
            connection.execute(
                "INSERT INTO ohlcv (symbol, timeframe, time, open, high, low, close, volume, quote_volume,"
                " trade_count, taker_buy_volume, taker_buy_quote_volume, source)"
                " VALUES ('SOL/USDT', '1h', %s, %s, %s, %s, %s, 1, 1, 1, 1, 1, 'rest')",
                (hour, close, close, close, close),
            )
        connection.execute(
            "INSERT INTO coverage (dataset, symbol, series, available_from, present, missing_upstream, audited)"
            " SELECT 'ohlcv', 'SOL/USDT', '1h', %(start)s, present, absent, present FROM (SELECT"
            " tstzmultirange(tstzrange(%(start)s, %(end)s)) - absent AS present, absent FROM (SELECT"
            " tstzmultirange(tstzrange(%(from)s, %(to)s)) AS absent) a) p",
            {"start": START, "end": START + timedelta(days=1), "from": absent[0], "to": hours[14]},
        )
    (row,) = found = hourly_returns(Deployment(database_url=empty_database_url))
    assert (row["symbol"], row["verified_until"], row["hours"]) == ("SOL/USDT", "2026-11-21T00:00:00+00:00", 18)
    assert abs(row["mean"] - 0.01) < 1e-9
    assert row["spread"] < 1e-9
    end = row["verified_until"]
    assert summary(found) == {"symbols": 1, "hours": 18, "verified_until": {"earliest": end, "latest": end}}


def test_nothing_verified_is_no_error(empty_database_url: str) -> None:
    found = hourly_returns(Deployment(database_url=empty_database_url))
    assert summary(found) == {"symbols": 0, "hours": 0, "verified_until": {"earliest": None, "latest": None}}
