"""Half a year with all that the exchange is odd about, and a real crash: nothing is withheld, no audit objects."""

from __future__ import annotations

from typing import Any

import pytest

from perpflow import auditing
from perpflow.datasets import DATASETS
from perpflow.settings import Deployment
from perpflow.store.database import session
from perpflow.windows import Window
from simulator.process import Handle
from simulator.truth import Truth
from tests.expected import Expected
from tests.loading import deployment_of, facts, load, request, rows, utc

# Half a year of two contracts is loaded first.
pytestmark = pytest.mark.timeout(900)

#: 180 days: label shifts, doubled, unsorted and off-grid metrics, missing heads and tails, blanks, holes in candles.
START, END = utc("2026-04-17"), utc("2026-10-14")
SYMBOLS = ("COS/USDT", "SOL/USDT")


@pytest.fixture(scope="module")
def made(database_url: str, exchange: Handle) -> Deployment:
    deployment = deployment_of(database_url, exchange)
    # Candles are judged by mark prices, open interest and funding by candles.
    for datasets in (("mark_price",), tuple(name for name in DATASETS if name != "mark_price")):
        load(
            deployment, request(f"clean {datasets}", START, END, datasets=datasets, symbols=SYMBOLS, symbols_per_task=2)
        )
    return deployment


def asked(deployment: Deployment, text: str) -> Any:
    with session(deployment.database_url) as connection:
        return rows(connection, text)


def test_nothing_is_withheld(made: Deployment) -> None:
    assert asked(made, "SELECT DISTINCT dataset, symbol, expectation FROM quarantine") == []


def test_a_real_crash_of_a_third_within_an_hour_is_published_with_a_warning(made: Deployment, exchange: Handle) -> None:
    hour = Window(utc("2026-09-15T08:00"), utc("2026-09-15T09:00"))
    truth = Expected(Truth(exchange.seed), exchange.now)
    candles = [row for row in facts(made.database_url, "ohlcv") if row[0] == "COS/USDT" and row[2] in (hour.start,)]
    (of_the_hour,) = (row for row in candles if row[1] == "1h")
    assert of_the_hour[6] / of_the_hour[3] < 0.67
    assert of_the_hour in truth.ohlcv("COS/USDT", "1h", hour)
    told = asked(
        made,
        "SELECT DISTINCT w ->> 'expectation' FROM data_versions CROSS JOIN jsonb_array_elements(warnings) w "
        "WHERE dataset = 'ohlcv' AND w ->> 'expectation' = 'moves_are_usual' AND w ->> 'sample' LIKE '%09-15 08:%'",
    )
    assert told == [("moves_are_usual",)]


def test_no_audit_finds_anything_and_all_is_verified(made: Deployment) -> None:
    done = auditing.audit(made, tuple(DATASETS))
    state = auditing.state(made, tuple(DATASETS))
    assert (done.found, state.findings) == (0, ())
    assert {each.dataset for each in state.series} == set(DATASETS)
    assert [each.key for each in state.series if each.verified_until != each.covered_until] == []
