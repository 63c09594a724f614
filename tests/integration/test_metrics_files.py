"""The archive's metrics as they come: labelled at either end, one row a day, with blanks; each told for what it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perpflow import pipeline, reporting
from perpflow.errors import BatchFaulty
from perpflow.exchange import retry_policy
from perpflow.exchange.archive import ArchiveObject
from perpflow.settings import Deployment
from perpflow.store import ledger
from perpflow.store.archive_objects import MOST_ATTEMPTS
from perpflow.store.database import session
from perpflow.store.ledger import Coverage
from perpflow.windows import DAY as A_DAY
from perpflow.windows import TIMEFRAMES, Window, subtract
from simulator.process import Handle
from simulator.truth import Truth
from tests.archive_server import serving, zip_of
from tests.expected import Expected
from tests.loading import Row, deployment_of, facts, ingest, load, request, rows, run_batch, utc, windows_of

METRICS = ("open_interest", "long_short_ratio")
#: Archive and REST have it; its neighbours are labelled as usual.
DAY = Window(utc("2026-10-10"), utc("2026-10-11"))
#: The archive alone has it.
OLD_DAY = Window(utc("2026-09-10"), utc("2026-09-11"))
#: Breaks off at 13:30 in the archive: labelled with the end, it has neither midnight.
CUT_DAY = Window(utc("2026-10-03"), utc("2026-10-04"))
#: No 5m candles in the archive, neither by month nor by day.
NO_CANDLES = "ly/klines/SOLUSDT/5m/"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once; how long they wait has tests of its own."""
    monkeypatch.setattr(retry_policy, "FIRST_DELAY_S", 0.001)


@pytest.fixture
def market(exchange: Handle) -> Iterator[Handle]:
    """The exchange, put right afterwards."""
    yield exchange
    exchange.clear_faults()
    exchange.set_now(exchange.now)


@pytest.fixture
def deployment(empty_database_url: str, market: Handle) -> Deployment:
    return deployment_of(empty_database_url, market, symbols=("SOL/USDT",))


@pytest.fixture(scope="module")
def expected(exchange: Handle) -> Expected:
    return Expected(Truth(exchange.seed), exchange.now)


def spoil(market: Handle, what: str, day: Window = DAY) -> int:
    return market.add_fault(
        "corrupt_rows", dataset="metrics", symbol="SOLUSDT", date=f"{day.start:%Y-%m-%d}", what=what
    )


def load_metrics(deployment: Deployment, run: str, window: Window, *, again: bool = False) -> None:
    """Load both datasets; the report must be clean."""
    planned = load(deployment, request(run, window.start, window.end, datasets=METRICS, again=again))
    reporting.report(deployment, planned)


def complaint(deployment: Deployment, run: str, window: Window, *, again: bool = False) -> str:
    """Load both datasets; what the report says when it turns the run red."""
    planned = load(deployment, request(run, window.start, window.end, datasets=METRICS, again=again))
    with pytest.raises(BatchFaulty) as red:
        reporting.report(deployment, planned)
    return str(red.value)


def table(deployment: Deployment, text: str, *parameters: object) -> list[Row]:
    with session(deployment.database_url) as connection:
        return rows(connection, text, *parameters)


def coverage(deployment: Deployment) -> dict[tuple[str, str], Coverage]:
    with session(deployment.database_url) as connection:
        return {(row.dataset, row.series): row for row in ledger.read(connection, METRICS)}


def objects(deployment: Deployment) -> list[Row]:
    """Every archive file that was recorded, by the day that it is of."""
    found = table(
        deployment, "SELECT key, alignment, first_label, last_label, verdict FROM archive_objects ORDER BY key"
    )
    return [(key[-len("2026-10-10.zip") : -len(".zip")], *rest) for key, *rest in found]


def normalised(deployment: Deployment, rule: str) -> list[Row]:
    return table(
        deployment, "SELECT dataset, normalised ->> %s FROM data_versions WHERE normalised ? %s ORDER BY id", rule, rule
    )


def assert_true(deployment: Deployment, expected: Expected, window: Window) -> None:
    """Both tables hold the window as it should be, and the ledger says so."""
    assert facts(deployment.database_url, "open_interest") == expected.open_interest("SOL/USDT", window)
    assert facts(deployment.database_url, "long_short_ratio") == expected.long_short_ratio("SOL/USDT", window)
    assert [key for key, row in coverage(deployment).items() if row.present != [window]] == []


def assert_true_values(deployment: Deployment, expected: Expected, window: Window) -> None:
    """As `assert_true`, where REST came first: it is named as the source, and has given more than the archive has."""
    for dataset, width in (("open_interest", 4), ("long_short_ratio", 6)):
        wanted = getattr(expected, dataset)("SOL/USDT", window)
        assert [row[:width] for row in facts(deployment.database_url, dataset)] == [row[:width] for row in wanted]


# --- labelled with the end


@pytest.mark.parametrize("day", [DAY, OLD_DAY], ids=["the month is not over", "months of candles"])
def test_a_day_that_is_labelled_with_the_end_is_as_its_neighbours(
    deployment: Deployment, market: Handle, expected: Expected, day: Window
) -> None:
    spoil(market, "label_shift", day)
    window = Window(day.start - A_DAY, day.end + A_DAY)
    load_metrics(deployment, "run", window)
    assert_true(deployment, expected, window)
    before, after = f"{window.start:%Y-%m-%d}", f"{day.end:%Y-%m-%d}"
    assert objects(deployment) == [
        (before, "start", f"{before} 00:00:00", f"{before} 23:55:00", "ok"),
        (f"{day.start:%Y-%m-%d}", "end", f"{day.start:%Y-%m-%d} 00:05:00", f"{after} 00:00:00", "ok"),
        (after, "start", f"{after} 00:00:00", f"{after} 23:55:00", "ok"),
    ]
    assert normalised(deployment, "label_shifted") == [("open_interest", "288"), ("long_short_ratio", "288")]


def test_loading_it_again_or_with_its_labels_put_right_changes_nothing(
    deployment: Deployment, market: Handle, expected: Expected
) -> None:
    shift = spoil(market, "label_shift")
    load_metrics(deployment, "run", DAY)
    load_metrics(deployment, "twice", DAY)
    load_metrics(deployment, "again", DAY, again=True)
    market.remove_fault(shift)
    load_metrics(deployment, "re-issued", DAY, again=True)
    assert_true(deployment, expected, DAY)
    changes = table(deployment, "SELECT run, inserted, updated FROM data_versions ORDER BY id")
    assert changes == [(run, new, 0) for run, new in (("run", 288), ("again", 0), ("re-issued", 0)) for _ in METRICS]
    assert [row[1] for row in objects(deployment)] == ["start"]


def test_a_part_of_such_a_day_is_trimmed_by_its_instants(
    deployment: Deployment, market: Handle, expected: Expected
) -> None:
    spoil(market, "label_shift")
    window = Window(utc("2026-10-10T06:00"), utc("2026-10-10T18:00"))
    load_metrics(deployment, "run", window)
    assert_true(deployment, expected, window)
    assert normalised(deployment, "trimmed") == [("open_interest", "144"), ("long_short_ratio", "144")]


def test_it_agrees_with_what_rest_gave_before_and_gives_after(
    deployment: Deployment, market: Handle, expected: Expected
) -> None:
    spoil(market, "label_shift")
    hidden = market.add_fault("not_found", match="SOLUSDT-metrics-2026-10-10")
    load_metrics(deployment, "rest", DAY)
    assert table(deployment, "SELECT source, count(*) FROM open_interest GROUP BY 1") == [("rest", 288)]
    market.remove_fault(hidden)
    load_metrics(deployment, "archive", DAY, again=True)
    assert_true_values(deployment, expected, DAY)
    market.add_fault("not_found", match="SOLUSDT-metrics-2026-10-10")
    load_metrics(deployment, "rest after archive", DAY, again=True)
    assert_true_values(deployment, expected, DAY)
    assert table(deployment, "SELECT updated FROM data_versions WHERE run = 'archive' ORDER BY dataset") == [
        (288,),
        (0,),
    ]


def test_an_increment_takes_such_a_file_for_what_rest_lacked(
    deployment: Deployment, market: Handle, expected: Expected
) -> None:
    """Of the day before, of which there is no month of candles yet."""
    yesterday = Window(utc("2026-10-14"), utc("2026-10-15"))
    spoil(market, "label_shift", yesterday)
    ingest(deployment, "open_interest", "run")
    found = [row for row in facts(deployment.database_url, "open_interest") if row[1] in yesterday]
    assert found == expected.open_interest("SOL/USDT", yesterday)
    assert ("2026-10-14", "end") in [row[:2] for row in objects(deployment)]


def test_a_life_begins_with_the_instant_of_the_first_row_not_with_its_label(
    deployment: Deployment, market: Handle, exchange: Handle
) -> None:
    begins = Truth(exchange.seed).available_from("open_interest", "NEWUSDT")
    market.add_fault("corrupt_rows", dataset="metrics", symbol="NEWUSDT", date=f"{begins:%Y-%m-%d}", what="label_shift")
    window = Window(utc("2026-09-05"), utc("2026-09-07"))
    planned = load(deployment, request("run", window.start, window.end, datasets=METRICS, symbols=("NEW/USDT",)))
    reporting.report(deployment, planned)
    assert {row.available_from for row in coverage(deployment).values()} == {begins}
    assert [key for key, row in coverage(deployment).items() if row.present != [Window(begins, window.end)]] == []


# --- the witnesses


def test_without_candles_the_labels_of_a_whole_day_decide(
    deployment: Deployment, market: Handle, expected: Expected
) -> None:
    market.add_fault("not_found", match=NO_CANDLES)
    spoil(market, "label_shift")
    load_metrics(deployment, "run", DAY)
    assert_true(deployment, expected, DAY)
    assert [row[1] for row in objects(deployment)] == ["end"]


@pytest.mark.parametrize("what", ["not_found", "bad_checksum"])
def test_where_the_month_of_candles_is_not_to_be_had_the_day_s_do(
    deployment: Deployment, market: Handle, what: str
) -> None:
    market.add_fault(what, match="/monthly/klines/SOLUSDT/5m/")
    spoil(market, "label_shift", CUT_DAY)
    load_metrics(deployment, "run", CUT_DAY)
    assert [row[:2] for row in objects(deployment)] == [("2026-10-03", "end")]


def test_candles_are_read_once_for_both_datasets_and_all_days_of_a_month(
    deployment: Deployment, market: Handle
) -> None:
    window = Window(utc("2026-09-08"), utc("2026-09-12"))
    planned = pipeline.plan(deployment, request("run", window.start, window.end, datasets=METRICS))
    watched = ("/monthly/klines/SOLUSDT/5m/SOLUSDT-5m-2026-09.zip", "/klines/", "/daily/metrics/SOLUSDT/*.zip")
    watches = [market.add_fault("latency", ms=0, match=match) for match in watched]
    (batch,) = planned.batches
    run_batch(deployment, batch)
    struck = {entry["id"]: entry["struck"] for entry in market.faults()}
    # Each zip has its checksum beside it.
    assert [struck[watch] // 2 for watch in watches] == [1, 1, 4]
    assert [row[1] for row in objects(deployment)] == ["start"] * 4


# --- ambiguous


def test_a_file_of_which_nobody_can_tell_is_named_and_rest_answers_for_its_day(
    deployment: Deployment, market: Handle, expected: Expected
) -> None:
    hidden = market.add_fault("not_found", match=NO_CANDLES)
    spoil(market, "label_shift", CUT_DAY)
    window = Window(CUT_DAY.start - A_DAY, CUT_DAY.end + A_DAY)
    said = complaint(deployment, "run", window)
    assert "SOLUSDT-metrics-2026-10-03.zip (ambiguous labels: SOLUSDT" in said
    assert "labels lie between 2026-10-03 00:05:00 and 2026-10-03 13:35:00; there are no candles" in said
    assert objects(deployment) == [
        ("2026-10-02", "start", "2026-10-02 00:00:00", "2026-10-02 23:55:00", "ok"),
        ("2026-10-03", None, "2026-10-03 00:05:00", "2026-10-03 13:35:00", "ambiguous labels"),
        ("2026-10-04", "start", "2026-10-04 00:00:00", "2026-10-04 23:55:00", "ok"),
    ]
    days = "SELECT source, count(*) FROM open_interest GROUP BY date_trunc('day', time), source ORDER BY min(time)"
    assert table(deployment, days) == [("archive", 288), ("rest", 288), ("archive", 288)]
    found = [row[1:4] for row in facts(deployment.database_url, "open_interest") if row[1] in CUT_DAY]
    assert found == expected.truth.open_interest("SOLUSDT", CUT_DAY.start, CUT_DAY.end, "rest")
    assert [key for key, row in coverage(deployment).items() if row.present != [window]] == []
    assert table(deployment, "TABLE quarantine") == []

    market.remove_fault(hidden)
    load_metrics(deployment, "candles are back", window, again=True)
    assert_true_values(deployment, expected, window)
    assert [row[1] for row in objects(deployment)] == ["start", "end", "start"]


def test_an_ambiguous_file_that_was_left_alone_is_tried_again_every_day(
    deployment: Deployment, market: Handle, expected: Expected
) -> None:
    hidden = market.add_fault("not_found", match=NO_CANDLES)
    spoil(market, "label_shift", CUT_DAY)
    for attempt in range(MOST_ATTEMPTS):
        complaint(deployment, f"attempt {attempt}", CUT_DAY, again=True)
    market.remove_fault(hidden)
    load(deployment, request("left alone", CUT_DAY.start, CUT_DAY.end, datasets=METRICS, again=True))
    assert [row[1] for row in objects(deployment)] == [None]
    with session(deployment.database_url) as connection:
        connection.execute("UPDATE archive_objects SET read_at = read_at - interval '1 day'")
    load_metrics(deployment, "a day later", CUT_DAY, again=True)
    assert [row[1] for row in objects(deployment)] == ["end"]
    assert_true_values(deployment, expected, CUT_DAY)


def test_what_only_an_ambiguous_file_has_stays_a_gap_and_holds_nothing_back(
    deployment: Deployment, market: Handle, expected: Expected
) -> None:
    """Of a day that broke off for ever, before what REST remembers."""
    market.add_fault("not_found", match=NO_CANDLES)
    day = Window(utc("2026-06-16"), utc("2026-06-17"))
    spoil(market, "label_shift", day)
    window = Window(day.start - A_DAY, day.end + A_DAY)
    assert "ambiguous labels" in complaint(deployment, "run", window)
    for row in coverage(deployment).values():
        assert (row.present, row.missing_upstream, row.quarantined) == (subtract([window], [day]), [], [])
    wanted = [row for row in expected.open_interest("SOL/USDT", window) if row[1] not in day]
    assert facts(deployment.database_url, "open_interest") == wanted
    market.clear_faults()
    load_metrics(deployment, "it can be told", day)
    lost = Window(utc("2026-06-16T13:35"), day.end)
    assert coverage(deployment)["open_interest", "5m"].present == subtract([window], [lost])


# --- one row a day


@pytest.mark.parametrize("datasets", [METRICS, METRICS[:1], METRICS[1:]], ids=["both", *METRICS])
def test_the_generation_with_one_row_a_day_is_refused_and_its_day_stays_a_gap(
    deployment: Deployment, datasets: tuple[str, ...]
) -> None:
    held = ArchiveObject("metrics", "daily", "SOLUSDT", None, OLD_DAY)
    planned = pipeline.plan(deployment, request("run", OLD_DAY.start, OLD_DAY.end, datasets=datasets))
    with serving(held, zip_of(b"create_time,symbol,a,b,c,d,e,f\n2026-09-10,SOLUSDT,9,9,1.1,1.2,1.3,1.4\n")) as url:
        for batch in planned.batches:
            run_batch(deployment.model_copy(update={"archive_url": url}), batch)
    with pytest.raises(BatchFaulty) as red:
        reporting.report(deployment, planned)
    reason = "structurally bad: one row a day (label 2026-09-10): the daily generation of this file, not 5-minute data"
    assert f"left out: {held.key} ({reason}" in str(red.value)
    for dataset in METRICS:
        assert facts(deployment.database_url, dataset) == []
    for key, row in coverage(deployment).items():
        assert (key, row.present, row.missing_upstream, row.quarantined) == (key, [], [], [])
    assert objects(deployment) == [("2026-09-10", None, "2026-09-10", "2026-09-10", "structurally bad")]


def test_a_life_that_begins_with_such_a_file_begins_with_its_day(deployment: Deployment, market: Handle) -> None:
    """So that the day is a gap, which a later issue of the file can fill."""
    spoilt = Window(utc("2026-09-05"), utc("2026-09-06"))
    held = ArchiveObject("metrics", "daily", "NEWUSDT", None, spoilt)
    with serving(held, zip_of(b"2026-09-05,NEWUSDT,9,9,1.1,1.2,1.3,1.4\n")) as url:
        elsewhere = deployment.model_copy(update={"archive_url": url})
        pipeline.plan(elsewhere, request("run", "2026-09-01", "2026-09-07", datasets=METRICS, symbols=("NEW/USDT",)))
    for row in coverage(deployment).values():
        assert row.available_from == spoilt.start
        assert row.evidence == f"day of {held.key}, which can't be used as it is"


# --- blanks


@pytest.mark.parametrize("day", [DAY, OLD_DAY], ids=["REST has it blank too", "the archive alone"])
def test_a_blank_ratio_is_a_missing_point_of_its_series_and_of_no_other(
    deployment: Deployment, market: Handle, expected: Expected, day: Window
) -> None:
    spoil(market, "blank_ratio", day)
    load_metrics(deployment, "run", day)
    blank = list(TIMEFRAMES["5m"].points(Window(day.start + A_DAY / 4, day.start + A_DAY / 4 + A_DAY / 96)))
    assert len(blank) == 3
    wanted = [
        (*row[:3], None, *row[4:]) if row[1] in blank else row for row in expected.long_short_ratio("SOL/USDT", day)
    ]
    assert facts(deployment.database_url, "long_short_ratio") == wanted
    assert facts(deployment.database_url, "open_interest") == expected.open_interest("SOL/USDT", day)
    for (_, series), row in coverage(deployment).items():
        missing = windows_of(blank, TIMEFRAMES["5m"]) if series == "top_account" else []
        assert (row.present, row.missing_upstream, row.quarantined) == (subtract([day], missing), missing, [])
    assert table(deployment, "TABLE quarantine") == []
