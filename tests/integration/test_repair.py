"""A hole punched into a table and the ledger is found and filled again, from whatever source has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg import sql
from typer.testing import CliRunner, Result

from perpflow import batches, pipeline, planning
from perpflow.__main__ import app
from perpflow.counters import COUNTS
from perpflow.coverage_summary import Reason, summarise
from perpflow.datasets import DATASETS, STATISTICS_REACH
from perpflow.settings import COLLECTION_VARIABLE, Deployment
from perpflow.store import ledger
from perpflow.store.database import session, to_multirange
from perpflow.windows import TIMEFRAMES, Window
from simulator.process import Handle
from tests.loading import deployment_of, facts, load, request, run_batch, utc

#: Of the archive's months, of its days, and what REST alone has.
MONTHS = Window(utc("2026-08-03"), utc("2026-08-20"))
DAYS = Window(utc("2026-10-05T06:00"), utc("2026-10-06T18:00"))
RECENT = Window(utc("2026-10-15T02:00"), utc("2026-10-15T09:00"))
BEGINS = utc("2026-08-01")


@pytest.fixture
def deployment(empty_database_url: str, exchange: Handle) -> Deployment:
    symbols = ("SOL/USDT", "BTC/USDT")
    return deployment_of(
        empty_database_url, exchange, symbols=symbols, datasets={"ohlcv": {"timeframes": ["5m"]}}, start="2026-08-01"
    )


def punch(deployment: Deployment, dataset: str, *holes: Window, symbol: str = "SOL/USDT") -> None:
    """Delete rows, and what the ledger says of their time."""
    with session(deployment.database_url) as connection:
        for hole in holes:
            connection.execute(
                sql.SQL("DELETE FROM {} WHERE symbol = %s AND time >= %s AND time < %s").format(
                    sql.Identifier(dataset)
                ),
                [symbol, hole.start, hole.end],
            )
        punched = to_multirange(list(holes))
        connection.execute(
            "UPDATE coverage SET present = present - %s, missing_upstream = missing_upstream - %s"
            " WHERE dataset = %s AND symbol = %s",
            [punched, punched, dataset, symbol],
        )


def repair(deployment: Deployment, **asked: Any) -> batches.Plan:
    plan = pipeline.plan_repair(deployment, request("repair", symbols=None, **asked))
    for batch in plan.batches:
        run_batch(deployment, batch)
    return plan


@pytest.mark.parametrize("dataset", DATASETS)
def test_holes_are_filled_again_from_each_source_and_nothing_else_is_touched(
    deployment: Deployment, dataset: str
) -> None:
    load(deployment, request("all", BEGINS, datasets=(dataset,)))
    before = facts(deployment.database_url, dataset)
    with session(deployment.database_url) as connection:
        covered = ledger.read(connection, (dataset,))
    punch(deployment, dataset, MONTHS, DAYS, RECENT)
    assert len(facts(deployment.database_url, dataset)) < len(before)
    plan = repair(deployment)
    assert {batch.symbols for batch in plan.batches} == {("SOL/USDT",)}
    assert all(any(batch.window.intersect(hole) for hole in (MONTHS, DAYS, RECENT)) for batch in plan.batches), (
        plan.batches
    )
    assert facts(deployment.database_url, dataset) == before
    with session(deployment.database_url) as connection:
        assert [row.present for row in ledger.read(connection, (dataset,))] == [row.present for row in covered]
    assert repair(deployment).batches == []


@pytest.mark.parametrize("dataset", ["open_interest", "funding_rate"])
def test_a_hole_with_edges_off_the_grid_leaves_no_sliver(deployment: Deployment, dataset: str) -> None:
    load(deployment, request("all", "2026-10-01", "2026-10-12", datasets=(dataset,)))
    with session(deployment.database_url) as connection:
        covered = ledger.read(connection, (dataset,))
    punch(deployment, dataset, Window(utc("2026-10-05T10:32"), utc("2026-10-06T10:32")))
    repair(deployment, datasets=(dataset,), start="2026-10-01", end="2026-10-12")
    with session(deployment.database_url) as connection:
        assert [row.present for row in ledger.read(connection, (dataset,))] == [row.present for row in covered]
    assert repair(deployment, datasets=(dataset,), start="2026-10-01", end="2026-10-12").batches == []


def test_what_rest_will_have_forgotten_in_a_month_comes_first(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ("open_interest", "funding_rate")
    load(deployment, request("all", BEGINS, datasets=both))
    for dataset in both:
        punch(deployment, dataset, MONTHS, DAYS)
    punch(deployment, "open_interest", Window(utc("2026-09-20"), utc("2026-09-21")))
    plan = pipeline.plan_repair(deployment, request("repair", symbols=None, datasets=both))
    assert [(batch.datasets, batch.window.start.month) for batch in plan.batches] == [
        # Of what REST gives now the oldest goes first.
        (("open_interest",), 9),
        (("open_interest",), 10),
        (("open_interest",), 8),
        (("funding_rate",), 10),
        (("funding_rate",), 8),
    ]
    monkeypatch.setattr(planning, "MOST_BATCHES", 1)
    plan = repair(deployment, datasets=both)
    assert [batch.window.start.month for batch in plan.batches] == [9]
    assert plan.notes == [
        "never loaded, which is load_history's work: series of BTC/USDT",
        "open_interest: 2 more batches than a run can hold; the next one goes on",
        "funding_rate: 2 more batches than a run can hold; the next one goes on",
    ]


def test_a_hole_that_rest_is_about_to_forget_raises_an_alarm(
    deployment: Deployment, exchange: Handle, caplog: pytest.LogCaptureFixture
) -> None:
    both = ("open_interest", "funding_rate")
    load(deployment, request("all", "2026-09-10", datasets=both))
    reach = STATISTICS_REACH
    edge = TIMEFRAMES["5m"].ceil(exchange.now - reach)
    soon = Window(edge + timedelta(days=1), edge + timedelta(days=1, hours=2))
    for dataset in both:
        punch(deployment, dataset, soon, RECENT)
    COUNTS.take("a test")
    asked = request("repair", "2026-09-10", symbols=None, datasets=both)
    (alarm,) = pipeline.plan_repair(deployment, asked).alarms
    assert (alarm.dataset, alarm.symbol, alarm.series, alarm.window) == ("open_interest", "SOL/USDT", "5m", soon)
    assert alarm.forgotten_at == soon.start + reach
    assert COUNTS.take("a test")["alarms.open_interest"] == 1
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [str(alarm)]
    repair(deployment, datasets=both, start="2026-09-10")
    assert pipeline.plan_repair(deployment, asked).alarms == []


def test_of_symbols_that_are_not_collected_only_what_lies_between_what_was_loaded_is_a_hole(
    deployment: Deployment,
) -> None:
    eth = ("ETH/USDT",)
    load(deployment, request("once", "2026-09-01", "2026-10-10", datasets=("open_interest",), symbols=eth))
    assert repair(deployment).batches == []
    punch(deployment, "open_interest", DAYS, symbol="ETH/USDT")
    (batch,) = repair(deployment).batches
    assert (batch.symbols, batch.window) == (eth, DAYS)
    # Who asks for it by name wants all of it.
    plan = pipeline.plan_repair(deployment, request("repair", datasets=("open_interest",), symbols=eth))
    assert {batch.window.start.month for batch in plan.batches} == {8, 10}


def test_what_the_next_increment_brings_is_no_hole(deployment: Deployment, exchange: Handle) -> None:
    load(deployment, request("all", "2026-10-01", datasets=("open_interest",)))
    fresh = Window(exchange.now - timedelta(minutes=40), exchange.now)
    punch(deployment, "open_interest", fresh)
    asked = {"datasets": ("open_interest",), "start": "2026-10-01"}
    assert repair(deployment, **asked).batches == []
    punch(deployment, "open_interest", Window(exchange.now - timedelta(hours=2), exchange.now))
    assert len(repair(deployment, **asked).batches) == 1


def test_what_no_source_has_is_asked_for_once_and_not_again_before_its_time(deployment: Deployment) -> None:
    load(deployment, request("all", "2026-10-05", datasets=("open_interest",)))
    with session(deployment.database_url) as connection:
        (row,) = ledger.read(connection, ("open_interest",))
    (hole,) = row.missing_upstream
    punch(deployment, "open_interest", hole)
    assert len(repair(deployment, datasets=("open_interest",), start="2026-10-05").batches) == 1
    with session(deployment.database_url) as connection:
        assert ledger.read(connection, ("open_interest",))[0].missing_upstream == [hole]
    assert repair(deployment, datasets=("open_interest",), start="2026-10-05").batches == []


def test_settlements_of_a_delisted_contract_that_no_source_has_are_not_asked_for_for_ever(
    empty_database_url: str, exchange: Handle
) -> None:
    gone, dataset = ("ICP/USDT#SETTLED",), ("funding_rate",)
    made = deployment_of(empty_database_url, exchange, symbols=gone, start="2021-05-01")
    lacking = exchange.add_fault("not_found", match="ICPUSDTSETTLED-fundingRate-2021-08")
    load(made, request("all", "2021-05-01", datasets=dataset, symbols=gone))
    exchange.remove_fault(lacking)
    with session(made.database_url) as connection:
        (row,) = ledger.read(connection, dataset)
        (summary,) = summarise(connection, start=row.available_from, now=exchange.now)
    assert [window.start.month for window in row.missing_upstream] == [8]
    assert row.recheck_at is not None
    assert [hole.reason for hole in summary.holes] == [Reason.NO_SOURCE]
    assert repair(made, datasets=dataset).batches == []


def test_settlements_whose_months_file_is_still_to_come_are_awaited_and_not_missing(
    empty_database_url: str, exchange: Handle
) -> None:
    gone, dataset = ("FTM/USDT",), ("funding_rate",)
    made = deployment_of(empty_database_url, exchange, symbols=gone, start="2026-06-01")
    begins = utc("2026-05-20")
    late = exchange.add_fault("not_found", match="FTMUSDT-fundingRate-2026-06")
    try:
        for now, is_known in ((utc("2026-07-05"), False), (utc("2026-07-09"), True)):
            exchange.set_now(now)
            load(made, request(f"all {now}", begins, datasets=dataset, symbols=gone))
            with session(made.database_url) as connection:
                (row,) = ledger.read(connection, dataset)
                (summary,) = summarise(connection, start=begins, now=now)
            assert [hole.reason for hole in summary.holes] == [Reason.NO_SOURCE if is_known else Reason.TOO_YOUNG]
            assert bool(row.missing_upstream) is is_known
    finally:
        exchange.remove_fault(late)
        exchange.set_now(exchange.now)


@pytest.fixture
def run(
    deployment: Deployment, exchange: Handle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """The command line on the test's stores and exchange, where collection.yaml has two symbols."""
    collection = tmp_path / "collection.yaml"
    collection.write_text(yaml.safe_dump({"symbols": ["SOL/USDT", "BTC/USDT"], "start": "2026-10-05"}))
    monkeypatch.setenv("PERPFLOW_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PERPFLOW_DATABASE_URL", deployment.database_url)
    monkeypatch.setenv("PERPFLOW_REST_URL", exchange.url)
    monkeypatch.setenv("PERPFLOW_ARCHIVE_URL", exchange.url)
    monkeypatch.setenv(COLLECTION_VARIABLE, str(collection))
    monkeypatch.delenv("PERPFLOW_REDIS_URL", raising=False)

    def invoke(*arguments: str) -> Result:
        done = CliRunner().invoke(app, arguments)
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        return done

    return invoke


OPEN_INTEREST = ("--datasets", "open_interest")


def test_the_commands_find_explain_and_fill_a_hole(deployment: Deployment, run: Callable[..., Result]) -> None:
    asked = (*OPEN_INTEREST, "--symbols", "SOL/USDT")
    load(deployment, request("all", "2026-10-05", datasets=("open_interest",)))
    punch(deployment, "open_interest", DAYS)
    lacking = run("coverage", "--json", *asked)
    assert lacking.exit_code == 1, lacking.stderr
    (series,) = json.loads(lacking.stdout)
    assert (series["symbol"], series["complete"]) == ("SOL/USDT", False)
    holes = {hole["reason"]: hole["windows"] for hole in series["holes"]}
    assert holes["unexplained"] == [[DAYS.start.isoformat(), DAYS.end.isoformat()]]
    repaired = run("repair", *OPEN_INTEREST)
    assert repaired.exit_code == 0, repaired.stderr
    assert "1 batches, all published" in repaired.stdout
    shown = run("coverage", *asked)
    assert shown.exit_code == 0, shown.stderr
    assert "no source has it" in shown.stdout
    assert "█" in shown.stdout
    assert run("coverage", "--datasets", "nonsense").exit_code == 2
    assert "no hole that is not explained" in run("repair", *OPEN_INTEREST).stdout


def test_what_was_never_loaded_is_named_with_the_command_that_loads_it(
    deployment: Deployment, run: Callable[..., Result]
) -> None:
    nothing = run("coverage", "--json")
    assert nothing.exit_code == 1
    series = json.loads(nothing.stdout)
    assert {(one["dataset"], one["symbol"]) for one in series} == {
        (name, symbol) for name in DATASETS for symbol in ("SOL/USDT", "BTC/USDT")
    }
    assert {hole["reason"] for one in series for hole in one["holes"]} == {"never_loaded"}
    load(deployment, request("all", "2026-10-05", datasets=("open_interest",)))
    half = run("coverage", *OPEN_INTEREST)
    assert half.exit_code == 1
    assert "never loaded: BTC/USDT: open_interest (5m)\n" in half.stdout
    assert "python -m perpflow backfill --symbols BTC/USDT --datasets open_interest\n" in half.stdout
    assert run("coverage", *OPEN_INTEREST, "--symbols", "ETH/USDT").exit_code == 1
    assert run("coverage", *OPEN_INTEREST, "--symbols", "SOL/USDT").exit_code == 0
    repaired = run("repair", *OPEN_INTEREST)
    assert repaired.exit_code == 0
    assert "never loaded, which is load_history's work: series of BTC/USDT\n" in repaired.stdout


@pytest.mark.parametrize(
    ("command", "goes_on"),
    [
        ("backfill --dry-run --start 2026-10-13", "plan: "),
        ("repair", ""),
        ("repair --reissued", ""),
        ("coverage", "open_interest  SOL/USDT"),
        ("corrections", "No source has changed"),
        ("reconcile --days 1", "open_interest  SOL/USDT"),
    ],
)
def test_a_symbol_that_nobody_knows_is_refused_by_name_and_the_others_go_on(
    deployment: Deployment, run: Callable[..., Result], command: str, goes_on: str
) -> None:
    asked = (*command.split(), *OPEN_INTEREST, "--symbols")
    assert run(*asked, "nonsense").exit_code == 2
    load(deployment, request("all", "2026-10-13", datasets=("open_interest",)))
    alone, among_others = run(*asked, "FOO/USDT"), run(*asked, "SOL/USDT,FOO/USDT")
    for refused in (alone, among_others):
        assert refused.exit_code == 1
        assert "FOO/USDT: neither the exchange nor its archive knows such a perpetual" in refused.stderr
        assert "SOL/USDT: neither" not in refused.stderr
    assert goes_on in among_others.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("backfill", "--dry-run", "--end", "1999-01-01"),
        ("backfill", "--dry-run", "--start", "2030-01-01"),
        ("repair", "--start", "2030-01-01"),
        ("coverage", "--start", "2030-01-01"),
        ("corrections", "--start", "2130-01-01"),
    ],
    ids=" ".join,
)
def test_a_range_in_which_there_can_be_nothing_is_bad_usage(
    deployment: Deployment, run: Callable[..., Result], command: tuple[str, ...]
) -> None:
    refused = run(*command)
    assert refused.exit_code == 2
    assert refused.stderr.startswith("the range ")


def test_a_repair_can_be_looked_at_first_and_takes_no_history_that_was_never_loaded(
    deployment: Deployment, run: Callable[..., Result]
) -> None:
    load(deployment, request("all", "2026-09-20", datasets=("open_interest",)))
    punch(deployment, "open_interest", Window(utc("2026-09-22"), utc("2026-09-23")), DAYS)
    pipeline.plan(deployment, request("looked at", "2026-10-05", datasets=("open_interest",), symbols=("BTC/USDT",)))
    before = facts(deployment.database_url, "open_interest")
    # Its collection.yaml begins on 2026-10-05: what was loaded from earlier on counts as well, and no more.
    looked = run("repair", *OPEN_INTEREST, "--start", "0001-01-01", "--dry-run")
    assert looked.exit_code == 0, looked.stderr
    assert "plan: 2 batches, about 720 rows" in looked.stdout
    assert facts(deployment.database_url, "open_interest") == before
    assert "2 batches, all published" in run("repair", *OPEN_INTEREST, "--start", "0001-01-01").stdout
    assert "no hole that is not explained" in run("repair", *OPEN_INTEREST, "--start", "0001-01-01").stdout
