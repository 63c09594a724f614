"""The soak's checks hold after a clean load, and each finds the damage that it is about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perpflow.batches import Batch
from perpflow.settings import Deployment
from perpflow.store.database import session
from perpflow.windows import Window
from simulator.process import Handle, running
from soak import checks
from soak.checks import Wanted, check
from soak.market import Corruption, Market
from tests.loading import deployment_of, load, request, utc

SPAN = Window(utc("2026-10-10"), utc("2026-10-12"))
SPOILED = Corruption("ohlcv", "klines", "high_below_low", "SOL/USDT", SPAN.start, 3, "5m")
MARKET = Market(("SOL/USDT",), (SPAN,), (SPOILED,), utc("2026-10-15T12:34:56"))


@pytest.fixture(scope="module")
def exchange() -> Iterator[Handle]:
    with running() as handle:
        MARKET.spoil(handle)
        yield handle


@pytest.fixture(scope="module")
def deployment(database_url: str, exchange: Handle) -> Deployment:
    return deployment_of(database_url, exchange)


@pytest.fixture(scope="module")
def batches(deployment: Deployment) -> list[Batch]:
    """What has been loaded, once."""
    return load(deployment, request("run", SPAN.start, SPAN.end)).batches


@pytest.fixture
def wanted(exchange: Handle) -> Wanted:
    return Wanted(MARKET, exchange.seed)


def broken(deployment: Deployment, wanted: Wanted, batches: list[Batch]) -> set[str]:
    return {found.subject for found in checks.of_store(deployment, wanted, batches) if not found.holds}


def test_everything_holds_after_a_clean_load(deployment: Deployment, wanted: Wanted, batches: list[Batch]) -> None:
    assert broken(deployment, wanted, batches) == set()
    assert checks.every_batch_is_published(deployment, batches).holds


TABLE = "ohlcv: 827 rows equal the truth"
LEDGER = "ohlcv: the ledger accounts for every point"
INSERTED = "rows that publishes say they inserted are the rows that are there"
QUARANTINE = "the quarantine holds the 3 spoiled rows and no others"
GAPS = "nothing is left to load"

#: Damage and the checks that must find it.
CANDLE = "timeframe = '5m' AND time = '2026-10-11 12:00Z'"
SERIES = "dataset = 'ohlcv' AND series = '5m'"
FACTS = [
    ("DELETE FROM ohlcv", CANDLE, {TABLE, LEDGER, INSERTED}),
    ("UPDATE ohlcv SET volume = volume + 1", CANDLE, {TABLE}),
    ("UPDATE ohlcv SET source = 'rest'", CANDLE, {TABLE}),
]
CLAIMS = [
    ("UPDATE coverage SET present = present + '{[2026-10-12 00:00Z,2026-10-12 00:05Z)}'", SERIES, {LEDGER}),
    ("UPDATE coverage SET present = present - '{[2026-10-11 12:00Z,2026-10-11 12:05Z)}'", SERIES, {LEDGER, GAPS}),
    ("UPDATE coverage SET quarantined = '{}'", SERIES, {LEDGER, GAPS}),
    ("UPDATE coverage SET recheck_at = now()", SERIES, {LEDGER}),
]
WITHHELD = [("DELETE FROM quarantine", "time = '2026-10-10 06:05Z'", {QUARANTINE})]


@pytest.fixture
def kept(deployment: Deployment, batches: list[Batch]) -> Iterator[None]:
    """Puts back afterwards what a test damages."""
    tables = {"ohlcv": "", "coverage": "", "quarantine": "OVERRIDING SYSTEM VALUE"}
    execute(deployment, *(f"CREATE TABLE kept_{name} AS TABLE {name}" for name in tables))
    yield
    for name, how in tables.items():
        execute(
            deployment, f"TRUNCATE {name}", f"INSERT INTO {name} {how} TABLE kept_{name}", f"DROP TABLE kept_{name}"
        )


def execute(deployment: Deployment, *statements: str) -> None:
    """Run statements in a session of their own; each must touch something."""
    with session(deployment.database_url) as connection:
        assert all(connection.execute(statement.encode()).rowcount for statement in statements)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(("damage", "where", "subjects"), [*FACTS, *CLAIMS, *WITHHELD])
def test_damage_is_found_by_the_checks_that_are_about_it(
    deployment: Deployment, wanted: Wanted, batches: list[Batch], damage: str, where: str, subjects: set[str]
) -> None:
    execute(deployment, f"{damage} WHERE {where}")
    assert broken(deployment, wanted, batches) == subjects


def test_batches_that_nobody_planned_or_published_are_named(
    deployment: Deployment, wanted: Wanted, batches: list[Batch]
) -> None:
    (stranger,) = (batch for batch in batches if "ohlcv" in batch.datasets)
    others = [batch for batch in batches if batch is not stranger]
    assert (
        f"('{stranger.id}', 'ohlcv'): was never planned"
        in checks.no_batch_is_logged_twice(deployment.database_url, others).faults
    )
    unpublished = Batch("none", "run", ("ohlcv",), ("SOL/USDT",), SPAN)
    assert checks.every_batch_is_published(deployment, [*batches, unpublished]).faults == ("('none', 'ohlcv')",)


def test_a_session_that_stays_is_named(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "SESSIONS_END_IN_S", 0.0)
    with session(deployment.database_url):
        assert not checks.sessions_have_ended(deployment.database_url).holds


def test_many_faults_are_counted_and_some_of_them_shown() -> None:
    assert check("subject", map(str, range(8))).faults == ("0", "1", "2", "3", "4", "and 3 more")
    assert check("subject", []).holds
