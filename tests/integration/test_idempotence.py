"""Everything twice changes nothing: no fact is touched, the ledger says the same, the quarantine does not grow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perpflow import pipeline, reporting
from perpflow.datasets import DATASETS, by_archive_kind
from perpflow.errors import BatchFaulty
from perpflow.settings import Deployment
from perpflow.store.database import session
from simulator.process import Handle
from tests.loading import Row, deployment_of, load, request, rows

#: A month's end, a day whose metrics break off, an hour without open interest, and today.
START, END = "2026-09-25", "2026-10-15T12:00:00"
UNTOUCHED = (*DATASETS, "quarantine", "archive_objects", "symbols")
FAULT = {"dataset": "klines", "symbol": "SOLUSDT", "date": "2026-10-10", "interval": "5m"}


@pytest.fixture(scope="module")
def deployment(database_url: str, exchange: Handle) -> Iterator[Deployment]:
    """A load of all datasets, of which three candles are in the quarantine."""
    exchange.add_fault("corrupt_rows", what="high_below_low", **FAULT)
    deployment = deployment_of(database_url, exchange)
    planned = load(deployment, request("first", START, END))
    with pytest.raises(BatchFaulty, match="3 rows of ohlcv SOL/USDT"):
        reporting.report(deployment, planned)
    yield deployment
    exchange.clear_faults()


def addresses(url: str) -> dict[str, list[Row]]:
    """Where each row lies, which transaction wrote it, and a hash of all of it: any write at all shows."""
    text = "SELECT tableoid, ctid::text, xmin::text, hash_record_extended(t, 0) FROM {} t ORDER BY 1, 2"
    with session(url) as connection:
        return {name: rows(connection, text.format(name)) for name in UNTOUCHED}


def ledger_rows(url: str) -> list[Row]:
    """The ledger without the time of its last change."""
    with session(url) as connection:
        return rows(
            connection,
            """SELECT dataset, symbol, series, available_from, evidence, present::text, missing_upstream::text,
                      quarantined::text FROM coverage ORDER BY 1, 2, 3""",
        )


def test_every_table_holds_something_to_compare(deployment: Deployment) -> None:
    counts = {name: len(found) for name, found in addresses(deployment.database_url).items()}
    assert min(counts.values()) > 0
    # Each of the three candles is neither above its open nor above its close.
    assert counts["quarantine"] == 6
    assert len(ledger_rows(deployment.database_url)) == sum(len(spec.series) for spec in DATASETS.values())


def test_asking_again_for_what_is_there_plans_nothing(deployment: Deployment) -> None:
    before = addresses(deployment.database_url), ledger_rows(deployment.database_url)
    assert load(deployment, request("second", START, END)).batches == []
    assert (addresses(deployment.database_url), ledger_rows(deployment.database_url)) == before


def test_running_every_step_of_a_published_batch_again_changes_nothing(deployment: Deployment) -> None:
    before = addresses(deployment.database_url), ledger_rows(deployment.database_url)
    with session(deployment.database_url) as connection:
        published = rows(connection, "SELECT count(*) FROM data_versions")
    planned = pipeline.plan(deployment, request("third", START, END, datasets=("funding_rate",), again=True))
    for _ in range(2):
        for batch in planned.batches:
            pipeline.stage(deployment, batch)
            pipeline.check(deployment, batch)
            first = pipeline.publish(deployment, batch)
            assert pipeline.publish(deployment, batch) == first
    assert (addresses(deployment.database_url), ledger_rows(deployment.database_url)) == before
    with session(deployment.database_url) as connection:
        assert rows(connection, "SELECT count(*) FROM data_versions") == [(published[0][0] + len(planned.batches),)]


def test_a_forced_reload_touches_no_row_and_says_that_nothing_changed(deployment: Deployment) -> None:
    before = addresses(deployment.database_url), ledger_rows(deployment.database_url)
    planned = load(deployment, request("forced", START, END, again=True))
    # Of each folder of the archive two months.
    assert len(planned.batches) == 2 * len(by_archive_kind(tuple(DATASETS)))
    after = addresses(deployment.database_url), ledger_rows(deployment.database_url)
    assert {name for name in UNTOUCHED if after[0][name] != before[0][name]} == set()
    assert after[1] == before[1]
    with session(deployment.database_url) as connection:
        counts = {
            run: rows(
                connection,
                """SELECT dataset, sum(staged)::int, sum(inserted)::int, sum(updated)::int, sum(unchanged)::int,
                          sum(quarantined)::int FROM data_versions WHERE run = %s GROUP BY dataset ORDER BY dataset""",
                run,
            )
            for run in ("first", "forced")
        }
    assert counts["forced"] == [
        (name, staged, 0, 0, inserted + unchanged, withheld)
        for name, staged, inserted, _, unchanged, withheld in counts["first"]
    ]
