"""The holes of all series at once are the gaps of each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perpflow.datasets import DATASETS
from perpflow.settling import settled
from perpflow.store import ledger
from perpflow.store.database import Connection, session, to_multirange
from perpflow.windows import Window

START = datetime(2026, 9, 1, tzinfo=UTC)
NOW = START + timedelta(days=20, minutes=34)
SERIES = [("ohlcv", "5m"), ("ohlcv", "1h"), ("open_interest", "5m"), ("funding_rate", "settlement")]
INSTANTS = st.integers(0, 21 * 288).map(lambda steps: START + timedelta(minutes=5 * steps))
LENGTHS = st.integers(1, 10 * 288).map(lambda steps: timedelta(minutes=5 * steps))
WINDOWS = st.lists(st.builds(lambda start, length: Window(start, start + length), INSTANTS, LENGTHS), max_size=4)
ROWS = st.fixed_dictionaries(
    {
        "available_from": st.none() | INSTANTS,
        "life": st.none() | st.timedeltas(timedelta(hours=1), timedelta(days=15)),
        "present": WINDOWS,
        "missing_upstream": WINDOWS,
        "quarantined": WINDOWS,
        "recheck_at": st.none() | INSTANTS,
    }
)


@pytest.fixture(scope="module")
def connection(database_url: str) -> Iterator[Connection]:
    with session(database_url) as opened:
        yield opened


def write(connection: Connection, dataset: str, symbol: str, series: str, row: dict[str, Any]) -> None:
    covered = [to_multirange(row[name]) for name in ("present", "missing_upstream", "quarantined")]
    begins, life = row["available_from"], row["life"]
    connection.execute(
        """INSERT INTO coverage (dataset, symbol, series, available_from, available_to, present, missing_upstream,
                                 quarantined, recheck_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        [dataset, symbol, series, begins, begins + life if begins and life else None, *covered, row["recheck_at"]],
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, min_size=8, max_size=8), INSTANTS)
def test_holes_are_the_gaps_of_each_series(
    connection: Connection, written: list[dict[str, Any]], start: datetime
) -> None:
    connection.execute("TRUNCATE coverage")
    keys = [(dataset, symbol, series) for dataset, series in SERIES for symbol in ("SOL/USDT", "BTC/USDT")]
    for key, row in zip(keys, written, strict=True):
        write(connection, *key, row)
    wanted = {
        (dataset, series): span
        for dataset, series in SERIES
        if (span := settled(DATASETS[dataset], series, start, NOW, NOW))
    }
    both = ("SOL/USDT", "BTC/USDT")
    found = ledger.holes(connection, wanted, both, now=NOW)
    for dataset, series in SERIES:
        spec = DATASETS[dataset]
        spans = {
            (row.symbol, row.series): span
            for row in ledger.read(connection, (dataset,))
            if row.series == series and (span := settled(spec, series, start, min(row.available_to or NOW, NOW), NOW))
        }
        gaps = ledger.gaps(connection, spec, spans, now=NOW) if spans else {}
        ours = {key: windows for key, windows in found.get(dataset, {}).items() if key[1] == series}
        assert ours == {key: windows for key, windows in gaps.items() if windows}
    only = ledger.holes(connection, wanted, ("SOL/USDT",), now=NOW)
    assert only == {
        dataset: {key: windows for key, windows in series.items() if key[0] == "SOL/USDT"}
        for dataset, series in found.items()
    }
    # Of those that nobody names the ones that were never loaded are left out.
    met = {(row.dataset, (row.symbol, row.series)) for row in ledger.read(connection) if row.accounted}
    assert ledger.holes(connection, wanted, now=NOW) == {
        dataset: {key: windows for key, windows in series.items() if (dataset, key) in met}
        for dataset, series in found.items()
    }
