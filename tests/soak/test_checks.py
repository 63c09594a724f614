"""The soak's checks hold after a clean load, and each finds the damage that it is about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perpflow import pipeline
from perpflow.batches import Batch, LoadRequest
from perpflow.settings import Deployment
from perpflow.store.database import session
from perpflow.windows import DAY, Window
from simulator.process import Handle, running
from soak import checks, witness
from soak.checks import Wanted, check
from soak.damage import punch
from soak.market import Corruption, FirstIssue, Market
from tests.loading import deployment_of, load, request, run_batch, utc

SPAN = Window(utc("2026-10-10"), utc("2026-10-12"))
SPOILED = Corruption("ohlcv", "klines", "high_below_low", "SOL/USDT", SPAN.start, 3, "5m")
NOW = utc("2026-10-15T12:34:56")
REISSUED = FirstIssue("metrics", "SOL/USDT", utc("2026-10-11"))
MARKET = Market(("SOL/USDT",), (SPAN,), (SPOILED,), (REISSUED,), NOW)


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


CORRECTION = """
INSERT INTO corrections (dataset, symbol, series, time, old_row, new_row, batch, source, origin)
SELECT dataset, symbol, series, time, {old}, new_row, 'b', 'archive', 'o' FROM soak_changed
"""
CHANGE = "UPDATE open_interest SET open_interest = open_interest + 1 WHERE time = '{time}'"
#: Of the rows of 11 October the new issue changes those from six o'clock on.
REVISED, UNTOUCHED = "2026-10-11 06:05Z", "2026-10-11 08:05Z"
CORRECTED = CORRECTION.format(old="old_row")
LACKS, HAS = "changed and not in corrections", "in corrections and not changed"


@pytest.fixture
def watched(deployment: Deployment, batches: list[Batch]) -> Iterator[None]:
    """The witness at work; afterwards all is as it was."""
    execute(deployment, "CREATE TABLE kept_interest AS TABLE open_interest")
    witness.witness(deployment.database_url)
    yield
    execute(deployment, "DELETE FROM open_interest", "INSERT INTO open_interest TABLE kept_interest")
    with session(deployment.database_url) as connection:
        connection.execute("DROP TABLE kept_interest, soak_changed")
        connection.execute("DROP FUNCTION soak_witness CASCADE")
        connection.execute("TRUNCATE corrections")


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize(
    ("time", "planted", "faults"),
    [
        (REVISED, [CORRECTED], []),
        (REVISED, [], [LACKS]),
        (REVISED, [CORRECTED, CORRECTED], [HAS]),
        (REVISED, [CORRECTION.format(old="new_row")], [LACKS, HAS]),
        (UNTOUCHED, [CORRECTED], ["was not issued again"]),
    ],
    ids=["corrected", "lost", "doubled", "with another old value", "of a row that was not issued again"],
)
def test_a_correction_that_is_lost_or_wrong_is_named(
    deployment: Deployment, time: str, planted: list[str], faults: list[str]
) -> None:
    execute(deployment, CHANGE.format(time=time), *planted)
    found = checks.corrections_are_of_what_was_issued_again(deployment.database_url, MARKET)
    assert [fault.split(": ")[0] for fault in found.faults] == faults


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE open_interest SET ingested_at = now()",
        "UPDATE open_interest SET source = 'rest', open_interest = 1",
        "DELETE FROM open_interest",
    ],
)
def test_what_is_no_correction_needs_none(deployment: Deployment, change: str) -> None:
    execute(deployment, f"{change} WHERE time = '{REVISED}'")
    assert checks.corrections_are_of_what_was_issued_again(deployment.database_url, MARKET).holds


@pytest.mark.usefixtures("watched")
def test_a_correction_of_a_row_that_nobody_changed_is_named(deployment: Deployment) -> None:
    execute(
        deployment,
        CHANGE.format(time=REVISED),
        CORRECTED,
        "DELETE FROM soak_changed",
    )
    found = checks.corrections_are_of_what_was_issued_again(deployment.database_url, MARKET)
    assert [fault.split(": ")[0] for fault in found.faults] == [HAS]


def test_what_was_punched_out_counts_as_inserted_and_is_found_lacking(
    deployment: Deployment, wanted: Wanted, batches: list[Batch]
) -> None:
    punch(deployment.database_url, "open_interest", "SOL/USDT", Window(SPAN.start, SPAN.start + DAY))
    assert broken(deployment, wanted, batches) == {
        "open_interest: 576 rows equal the truth",
        "open_interest: the ledger accounts for every point",
        GAPS,
    }
    repair = LoadRequest(("open_interest",), ("SOL/USDT",), SPAN.start, SPAN.end, "repair")
    mended = pipeline.plan_repair(deployment, repair).batches
    for batch in mended:
        run_batch(deployment, batch)
    assert broken(deployment, wanted, [*batches, *mended]) == set()


def test_a_session_that_stays_is_named(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "SESSIONS_END_IN_S", 0.0)
    with session(deployment.database_url):
        assert not checks.sessions_have_ended(deployment.database_url).holds


def test_many_faults_are_counted_and_some_of_them_shown() -> None:
    assert check("subject", map(str, range(8))).faults == ("0", "1", "2", "3", "4", "and 3 more")
    assert check("subject", []).holds
