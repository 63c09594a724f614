"""Estimates: the way of the files and requests, what bounds a load, and how it is said."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from perpflow.batches import Batch, Estimate
from perpflow.datasets import DATASETS
from perpflow.estimating import (
    Way,
    by_airflow,
    by_command,
    described,
    estimated,
    files_for,
    remaining,
    seconds,
    summarised,
)
from perpflow.settings import Collection, ExchangeSettings
from perpflow.windows import Window

NOW = datetime(2026, 10, 15, 12, 34, 56, tzinfo=UTC)
ALONE = Way(1, 0)


def at(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def of(dataset: str, window: Window, symbol: str = "SOL/USDT") -> Estimate:
    """Of one batch that lacks the whole window in all series."""
    batch = Batch("id", "run", (dataset,), (symbol,), window)
    return estimated([batch], {dataset: {(symbol, series): [window] for series in DATASETS[dataset].series}}, NOW)


@pytest.mark.parametrize(
    ("window", "whole", "days"),
    [
        (Window(at(8, 1), at(9, 1)), 1, 0),
        (Window(at(8, 1), at(8, 4)), 0, 3),
        (Window(at(8, 1), at(8, 5)), 1, 0),
        (Window(at(7, 30), at(9, 1)), 1, 2),
        (Window(at(10, 1), NOW), 0, 14),
        (Window(at(10, 14, 3), NOW), 0, 1),
        (Window(at(10, 15), NOW), 0, 0),
    ],
)
def test_months_are_read_whole_from_four_days_on_and_else_by_days(window: Window, whole: int, days: int) -> None:
    files = files_for(DATASETS["ohlcv"], [window], NOW)
    assert (len(files.months), files.number) == (whole, whole + days)


def test_a_month_that_is_not_published_yet_is_read_by_days() -> None:
    early = at(10, 3)
    assert files_for(DATASETS["ohlcv"], [Window(at(9, 1), at(10, 1))], early).number == 30


def test_what_the_archive_does_not_have_yet_is_asked_of_rest() -> None:
    window = Window(at(10, 15), at(10, 15, 12))
    candles, statistics = of("ohlcv", window), of("long_short_ratio", window)
    assert (candles.files, candles.requests, candles.units) == (0, {"weight": 5}, {"weight": 6})
    assert (statistics.files, statistics.requests, statistics.rows) == (0, {"statistics": 4}, 144)


def test_what_rest_has_forgotten_is_not_asked_of_it() -> None:
    forgotten = Window(at(8, 1, 0), at(8, 1, 12))
    assert of("open_interest", forgotten).requests == {}


def test_files_that_feed_two_datasets_are_read_once_and_candles_beside_them() -> None:
    window, both = Window(at(8, 1), at(9, 1)), ("open_interest", "long_short_ratio")
    gaps = {name: {("SOL/USDT", series): [window] for series in DATASETS[name].series} for name in both}
    found = estimated([Batch("id", "run", both, ("SOL/USDT",), window)], gaps, NOW)
    assert found.files == 31 + 1
    assert found.rows == 2 * 31 * 288


def test_funding_asks_for_what_leads_in_to_it() -> None:
    found = of("funding_rate", Window(at(8, 1), at(9, 1)))
    assert (found.files, found.requests) == (1, {"funding": 1})


def test_only_gaps_inside_a_batch_count() -> None:
    gaps = {
        "ohlcv": {("SOL/USDT", "1h"): [Window(at(6, 1), at(7, 1))], ("BTC/USDT", "1h"): [Window(at(8, 1), at(9, 1))]}
    }
    batch = Batch("id", "run", ("ohlcv",), ("SOL/USDT",), Window(at(6, 1), at(8, 1)))
    found = estimated([batch], gaps, NOW)
    assert (found.batches, found.files, found.rows) == (1, 1, 720)


# --- time


def test_a_budget_bounds_what_goes_beyond_one_window_of_it() -> None:
    of_weight = Estimate(1, units=Counter({"weight": 960 * 3}), requests=Counter({"weight": 1440}))
    assert seconds(of_weight, Collection(), ALONE)["weight"] == pytest.approx(120)
    half = Collection(exchange=ExchangeSettings(rate_share=0.25))
    assert seconds(of_weight, half, ALONE)["weight"] == pytest.approx(300)


def test_files_are_bounded_by_their_number_or_by_their_bytes() -> None:
    many, large = Estimate(1, files=1200, size=10), Estimate(1, files=1, size=5_000_000_000)
    assert seconds(many, Collection(), ALONE)["archive"] == pytest.approx(60)
    assert seconds(many, Collection(), Way(4, 0))["archive"] == pytest.approx(15)
    assert seconds(large, Collection(), Way(4, 0))["archive"] == pytest.approx(1000)


def test_a_plan_is_said_with_what_bounds_it_and_what_was_assumed() -> None:
    found = Estimate(63, 1200, Counter({"weight": 15}), Counter({"weight": 30}), 537_000, 46_000_000)
    batches, sources, time = described(found, Collection(), by_airflow(Collection()))
    assert batches == "plan: 63 batches, about 537,000 rows, 46 MB"
    assert sources == "plan: 1,200 archive files; REST requests: 15 of weight (30 units)"
    assert time.startswith(
        "plan: about 2 min, bounded by database, at 40 % of the exchange's limits; assumed: 0.3 s a f"
    )
    assert "1 batches at once" in described(found, Collection(), by_command(Collection()))[2]
    assert summarised(found, Collection(), ALONE)["rest_units"] == {"weight": 30}


def test_a_plan_without_a_batch_says_so() -> None:
    assert described(Estimate(), Collection(), ALONE) == ["plan: nothing to load, the ledger has it all"]


@pytest.mark.parametrize(
    ("done", "elapsed", "said"),
    [
        (0, 10, "0 of 63 batches done, 0 %"),
        (21, 60, "21 of 63 batches done, 33 %, about 2 min left"),
        (62, 620, "62 of 63 batches done, 98 %, about 10 s left"),
        (7, 3600, "7 of 63 batches done, 11 %, about 8.0 h left"),
        (63, 60, "63 of 63 batches done, 100 %"),
    ],
)
def test_progress_says_how_much_is_left_and_for_how_long(done: int, elapsed: float, said: str) -> None:
    assert remaining(done, 63, timedelta(seconds=elapsed).total_seconds()) == said
