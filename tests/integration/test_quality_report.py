"""The report of a day: its numbers are the database's, its text is harmless, and telling it twice changes nothing."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from perpflow import sessions
from perpflow.__main__ import app
from perpflow.datasets import DATASETS
from perpflow.errors import BadConfiguration
from perpflow.exchange.weight_budget import Share
from perpflow.exchange_clock import exchange_now
from perpflow.reports import history, tables
from perpflow.reports.day import day_asked
from perpflow.reports.facts import Summary, read
from perpflow.reports.failed_expectations import write_data_docs
from perpflow.reports.folder import INDEX, page_name, reports_folder
from perpflow.reports.page import percent, render
from perpflow.reports.writing import write_report
from perpflow.settings import Collection, Deployment
from perpflow.store.database import Connection, session
from simulator.process import Handle
from tests import reported
from tests.loading import deployment_of, rows
from tests.reported import DAY, END, HOUR, MIDNIGHT

#: Somebody's computer, long after the day.
LATER = END + 30 * HOUR
UNIVERSE = 550


class Page(HTMLParser):
    """What a browser would make of a page: its sections' tables as text, its elements, and what it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: dict[str, list[list[list[str]]]] = {}
        self.section, self.tags, self.targets, self.prose = "", [], [], ""
        self.handlers: list[str] = []
        self._cell: list[str] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.tags.append(tag)
        self.targets += [said[name] or "" for name in ("href", "src", "xlink:href") if name in said]
        self.handlers += [name for name in said if name.startswith("on")]
        if tag == "section":
            self.section = said["id"] or ""
            self.tables[self.section] = []
        elif tag == "table":
            self.tables.setdefault(self.section, []).append([])
        elif tag == "tr":
            self.tables[self.section][-1].append([])
        elif tag in ("th", "td"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td") and self._cell is not None:
            self.tables[self.section][-1][-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data: str) -> None:
        self.prose += data
        if self._cell is not None:
            self._cell.append(data)

    def table(self, section: str, number: int = 0) -> list[dict[str, str]]:
        """A table's lines by its headings."""
        head, *lines = self.tables[section][number]
        return [dict(zip(head, line, strict=True)) for line in lines]


def told(connection: Connection, day: date = DAY, now: datetime = LATER, **collection: Any) -> tuple[Page, str]:
    text = render(read(connection, Collection(**collection), day, now))
    return Page(text), text


@pytest.fixture(scope="module")
def filled(database_url: str) -> Iterator[Connection]:
    with session(database_url) as connection:
        reported.fill(connection)
        yield connection


@pytest.fixture(scope="module")
def page(filled: Connection) -> Page:
    return told(filled)[0]


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Connection]:
    with session(empty_database_url) as connection:
        yield connection


def whole(text: str) -> int:
    return int(text.replace(",", ""))


def test_the_first_line_says_it_all(page: Page) -> None:
    assert "3 symbols, 6 datasets, 99.82 % complete, 8 failures at the gate, 4 rows wait for review" in page.prose


def test_completeness_counts_what_the_ledger_covers(filled: Connection, page: Page) -> None:
    lines = page.table("completeness")
    assert len(lines) == sum(len(spec.series) for spec in DATASETS.values())
    # Counted anew, in SQL, over a grid of five minutes.
    (counted,) = rows(
        filled,
        "SELECT count(*), count(*) FILTER (WHERE t <@ present) FROM coverage, generate_series(available_from,"
        " %s - interval '5 minutes', '5 minutes') AS t WHERE dataset = 'ohlcv' AND series = '5m'",
        END,
    )
    candles = next(line for line in lines if line["Series"] == "5m")
    assert (whole(candles["Expected"]), whole(candles["There"])) == counted
    assert whole(candles["Missing"]) == counted[0] - counted[1] == 3 * 288
    assert candles["Complete"] == percent(counted[1] / counted[0]) == "99.00 %"


def test_what_is_missing_withheld_and_absent_upstream_is_told_apart(page: Page) -> None:
    sums = {"Missing": 0, "In quarantine": 0, "Absent upstream": 0}
    for line in page.table("completeness"):
        for name in sums:
            sums[name] += whole(line[name])
    assert sums == {"Missing": 3 * (288 + 96 + 24 + 6 + 1), "In quarantine": 24, "Absent upstream": 4 * 4 * 288}
    worst = page.table("completeness", 1)
    assert (worst[0]["Symbol"], worst[0]["Series"], worst[0]["Missing"]) == ("SOL/USDT", "5m", "864")
    assert worst[-1]["Symbol"] == "BTC/USDT"
    assert worst[-1]["In quarantine"] == "24"


def test_failures_are_those_of_the_day_with_share_why_and_samples(filled: Connection, page: Page) -> None:
    lines = page.table("failures")
    found = rows(
        filled,
        "SELECT w ->> 'expectation', w ->> 'severity', sum((w ->> 'failing')::int), sum((w ->> 'withheld')::int),"
        " count(*) FROM data_versions, jsonb_array_elements(warnings) w WHERE published_at >= %s AND published_at < %s"
        " GROUP BY dataset, 1, 2",
        MIDNIGHT,
        END,
    )
    shown = {
        (line["Expectation"], line["Severity"], *(whole(line[name]) for name in ("Rows", "Withheld", "Batches")))
        for line in lines
    }
    assert shown == set(found)
    assert lines[0]["Share of rows"] == f"{100 * 6 / 14_000:.3f} %"
    assert "says nothing" in lines[0]["Why, and sample rows"]
    assert "low=null" in lines[0]["Why, and sample rows"]


def test_loads_are_those_of_the_day_and_no_other(filled: Connection, page: Page) -> None:
    (counted,) = rows(
        filled,
        "SELECT count(*), sum(staged), sum(inserted), sum(quarantined) FROM data_versions"
        " WHERE dataset = 'ohlcv' AND published_at >= %s AND published_at < %s",
        MIDNIGHT,
        END,
    )
    line = page.table("loads")[0]
    assert tuple(whole(line[name]) for name in ("Batches", "Rows staged", "New", "Withheld")) == counted
    assert (line["Loaded by"], line["First"], line["Last"]) == ("ingest_ohlcv", "00:00", "23:00")


def test_the_quarantine_is_as_it_was_at_the_end_of_the_day(page: Page) -> None:
    lines = {line["Expectation"]: line for line in page.table("quarantine")}
    # Five rows, one released on the day; the one that was rejected after it still waits.
    assert (lines["high_above_low"]["Waiting"], lines["high_above_low"]["Released"]) == ("4", "1")
    assert (lines["high_above_low"]["Rejected"], lines["time_inside_window"]["Waiting"]) == ("0", "2")
    assert "4 rows of 1 symbol waited for review" in page.prose


def test_corrections_files_and_comparisons_are_there(page: Page) -> None:
    (corrected,) = page.table("corrections")
    assert (corrected["Rows"], corrected["Symbols"]) == ("2", "1")
    assert "close: 1.5 → 1.25" in corrected["For example"]
    assert [line["Verdict"] for line in page.table("files")] == ["issued again, read in part", "wrong checksum"]
    assert [line["Beyond"] for line in page.table("reconciliations")] == ["4", "0"]


def test_freshness_is_that_of_the_day_s_end(filled: Connection) -> None:
    collected = {"symbols": ("SOL/USDT", "BTC/USDT", "ETH/USDT"), "start": reported.BEGINS}
    assert {line["State"] for line in told(filled, **collected)[0].table("freshness")} == {"current"}
    two_days_on = told(filled, DAY + timedelta(days=2), END + 2 * timedelta(days=1), **collected)[0]
    assert {line["State"] for line in two_days_on.table("freshness")} == {"late"}
    assert "6 datasets are late" in two_days_on.prose


def test_the_page_needs_nothing_else_and_runs_nothing(filled: Connection, page: Page) -> None:
    text = told(filled)[1]
    assert {target for target in page.targets if not target.startswith("#")} == {"index.html"}
    assert page.tags.count("script") == text.count("<script") == text.count('<script type="application/json"') == 1
    assert re.findall(r"url\((?!#)|@import|https?://(?!www\.w3\.org/)", text) == []


def test_a_day_without_loads_says_so(filled: Connection) -> None:
    quiet, _ = told(filled, DAY - timedelta(days=10))
    assert "Nothing was loaded on this day, so nothing was checked." in quiet.prose
    assert "complete, nothing was loaded on the day, 0 rows wait" in quiet.prose
    assert "Nothing was withheld up to the end of the day." in quiet.prose
    assert quiet.tables["loads"] == quiet.tables["failures"] == []


def test_a_terminal_is_told_the_same_as_the_page(filled: Connection, page: Page) -> None:
    printed = {each.title: each for each in tables.tables(read(filled, Collection(), DAY, LATER))}
    sections = {
        "Completeness": ("completeness", 0),
        "Series with holes": ("completeness", 1),
        "Failures by expectation": ("failures", 0),
        "Freshness": ("freshness", 0),
        "Quarantine": ("quarantine", 0),
        "Corrections": ("corrections", 0),
        "Archive files left out or issued again": ("files", 0),
        "Archive against REST": ("reconciliations", 0),
        "Loads of the day": ("loads", 0),
    }
    assert printed.keys() == sections.keys()
    for name, (section, number) in sections.items():
        shown, lines = page.table(section, number), printed[name]
        # What was found by then stands in the page's heading; why a row failed, with samples, is for a page alone.
        heads = [head.lstrip("#") for head in lines.heads]
        cells = [dict(zip(heads, row, strict=True)) for row in lines.rows]
        common = [head for head in heads if head in shown[0]]
        assert len(heads) - len(common) <= 1, name
        # A page names a dataset once.
        common = [head for head in common if head != "Dataset"]
        assert [[" ".join(row[head].split()) for head in common] for row in cells] == [
            [row[head] for head in common] for row in shown
        ], name


def test_what_was_never_loaded_is_told_and_nothing_is_complete_without_it(empty: Connection) -> None:
    reported.fill(empty, ("BTC/USDT",))
    empty.execute(
        "UPDATE coverage SET present = multirange(tstzrange(available_from, %s)), missing_upstream = '{}',"
        " quarantined = '{}'",
        (END,),
    )
    empty.execute("DELETE FROM coverage WHERE dataset = 'funding_rate'")
    whole, _ = told(empty, symbols=("BTC/USDT",), datasets={"funding_rate": {"enabled": False}})
    assert "1 symbol, 5 datasets, 100 % complete, 8 failures" in whole.prose
    page, text = told(empty, symbols=("BTC/USDT", "SOL/USDT"), start=reported.BEGINS)
    series = sum(len(spec.series) for spec in DATASETS.values())
    assert f"99.99 % complete, {series + 1} series never loaded" in page.prose
    assert "never loaded: BTC/USDT: funding_rate" in page.prose
    assert "python -m perpflow backfill --symbols SOL/USDT" in page.prose
    assert f"<b>{series + 1}</b><span>series never loaded</span>" in text


def test_an_empty_database_gives_a_page(empty: Connection) -> None:
    bare, _ = told(empty)
    assert "Nothing has been collected yet." in bare.prose
    assert {line["State"] for line in bare.table("freshness")} == {"look"}


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>${7*7}{{7*7}}$x^2$"


def test_hostile_names_are_shown_and_not_run(empty: Connection) -> None:
    reported.fill(empty, (HOSTILE, "BTC/USDT", "ETH/USDT"))
    findings = [reported.finding("ohlcv", 0, 1, sample=HOSTILE) | {"expectation": HOSTILE, "reason": HOSTILE}]
    reported.log_load(empty, "ohlcv", HOSTILE, MIDNIGHT + 4 * HOUR, findings=findings)
    shown, text = told(empty, symbols="all", quote=("USDT",))
    assert "<script>alert" not in text
    assert not {"img", "iframe", "object"} & set(shown.tags)
    assert (shown.tags.count("script"), shown.handlers) == (1, [])
    assert HOSTILE in " ".join(line["Expectation"] for line in shown.table("failures"))
    assert "<script>alert(1)</script>…" in shown.prose


def test_audits_and_what_is_verified_stand_there_once_there_are_any(empty: Connection) -> None:
    reported.fill(empty)
    assert "No audit has found anything that is open." in told(empty)[0].prose
    empty.execute("UPDATE coverage SET audited = present WHERE symbol <> 'SOL/USDT'")
    for found, resolved in ((MIDNIGHT, None), (MIDNIGHT - HOUR, MIDNIGHT + HOUR), (END, None), (MIDNIGHT - HOUR, END)):
        empty.execute(
            'INSERT INTO audit_findings (audit, dataset, symbol, series, "window", severity, "column", detail,'
            "                            found_at, resolved_at)"
            " VALUES ('cross_timeframe', 'ohlcv', 'SOL/USDT', '1h', %s, 'critical', %s, %s, %s, %s)",
            ("[2026-11-25,2026-11-26)", f"high {found}", '{"1h": 2, "5m": 1}', found, resolved),
        )
    page, _ = told(empty)
    (line,) = page.table("audits")
    assert (line["Open"], line["New"], line["Resolved"], line["Symbols"]) == ("2", "1", "1", "1")
    assert "2 findings of audits are open" in page.prose
    verified = page.table("audits", 1)
    assert len(verified) == sum(len(spec.series) for spec in DATASETS.values())
    assert (verified[0]["Furthest behind"], verified[0]["Not verified"]) == ("SOL/USDT", "1")
    assert verified[0]["Until"] == "2026-08-19 00:00"


def test_a_finding_that_somebody_accepted_stands_apart_with_who_and_why(empty: Connection) -> None:
    reported.fill(empty)
    for symbol, by, note in (("SOL/USDT", None, None), ("BTC/USDT", "ada", "the exchange was down <b>")):
        empty.execute(
            'INSERT INTO audit_findings (audit, dataset, symbol, series, "window", severity, "column", found_at,'
            "                            accepted_by, note, accepted_at)"
            " VALUES ('settlements_follow', 'funding_rate', %s, 'settlement', '[2026-11-25,2026-11-26)', 'warning',"
            "         'time', %s, %s, %s, %s)",
            (symbol, MIDNIGHT, by, note, by and MIDNIGHT),
        )
    page, _ = told(empty)
    plain, accepted = page.table("audits")
    assert (plain["Severity"], accepted["Severity"]) == ("warning", "accepted")
    assert "ada: the exchange was down <b>" in accepted["The latest"]
    assert "ada" not in plain["The latest"]


def test_a_finding_that_is_accepted_on_a_later_day_was_critical_on_this_one(empty: Connection) -> None:
    reported.fill(empty)
    empty.execute(
        'INSERT INTO audit_findings (audit, dataset, symbol, series, "window", severity, "column", found_at,'
        "                            accepted_by, note, accepted_at)"
        " VALUES ('settlements_follow', 'funding_rate', 'SOL/USDT', 'settlement', '[2026-11-25,2026-11-26)', 'warning',"
        "         'time', %s, 'ada', 'it is so', %s)",
        (MIDNIGHT, MIDNIGHT + timedelta(days=2)),
    )
    page, _ = told(empty)
    (row,) = page.table("audits")
    assert row["Severity"] == "critical"


def test_a_universe_stays_small(empty: Connection) -> None:
    symbols = tuple(f"COIN{number:03}/USDT" for number in range(UNIVERSE))
    with empty.transaction():
        reported.fill(empty, symbols)
    # The worst there could be: a thousand holes in each of a hundred series.
    empty.execute(
        "UPDATE coverage SET present = present - (SELECT range_agg(tstzrange(t, t + interval '5 minutes'))"
        " FROM generate_series(available_from, %s, '2 hours') t)"
        " WHERE dataset = 'open_interest' AND symbol < 'COIN100'",
        (END,),
    )
    for number in range(1, 100):
        reported.withhold(empty, symbols[number], MIDNIGHT + number * HOUR / 10)
    page, text = told(empty, symbols="all")
    assert f"{UNIVERSE} symbols" in page.prose
    assert len(text.encode()) < 400_000, len(text)
    assert "542 others" in page.prose
    assert len(page.table("completeness", 1)) == 21
    assert "85 more series" in page.table("completeness", 1)[-1]["Dataset"]


# --- the folder


@pytest.fixture
def deployment(
    filled: Connection, database_url: str, exchange: Handle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Deployment:
    monkeypatch.setenv("PERPFLOW_REPORTS", str(tmp_path / "reports"))
    exchange.set_now(LATER)
    return deployment_of(database_url, exchange)


def test_writing_twice_gives_the_same_page_and_leaves_other_days_as_they_were(deployment: Deployment) -> None:
    first = write_report(deployment, DAY)
    text, index = first.page.read_bytes(), (first.page.parent / INDEX).read_bytes()
    other = write_report(deployment, DAY - timedelta(days=1)).page
    other.write_text(other.read_text() + "<!-- as it was -->")
    again = write_report(deployment, DAY)
    assert (again.page, again.page.read_bytes(), again.summary) == (first.page, text, first.summary)
    assert other.read_text().endswith("<!-- as it was -->")
    assert (first.page.parent / INDEX).read_bytes() != index
    assert sorted(path.name for path in first.page.parent.iterdir()) == [".lock", INDEX, other.name, first.page.name]


def test_the_list_of_days_shows_what_the_pages_say(deployment: Deployment) -> None:
    written = [write_report(deployment, DAY - timedelta(days=back)) for back in range(3)]
    folder = written[0].page.parent
    (folder / page_name(date(2020, 1, 1))).write_text("somebody else's")
    (folder / page_name(date(2020, 1, 2))).symlink_to("gone meanwhile")
    listed = Page(history.write_index(folder).read_text())
    lines = listed.table("")
    assert [line["Day (UTC)"] for line in lines] == ["2026-11-26", "2026-11-25", "2026-11-24", "2020-01-01"]
    assert lines[0]["Complete"] == "99.82 %"
    assert [whole(lines[0][name]) for name in ("Failed", "Warned", "Loaded", "Waiting")] == [
        8,
        288,
        15_000,
        4,
    ]
    assert set(list(lines[3].values())[1:]) == {"–"}
    targets = [one.page.name for one in written] + [page_name(date(2020, 1, 1))]
    assert [target for target in listed.targets if target.startswith("quality_")] == targets
    assert listed.tags.count("svg") == 2


def test_a_page_of_another_version_stays_in_the_list(deployment: Deployment) -> None:
    written = write_report(deployment, DAY)
    text = written.page.read_text()
    (said,) = re.findall(r'id="summary">(.*?)</script>', text)
    summary = json.loads(said)
    del summary["never_loaded"]
    other = {**summary, "of_tomorrow": 1, "waiting": "<b>4</b>", "late": None, "audits": [1], "missing": float("nan")}
    written.page.write_text(text.replace(said, json.dumps(other)))
    (line,) = Page(history.write_index(written.page.parent).read_text()).table("")
    assert (line["Complete"], line["Failed"], line["Loaded"]) == ("99.82 %", "8", "15,000")
    assert {line[name] for name in ("Never loaded", "Waiting", "Late", "Audits", "Missing")} == {"–"}


def test_a_page_says_its_summary_in_its_head(deployment: Deployment) -> None:
    written = write_report(deployment, DAY)
    assert history.summary_of(DAY, written.page) == asdict(written.summary)
    head = written.page.read_text()[: history.HEAD_BYTES]
    said = json.loads(re.findall(r'id="summary">(.*?)</script>', head)[0])
    assert said["day"] == "2026-11-26"
    assert set(said) == set(Summary.__dataclass_fields__)


def test_one_file_alone_is_written_where_one_is_named(deployment: Deployment, tmp_path: Path) -> None:
    written = write_report(deployment, DAY, tmp_path / "mine.html")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.html"]
    assert "Market data quality" in written.page.read_text()


def test_a_folder_that_cannot_be_written_to_is_named(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PERPFLOW_REPORTS", str(tmp_path / "file"))
    with pytest.raises(BadConfiguration, match=r"can't be written.*PERPFLOW_REPORTS"):
        write_report(deployment, DAY)


def test_a_report_is_written_while_the_exchange_is_away(deployment: Deployment) -> None:
    nowhere = deployment.model_copy(update={"rest_url": "http://127.0.0.1:9"})
    assert write_report(nowhere, DAY).summary == write_report(deployment, DAY).summary


def test_a_report_does_not_wait_for_redis_and_says_whose_clock_it_goes_by(deployment: Deployment) -> None:
    # Nothing listens there; the process's own part of the limits is spent, so that it would have to wait for the next.
    alone = deployment.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    settings = alone.collection.exchange
    budget = sessions.process_budget(urlsplit(alone.rest_url).netloc, settings.processes)
    share = Share(settings.rate_share, settings.live_reserve, live=True)
    while budget.ask("weight", 100, share) is None:
        pass
    while budget.ask("weight", 1, share) is None:
        pass
    clock = exchange_now(alone)
    assert clock.problem == "no answer within 5 s"
    text = write_report(alone, DAY).page.read_text()
    assert "by this machine's clock, since the exchange did not tell its own: no answer within 5 s" in Page(text).prose
    sessions.process_budget.cache_clear()
    assert "this machine" not in write_report(deployment, DAY).page.read_text()


class Paused:
    """A page in the folder that nobody has finished writing: who makes the list has to wait for it, amid its work."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / page_name(date(2020, 1, 1))
        os.mkfifo(self.path)

    def when_read(self, look: Callable[[], None]) -> None:
        """Look around while somebody makes the list, then let it go on."""
        # Opens when the reader does.
        with self.path.open("w") as page:
            try:
                look()
            finally:
                page.write("nothing")


def require_held(folder: Path) -> None:
    with (folder / ".lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("write", [write_report, write_data_docs])
def test_one_writer_at_a_time_makes_the_list(deployment: Deployment, write: Callable[..., Any]) -> None:
    folder = write_report(deployment, DAY - timedelta(days=1)).page.parent
    paused = Paused(folder)
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(write, deployment, DAY)
        paused.when_read(lambda: require_held(folder))
        writing.result()
        paused.path.unlink()
    with (folder / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == [".lock"]


def test_the_list_links_to_data_docs_once_there_are_any(deployment: Deployment) -> None:
    index = write_report(deployment, DAY).page.with_name(INDEX)
    assert "data_docs/index.html" not in index.read_text()
    write_data_docs(deployment, DAY)
    assert "data_docs/index.html" in index.read_text()


def test_the_page_is_there_where_data_docs_fail(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("database", "rest"):
        monkeypatch.setenv(f"PERPFLOW_{name.upper()}_URL", getattr(deployment, f"{name}_url"))
    folder = reports_folder()
    folder.mkdir()
    (folder / "data_docs").write_text("in the way")
    done = CliRunner().invoke(app, ["report", "--day", "2026-11-26", "--data-docs"])
    assert done.exit_code == 2
    assert "can't be written" in done.stderr
    assert (folder / page_name(DAY)).is_file()


def test_the_command_writes_the_page_and_says_where(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("database", "rest"):
        monkeypatch.setenv(f"PERPFLOW_{name.upper()}_URL", getattr(deployment, f"{name}_url"))
    done = CliRunner().invoke(app, ["report", "--day", "2026-11-26"])
    said, where = done.stdout.splitlines()
    assert (done.exit_code, said) == (
        0,
        "2026-11-26: 3 symbols, 6 datasets, 99.82 % complete, 8 failures at the gate, 4 rows wait for review",
    )
    assert where.endswith("/reports/quality_2026-11-26.html")
    assert Path(where).is_file()
    nowhere = Path(where).parent / "nowhere" / "page.html"
    missing = CliRunner().invoke(app, ["report", "--output", str(nowhere)])
    assert (missing.exit_code, missing.stderr.rstrip()) == (
        2,
        f"{nowhere}: there is no folder {nowhere.parent}. Make it, or name another file.",
    )
    assert not nowhere.parent.exists()
    # Not even the owner of all writes there.
    refused = CliRunner().invoke(app, ["report", "--output", "/proc/page.html"])
    assert (refused.exit_code, refused.stderr.partition(" can't")[0]) == (2, "the report /proc/page.html")
    assert refused.stderr.rstrip().endswith("Name a file in a folder that can be written to and has room.")
    refused = CliRunner().invoke(app, ["report", "--day", "soon"])
    assert (refused.exit_code, refused.stderr.splitlines()[0][:15]) == (2, "'soon' is no da")


NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "day"), [(None, DAY), ("", DAY), ("2026-11-27", NOON.date()), ("2026-01-02", date(2026, 1, 2))]
)
def test_a_day_is_the_last_one_that_is_over_or_the_one_asked_for(text: str | None, day: date) -> None:
    assert day_asked(text, NOON) == day


@pytest.mark.parametrize("text", ["yesterday", "2026-11-28", "2026-02-30", "../../etc/passwd"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(BadConfiguration):
        day_asked(text, NOON)
