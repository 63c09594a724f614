"""Rows that a table has lost behind the ledger's back: audits miss them, and `repair_gaps` fetches them again."""

from __future__ import annotations

import pytest

from perpflow import auditing, batches, pipeline
from perpflow.coverage_summary import Reason, summarise
from perpflow.datasets import DATASETS
from perpflow.settings import Deployment
from perpflow.store import ledger
from perpflow.store.database import Connection, session
from perpflow.store.ledger import Coverage
from perpflow.windows import Window
from simulator.process import Handle
from tests.loading import deployment_of, facts, load, request, rows, run_batch, utc

LOADED = Window(utc("2026-09-01"), utc("2026-10-12"))
#: The archive has it; of statistics only that.
LOST = Window(utc("2026-09-10T03:00"), utc("2026-09-10T21:00"))
LOSE = "DELETE FROM {} WHERE symbol = 'SOL/USDT' AND time >= %s AND time < %s"
OPEN = "SELECT count(*) FROM audit_findings WHERE resolved_at IS NULL AND severity = 'critical'"


@pytest.fixture
def deployment(empty_database_url: str, exchange: Handle) -> Deployment:
    one = {"timeframes": ["5m"]}
    datasets = {"ohlcv": one, "mark_price": one, "premium_index": one}
    return deployment_of(empty_database_url, exchange, symbols=("SOL/USDT",), start="2026-09-01", datasets=datasets)


def repair(deployment: Deployment) -> list[batches.Batch]:
    plan = pipeline.plan_repair(deployment, request("repair", LOADED.start, LOADED.end, symbols=None))
    for batch in plan.batches:
        run_batch(deployment, batch)
    return plan.batches


def row(connection: Connection, dataset: str) -> Coverage:
    return ledger.read(connection, (dataset,))[0]


@pytest.mark.parametrize("dataset", DATASETS)
def test_rows_that_the_table_has_lost_are_fetched_again_once_an_audit_has_missed_them(
    deployment: Deployment, dataset: str
) -> None:
    load(deployment, request("all", LOADED.start, LOADED.end, datasets=(dataset,)))
    before = facts(deployment.database_url, dataset)
    with session(deployment.database_url) as connection:
        covered = row(connection, dataset)
        assert rows(connection, "SELECT count(*) FROM coverage WHERE NOT isempty(lost)") == [(0,)]
        assert connection.execute(LOSE.format(dataset).encode(), [LOST.start, LOST.end]).rowcount > 0
        auditing.audit(deployment, (dataset,))
        # Where there is a grid nobody has to hurry.
        connection.execute("UPDATE audit_findings SET found_at = found_at - interval '44 days'")
        if DATASETS[dataset].settles_on is None:
            connection.execute("UPDATE audit_findings SET found_at = found_at - interval '1 year'")
        auditing.audit(deployment, (dataset,))
        assert rows(connection, OPEN) != [(0,)]
        told = summarise(connection, start=None, now=LOADED.end, datasets=(dataset,))
        lost = [hole for series in told for hole in series.holes if hole.reason is Reason.LOST]
        assert lost != []
        assert all(window.length < LOST.length * 2 for hole in lost for window in hole.windows)
        (batch,) = repair(deployment)
        assert batch.window.length < LOST.length * 2
        assert facts(deployment.database_url, dataset) == before
        assert row(connection, dataset).present == covered.present
        assert repair(deployment) == []
        auditing.audit(deployment, (dataset,))
        assert rows(connection, OPEN) == [(0,)]


def test_what_the_ledger_calls_present_and_no_source_has_is_missing_upstream_in_the_end(
    deployment: Deployment,
) -> None:
    load(deployment, request("all", LOADED.start, LOADED.end, datasets=("open_interest",)))
    with session(deployment.database_url) as connection:
        known = row(connection, "open_interest")
        assert known.missing_upstream != []
        connection.execute("UPDATE coverage SET present = present + missing_upstream, missing_upstream = '{}'")
        auditing.audit(deployment, ("open_interest",), again=True)
        assert len(repair(deployment)) == 1
        found = row(connection, "open_interest")
        assert (found.present, found.missing_upstream) == (known.present, known.missing_upstream)
        auditing.audit(deployment, ("open_interest",))
        assert rows(connection, OPEN) == [(0,)]
    assert repair(deployment) == []


def test_a_settlement_that_nobody_has_is_asked_for_until_somebody_accepts_it_or_its_file_is_long_there(
    deployment: Deployment, exchange: Handle
) -> None:
    load(deployment, request("all", LOADED.start, LOADED.end, datasets=("funding_rate",)))
    nothing = exchange.add_fault("status", code=200, body=[], match="/fapi/v1/fundingRate")
    hidden = exchange.add_fault("not_found", match="SOLUSDT-fundingRate-2026-09")
    try:
        with session(deployment.database_url) as connection:
            connection.execute(LOSE.format("funding_rate").encode(), [LOST.start, LOST.end])
            for _ in range(2):
                auditing.audit(deployment, ("funding_rate",))
                assert len(repair(deployment)) == 1
                assert repair(deployment) == []
            ids = [number for (number,) in rows(connection, "SELECT id FROM audit_findings WHERE resolved_at IS NULL")]
            auditing.audit(deployment, ("funding_rate",))
            connection.execute("UPDATE audit_findings SET found_at = found_at - interval '46 days'")
            auditing.audit(deployment, ("funding_rate",))
            assert repair(deployment) == []
            connection.execute("UPDATE audit_findings SET found_at = found_at + interval '46 days'")
            auditing.audit(deployment, ("funding_rate",))
            auditing.accept(deployment, tuple(ids), person="ada", note="the exchange never had it")
            assert repair(deployment) == []
    finally:
        exchange.remove_fault(nothing)
        exchange.remove_fault(hidden)
