"""Data Docs out of the load log: what failed is named in words, and the pages ask nobody and run nothing."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest

from perpflow.quality.suites import load_suite
from perpflow.reports.failed_expectations import write_data_docs
from perpflow.settings import Deployment
from perpflow.store.database import session
from tests import reported
from tests.reported import DAY, HOUR, MIDNIGHT

HOSTILE = "<script>alert(1)</script>$high${low}\"'><img src=x onerror=alert(2)>/../.."


@pytest.fixture(scope="module")
def docs(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of Data Docs of a day in which four batches failed, one of them of a hostile symbol."""
    folder = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch, session(database_url) as connection:
        patch.setenv("PERPFLOW_REPORTS", str(folder))
        reported.log_loads(connection, ("SOL/USDT", "ETH/USDT"))
        failed = [reported.finding("ohlcv", 0, 1, sample=HOSTILE)]
        reported.log_load(connection, "ohlcv", HOSTILE, MIDNIGHT + 4 * HOUR, findings=failed)
        assert write_data_docs(Deployment(database_url=database_url), DAY) == folder / "data_docs/2026-11-26/index.html"
        yield folder / "data_docs"


def pages(docs: Path) -> list[Path]:
    return sorted(docs.glob("2026-11-26/validations/*/*/*/*.html"))


def page_of(docs: Path, name: str) -> str:
    (found,) = (path for path in pages(docs) if name in str(path))
    return found.read_text()


def test_each_failed_batch_has_a_page_and_the_list_leads_there(docs: Path) -> None:
    listed = re.findall(r'href="(validations/[^"]*)"', (docs / "2026-11-26" / "index.html").read_text())
    assert sorted(docs / "2026-11-26" / unquote(link) for link in listed) == pages(docs)
    assert len(listed) == 4
    assert 'href="2026-11-26/index.html"' in (docs / "index.html").read_text()
    for index in (docs / "index.html", docs / "2026-11-26" / "index.html"):
        assert '<meta name="color-scheme" content="light dark">' in index.read_text()


def test_a_page_is_called_by_dataset_symbol_and_window(docs: Path) -> None:
    text = page_of(docs, "SOL-USDT, 2026-11-26 01-00 to 2026-11-26 02-00")
    assert "Candles (ohlcv)" in text
    assert "SOL-USDT, 2026-11-26 01-00 to 2026-11-26 02-00" in text


def test_what_failed_is_told_in_words_with_rows_share_and_why(docs: Path) -> None:
    text = page_of(docs, "SOL-USDT, 2026-11-26 01-00")
    failed = [part for part in text.split("<tr>") if "fa-times" in part and "unexpected values found" in part]
    assert len(failed) == 2
    assert text.count("fa-check-circle text-success") == len(load_suite("ohlcv").expectations) - 2
    (repeated,) = (part for part in failed if "No candle repeated all day" in part)
    assert "288 unexpected values found. 28.8% of 1000 total rows." in repeated
    assert [part for part in failed if 'class="warned"' in part] == [repeated]
    assert "is a feed that hangs" in repeated
    assert "high=101.2 low=null" in text.partition(repeated)[2]


def test_an_expectation_that_is_gone_since_has_failed_all_the_same(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PERPFLOW_REPORTS", str(tmp_path))
    gone = reported.finding("ohlcv", 0, 700) | {"expectation": "a_name_of_yesterday", "reason": "It was <so>."}
    with session(empty_database_url) as connection:
        reported.log_load(connection, "ohlcv", "SOL/USDT", MIDNIGHT + HOUR, findings=[gone])
    write_data_docs(Deployment(database_url=empty_database_url), DAY)
    (page,) = pages(tmp_path / "data_docs")
    text = page.read_text()
    (failed,) = (part for part in text.split("<tr>") if "fa-times" in part and "unexpected values found" in part)
    assert "A name of yesterday" in failed
    assert "It was &lt;so&gt;." in failed
    assert "700 unexpected values found. 70% of 1000 total rows." in failed
    assert text.count("fa-check-circle text-success") == len(load_suite("ohlcv").expectations)
    assert re.search(r"Status:.{0,400}Failed", text, re.DOTALL)
    assert not re.search(r"Status:.{0,400}Succeeded", text, re.DOTALL)
    assert "SELECT FROM" not in text


def test_a_batch_that_has_warnings_alone_has_not_failed(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PERPFLOW_REPORTS", str(tmp_path))
    both = [reported.finding("ohlcv", n, 7, severity=name) for n, name in enumerate(("critical", "warning"))]
    with session(empty_database_url) as connection:
        reported.log_load(connection, "ohlcv", "SOL/USDT", MIDNIGHT + HOUR, findings=both)
        reported.log_load(connection, "ohlcv", "ETH/USDT", MIDNIGHT + HOUR, findings=both[1:])
    write_data_docs(Deployment(database_url=empty_database_url), DAY)
    status = re.compile(r"Status:</span> <i [^>]*></i> (.*)")
    assert {path.parts[-3][:3]: status.findall(path.read_text()) for path in pages(tmp_path / "data_docs")} == {
        "SOL": ["Failed"],
        "ETH": ['<span class="warned">Warnings alone, published all the same</span>'],
    }


def test_more_failures_than_rows_are_all_of_them(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PERPFLOW_REPORTS", str(tmp_path))
    with session(empty_database_url) as connection:
        findings = [reported.finding("ohlcv", 0, 1700)]
        reported.log_load(connection, "ohlcv", "SOL/USDT", MIDNIGHT + HOUR, findings=findings)
    write_data_docs(Deployment(database_url=empty_database_url), DAY)
    (page,) = pages(tmp_path / "data_docs")
    assert "1700 unexpected values found. 100% of 1000 total rows." in page.read_text()


def test_the_library_keeps_its_talk_to_itself(
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PERPFLOW_REPORTS", str(tmp_path))
    with caplog.at_level(logging.INFO):
        assert write_data_docs(Deployment(database_url=database_url), DAY)
    assert [record.name for record in caplog.records if record.name.startswith("great_expectations")] == []
    assert capsys.readouterr().out == ""


def test_no_page_asks_another_host_or_runs_anything(docs: Path) -> None:
    for path in docs.rglob("*.html"):
        text = path.read_text()
        assert re.findall(r"https?://|<script|<img|<link|<[^<>]*\son\w+=|url\(", text) == [], path


def test_hostile_names_are_shown_and_lead_nowhere(docs: Path) -> None:
    text = page_of(docs, "script-alert(1)")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#36;high&#36;{low}" in text
    assert all(path.resolve().is_relative_to(docs.resolve()) for path in docs.rglob("*"))


def test_writing_again_leaves_one_set_of_pages(docs: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERPFLOW_REPORTS", str(docs.parent))
    before = pages(docs)
    assert write_data_docs(Deployment(database_url=database_url), DAY)
    assert pages(docs) == before
    assert sorted(path.name for path in docs.iterdir()) == ["2026-11-26", "index.html"]


def test_a_day_without_failures_has_none(docs: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERPFLOW_REPORTS", str(docs.parent))
    assert write_data_docs(Deployment(database_url=database_url), DAY + timedelta(days=9)) is None
    assert sorted(path.name for path in docs.iterdir()) == ["2026-11-26", "index.html"]
