"""How far a series is verified: the view says what a slow model says, whatever the ledger holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perpflow.auditing import MOST_AT_ONCE, units
from perpflow.datasets import OHLCV
from perpflow.quality.audit import PAIRS, windows_to_look_at
from perpflow.store import verification
from perpflow.store.database import Connection, session, to_multirange
from perpflow.windows import TIMEFRAMES, Window, merge
from tests.loading import utc

START = utc("2026-10-10")
STEP = timedelta(minutes=5)
SLOTS = 14
slots = st.frozensets(st.integers(0, SLOTS - 1))


@dataclass(frozen=True)
class Ledger:
    """Which points are what."""

    present: frozenset[int]
    missing: frozenset[int]
    quarantined: frozenset[int]
    audited: frozenset[int]
    disputed: frozenset[int]

    def until(self) -> tuple[datetime, datetime] | None:
        """Point by point from the first that the ledger accounts for; None where there is none."""
        accounted = sorted(self.present | self.missing | self.quarantined)
        if not accounted:
            return None
        at = accounted[0]
        while at <= accounted[-1] and self._is_good(at):
            at += 1
        return START + accounted[0] * STEP, START + at * STEP

    def _is_good(self, point: int) -> bool:
        if point in self.disputed:
            return False
        is_explained = point in self.missing or point in self.quarantined
        return is_explained or (point in self.present and point in self.audited)


def windows(points: frozenset[int]) -> list[Window]:
    return merge(Window(START + n * STEP, START + (n + 1) * STEP) for n in points)


@pytest.fixture(scope="module")
def connection(database_url: str) -> Iterator[Connection]:
    with session(database_url) as opened:
        yield opened


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.builds(Ledger, slots, slots, slots, slots, slots))
def test_a_series_is_verified_as_far_as_the_model_says(connection: Connection, ledger: Ledger) -> None:
    connection.execute("TRUNCATE coverage")
    connection.execute(
        """INSERT INTO coverage (dataset, symbol, series, present, missing_upstream, quarantined, audited, disputed)
           VALUES ('ohlcv', 'SOL/USDT', '5m', %s, %s, %s, %s, %s)""",
        [
            to_multirange(windows(points))
            for points in (ledger.present, ledger.missing, ledger.quarantined, ledger.audited, ledger.disputed)
        ],
    )
    found = [(each.verified_from, each.verified_until) for each in verification.verified(connection)]
    expected = ledger.until()
    assert found == ([] if expected is None else [expected])
    until = verification.verified_until(connection, "ohlcv", "SOL/USDT", "5m")
    assert until == (None if expected is None or expected[0] == expected[1] else expected[1])
    left = merge(w for of in verification.scope(connection, "ohlcv").values() for w in of)
    assert left == windows((ledger.present - ledger.audited) | ledger.disputed)


spans = st.tuples(st.integers(0, 3000), st.integers(1, 900)).map(
    lambda hours: Window(START + hours[0] * timedelta(hours=1), START + (hours[0] + hours[1]) * timedelta(hours=1))
)


@given(st.dictionaries(st.sampled_from([f"S{n}/USDT" for n in range(80)]), st.lists(spans, min_size=1, max_size=3)))
def test_units_tile_what_there_is_to_look_at_within_months(scope: dict[str, list[Window]]) -> None:
    scope = {symbol: merge(windows) for symbol, windows in scope.items()}
    cut = list(units(scope))
    for symbol, windows in scope.items():
        assert merge(window for unit in cut for window in unit.get(symbol, [])) == windows
    for unit in cut:
        parts = [window for windows in unit.values() for window in windows]
        assert len({(part.start.year, part.start.month) for part in parts}) == 1
        assert len(unit) == 1 or sum((part.length for part in parts), timedelta(0)) <= MOST_AT_ONCE


@pytest.mark.parametrize(("series", "reach", "expected"), [
    ("5m", 0, ("2026-10-11T05:55", "2026-10-11T06:10")),
    ("1h", 0, ("2026-10-11T05:00", "2026-10-11T07:00")),
    ("1h", 1, ("2026-10-11T04:00", "2026-10-11T08:00")),
    ("1M", 1, ("2026-09-01", "2026-12-01")),
])  # fmt: skip
def test_windows_are_looked_at_by_whole_periods(series: str, reach: int, expected: tuple[str, str]) -> None:
    asked = Window(utc("2026-10-11T05:57"), utc("2026-10-11T06:07"))
    assert windows_to_look_at(OHLCV, series, [asked], reach) == [Window(*map(utc, expected))]


def test_candles_are_compared_with_those_that_tile_them_the_finest_first() -> None:
    finer = {coarse: [fine for other, fine in PAIRS if other == coarse] for coarse, _ in PAIRS}
    assert finer["5m"] == ["1m"]
    assert finer["1h"] == ["1m", "3m", "5m", "15m", "30m"]
    assert "8h" not in finer["12h"]
    assert finer["1w"][-1] == finer["1M"][-1] == "1d"
    assert set(finer) == set(TIMEFRAMES) - {"1m"}
