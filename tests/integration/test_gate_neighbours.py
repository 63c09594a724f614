"""Rules about a row and what stands beside it: a lone wrong value is withheld, and what is merely unusual is told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import pytest

from perpflow.datasets import TABLES
from perpflow.quality import gate as gate_module
from perpflow.quality.verdict import Verdict
from perpflow.store.database import Connection
from perpflow.windows import TIMEFRAMES, Window
from tests.staged_rows import FIVE, RATIOS, START, Row, candle, day, funding, interest, mark, premium, ratios

PRICES = ("open", "high", "low", "close")
AT = 100


@pytest.fixture(autouse=True)
def _empty_tables(connection: Connection) -> Iterator[None]:
    yield
    for table in TABLES:
        connection.execute(f"TRUNCATE {table}")


def told(verdict: Verdict) -> dict[str, tuple[str, int]]:
    """What was found: severity and failing rows by expectation."""
    return {finding.expectation: (finding.severity, finding.failing) for finding in verdict.findings}


def facts(rows: list[Row], *names: str) -> list[Row]:
    """Candles as their tables have them."""
    kept = ("symbol", "timeframe", *PRICES, *names)
    return [{"time": time_of(row), **{name: row[name] for name in kept}} for row in rows]


def time_of(row: Row) -> datetime:
    return START + timedelta(milliseconds=row["open_time_ms"] - int(START.timestamp() * 1000))


def spiked(rows: list[Row], at: int = AT, by: float = 1.4) -> list[Row]:
    """The rows, one of whose closes is far off, its high with it."""
    wrong = {"close": rows[at]["close"] * by, "high": max(rows[at]["high"], rows[at]["close"] * by)}
    return [*rows[:at], {**rows[at], **wrong}, *rows[at + 1 :]]


@pytest.mark.parametrize(("dataset", "beside"), [("ohlcv", "mark_price"), ("mark_price", "ohlcv")])
def test_a_lone_spike_that_the_other_price_denies_is_withheld_alone(gates: Any, dataset: str, beside: str) -> None:
    gate = gates(dataset)
    gate.publish(beside, facts(day("mark_price")) if beside == "mark_price" else whole(day("ohlcv")))
    gate.stage(spiked(day(dataset)))
    assert told(gate.check()) == {"no_lone_spike": ("critical", 1), "moves_are_usual": ("warning", 2)}
    assert gate.withheld() == {AT: ["no_lone_spike"]}


def whole(rows: list[Row]) -> list[Row]:
    names = ("volume", "quote_volume", "trade_count", "taker_buy_volume", "taker_buy_quote_volume")
    return facts(rows, *names)


def test_a_spike_that_nothing_denies_is_told(gates: Any) -> None:
    gate = gates("ohlcv")
    gate.stage(spiked(day("ohlcv")))
    assert told(gate.check()) == {"moves_are_usual": ("warning", 2)}
    assert gate.withheld() == {}


def test_a_spike_is_not_lone_before_the_next_candle_is_there(gates: Any) -> None:
    gate = gates("ohlcv")
    gate.publish("mark_price", facts(day("mark_price")))
    gate.stage(spiked(day("ohlcv"))[: AT + 1])
    assert told(gate.check()) == {"moves_are_usual": ("warning", 1)}


def test_a_candle_that_comes_alone_is_judged_by_those_in_the_table(gates: Any) -> None:
    gate, rows = gates("ohlcv"), day("ohlcv")
    gate.publish("mark_price", facts(day("mark_price")))
    gate.publish("ohlcv", whole(rows[:AT] + rows[AT + 1 :]))
    gate.stage([spiked(rows)[AT]])
    assert told(gate.check()) == {"no_lone_spike": ("critical", 1), "moves_are_usual": ("warning", 1)}


def test_what_fails_no_more_when_rows_are_marked_is_no_failure(gates: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody publishes to the tables beside the batch after Great Expectations has looked at them."""
    gate, run = gates("ohlcv"), gate_module.run
    gate.publish("mark_price", facts(day("mark_price")))
    gate.stage(spiked(day("ohlcv")))

    def meddled(*arguments: Any) -> Any:
        failures = run(*arguments)
        assert "no_lone_spike" in {failure.expectation.name for failure in failures}
        gate.connection.execute("DELETE FROM mark_price")
        return failures

    monkeypatch.setattr(gate_module, "run", meddled)
    verdict = gate.check()
    assert verdict.passed
    assert told(verdict) == {"moves_are_usual": ("warning", 2)}


def test_a_move_that_is_usual_for_the_symbol_is_none(gates: Any) -> None:
    gate, rows = gates("ohlcv"), day("ohlcv")
    restless = [
        {**row, "high": row["high"] * 1.2, "close": row["close"] * (1.15 if n % 2 else 1)} for n, row in enumerate(rows)
    ]
    gate.stage([{**row, **amounts(row)} for row in restless])
    assert gate.check().findings == ()


def amounts(row: Row) -> Row:
    """Quote volumes in the middle of the candle."""
    middle = (row["low"] + row["high"]) / 2
    return {
        "quote_volume": row["volume"] * middle,
        "taker_buy_quote_volume": row["taker_buy_volume"] * middle,
    }


def crash(rows: list[Row], at: int, left: float, over: int) -> list[Row]:
    """The rows, whose price falls to a share of itself over so many candles and stays there."""
    levels = [left ** (min(max(n - at, 0) / over, 1) ** 0.5) for n in range(len(rows) + 1)]
    fallen = []
    for row, before, after in zip(rows, levels, levels[1:], strict=False):
        prices = {"open": 100 * before, "close": 100 * after, "high": 100.5 * before, "low": 99.5 * after}
        fallen.append({**row, **prices, **(amounts({**row, **prices}) if "volume" in row else {})})
    return fallen


@pytest.mark.parametrize("is_fall", [True, False])
def test_a_crash_that_mark_price_follows_is_published_with_a_warning(gates: Any, is_fall: bool) -> None:
    gate, fall = gates("ohlcv"), crash(day("ohlcv"), AT, 0.65, timedelta(hours=1) // FIVE)
    rows = fall if is_fall else [turned(row) for row in fall]
    gate.publish("mark_price", facts(rows))
    gate.stage(rows)
    assert told(gate.check()) == {"moves_are_usual": ("warning", 1)}
    assert gate.withheld() == {}


def turned(row: Row) -> Row:
    """The candle upside down: a fall becomes a rise."""
    prices = {
        "open": 1e4 / row["open"],
        "close": 1e4 / row["close"],
        "high": 1e4 / row["low"],
        "low": 1e4 / row["high"],
    }
    return {**row, **prices, **amounts({**row, **prices})}


@pytest.mark.parametrize("known", [True, False])
def test_a_wick_that_mark_price_does_not_know_is_withheld(gates: Any, known: bool) -> None:
    gate, rows = gates("ohlcv"), day("ohlcv")
    rows[AT] |= {"high": 2 * rows[AT]["high"]}
    gate.publish("mark_price", facts(rows if known else day("mark_price")))
    gate.stage(rows)
    assert told(gate.check()) == {
        "moves_are_usual": ("warning", 1),
        **({} if known else {"no_lone_wick": ("critical", 1)}),
    }


@pytest.mark.parametrize(("timeframe", "by", "is_told"), [("1h", 1.2, True), ("1d", 1.2, False), ("1d", 1.5, True)])
def test_how_far_is_far_depends_on_the_timeframe(gates: Any, timeframe: str, by: float, is_told: bool) -> None:
    grid = TIMEFRAMES[timeframe]
    points = [START]
    while len(points) < 30:
        points.append(grid.after(points[-1]))
    gate = gates("ohlcv")
    rows = [candle(point, timeframe, n, open=100.9 + n / 100) for n, point in enumerate(points)]
    gate.stage(spiked(rows, 25, by))
    found = told(gate.check(gate_window(points)))
    assert ("moves_are_usual" in found) is is_told


def gate_window(points: list[datetime]) -> Window:
    return Window(points[0], points[-1] + timedelta(days=2))


@pytest.mark.parametrize("dataset", ["ohlcv", "mark_price"])
def test_a_candle_whose_predecessor_lacks_is_told(gates: Any, dataset: str) -> None:
    gate, rows = gates(dataset), day(dataset)
    gate.stage(rows[:10] + rows[12:])
    verdict = gate.check()
    assert told(verdict) == {"candles_follow_one_another": ("warning", 1)}
    assert "01:00:00" in verdict.findings[0].sample[0]
    gate.publish(dataset, (whole if dataset == "ohlcv" else facts)(rows[10:12]))
    assert gate.check().findings == ()


def test_volume_without_trades_is_told(gates: Any) -> None:
    gate = gates("ohlcv")
    gate.stage([candle(START, trade_count=0)])
    assert told(gate.check()) == {"trades_where_there_is_volume": ("warning", 1)}


def test_a_large_premium_is_told(gates: Any) -> None:
    gate = gates("premium_index")
    gate.stage([premium(START), premium(START + FIVE, high=0.07)])
    assert told(gate.check()) == {"premium_is_usual": ("warning", 1)}


@pytest.mark.parametrize(
    "wrong",
    [{"reported_open_interest": 1000.0}, {"reported_open_interest_value": 0.001}, {"reported_open_interest": 0.8}],
)
def test_a_value_that_the_candles_deny_is_withheld(gates: Any, wrong: Row) -> None:
    gate = gates("open_interest")
    gate.publish("ohlcv", whole(day("ohlcv")))
    gate.stage([row | {name: row[name] * by for name, by in wrong.items()} for row in day("open_interest")])
    assert told(gate.check()) == {"value_fits_the_candles": ("critical", 288)}


def test_a_value_far_from_the_days_is_withheld_without_candles_too(gates: Any) -> None:
    gate, rows = gates("open_interest"), day("open_interest")
    for row in rows[50:60]:
        row["reported_open_interest_value"] /= 1000
    gate.stage(rows)
    assert told(gate.check()) == {"value_fits_the_day": ("critical", 10)}


def test_open_interest_that_comes_and_goes_is_withheld(gates: Any) -> None:
    gate, rows = gates("open_interest"), day("open_interest")
    rows[AT] |= {name: 5 * rows[AT][name] for name in ("reported_open_interest", "reported_open_interest_value")}
    gate.stage(rows)
    assert told(gate.check()) == {"no_lone_jump": ("critical", 1), "changes_are_usual": ("warning", 2)}
    assert gate.withheld() == {AT: ["no_lone_jump"]}


def test_open_interest_that_comes_and_stays_is_told(gates: Any) -> None:
    gate, rows = gates("open_interest"), day("open_interest")
    grown = [
        {**row, **{name: 5 * row[name] for name in ("reported_open_interest", "reported_open_interest_value")}}
        for row in rows[AT:]
    ]
    gate.stage(rows[:AT] + grown)
    assert told(gate.check()) == {"changes_are_usual": ("warning", 1)}


def test_a_point_that_comes_alone_is_judged_by_its_neighbours_in_the_table(gates: Any) -> None:
    gate = gates("open_interest")
    beside = (
        {"symbol": "SOL/USDT", "time": START + n * FIVE, "open_interest": 5.0, "open_interest_value": 500.0}
        for n in (0, 2)
    )
    gate.publish("open_interest", list(beside))
    gate.stage([interest(START + FIVE)])
    assert told(gate.check())["no_lone_jump"] == ("critical", 1)


def test_a_mark_price_far_from_all_trades_is_withheld(gates: Any) -> None:
    gate = gates("funding_rate")
    gate.publish("ohlcv", whole(day("ohlcv")))
    gate.stage([funding(START, mark_price=100.5), funding(START + timedelta(hours=8), mark_price=0.1)])
    assert told(gate.check()) == {"mark_price_fits_the_candles": ("critical", 1)}
    assert gate.withheld() == {1: ["mark_price_fits_the_candles"]}


def test_a_rate_beyond_its_history_is_told(gates: Any) -> None:
    gate = gates("funding_rate")
    old = [START - n * timedelta(hours=8) for n in range(1, 12)]
    gate.publish("funding_rate", [{"symbol": "SOL/USDT", "time": time, "funding_rate": 0.0001} for time in old])
    gate.stage([funding(START, funding_rate=0.01), funding(START + timedelta(hours=8))])
    assert told(gate.check()) == {"rate_fits_its_history": ("warning", 1)}


#: Settlements of years, all of them in per cent.
IN_PER_CENT = """
    INSERT INTO staging.funding_rate
        (stage_id, origin, source, symbol, series, funding_time_ms, funding_rate, interval_hours)
    SELECT %s, 0, 'rest', 'SOL/USDT', 'settlement', %s + i::bigint * 8 * 3600000, 0.01, 8
    FROM generate_series(1, %s) i"""


def test_a_batch_all_in_another_unit_is_judged_as_fast_as_a_sound_one(gates: Any, connection: Connection) -> None:
    gate, settlements = gates("funding_rate"), 8000
    connection.execute(IN_PER_CENT, [gate.stage_id, int(START.timestamp() * 1000), settlements])
    # Several times what it takes on a busy machine.
    began = monotonic()
    assert gate.check(Window(START, START + timedelta(days=3000))).passed
    assert monotonic() - began < 10


def test_an_interval_other_than_reported_is_told(gates: Any) -> None:
    gate = gates("funding_rate")
    gate.stage([funding(START, reported_interval_hours=4.0, source="archive")])
    assert told(gate.check()) == {"interval_is_the_reported_one": ("warning", 1)}


@pytest.mark.parametrize("name", RATIOS[:3])
def test_a_ratio_that_turns_and_comes_back_is_withheld(gates: Any, name: str) -> None:
    gate, rows = gates("long_short_ratio"), day("long_short_ratio")
    rows[AT] |= {name: rows[AT][name] * 5}
    gate.stage(rows)
    assert told(gate.check()) == {f"no_lone_jump_of_{name}": ("critical", 1)}


def test_a_ratio_that_turns_for_good_is_no_fault(gates: Any) -> None:
    gate, rows = gates("long_short_ratio"), day("long_short_ratio")
    gate.stage(rows[:AT] + [{**row, "top_account": row["top_account"] * 5} for row in rows[AT:]])
    assert gate.check().findings == ()


@pytest.mark.parametrize("share", [0.6, 0.6001, 0.5999])
def test_a_share_may_be_off_by_its_last_decimal(gates: Any, share: float) -> None:
    gate = gates("long_short_ratio")
    gate.stage([ratios(START, top_position=1.5, top_position_long_share=share)])
    assert gate.check().passed


def test_a_liquidation_far_from_the_candles_is_told(gates: Any) -> None:
    gate = gates("liquidations")
    gate.publish("ohlcv", whole(day("ohlcv")[:1]))
    at = int(START.timestamp() * 1000) + 1000
    event = {
        "source": "stream", "symbol": "SOL/USDT", "series": "forceOrder", "exchange_symbol": "SOLUSDT", "side": "SELL",
        "order_type": "LIMIT", "time_in_force": "IOC", "quantity": 5.0, "filled_quantity": 5.0, "price": 99.0,
        "status": "FILLED", "received_ms": at + 1000,
    }  # fmt: skip
    gate.stage(
        [
            {**event, "average_price": price, "trade_time_ms": at + n, "event_time_ms": at + n + 900}
            for n, price in enumerate((100.0, 50.0))
        ]
    )
    assert told(gate.check()) == {"price_fits_the_candles": ("warning", 1)}


def test_mark_price_of_an_hour_is_found_by_its_five_minutes(gates: Any) -> None:
    """mark_price keeps 5m and 1h by default; a 15m candle is judged by the 5m candles that it spans."""
    grid = TIMEFRAMES["15m"]
    gate, points = gates("ohlcv"), [START]
    while len(points) < 60:
        points.append(grid.after(points[-1]))
    gate.publish("mark_price", facts([mark(START + n * FIVE, n=n // 3) for n in range(180)]))
    gate.stage(spiked([candle(point, "15m", n) for n, point in enumerate(points)], 30))
    assert told(gate.check()) == {"no_lone_spike": ("critical", 1), "moves_are_usual": ("warning", 2)}


def test_a_few_wrong_candles_do_not_deny_a_sound_value(gates: Any) -> None:
    gate, rows = gates("open_interest"), day("ohlcv")
    wrong = [{**row, **{name: row[name] / 1000 for name in PRICES}} for row in rows[50:53]]
    gate.publish("ohlcv", whole(rows[:50] + wrong + rows[53:]))
    gate.stage(day("open_interest"))
    assert gate.check().findings == ()
