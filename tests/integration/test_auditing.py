"""Audits of published rows: each kind of damage ends `verified_until` before it, and its repair brings it back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from perpflow import auditing, reader
from perpflow.__main__ import app
from perpflow.datasets import DATASETS
from perpflow.errors import BadConfiguration, BadSuite
from perpflow.include import include_path
from perpflow.settings import Deployment
from perpflow.store.database import session
from perpflow.windows import Window
from simulator.process import Handle
from tests.loading import deployment_of, load, request, rows, utc

SPAN = Window(utc("2026-10-10"), utc("2026-10-12"))
SYMBOLS = ("SOL/USDT", "BTC/USDT")
AT = utc("2026-10-11T06:00")
KEY = ("ohlcv", "SOL/USDT", "5m")
#: In statements CANDLE stands for this.
CANDLE = f"symbol = 'SOL/USDT' AND time = '{AT.isoformat()}'"
HOLE = "'{[2026-10-11 06:00Z,2026-10-11 07:00Z)}'"


@pytest.fixture(scope="module")
def deployment(database_url: str, exchange: Handle) -> Deployment:
    """Two clean days of all datasets, audited."""
    made = deployment_of(database_url, exchange, symbols=SYMBOLS)
    load(made, request("first", SPAN.start, SPAN.end, symbols=SYMBOLS))
    auditing.told(made, auditing.audit(made, tuple(DATASETS)).moved)
    return made


#: What tests damage, and what they are put back from.
KEPT = (*DATASETS, "coverage", "audit_findings", "reconciliations", "verification_told")
KEEP = "CREATE TABLE kept_{0} AS TABLE {0}"
EMPTY = "DELETE FROM {0}"
PUT_BACK = "INSERT INTO {0} OVERRIDING SYSTEM VALUE TABLE kept_{0}"


@pytest.fixture(scope="module")
def kept(deployment: Deployment) -> Deployment:
    """The same, with a copy of what tests damage."""
    with session(deployment.database_url) as connection:
        for name in KEPT:
            connection.execute(KEEP.format(name).encode())
    return deployment


@pytest.fixture
def damaged(kept: Deployment) -> Iterator[Deployment]:
    """The same, to be damaged; put back afterwards."""
    yield kept
    with session(kept.database_url) as connection, connection.transaction():
        for name in KEPT:
            connection.execute(EMPTY.format(name).encode())
            connection.execute(PUT_BACK.format(name).encode())


def execute(deployment: Deployment, statement: str) -> int:
    with session(deployment.database_url) as connection:
        return connection.execute(statement.replace("CANDLE", CANDLE).encode()).rowcount


def disputed(deployment: Deployment) -> dict[tuple[str, str, str], datetime]:
    """Series that are not verified to their end, and until when they are."""
    state = auditing.state(deployment, tuple(DATASETS))
    return {each.key: each.verified_until for each in state.series if each.verified_until < each.covered_until}


def audits_open(deployment: Deployment) -> set[str]:
    return {f.audit for f in auditing.state(deployment, tuple(DATASETS)).findings if f.severity == "critical"}


def test_nothing_is_verified_before_it_is_audited_and_all_of_it_afterwards(
    empty_database_url: str, exchange: Handle
) -> None:
    made = deployment_of(empty_database_url, exchange)
    load(made, request("young", SPAN.start, SPAN.end, datasets=("ohlcv", "open_interest")))
    assert reader.verified_until(*KEY, database_url=made.database_url) is None
    assert set(disputed(made).values()) == {SPAN.start}
    done = auditing.audit(made, ("ohlcv",))
    assert {series.dataset for series in done.moved} == {"ohlcv"}
    assert reader.verified_until(*KEY, database_url=made.database_url) == SPAN.end
    auditing.told(made, done.moved)
    assert auditing.audit(made, ("ohlcv",)) == auditing.Audited(0, 0, ())
    # Each dataset waits for its own audits, whoever has looked at it beside another.
    assert disputed(made) == {("open_interest", "SOL/USDT", "5m"): SPAN.start}


HOUR = AT
DAY = utc("2026-10-11")
#: What is done to the tables; which audits tell; until when each series of SOL/USDT is verified then, first of the
#: dataset that is damaged.
DAMAGE: dict[str, tuple[str, set[str], dict[tuple[str, str], datetime]]] = {
    "a row is deleted": (
        "DELETE FROM ohlcv WHERE timeframe = '5m' AND CANDLE",
        {"ledger_agrees"},
        {("ohlcv", "5m"): AT},
    ),
    "a settlement is deleted": (
        "DELETE FROM funding_rate WHERE symbol = 'SOL/USDT' AND time = '2026-10-11 08:00Z'",
        {"settlements_follow"},
        # The next one may come an hour after the one before.
        {("funding_rate", "settlement"): utc("2026-10-11T01:00")},
    ),
    "one ratio is emptied": (
        "UPDATE long_short_ratio SET top_account = NULL WHERE CANDLE",
        {"ledger_agrees"},
        {("long_short_ratio", "top_account"): AT},
    ),
    "a row lies beside the grid": (
        "INSERT INTO open_interest SELECT symbol, '2026-10-11 06:02Z', open_interest, open_interest_value, source "
        "FROM open_interest WHERE CANDLE",
        {"ledger_agrees"},
        {("open_interest", "5m"): AT + timedelta(minutes=2)},
    ),
    "an hour's high is changed": (
        "UPDATE ohlcv SET high = high * 1.001 WHERE timeframe = '1h' AND CANDLE",
        {"cross_timeframe"},
        {("ohlcv", "1h"): HOUR, ("ohlcv", "5m"): HOUR},
    ),
    "a trade is missing from a day": (
        "UPDATE ohlcv SET volume = volume - 1 WHERE timeframe = '1d' AND symbol = 'SOL/USDT' AND time = '2026-10-11Z'",
        {"cross_timeframe"},
        {("ohlcv", "1d"): DAY, ("ohlcv", "5m"): DAY},
    ),
    "hours are shifted by one": (
        "UPDATE ohlcv o SET (open, high, low, close) = (SELECT p.open, p.high, p.low, p.close FROM ohlcv p "
        "WHERE p.symbol = o.symbol AND p.timeframe = '1h' AND p.time = o.time - interval '1 hour') "
        "WHERE timeframe = '1h' AND symbol = 'SOL/USDT' AND time >= '2026-10-11 06:00Z'",
        {"cross_timeframe"},
        {("ohlcv", "1h"): HOUR, ("ohlcv", "5m"): HOUR},
    ),
    "volumes are in another unit": (
        "UPDATE ohlcv SET volume = volume * 1000 WHERE timeframe = '5m' AND CANDLE",
        {"cross_timeframe"},
        {("ohlcv", name): DAY if name in ("1d", "5m") else AT - timedelta(hours=2 * (name == "4h"))
         for name in ("5m", "15m", "1h", "4h", "1d")},
    ),
    "an hour of mark prices is another symbol's": (
        "UPDATE mark_price m SET (open, high, low, close) = (SELECT b.open, b.high, b.low, b.close FROM mark_price b "
        "WHERE b.symbol = 'BTC/USDT' AND b.timeframe = '1h' AND b.time = m.time) WHERE timeframe = '1h' AND CANDLE",
        {"cross_timeframe", "spike_denied_by_trades", "apart_from_trades", "apart_from_mark"},
        {("mark_price", "1h"): HOUR, ("mark_price", "5m"): HOUR, ("ohlcv", "1h"): HOUR},
    ),
    "a premium is changed by its last digit": (
        "UPDATE premium_index SET low = low - 1e-8 WHERE timeframe = '1h' AND CANDLE",
        {"cross_timeframe"},
        {("premium_index", "1h"): HOUR, ("premium_index", "5m"): HOUR},
    ),
    "open interest is in another unit": (
        "UPDATE open_interest SET open_interest = open_interest * 1000 WHERE CANDLE",
        {"open_interest_value", "jump_taken_back"},
        {("open_interest", "5m"): AT},
    ),
    "open interest's value is another symbol's": (
        "UPDATE open_interest o SET open_interest_value = (SELECT b.open_interest_value FROM open_interest b "
        "WHERE b.symbol = 'BTC/USDT' AND b.time = o.time) WHERE CANDLE",
        {"open_interest_value"},
        {("open_interest", "5m"): AT},
    ),
    "a volume is no number": (
        "UPDATE ohlcv SET volume = 'NaN' WHERE timeframe = '5m' AND CANDLE",
        {"numbers"},
        {("ohlcv", "5m"): AT},
    ),
    "the mark price of an hour is infinite": (
        "UPDATE mark_price SET high = '-Infinity' WHERE timeframe = '1h' AND CANDLE",
        {"numbers"},
        {("mark_price", "1h"): AT},
    ),
    "one of several ratios is no number": (
        "UPDATE long_short_ratio SET taker_volume = 'NaN' WHERE CANDLE",
        {"numbers"},
        {("long_short_ratio", "taker_volume"): AT},
    ),
    "a funding rate is no number": (
        "UPDATE funding_rate SET funding_rate = 'Infinity' WHERE symbol = 'SOL/USDT' AND time = '2026-10-11 08:00Z'",
        {"numbers"},
        {("funding_rate", "settlement"): utc("2026-10-11T08:00")},
    ),
    "a close is a lone spike": (
        "UPDATE ohlcv SET close = close * 1.3, high = high * 1.3 WHERE timeframe = '5m' AND CANDLE",
        {"cross_timeframe", "spike_denied_by_mark"},
        {("ohlcv", name): DAY if name in ("1d", "5m") else AT - timedelta(hours=2 * (name == "4h"))
         for name in ("5m", "15m", "1h", "4h", "1d")},
    ),
    "a settlement's mark price is off": (
        "UPDATE funding_rate SET mark_price = mark_price * 1.01 "
        "WHERE symbol = 'SOL/USDT' AND time = '2026-10-11 08:00Z'",
        {"funding_mark"},
        {("funding_rate", "settlement"): utc("2026-10-11T08:00")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_ends_what_is_verified_before_it_and_repair_brings_it_back(damaged: Deployment, what: str) -> None:
    statement, audits, until = DAMAGE[what]
    assert execute(damaged, statement) > 0
    assert disputed(damaged) == {}, "who changes tables by hand tells nobody"
    auditing.audit(damaged, tuple(DATASETS), again=True)
    assert audits_open(damaged) == audits
    assert disputed(damaged) == {(name, "SOL/USDT", series): at for (name, series), at in until.items()}
    # What is disputed is looked at again each time, and the same is found.
    again = auditing.audit(damaged, tuple(DATASETS))
    assert (again.found, again.resolved) == (0, 0)

    dataset = next(name for name, _ in until)
    load(damaged, request(f"mend {what}", SPAN.start, SPAN.end, datasets=(dataset,), again=True))
    execute(damaged, "DELETE FROM open_interest WHERE time = '2026-10-11 06:02Z'")
    assert set(disputed(damaged)) >= {(name, "SOL/USDT", series) for name, series in until}
    assert auditing.audit(damaged, tuple(DATASETS)).resolved > 0
    assert (disputed(damaged), audits_open(damaged)) == ({}, set())


#: The series that columns beyond the ratios themselves are of.
RATIO_OF = {
    "top_position_long_share": "top_position",
    "top_account_long_share": "top_account",
    "global_account_long_share": "global_account",
    "taker_buy_volume": "taker_volume",
    "taker_sell_volume": "taker_volume",
}


def series_of(dataset: str, column: str) -> str:
    """The series that is disputed for a value in this column, of candles that of five minutes."""
    if dataset == "long_short_ratio":
        return RATIO_OF.get(column, column)
    return "settlement" if dataset == "funding_rate" else "5m"


#: Every column that can hold what is no number.
NUMBERS = [(name, c.name) for name, spec in DATASETS.items() for c in spec.values if c.type == "double precision"]
FOUND = (
    'SELECT dataset, series, "column", lower("window"), detail ->> \'value\' FROM audit_findings '
    "WHERE audit = %s AND symbol = 'SOL/USDT' AND resolved_at IS NULL"
)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_value_that_is_no_number_is_found_in_every_column(damaged: Deployment, value: str) -> None:
    expected = set()
    # Each column has its own instant; settlements are there at every eighth hour.
    for number, (dataset, column) in enumerate(NUMBERS):
        is_candle = DATASETS[dataset].series_in_key
        step = timedelta(hours=8) if dataset == "funding_rate" else timedelta(minutes=5)
        at = utc("2026-10-10T08:00") + step * (number if dataset != "funding_rate" else column == "mark_price")
        where = "AND timeframe = '5m'" if is_candle else ""
        spoil = f"UPDATE {dataset} SET {column} = '{value}' WHERE symbol = 'SOL/USDT' AND time = '{at}' {where}"  # noqa: S608
        assert execute(damaged, spoil) == 1, (dataset, column)
        expected.add((dataset, series_of(dataset, column), column, at))
    auditing.audit(damaged, tuple(DATASETS), again=True)
    with session(damaged.database_url) as connection:
        made = rows(connection, FOUND, "numbers")
    assert {(dataset, series, column, at) for dataset, series, column, at, _ in made} == expected
    assert {said for *_, said in made} == {value}
    assert all((dataset, "SOL/USDT", series) in disputed(damaged) for dataset, series, _, _ in expected)


@pytest.fixture
def settled(empty_database_url: str, exchange: Handle) -> Deployment:
    """Settlements of weeks on either side of a month's end, audited."""
    made = deployment_of(empty_database_url, exchange)
    load(made, request("weeks", "2026-08-20", "2026-09-12", datasets=("funding_rate",)))
    auditing.audit(made, ("funding_rate",))
    assert disputed(made) == {}
    return made


def test_a_hole_among_settlements_is_disputed_whole_and_as_long_as_it_is_there(settled: Deployment) -> None:
    hole = "DELETE FROM funding_rate WHERE time > '2026-08-28 16:00Z' AND time < '2026-09-03 08:00Z'"
    assert execute(settled, hole) > 3
    auditing.audit(settled, ("funding_rate",), again=True)
    key = ("funding_rate", "SOL/USDT", "settlement")
    spans = '{["2026-08-28 17:00:00+00","2026-09-03 01:00:00+00")}'
    for _ in range(3):
        assert disputed(settled) == {key: utc("2026-08-28T17:00")}
        assert coverage(settled, "disputed::text", key) == spans
        again = auditing.audit(settled, ("funding_rate",))
        assert (again.found, again.resolved) == (0, 0)


def test_what_is_explained_of_a_hole_among_settlements_is_not_disputed(settled: Deployment) -> None:
    execute(settled, "DELETE FROM funding_rate WHERE time > '2026-08-28 16:00Z' AND time < '2026-09-03 08:00Z'")
    gone = "'{[2026-08-28 16:00:01Z,2026-09-02Z)}'"
    execute(settled, "UPDATE coverage SET present = present - GONE, missing_upstream = GONE".replace("GONE", gone))
    auditing.audit(settled, ("funding_rate",), again=True)
    key = ("funding_rate", "SOL/USDT", "settlement")
    assert coverage(settled, "disputed::text", key) == '{["2026-09-02 00:00:00+00","2026-09-03 01:00:00+00")}'


def coverage(deployment: Deployment, column: str, key: tuple[str, str, str] = KEY) -> Any:
    text = "SELECT {} FROM coverage WHERE dataset = %s AND symbol = %s AND series = %s"
    with session(deployment.database_url) as connection:
        return rows(connection, text.format(column), *key)[0][0]


def test_what_was_never_loaded_between_two_loads_is_no_missing_settlement(
    empty_database_url: str, exchange: Handle
) -> None:
    made = deployment_of(empty_database_url, exchange)
    for start, end in (("2026-10-01", "2026-10-04"), ("2026-09-20", "2026-09-25")):
        load(made, request(f"from {start}", start, end, datasets=("funding_rate",)))
    auditing.audit(made, ("funding_rate",))
    assert audits_open(made) == set()
    # What was never loaded is not verified either.
    assert set(disputed(made).values()) == {utc("2026-09-25")}
    # One that must have been there is missed all the same.
    execute(made, "DELETE FROM funding_rate WHERE time = '2026-09-24 08:00Z'")
    execute(made, "DELETE FROM funding_rate WHERE time = '2026-09-24 16:00Z'")
    auditing.audit(made, ("funding_rate",), again=True)
    assert audits_open(made) == {"settlements_follow"}


@pytest.mark.parametrize("goes_on", ["2026-10-01", "2026-10-03"])
def test_the_last_settlements_before_what_was_never_loaded_are_missed_too(
    empty_database_url: str, exchange: Handle, goes_on: str
) -> None:
    made = deployment_of(empty_database_url, exchange)
    for start, end in ((goes_on, "2026-10-05"), ("2026-09-20", "2026-09-25")):
        load(made, request(f"from {start}", start, end, datasets=("funding_rate",), symbols=("NEW/USDT",)))
    auditing.audit(made, ("funding_rate",))
    assert audits_open(made) == set()
    # A contract that settles every four hours.
    assert execute(made, "DELETE FROM funding_rate WHERE time = '2026-09-24 20:00Z'") == 1
    for again in (True, False):
        auditing.audit(made, ("funding_rate",), again=again)
        open_now = auditing.state(made, ("funding_rate",)).findings
        found = {each.audit: each for each in open_now if each.severity == "critical"}
        assert found.keys() == {"settlements_follow"}
        lacking = found["settlements_follow"]
        assert (lacking.time, lacking.detail["points"]) == (utc("2026-09-24T17:00"), 1)


def test_an_audit_whose_suite_is_broken_does_not_keep_others_from_looking(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "include"
    shutil.copytree(include_path(), copy)
    (copy / "expectations" / "ohlcv.json").unlink()
    monkeypatch.setenv("PERPFLOW_INCLUDE", str(copy))
    unaudited = "UPDATE coverage SET audited = '{}' WHERE dataset IN ('ohlcv', 'mark_price', 'premium_index')"
    execute(deployment, unaudited)
    try:
        with pytest.raises(BadSuite, match=r"ohlcv\.json: the suite is missing"):
            auditing.audit(deployment, tuple(DATASETS))
        # Mark prices are judged by candles, too.
        assert {dataset for dataset, *_ in disputed(deployment)} == {"ohlcv", "mark_price"}
    finally:
        monkeypatch.delenv("PERPFLOW_INCLUDE")
        auditing.told(deployment, auditing.audit(deployment, tuple(DATASETS)).moved)


def test_publishing_takes_exactly_the_rows_that_it_writes_out_of_what_was_audited(damaged: Deployment) -> None:
    execute(damaged, "DELETE FROM ohlcv WHERE timeframe = '5m' AND CANDLE")
    execute(
        damaged, "UPDATE open_interest SET open_interest = 1 WHERE symbol = 'SOL/USDT' AND time = '2026-10-10 12:00Z'"
    )
    load(damaged, request("one row", SPAN.start, SPAN.end, datasets=("ohlcv", "open_interest"), again=True))
    assert coverage(damaged, "(present - audited)::text") == '{["2026-10-11 06:00:00+00","2026-10-11 06:05:00+00")}'
    assert coverage(damaged, "unaudited_since IS NOT NULL")
    corrected = ("open_interest", "SOL/USDT", "5m")
    assert coverage(damaged, "(present - audited)::text", corrected) == (
        '{["2026-10-10 12:00:00+00","2026-10-10 12:05:00+00")}'
    )
    assert coverage(damaged, "(present - audited)::text", ("ohlcv", "SOL/USDT", "1h")) == "{}"
    assert disputed(damaged) == {KEY: AT, corrected: utc("2026-10-10T12:00")}
    auditing.audit(damaged, tuple(DATASETS))
    assert disputed(damaged) == {}
    assert not coverage(damaged, "unaudited_since IS NOT NULL")


def test_publishing_what_changes_nothing_leaves_audited_as_it_is(deployment: Deployment) -> None:
    key = ("open_interest", "SOL/USDT", "5m")
    before = coverage(deployment, "audited::text", key)
    load(deployment, request("again", SPAN.start, SPAN.end, datasets=("funding_rate", "open_interest"), again=True))
    assert coverage(deployment, "audited::text", key) == before
    assert disputed(deployment) == {}


def test_an_audit_that_dies_leaves_everything_as_it_was(damaged: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(damaged, "UPDATE ohlcv SET high = high * 1.2 WHERE timeframe = '1h' AND CANDLE")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(auditing.verification, "dispute", killed)
        with pytest.raises(KeyboardInterrupt):
            auditing.audit(damaged, ("ohlcv",), again=True)
    assert (disputed(damaged), audits_open(damaged)) == ({}, set())
    auditing.audit(damaged, ("ohlcv",), again=True)
    assert audits_open(damaged) == {"cross_timeframe"}


def test_what_a_publisher_changes_while_an_audit_looks_is_not_audited(
    damaged: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher commits between the snapshot and the lock: the unit is forgotten, and looked at again."""
    real, looks = auditing.verification.series_of, []

    def meddled(*arguments: Any) -> Any:
        found = real(*arguments)
        looks.append(1)
        if len(looks) == 2:  # The first one is what is looked at everywhere.
            execute(damaged, "DELETE FROM ohlcv WHERE timeframe = '5m' AND CANDLE")
            execute(damaged, "UPDATE coverage SET updated_at = now() WHERE dataset = 'ohlcv' AND series = '5m'")
        return found

    monkeypatch.setattr(auditing.verification, "series_of", meddled)
    auditing.audit(damaged, ("ohlcv",), again=True)
    assert len(looks) == 3
    assert audits_open(damaged) == {"ledger_agrees"}


def test_a_warning_disputes_nothing(damaged: Deployment) -> None:
    with session(damaged.database_url) as connection:
        connection.execute(
            """INSERT INTO reconciliations (dataset, symbol, series, "column", "window", tolerance, agree, within,
                   beyond, archive_only, rest_only)
               VALUES ('long_short_ratio', 'SOL/USDT', 'all', 'top_account', '[2026-10-10 00:00Z,2026-10-12 00:00Z)',
                       1e-4, 570, 5, 1, 0, 0)"""
        )
    auditing.audit(damaged, ("long_short_ratio",))
    (finding,) = auditing.state(damaged, tuple(DATASETS)).findings
    assert (finding.audit, finding.severity, finding.series) == ("sources_agree", "warning", "top_account")
    assert disputed(damaged) == {}
    execute(damaged, "DELETE FROM reconciliations")
    assert auditing.audit(damaged, ("long_short_ratio",)).resolved == 1


EXPLAIN = "UPDATE coverage SET missing_upstream = {}{} WHERE series = '1h' AND dataset = 'mark_price'"


def test_a_hole_that_nothing_explains_is_told_and_ends_what_is_verified(damaged: Deployment) -> None:
    execute(damaged, EXPLAIN.format("present - ", HOLE).replace("missing_upstream", "present"))
    execute(damaged, "DELETE FROM mark_price WHERE timeframe = '1h' AND time = '2026-10-11 06:00Z'")
    auditing.audit(damaged, ("mark_price",))
    assert disputed(damaged) == {("mark_price", symbol, "1h"): AT for symbol in SYMBOLS}
    (finding,) = auditing.state(damaged, tuple(DATASETS)).findings
    assert (finding.audit, finding.severity, finding.findings) == ("completeness", "warning", 2)
    # An absence that is explained is none to wait for.
    execute(damaged, EXPLAIN.format("", HOLE))
    assert disputed(damaged) == {}


SPOIL = "UPDATE open_interest SET open_interest_value = open_interest_value * {} WHERE CANDLE"


def numbers(deployment: Deployment) -> tuple[int, ...]:
    with session(deployment.database_url) as connection:
        found = rows(connection, "SELECT id FROM audit_findings WHERE resolved_at IS NULL ORDER BY id")
    return tuple(number for (number,) in found)


def test_what_a_person_accepts_disputes_nothing_until_it_is_something_else(damaged: Deployment) -> None:
    execute(damaged, SPOIL.format(1.2))
    auditing.audit(damaged, ("open_interest",), again=True)
    assert set(disputed(damaged)) == {("open_interest", "SOL/USDT", "5m")}
    assert auditing.accept(damaged, numbers(damaged), person="ada", note="the exchange says so") == 1
    for _ in range(2):
        assert disputed(damaged) == {}
        auditing.complain(damaged, ("open_interest",))
        (finding,) = auditing.state(damaged, ("open_interest",)).findings
        assert (finding.severity, finding.accepted, finding.accepted_by) == ("warning", True, "ada")
        assert "accepted by ada: the exchange says so" in finding.sample
        auditing.audit(damaged, ("open_interest",), again=True)
    execute(damaged, SPOIL.format(1.2))
    auditing.audit(damaged, ("open_interest",), again=True)
    assert audits_open(damaged) == {"open_interest_value"}
    assert set(disputed(damaged)) == {("open_interest", "SOL/USDT", "5m")}


def test_only_open_critical_findings_are_accepted_and_with_a_note(damaged: Deployment) -> None:
    execute(damaged, SPOIL.format(1.2))
    auditing.audit(damaged, ("open_interest",), again=True)
    (number,) = numbers(damaged)
    for ids, note, said in (((number,), " ", "the note is empty"), ((number, 10**9), "so it is", "1000000000")):
        with pytest.raises(BadConfiguration, match=said):
            auditing.accept(damaged, ids, person="ada", note=note)
    assert audits_open(damaged) == {"open_interest_value"}


RELEASED = """
    INSERT INTO quarantine (batch, dataset, symbol, series, time, expectation, reason, source, row, row_hash,
                            decision, note, reviewed_at)
    SELECT 'b', 'open_interest', symbol, '5m', time, 'value_fits_the_candles', 'why', source, to_jsonb(o), 1,
           'released', 'so it is', now()
    FROM open_interest o WHERE CANDLE"""


def test_a_value_that_a_review_released_is_no_finding_and_another_one_is(damaged: Deployment) -> None:
    execute(damaged, SPOIL.format(1.2))
    execute(damaged, RELEASED)
    try:
        auditing.audit(damaged, ("open_interest",), again=True)
        assert audits_open(damaged) == set()
        execute(damaged, SPOIL.format(1.2))
        auditing.audit(damaged, ("open_interest",), again=True)
        assert audits_open(damaged) == {"open_interest_value"}
    finally:
        execute(damaged, "DELETE FROM quarantine")


def test_what_a_killed_audit_has_moved_the_next_one_tells(damaged: Deployment) -> None:
    execute(damaged, "UPDATE coverage SET audited = audited - HOLE WHERE series = '1h'".replace("HOLE", HOLE))
    fallen = set(disputed(damaged))
    assert len(fallen) > 1
    # It has looked at everything, and dies before it has told of it.
    first = auditing.audit(damaged, tuple(DATASETS))
    assert {series.key for series in first.moved} == fallen
    again = auditing.audit(damaged, tuple(DATASETS))
    assert again.moved == first.moved
    auditing.told(damaged, again.moved)
    assert auditing.audit(damaged, tuple(DATASETS)).moved == ()


def test_the_command_accepts_by_number(damaged: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(damaged, SPOIL.format(1.2))
    for name in ("database", "rest", "archive"):
        monkeypatch.setenv(f"PERPFLOW_{name.upper()}_URL", getattr(damaged, f"{name}_url"))
    looked = CliRunner().invoke(app, ["audit", "--again", "--json", "--datasets", "open_interest"])
    assert looked.exit_code == 1
    (finding,) = json.loads(looked.stdout)["findings"]
    done = CliRunner().invoke(app, ["audit", "accept", str(finding["id"]), "--note", "so it is", "--by", "ada"])
    assert (done.exit_code, done.stdout) == (0, "1 findings accepted.\n")
    table = CliRunner().invoke(app, ["audit", "--datasets", "open_interest"])
    assert table.exit_code == 0
    assert "accepted" in table.stdout
