"""Points that came one by one: what the gate can't know of a newest point an audit sees once its successor is there.

Each wrong value is published before anything denies it, in an increment of its own. Loaded at once the gate catches
each of them: test_mutations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from perpflow import auditing, reader
from perpflow.datasets import DATASETS
from perpflow.settings import Deployment
from perpflow.store.database import session
from simulator.process import Handle
from tests.loading import Row, deployment_of, load, request, rows, utc

# Each of five series is loaded in steps.
pytestmark = pytest.mark.timeout(600)

FIVE = timedelta(minutes=5)
SYMBOL = "SOL/USDT"


@dataclass(frozen=True, slots=True)
class Wrong:
    """Values that are wrong from six o'clock of a day on, and the audit that is to see them."""

    dataset: str
    what: str
    audit: str
    day: str
    series: str = "5m"
    count: int = 1
    late: timedelta = timedelta(0)

    @property
    def at(self) -> datetime:
        return utc(self.day) + timedelta(hours=6) + self.late

    @property
    def findings(self) -> set[Row]:
        starts = (self.at + number * FIVE for number in range(self.count))
        return {(self.dataset, self.series, self.audit, start, start + FIVE) for start in starts}

    def __str__(self) -> str:
        return f"{self.dataset}-{self.what}"


WRONG = (
    Wrong("open_interest", "both_units", "jump_taken_back", "2026-10-10"),
    Wrong("long_short_ratio", "ratio_spike", "jump_taken_back", "2026-10-11", "top_account"),
    Wrong("mark_price", "lone_close", "spike_denied_by_trades", "2026-10-10"),
    Wrong("ohlcv", "lone_close", "spike_denied_by_mark", "2026-10-11"),
    Wrong("ohlcv", "lone_wick", "wick_denied_by_mark", "2026-10-12"),
    Wrong("ohlcv", "other_symbol", "apart_from_mark", "2026-10-13", count=3),
)
#: What disagrees with those, which nobody can tell from here: the other price, and open interest when they close.
DOUBTED = (
    Wrong("mark_price", "", "apart_from_trades", "2026-10-13", count=3),
    Wrong("open_interest", "", "open_interest_value", "2026-10-13", count=3, late=FIVE),
)
OPEN = """
    SELECT dataset, series, audit, lower("window"), upper("window") FROM audit_findings
    WHERE severity = 'critical' AND resolved_at IS NULL ORDER BY 4, 1"""


@pytest.fixture(scope="module")
def deployment(database_url: str, exchange: Handle) -> Iterator[Deployment]:
    """The days around the wrong values, loaded up to each of them, then by fives."""
    for wrong in WRONG:
        spec = DATASETS[wrong.dataset]
        details = {"interval": "5m"} if spec.series_in_key else {}
        exchange.add_fault(
            "corrupt_rows",
            **{"dataset": spec.archive.kind, "symbol": "SOLUSDT", "date": wrong.day, "what": wrong.what},
            count=wrong.count,
            **details,
        )
    grids = {name: {"timeframes": ["5m"]} for name in ("ohlcv", "mark_price")}
    made = deployment_of(database_url, exchange, datasets=grids)
    edges = [utc("2026-10-10T05:00")]
    for at in sorted({wrong.at for wrong in WRONG}):
        edges += [at + number * FIVE for number in range(5)]
    # Neither price knows the other when it is published.
    for dataset in ("ohlcv", "mark_price", "open_interest", "long_short_ratio"):
        for start, end in zip(edges, edges[1:], strict=False):
            load(made, request(f"{dataset} {start}", start, end, datasets=(dataset,)))
            if dataset == "ohlcv":
                auditing.audit(made, (dataset,))
    auditing.audit(made, tuple(DATASETS))
    yield made
    exchange.clear_faults()


def test_each_wrong_value_is_found_and_nothing_else(deployment: Deployment) -> None:
    with session(deployment.database_url) as connection:
        found = set(rows(connection, OPEN))
    assert found == set().union(*(wrong.findings for wrong in (*WRONG, *DOUBTED)))


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_verified_ends_before_the_first_wrong_value(deployment: Deployment, wrong: Wrong) -> None:
    until = reader.verified_until(wrong.dataset, SYMBOL, wrong.series, database_url=deployment.database_url)
    assert until == min(w.at for w in WRONG if (w.dataset, w.series) == (wrong.dataset, wrong.series))
