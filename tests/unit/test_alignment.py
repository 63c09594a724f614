"""How a file is labelled: the truth or nothing, whatever of its rows is there and in whatever order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpflow.alignment import LEAST_ROWS, Alignment, Opens, hear, opens_of, with_labels_at_start
from perpflow.datasets import OHLCV, OPEN_INTEREST
from perpflow.errors import StructurallyBad
from perpflow.exchange.archive import ArchiveObject, FetchedObject, Granularity
from perpflow.issue import Issue
from perpflow.parsing import labels
from perpflow.windows import DAY as A_DAY
from perpflow.windows import TIMEFRAMES, Window, month_of, to_ms

DAY = Window(datetime(2026, 9, 20, tzinfo=UTC), datetime(2026, 9, 21, tzinfo=UTC))
FIVE = timedelta(minutes=5)
POINTS = list(TIMEFRAMES["5m"].points(DAY))
ALIGNMENTS: tuple[Alignment, ...] = ("start", "end")


def walk(seed: int) -> dict[datetime, float]:
    """Prices at every five minutes of the day, the day before and the first ones of the day after."""
    random = np.random.default_rng(seed)
    points = list(TIMEFRAMES["5m"].points(Window(DAY.start - A_DAY, DAY.end + FIVE)))
    prices = 150 * np.exp(np.cumsum(random.normal(0, 0.001, len(points))))
    return dict(zip(points, prices.tolist(), strict=True))


def candles(prices: dict[datetime, float], granularity: Granularity = "daily") -> Opens:
    """Those of the file's day, or of its month."""
    period = DAY if granularity == "daily" else month_of(DAY.start)
    held = [point for point in prices if point in period]
    lines = [f"{to_ms(point)},{prices[point]:.8f},0,0,0,0,0,0,0,0,0,0" for point in held]
    wanted = ArchiveObject("klines", granularity, "SOLUSDT", "5m", period)
    return opens_of(file_of(wanted, lines), OHLCV, TIMEFRAMES["5m"])


def file_of(wanted: ArchiveObject, lines: list[str]) -> FetchedObject:
    content = "\n".join(lines).encode()
    return FetchedObject(wanted, content, Issue(""), *labels(content))


def metrics(*rows: tuple[datetime, str, str]) -> FetchedObject:
    """A day's file with these labels, amounts and values."""
    lines = [f"{label:%Y-%m-%d %H:%M:%S},SOLUSDT,{amount},{value},1.1,1.2,1.3,1.4" for label, amount, value in rows]
    return file_of(ArchiveObject("metrics", "daily", "SOLUSDT", None, DAY), lines)


def row(
    point: datetime, prices: dict[datetime, float], alignment: Alignment, off: int = 0
) -> tuple[datetime, str, str]:
    """The row of an instant, labelled in one way or the other, some seconds late."""
    label = point + (FIVE if alignment == "end" else timedelta(0)) + timedelta(seconds=off)
    return label, "5000.000", f"{5000 * round(prices[point], 8):.8f}"


def whole(alignment: Alignment, prices: dict[datetime, float], points: list[datetime] | None = None) -> FetchedObject:
    return metrics(*(row(point, prices, alignment) for point in points or POINTS))


WALK = walk(1)
FLAT = dict.fromkeys(WALK, 150.0)
#: Neither the first row of the one generation nor the last of the other.
INNER = POINTS[1:-1]


# --- never wrong


@given(
    st.sampled_from(ALIGNMENTS),
    st.lists(st.tuples(st.sampled_from(POINTS), st.integers(-60, 60)), min_size=1, max_size=200),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_the_verdict_is_the_true_one_or_none(
    alignment: Alignment, kept: list[tuple[datetime, int]], seed: int, known: bool
) -> None:
    prices = walk(seed)
    found = hear(
        metrics(*(row(point, prices, alignment, off) for point, off in kept)),
        OPEN_INTEREST,
        candles(prices) if known else None,
    )
    assert found.alignment in (alignment, None)
    edge = POINTS[0] if alignment == "start" else POINTS[-1]
    inner = len({point for point, _ in kept} - {POINTS[0], POINTS[-1]})
    if edge in dict(kept) or (known and inner >= LEAST_ROWS):
        assert found.alignment == alignment


@given(st.sampled_from(ALIGNMENTS), st.integers(0, 2**32 - 1), st.floats(0, 0.7))
def test_prices_that_are_not_quite_those_of_the_last_trade_do_not_mislead(
    alignment: Alignment, seed: int, noise: float
) -> None:
    prices, random = walk(seed), np.random.default_rng(seed)
    marked = {point: price * float(np.exp(random.normal(0, noise * 0.001))) for point, price in prices.items()}
    found = hear(whole(alignment, marked, INNER), OPEN_INTEREST, candles(prices))
    assert found.alignment in (alignment, None)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("granularity", ["daily", "monthly"])
def test_prices_alone_decide_a_file_without_head_and_tail(
    alignment: Alignment, granularity: Literal["daily", "monthly"]
) -> None:
    held = candles(WALK, granularity)
    assert hear(whole(alignment, WALK, INNER), OPEN_INTEREST, held).alignment == alignment


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_labels_alone_decide_a_whole_day_without_candles(alignment: Alignment) -> None:
    found = hear(whole(alignment, WALK), OPEN_INTEREST, None)
    assert found.alignment == alignment
    assert "there are no candles to compare prices with" in found.because


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize(
    ("amount", "value"), [("0", "0"), ("", ""), ("5000", "0"), ("0", "12"), ("-5000", "9"), ("NaN", "1")]
)
def test_rows_without_a_price_are_passed_over(alignment: Alignment, amount: str, value: str) -> None:
    rows = [row(point, WALK, alignment) for point in INNER]
    for place in range(0, 200, 2):
        rows[place] = (rows[place][0], amount, value)
    assert hear(metrics(*rows), OPEN_INTEREST, candles(WALK)).alignment == alignment


# --- silence and contradiction


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize(
    ("prices", "opens", "because"),
    [
        (WALK, None, "there are no candles"),
        (FLAT, candles(FLAT), "0 rows have prices that can be compared"),
        (WALK, candles(walk(2)), "prices are off by"),
        (WALK, candles({}), "0 rows have prices that can be compared"),
    ],
    ids=["none", "flat", "another market's", "empty"],
)
def test_a_file_of_which_nobody_knows_is_ambiguous(
    alignment: Alignment, prices: dict[datetime, float], opens: Opens | None, because: str
) -> None:
    found = hear(whole(alignment, prices, INNER), OPEN_INTEREST, opens)
    assert (found.says, found.alignment) == (frozenset(), None)
    assert because in found.because
    assert "labels lie between 2026-09-20 00:" in found.because


def test_a_few_rows_are_too_few_however_often_they_are_there() -> None:
    few = INNER[: LEAST_ROWS - 1] * 5
    found = hear(whole("end", WALK, few), OPEN_INTEREST, candles(WALK))
    assert found.alignment is None
    assert f"{LEAST_ROWS - 1} rows have prices that can be compared, {LEAST_ROWS} are needed" in found.because
    assert hear(whole("end", WALK, INNER[:LEAST_ROWS]), OPEN_INTEREST, candles(WALK)).alignment == "end"


def test_labels_and_prices_that_contradict_each_other_are_ambiguous() -> None:
    cut_by_label = [DAY.start - FIVE, *POINTS[:-1]]
    found = hear(whole("end", WALK, cut_by_label), OPEN_INTEREST, candles(WALK))
    assert (found.says, found.alignment) == ({"start", "end"}, None)


@pytest.mark.parametrize("opens", [None, candles(WALK)], ids=["no candles", "candles"])
def test_a_file_that_has_both_midnights_contradicts_itself(opens: Opens | None) -> None:
    rows = [*(row(point, WALK, "start") for point in POINTS), row(POINTS[-1], WALK, "end")]
    assert hear(metrics(*rows), OPEN_INTEREST, opens).alignment is None


def test_a_midnight_that_lies_beyond_the_tolerance_says_nothing() -> None:
    rows = [row(point, WALK, "start", 61 if point in (POINTS[0], POINTS[-1]) else 60) for point in POINTS]
    assert hear(metrics(*rows), OPEN_INTEREST, None).says == frozenset()
    assert hear(metrics(*rows), OPEN_INTEREST, candles(WALK)).alignment == "start"


# --- undoing it


@given(st.lists(st.tuples(st.sampled_from(POINTS), st.integers(-60, 60)), min_size=1))
def test_an_end_labelled_file_has_the_labels_of_a_start_labelled_one_afterwards(
    kept: list[tuple[datetime, int]],
) -> None:
    shifted, plain = (metrics(*(row(point, WALK, way, off) for point, off in kept)) for way in ("end", "start"))
    back = with_labels_at_start(shifted, OPEN_INTEREST)
    assert back.csv == plain.csv
    assert (back.first_label, back.last_label) == (shifted.first_label, shifted.last_label)


# --- candles


def test_candles_are_found_by_their_place_in_the_period_whatever_their_order() -> None:
    wanted = ArchiveObject("klines", "daily", "SOLUSDT", "5m", DAY)
    first, rest = to_ms(DAY.start), ",0,0,0,0,0,0,0,0,0,0"
    times = [first + 600_000, first, first + 1, first - 300_000, first + 86_400_000]
    opens = opens_of(
        file_of(wanted, [f"{time},{n + 1}{rest}" for n, time in enumerate(times)]), OHLCV, TIMEFRAMES["5m"]
    )
    assert np.flatnonzero(np.isfinite(opens.prices)).tolist() == [0, 2]
    assert opens.prices[[0, 2]].tolist() == [2.0, 1.0]
    assert opens.reach(DAY)
    assert not opens.reach(Window(DAY.start + FIVE, DAY.start + 2 * FIVE))


def test_candles_without_a_time_are_at_no_place() -> None:
    wanted, rest = ArchiveObject("klines", "daily", "SOLUSDT", "5m", DAY), ",0,0,0,0,0,0,0,0,0,0"
    lines = [f"{to_ms(DAY.start)},1{rest}", f",2{rest}", f"inf,3{rest}"]
    assert opens_of(file_of(wanted, lines), OHLCV, TIMEFRAMES["5m"]).reach(DAY)
    assert not opens_of(file_of(wanted, lines[1:]), OHLCV, TIMEFRAMES["5m"]).reach(DAY)
    assert not opens_of(file_of(wanted, []), OHLCV, TIMEFRAMES["5m"]).reach(DAY)


def test_what_is_no_candle_is_refused() -> None:
    wanted = ArchiveObject("klines", "daily", "SOLUSDT", "5m", DAY)
    with pytest.raises(StructurallyBad, match="column 2 holds more than numbers"):
        opens_of(file_of(wanted, [f"{to_ms(DAY.start)},high,0,0,0,0,0,0,0,0,0,0"]), OHLCV, TIMEFRAMES["5m"])
