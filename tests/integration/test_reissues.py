"""Archive files that were issued again are noticed, read again and corrected; those that stay broken are left alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from perpflow import batches, pipeline, reporting
from perpflow.coverage_summary import Reason, summarise
from perpflow.datasets import DATASETS
from perpflow.errors import BatchFaulty
from perpflow.issue import Issue
from perpflow.settings import Deployment
from perpflow.store import archive_objects, ledger
from perpflow.store.archive_objects import MOST_ATTEMPTS
from perpflow.store.database import session
from perpflow.windows import DAY, Window
from simulator.process import Handle
from tests.loading import deployment_of, facts, load, request, rows, run_batch, utc

#: One that the archive has by days and one that it has by months, far beyond what REST keeps of statistics.
DAILY, MONTHLY = "2026-10-03", "2026-08-12"
#: By dataset the day of which the first issue is another; each changes three rows.
REVISED = dict.fromkeys(DATASETS, MONTHLY) | {"open_interest": "2026-08-20", "long_short_ratio": DAILY}
CHANGED = 3
CANDLES = [spec.name for spec in DATASETS.values() if spec.series_in_key]


@pytest.fixture
def deployment(empty_database_url: str, exchange: Handle) -> Iterator[Deployment]:
    symbols = ("SOL/USDT", "BTC/USDT")
    made = deployment_of(
        empty_database_url,
        exchange,
        symbols=symbols,
        datasets=dict.fromkeys(CANDLES, {"timeframes": ["1h"]}),
        start="2026-08-01",
    )
    yield asking(made, attempts=1)
    exchange.clear_faults()


def asking(deployment: Deployment, **settings: Any) -> Deployment:
    """The same with other settings of how the exchange is asked."""
    exchange = deployment.collection.exchange.model_copy(update=settings)
    collection = deployment.collection.model_copy(update={"exchange": exchange})
    return deployment.model_copy(update={"collection": collection})


def table(deployment: Deployment, text: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with session(deployment.database_url) as connection:
        return rows(connection, text, *parameters)


def revise(exchange: Handle, kind: str, day: str) -> int:
    """The archive's first issue of a day is another than the one that it has in the end."""
    return exchange.add_fault("corrupt_rows", dataset=kind, symbol="SOLUSDT", date=day, what="revised", only="archive")


def reread(deployment: Deployment, **asked: Any) -> batches.Plan:
    plan = pipeline.plan_reissued(deployment, request("reissued", symbols=None, **asked))
    for batch in plan.batches:
        run_batch(deployment, batch)
    return plan


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_reissued_file_is_noticed_read_again_and_its_rows_corrected(
    deployment: Deployment, exchange: Handle, dataset: str
) -> None:
    kind, day = DATASETS[dataset].archive.kind, REVISED[dataset]
    load(deployment, request("truth", "2026-08-01", datasets=(dataset,)))
    truth = facts(deployment.database_url, dataset)
    first = revise(exchange, kind, day)
    load(deployment, request("first", "2026-08-01", datasets=(dataset,), again=True))
    before = facts(deployment.database_url, dataset)
    assert len([row for row, other in zip(truth, before, strict=True) if row != other]) == CHANGED
    table(deployment, "DELETE FROM corrections RETURNING 1")

    # Both issues were read: whether each row is of the newer one only reading it again as a whole tells.
    assert len(reread(deployment, datasets=(dataset,)).batches) == 1
    assert facts(deployment.database_url, dataset) == before
    assert reread(deployment, datasets=(dataset,)).batches == []
    exchange.remove_fault(first)
    (batch,) = reread(deployment, datasets=(dataset,)).batches
    assert "re-issued" in batch.label
    assert facts(deployment.database_url, dataset) == truth
    corrections = table(
        deployment, "SELECT symbol, time, old_row, new_row, source, origin, batch FROM corrections ORDER BY time"
    )
    assert [row[1].date().isoformat() for row in corrections] == [day] * CHANGED
    assert {(row[0], row[4], row[5], row[6]) for row in corrections} == {
        ("SOL/USDT", "archive", batch.objects[0], batch.id)
    }
    assert all(old != new for _, _, old, new, *_ in corrections)
    ((corrected, updated),) = table(
        deployment,
        "SELECT corrected, updated FROM data_versions WHERE batch = %s AND dataset = %s",
        batch.id,
        dataset,
    )
    assert (corrected, updated) == (CHANGED, CHANGED)
    assert reread(deployment, datasets=(dataset,)).batches == []


@pytest.mark.parametrize("asked", [("open_interest", "long_short_ratio"), ("long_short_ratio",)])
def test_a_file_of_two_datasets_is_read_again_for_both_whichever_is_asked_for(
    deployment: Deployment, exchange: Handle, asked: tuple[str, ...]
) -> None:
    both = ("open_interest", "long_short_ratio")
    first = revise(exchange, "metrics", DAILY)
    load(deployment, request("first", "2026-10-01", datasets=both))
    exchange.remove_fault(first)
    (batch,) = reread(deployment, datasets=asked).batches
    assert batch.datasets == both
    assert table(deployment, "SELECT dataset, count(*) FROM corrections GROUP BY 1 ORDER BY 1") == [
        ("long_short_ratio", 3),
        ("open_interest", 3),
    ]


def test_points_that_a_new_issue_adds_are_no_longer_missing(deployment: Deployment, exchange: Handle) -> None:
    window = Window(utc("2026-08-12"), utc("2026-08-13"))
    first = exchange.add_fault(
        "corrupt_rows", dataset="metrics", symbol="SOLUSDT", date="2026-08-12", what="missing", only="archive"
    )
    load(deployment, request("first", window.start, window.end, datasets=("open_interest",)))
    assert facts(deployment.database_url, "open_interest") == []
    exchange.remove_fault(first)
    reread(deployment, datasets=("open_interest",))
    with session(deployment.database_url) as connection:
        (row,) = ledger.read(connection, ("open_interest",), ("SOL/USDT",))
    assert (row.present, row.missing_upstream) == ([window], [])
    assert len(facts(deployment.database_url, "open_interest")) == 288


def test_of_a_month_s_new_issue_no_more_is_taken_than_was_loaded(deployment: Deployment, exchange: Handle) -> None:
    first = revise(exchange, "klines", MONTHLY)
    load(deployment, request("first", "2026-08-08", "2026-08-18", datasets=("ohlcv",)))
    before = facts(deployment.database_url, "ohlcv")
    exchange.remove_fault(first)
    reread(deployment, datasets=("ohlcv",))
    after = facts(deployment.database_url, "ohlcv")
    assert [row[2] for row in after] == [row[2] for row in before]
    assert len(table(deployment, "SELECT FROM corrections")) == 3


def test_a_file_that_was_read_in_parts_of_different_issues_is_read_again_as_a_whole(
    deployment: Deployment, exchange: Handle
) -> None:
    dataset, days = ("ohlcv",), ("2026-08-12", "2026-08-16", "2026-08-22")
    first = revise(exchange, "klines", MONTHLY)
    load(deployment, request("first", days[0], days[1], datasets=dataset))
    exchange.remove_fault(first)
    load(deployment, request("second", days[1], days[2], datasets=dataset))
    month = "SELECT mixed FROM archive_objects WHERE key LIKE '%%SOLUSDT-1h-2026-08.zip'"
    assert table(deployment, month) == [(True,)]
    (batch,) = reread(deployment, datasets=dataset).batches
    assert len(table(deployment, "SELECT FROM corrections")) == 3
    assert table(deployment, month) == [(False,)]
    assert reread(deployment, datasets=dataset).batches == []


def test_rows_of_an_earlier_issue_that_come_while_a_file_is_read_again_are_not_forgotten(
    deployment: Deployment, exchange: Handle
) -> None:
    dataset, days = ("ohlcv",), ("2026-08-08", "2026-08-12", "2026-08-16")
    first = revise(exchange, "klines", MONTHLY)
    load(deployment, request("first", days[0], days[1], datasets=dataset))
    (late,) = pipeline.plan(deployment, request("late", days[1], days[2], datasets=dataset)).batches
    pipeline.stage(deployment, late)
    exchange.remove_fault(first)
    (again,) = pipeline.plan_reissued(deployment, request("again", symbols=None, datasets=dataset)).batches
    pipeline.stage(deployment, again)
    for batch in (late, again):
        pipeline.check(deployment, batch)
        pipeline.publish(deployment, batch)
    assert table(deployment, "SELECT FROM corrections") == []
    assert len(reread(deployment, datasets=dataset).batches) == 1
    assert len(table(deployment, "SELECT FROM corrections")) == 3
    assert reread(deployment, datasets=dataset).batches == []


def test_a_candle_that_reaches_over_the_edge_of_its_file_leaves_nothing_to_read_again(
    empty_database_url: str, exchange: Handle
) -> None:
    weekly = {"ohlcv": {"timeframes": ["1w"]}}
    made = deployment_of(empty_database_url, exchange, symbols=("SOL/USDT",), datasets=weekly, start="2026-06-01")
    load(made, request("all", "2026-06-01", datasets=("ohlcv",)))
    month = "data/futures/um/monthly/klines/SOLUSDT/1w/SOLUSDT-1w-2026-08.zip"
    table(made, "UPDATE archive_objects SET etag = 'older' WHERE key = %s RETURNING key", month)
    assert [batch.objects for batch in reread(made, datasets=("ohlcv",)).batches] == [(month,)]
    assert reread(made, datasets=("ohlcv",)).batches == []


def test_a_folder_that_cannot_be_listed_does_not_stop_the_others(deployment: Deployment, exchange: Handle) -> None:
    oi = ("open_interest",)
    load(deployment, request("all", OLD_DAY.start, OLD_DAY.end, datasets=oi, symbols=("SOL/USDT", "BTC/USDT")))
    table(deployment, "UPDATE archive_objects SET etag = 'older' RETURNING key")
    exchange.add_fault("status", code=503, match="prefix=*SOLUSDT")
    plan = reread(deployment, datasets=oi)
    assert [batch.symbols for batch in plan.batches] == [("BTC/USDT",)]
    with pytest.raises(BatchFaulty, match="rejected data/futures/um/daily/metrics/SOLUSDT/: "):
        reporting.report(deployment, plan)


def test_what_a_better_source_overwrites_is_no_correction(deployment: Deployment, exchange: Handle) -> None:
    held = exchange.add_fault("not_found", match="SOLUSDT-metrics-2026-10-10")
    window = (utc("2026-10-10"), utc("2026-10-11"))
    load(deployment, request("rest", *window, datasets=("long_short_ratio",)))
    exchange.remove_fault(held)
    load(deployment, request("archive", *window, datasets=("long_short_ratio",), again=True))
    assert table(deployment, "SELECT DISTINCT source FROM long_short_ratio") == [("archive",)]
    assert table(deployment, "SELECT * FROM corrections") == []


# --- files that stay broken


OLD_DAY = Window(utc("2026-09-10"), utc("2026-09-11"))
MODIFIED = utc("2026-09-11T08:40:00")
KEY = "data/futures/um/daily/metrics/SOLUSDT/SOLUSDT-metrics-2026-09-10.zip"


def repair(deployment: Deployment, run: str) -> batches.Plan:
    asked = request(run, OLD_DAY.start, OLD_DAY.end, datasets=("open_interest",))
    plan = pipeline.plan_repair(deployment, asked)
    for batch in plan.batches:
        run_batch(deployment, batch)
    return plan


def leave_out(deployment: Deployment, times: int) -> None:
    """Have the day's file left out so often."""
    load(deployment, request("first", OLD_DAY.start, OLD_DAY.end, datasets=("open_interest",)))
    for number in range(1, times):
        planned = repair(deployment, f"again {number}")
        with pytest.raises(BatchFaulty, match="wrong checksum"):
            reporting.report(deployment, planned)


def test_a_file_that_stays_broken_is_not_asked_for_for_ever_and_explained(
    deployment: Deployment, exchange: Handle
) -> None:
    damage = exchange.add_fault("bad_checksum", match="SOLUSDT-metrics-2026-09-10")
    leave_out(deployment, MOST_ATTEMPTS)
    assert table(deployment, "SELECT key, verdict, attempts FROM archive_objects WHERE verdict <> 'ok'") == [
        (KEY, "wrong checksum", MOST_ATTEMPTS)
    ]
    exchange.clear_requests()
    planned = repair(deployment, "last")
    reporting.report(deployment, planned)
    assert not [path for path in exchange.requests()["paths"] if "daily/metrics" in path]
    with session(deployment.database_url) as connection:
        (row,) = ledger.read(connection, ("open_interest",), ("SOL/USDT",))
        (summary,) = summarise(connection, start=OLD_DAY.start, now=OLD_DAY.end)
    assert row.missing_upstream == [OLD_DAY]
    assert [(hole.reason, hole.windows) for hole in summary.holes] == [(Reason.REFUSED, (OLD_DAY,))]
    assert repair(deployment, "nothing").batches == []
    assert reread(deployment, datasets=("open_interest",)).batches == []

    exchange.remove_fault(damage)
    revise(exchange, "metrics", "2026-09-10")
    (batch,) = reread(deployment, datasets=("open_interest",)).batches
    assert batch.objects == (KEY,)
    assert len(facts(deployment.database_url, "open_interest")) == 288
    assert table(deployment, "SELECT verdict, attempts FROM archive_objects WHERE key = %s", KEY) == [("ok", 1)]


def test_a_new_issue_of_which_a_part_was_read_after_it_was_left_out_is_read_as_a_whole(
    deployment: Deployment, exchange: Handle
) -> None:
    first = revise(exchange, "metrics", "2026-09-10")
    load(deployment, request("first", OLD_DAY.start, OLD_DAY.end, datasets=("open_interest",)))
    exchange.remove_fault(first)
    hole = Window(utc("2026-09-10T20:00"), utc("2026-09-10T20:05"))
    table(
        deployment,
        "UPDATE coverage SET present = present - tstzmultirange(tstzrange(%s, %s)) RETURNING 1",
        hole.start,
        hole.end,
    )
    late = exchange.add_fault("bad_checksum", match="SOLUSDT-metrics-2026-09-10")
    assert len(repair(deployment, "morning").batches) == 1
    exchange.remove_fault(late)
    assert len(repair(deployment, "evening").batches) == 1
    assert table(deployment, "SELECT verdict, mixed FROM archive_objects") == [("ok", True)]
    (batch,) = reread(deployment, datasets=("open_interest",)).batches
    assert batch.objects == (KEY,)
    assert len(table(deployment, "SELECT FROM corrections")) == CHANGED
    assert reread(deployment, datasets=("open_interest",)).batches == []


def test_a_file_that_was_left_out_and_of_which_nothing_is_known_is_not_read_again(
    deployment: Deployment, exchange: Handle
) -> None:
    eth = ("ETH/USDT",)
    exchange.add_fault("bad_checksum", match="ETHUSDT-metrics-2026-08-20")
    load(deployment, request("once", "2026-08-20", "2026-08-22", datasets=("open_interest",), symbols=eth))
    left_out = table(deployment, "SELECT attempts FROM archive_objects WHERE verdict <> 'ok'")
    assert left_out == [(1,)]
    # Nobody asks for its time any more: who does, reads it.
    assert reread(deployment, datasets=("open_interest",)).batches == []


def test_a_file_that_was_whole_before_is_tried_as_often_as_any_other(deployment: Deployment, exchange: Handle) -> None:
    load(deployment, request("whole", OLD_DAY.start, OLD_DAY.end, datasets=("open_interest",)))
    exchange.add_fault("bad_checksum", match="SOLUSDT-metrics-2026-09-10")
    for attempts in range(1, MOST_ATTEMPTS + 1):
        asked = request(f"again {attempts}", OLD_DAY.start, OLD_DAY.end, datasets=("open_interest",), again=True)
        load(deployment, asked)
        assert table(deployment, "SELECT verdict, attempts FROM archive_objects WHERE key = %s", KEY) == [
            ("wrong checksum", attempts)
        ]


@pytest.mark.parametrize(
    ("read", "listed", "is_changed"),
    [
        ({}, {}, False),
        ({}, {"etag": "b"}, True),
        ({}, {"last_modified": MODIFIED + timedelta(days=1)}, False),
        ({"etag": None}, {"last_modified": MODIFIED + timedelta(days=1)}, True),
        ({"etag": None}, {"last_modified": MODIFIED + timedelta(milliseconds=400)}, False),
        ({"etag": None, "last_modified": None}, {}, False),
        ({}, {"checksum_etag": "d"}, False),
        ({"verdict": "damaged", "attempts": 1}, {}, True),
        ({"verdict": "damaged", "attempts": MOST_ATTEMPTS}, {}, False),
        ({"verdict": "damaged", "attempts": MOST_ATTEMPTS}, {"checksum_etag": "d"}, True),
        ({"verdict": "accepted", "attempts": MOST_ATTEMPTS}, {}, False),
        ({"mixed": True}, {}, True),
        ({"mixed": True, "verdict": "damaged", "attempts": MOST_ATTEMPTS}, {}, False),
        ({"mixed": True, "verdict": "wrong checksum", "attempts": MOST_ATTEMPTS}, {}, False),
    ],
)
def test_an_issue_is_told_by_its_etag_or_else_by_its_date(
    empty_database_url: str, read: dict[str, Any], listed: dict[str, Any], is_changed: bool
) -> None:
    recorded = {"etag": "a", "last_modified": MODIFIED, "checksum_etag": "c", "verdict": "ok"} | read
    recorded = {"attempts": 1, "mixed": False} | recorded
    issue = Issue("", **{"etag": "a", "last_modified": MODIFIED, "checksum_etag": "c"} | listed)
    with session(empty_database_url) as connection:
        connection.execute(
            "INSERT INTO archive_objects (key, etag, last_modified, checksum_etag, verdict, attempts, mixed)"
            " VALUES (%(key)s, %(etag)s, %(last_modified)s, %(checksum_etag)s, %(verdict)s, %(attempts)s, %(mixed)s)",
            {"key": KEY, **recorded},
        )
        found = archive_objects.changed(connection, {KEY: issue}, accepts_wrong_checksums=False)
    assert found == ([KEY] if is_changed else [])


def test_a_wrong_checksum_is_accepted_where_the_configuration_says_so(deployment: Deployment, exchange: Handle) -> None:
    exchange.add_fault("bad_checksum", match="SOLUSDT-metrics-2026-09-10")
    leave_out(deployment, MOST_ATTEMPTS)
    accepting = asking(deployment, wrong_checksums="accept")
    planned = repair(accepting, "accepted")
    reporting.report(accepting, planned)
    assert len(facts(deployment.database_url, "open_interest")) == 288
    assert table(deployment, "SELECT key, verdict FROM archive_objects WHERE verdict <> 'ok'") == [(KEY, "accepted")]
    assert reread(accepting, datasets=("open_interest",)).batches == []
    # Again, and no sooner than asked for.
    load(accepting, request("again", OLD_DAY.start, OLD_DAY.end, datasets=("open_interest",), again=True))
    assert table(deployment, "SELECT key, verdict FROM archive_objects WHERE verdict <> 'ok'") == [(KEY, "accepted")]


def test_a_new_issue_with_a_wrong_checksum_is_accepted_where_the_configuration_says_so(
    deployment: Deployment, exchange: Handle
) -> None:
    accepting, dataset = asking(deployment, wrong_checksums="accept"), ("open_interest",)
    load(accepting, request("first", OLD_DAY.start, OLD_DAY.end, datasets=dataset))
    exchange.add_fault("bad_checksum", match="SOLUSDT-metrics-2026-09-10")
    revise(exchange, "metrics", "2026-09-10")
    for _ in range(MOST_ATTEMPTS):
        assert len(reread(deployment, datasets=dataset).batches) == 1
    assert reread(deployment, datasets=dataset).batches == []
    assert len(reread(accepting, datasets=dataset).batches) == 1
    assert table(deployment, "SELECT verdict, mixed FROM archive_objects") == [("accepted", False)]
    assert len(table(deployment, "SELECT FROM corrections")) == CHANGED
    assert reread(accepting, datasets=dataset).batches == []


def test_the_pause_before_a_hole_is_asked_for_again_doubles(deployment: Deployment, exchange: Handle) -> None:
    exchange.add_fault("corrupt_rows", dataset="metrics", symbol="SOLUSDT", date="2026-10-05", what="missing")
    load(deployment, request("all", "2026-10-05", "2026-10-06", datasets=("open_interest",)))
    with session(deployment.database_url) as connection:
        (row,) = ledger.read(connection, ("open_interest",), ("SOL/USDT",))
        assert row.missing_upstream
        for pause in (14, 28, 56, 112, 112):
            connection.execute("UPDATE coverage SET recheck_at = %s", [exchange.now - timedelta(minutes=1)])
            plan = pipeline.plan_repair(
                deployment, request("again", "2026-10-05", "2026-10-06", datasets=("open_interest",))
            )
            for batch in plan.batches:
                run_batch(deployment, batch)
            (row,) = ledger.read(connection, ("open_interest",), ("SOL/USDT",))
            assert row.recheck_at is not None
            # The exchange's clock is measured: it is off by microseconds.
            assert abs(row.recheck_at - exchange.now - pause * DAY) < timedelta(seconds=1)
