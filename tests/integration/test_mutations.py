"""Rows of the exchange spoiled in every way we could think of; each said beforehand to be the gate's, an audit's, the
ledger's or nobody's.

One market is spoiled in all these ways at once, each on a day of its own, and loaded as any history is: mark prices
first, then the candles that are judged by them, then the rest. Then no row that the gate is to catch is in a table,
each of the others is, as the exchange gave it; what only audits see is outside of what is verified; and every row that
was not touched equals the truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Literal

import pytest

from perpflow import auditing, reader
from perpflow.datasets import DATASETS
from perpflow.store import ledger
from perpflow.store.database import session
from perpflow.store.ledger import Coverage
from perpflow.windows import DAY, Window
from simulator.process import Handle, running
from simulator.truth import Truth
from tests.expected import Expected
from tests.loading import Row, deployment_of, facts, load, request, rows, utc

# Two months of everything are loaded first.
pytestmark = pytest.mark.timeout(900)

CRITICAL = """
    SELECT audit, "window" FROM audit_findings
    WHERE dataset = %s AND severity = 'critical' AND resolved_at IS NULL"""

Judge = Literal["gate", "audit", "ledger", "nobody"]
FIVE = timedelta(minutes=5)
SYMBOL = "SOL/USDT"
#: Candles of trades are spoiled before, everything else after.
START, MIDDLE, END = utc("2026-08-10"), utc("2026-09-12"), utc("2026-10-14")
#: The simulated exchange has oddities of its own there.
ODD_DAYS = {utc("2026-08-27"), utc("2026-10-03"), utc("2026-10-08")}


@dataclass(frozen=True, slots=True)
class Mutation:
    """What is done to `count` rows of a feed; and, by dataset, who sees it and by which expectation or audit."""

    kind: str
    what: str
    judges: dict[str, tuple[Judge, str]] = field(hash=False)
    count: int = 3
    only: str | None = None
    interval: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}-{self.what}-{self.count}"


def traded(what: str, judge: Judge, by: str = "", **details: Any) -> Mutation:
    """Of candles of trades, those of five minutes alone: the coarser ones are as they were."""
    return Mutation("klines", what, {"ohlcv": (judge, by)}, interval="5m", **details)


def candles(kind: str, dataset: str, what: str, judge: Judge, by: str = "", **details: Any) -> Mutation:
    return Mutation(kind, what, {dataset: (judge, by)}, interval="5m", **details)


def metrics(
    what: str, interest: tuple[Judge, str] | None, ratios: tuple[Judge, str] | None, **details: Any
) -> Mutation:
    judges = {"open_interest": interest, "long_short_ratio": ratios}
    return Mutation("metrics", what, {name: judge for name, judge in judges.items() if judge}, **details)


def funding(what: str, judge: Judge, by: str = "", **details: Any) -> Mutation:
    return Mutation("fundingRate", what, {"funding_rate": (judge, by)}, **details)


def between(column: str) -> str:
    return f"expect_column_values_to_be_between({column})"


def not_null(column: str) -> str:
    return f"expect_column_values_to_not_be_null({column})"


HIGHEST = "high_is_the_highest"
TAKER_WITHIN = "taker_buys_within_all"
QUOTE_FITS = "quote_volume_fits_the_prices"
SUMS = "cross_timeframe"

BEFORE = (
    traded("null_open", "gate", not_null("open"), only="archive"),
    traded("null_close", "gate", not_null("close"), only="archive"),
    traded("null_volume", "gate", not_null("volume"), only="archive"),
    traded("null_trades", "gate", not_null("trade_count"), only="archive"),
    traded("swapped_high_low", "gate", HIGHEST),
    traded("high_below_low", "gate", HIGHEST),
    traded("negative_price", "gate", between("close")),
    traded("negative_volume", "gate", between("volume")),
    traded("taker_above_volume", "gate", TAKER_WITHIN),
    traded("nan_price", "gate", between("close")),
    traded("zero_price", "gate", between("low")),
    traded("infinite_price", "gate", between("high")),
    traded("off_grid_time", "gate", "open_time_on_grid"),
    traded("conflicting_duplicate", "gate", "one_row_per_key"),
    traded("lone_close", "gate", "no_lone_spike", count=1),
    traded("lone_wick", "gate", "no_lone_wick", count=1),
    traded("price_unit", "gate", QUOTE_FITS),
    traded("volume_unit", "gate", QUOTE_FITS),
    traded("quote_unit", "gate", QUOTE_FITS),
    traded("taker_quote_unit", "gate", "taker_quote_volume_fits_the_prices"),
    traded("another_timeframe", "gate", "close_time_fits_timeframe"),
    traded("all_same_value", "gate", "no_candle_repeated_all_day"),
    traded("short_wick", "audit", SUMS, count=1),
    traded("amounts_unit", "audit", SUMS),
    traded("no_trades", "audit", SUMS),
    traded("shifted", "audit", SUMS),
    traded("other_symbol", "audit", SUMS),
    traded("price_spike", "audit", SUMS),
    traded("missing", "ledger"),
    traded("revised", "nobody", count=1),
)
AFTER = (
    *(
        candles(kind, dataset, what, judge, by, **details)
        for kind, dataset in (("markPriceKlines", "mark_price"), ("premiumIndexKlines", "premium_index"))
        for what, judge, by, details in (
            ("null_open", "gate", not_null("open"), {"only": "archive"}),
            ("nan_price", "gate", between("close"), {}),
            ("infinite_price", "gate", between("high"), {}),
            ("off_grid_time", "gate", "open_time_on_grid", {}),
            ("another_timeframe", "gate", "close_time_fits_timeframe", {}),
            ("shifted", "audit", SUMS, {}),
            ("other_symbol", "audit", SUMS, {}),
            ("missing", "ledger", "", {}),
            ("revised", "nobody", "", {"count": 1}),
        )
    ),
    # Mark prices are loaded before the candles that deny it.
    candles("markPriceKlines", "mark_price", "lone_close", "audit", "spike_denied_by_trades", count=1),
    candles("markPriceKlines", "mark_price", "price_unit", "audit", SUMS),
    metrics("negative_value", ("gate", between("open_interest")), None),
    metrics("nan_value", ("gate", between("open_interest")), ("gate", between("top_account"))),
    metrics("value_spike", ("gate", "value_fits_the_candles"), None),
    metrics("amount_unit", ("gate", "value_fits_the_candles"), None),
    metrics("value_unit", ("gate", "value_fits_the_day"), None),
    metrics("both_units", ("gate", "no_lone_jump"), None, count=1),
    metrics("both_units", ("nobody", ""), None),
    metrics("other_symbol", ("gate", "value_fits_the_candles"), ("nobody", "")),
    metrics("negative_ratio", None, ("gate", between("top_account"))),
    metrics("ratio_spike", None, ("gate", "no_lone_jump_of_top_account"), count=1),
    metrics("ratio_turned", None, ("nobody", "")),
    metrics("off_grid_time", ("gate", "time_on_grid"), ("gate", "time_on_grid")),
    metrics("conflicting_duplicate", ("gate", "one_row_per_key"), ("gate", "one_row_per_key")),
    metrics(
        "all_same_value",
        ("gate", "no_open_interest_repeated_all_day"),
        ("gate", "no_top_position_repeated_all_day"),
    ),
    metrics("shifted", ("nobody", ""), ("nobody", "")),
    metrics("missing", ("ledger", ""), ("ledger", "")),
    metrics("revised", ("nobody", ""), ("nobody", "")),
    funding("absurd_rate", "gate", between("funding_rate")),
    funding("nan_value", "gate", between("funding_rate")),
    funding("off_grid_time", "gate", "time_on_the_hour"),
    funding("conflicting_duplicate", "gate", "one_row_per_key"),
    funding("other_sign", "nobody"),
    funding("per_cent", "nobody"),
)
MUTATIONS = (*BEFORE, *AFTER)


def _days(mutations: tuple[Mutation, ...], first: datetime) -> Iterator[tuple[Mutation, datetime]]:
    """A day for each; feeds that nothing compares with one another may share it."""
    free: dict[str, Iterator[int]] = {}
    for mutation in mutations:
        # Open interest and candles of trades are compared, and both kinds of prices.
        lane = "compared" if mutation.kind in ("metrics", "markPriceKlines") else mutation.kind
        for number in free.setdefault(lane, count()):
            if (day := first + number * DAY) not in ODD_DAYS:
                yield mutation, day
                break


ON = dict((*_days(BEFORE, START), *_days(AFTER, MIDDLE)))


def touched(mutation: Mutation) -> Window:
    """Where the rows are that were spoiled."""
    day = ON[mutation]
    if mutation.what in ("all_same_value", "missing") or mutation.kind == "fundingRate":
        return Window(day, day + DAY)
    first = day + timedelta(hours=6)
    return Window(first, first + mutation.count * FIVE)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of the market."""

    url: str
    expected: Expected

    def rows(self, dataset: str) -> list[Row]:
        return facts(self.url, dataset)

    def findings(self, dataset: str) -> list[Row]:
        with session(self.url) as connection:
            return rows(connection, CRITICAL, dataset)

    def withheld(self, dataset: str, window: Window) -> set[str]:
        with session(self.url) as connection:
            found = rows(
                connection,
                "SELECT DISTINCT expectation FROM quarantine WHERE dataset = %s AND time >= %s AND time < %s",
                *(dataset, window.start, window.end),
            )
        return {name for (name,) in found}

    def coverage(self, dataset: str) -> list[Coverage]:
        with session(self.url) as connection:
            return ledger.read(connection, (dataset,))


@pytest.fixture(scope="module")
def loaded(database_url: str) -> Iterator[Loaded]:
    assert max(ON.values()) < END, "the days have run out"
    with running() as exchange:
        _spoil(exchange)
        made = deployment_of(database_url, exchange)
        load(made, request("history", START, END))
        auditing.audit(made, tuple(DATASETS))
        yield Loaded(database_url, Expected(Truth(exchange.seed), exchange.now))


def _spoil(exchange: Handle) -> None:
    for mutation, day in ON.items():
        details = {name: getattr(mutation, name) for name in ("only", "interval") if getattr(mutation, name)}
        exchange.add_fault(
            "corrupt_rows",
            **{"dataset": mutation.kind, "symbol": "SOLUSDT", "date": f"{day:%Y-%m-%d}", "what": mutation.what},
            **{"count": mutation.count, **details},
        )


CASES = [(mutation, dataset, *judge) for mutation in MUTATIONS for dataset, judge in mutation.judges.items()]


def cases(judge: Judge) -> Any:
    chosen = [case for case in CASES if case[2] == judge]
    return pytest.mark.parametrize(
        ("mutation", "dataset", "by"),
        [(mutation, dataset, by) for mutation, dataset, _, by in chosen],
        ids=[f"{dataset}-{mutation}" for mutation, dataset, *_ in chosen],
    )


def stored(loaded: Loaded, dataset: str, window: Window) -> list[Row]:
    """What the table has of the spoiled feed there."""
    spec = DATASETS[dataset]
    at = [column.name for column in spec.columns].index("time")
    return [
        row
        for row in loaded.rows(dataset)
        if window.start <= row[at] < window.end and (not spec.series_in_key or row[1] == "5m")
    ]


def wanted(loaded: Loaded, dataset: str, window: Window) -> list[Row]:
    return loaded.expected.rows(dataset, SYMBOL, window, ("5m",))


def test_there_are_more_than_forty_ways() -> None:
    assert len({(mutation.kind, mutation.what, mutation.count) for mutation in MUTATIONS}) >= 40
    assert len(set(ON)) == len(MUTATIONS)


@cases("gate")
def test_what_the_gate_is_to_catch_is_in_no_table_and_in_quarantine(
    loaded: Loaded, mutation: Mutation, dataset: str, by: str
) -> None:
    window = touched(mutation)
    assert stored(loaded, dataset, window) == []
    assert by in loaded.withheld(dataset, Window(window.start, window.end + FIVE))


@cases("audit")
def test_what_only_an_audit_sees_is_published_and_outside_of_what_is_verified(
    loaded: Loaded, mutation: Mutation, dataset: str, by: str
) -> None:
    window = touched(mutation)
    assert len(stored(loaded, dataset, window)) == len(wanted(loaded, dataset, window))
    found = [span for audit, span in loaded.findings(dataset) if audit == by]
    assert any(span.lower < window.end and window.start < span.upper for span in found)
    assert loaded.withheld(dataset, window) == set()
    until = reader.verified_until(dataset, SYMBOL, "5m", database_url=loaded.url)
    assert until is not None
    assert until <= window.start


@cases("ledger")
def test_what_is_missing_is_missing_upstream_in_the_ledger(
    loaded: Loaded, mutation: Mutation, dataset: str, by: str
) -> None:
    window = touched(mutation)
    assert stored(loaded, dataset, window) == []
    series = [row for row in loaded.coverage(dataset) if row.series in ("5m", *DATASETS["long_short_ratio"].series)]
    assert series
    for row in series:
        assert any(gone.start <= window.start and window.end <= gone.end for gone in row.missing_upstream), row.series


@cases("nobody")
def test_what_nobody_can_see_is_published_as_the_exchange_gave_it(
    loaded: Loaded, mutation: Mutation, dataset: str, by: str
) -> None:
    window = touched(mutation)
    found, truth = stored(loaded, dataset, window), wanted(loaded, dataset, window)
    assert len(found) == len(truth)
    assert found != truth
    assert loaded.withheld(dataset, window) == set()
    assert not any(span.lower < window.end and window.start < span.upper for _, span in loaded.findings(dataset))


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_row_that_was_not_touched_is_published_as_it_is(loaded: Loaded, dataset: str) -> None:
    spec = DATASETS[dataset]
    at = [column.name for column in spec.columns].index("time")
    spoiled = [touched(mutation) for mutation in MUTATIONS if dataset in mutation.judges or _shares(mutation, dataset)]

    def is_whole(row: Row) -> bool:
        if spec.series_in_key and row[1] != "5m":
            return True
        return not any(window.start <= row[at] < window.end for window in spoiled)

    truth = [row for row in loaded.expected.rows(dataset, SYMBOL, Window(START, END)) if is_whole(row)]
    found = [row for row in loaded.rows(dataset) if is_whole(row)]
    keys, truth = len(spec.key), sorted(truth, key=lambda row: row[: len(spec.key)])
    assert [row[:keys] for row in found] == [row[:keys] for row in truth]
    assert [pair for pair in zip(found, truth, strict=True) if pair[0] != pair[1]][:5] == []


def _shares(mutation: Mutation, dataset: str) -> bool:
    """Whether the dataset is fed by the spoiled rows too, though it is not what was spoiled in them."""
    return mutation.kind == DATASETS[dataset].archive.kind
