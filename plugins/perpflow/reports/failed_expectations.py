"""Data Docs of a day: a page of Great Expectations for each batch that failed something, and lists of them.

<reports>/data_docs/index.html              the days
<reports>/data_docs/2026-11-27/index.html   the batches of a day
<reports>/data_docs/2026-11-27/validations/ a page for each of them

Written when somebody asks for them: the library takes seconds to import, and a moment for each page.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from perpflow.quality.data_docs import FailedBatch, render
from perpflow.reports.facts import window_of
from perpflow.reports.folder import DATA_DOCS, INDEX, alone, replace_folder, reports_folder, unwritable, write
from perpflow.reports.history import write_index
from perpflow.reports.page import environment
from perpflow.settings import Deployment
from perpflow.store.database import Row, query, session
from perpflow.windows import Window

log = logging.getLogger(__name__)

#: Of more batches a day those with the most failing rows have pages; a day on which all fail is told by the report.
MOST_BATCHES = 50
#: A page is called by its batch's symbols, which may be hundreds.
SYMBOLS_NAMED = 3


def write_data_docs(deployment: Deployment, day: date) -> Path | None:
    """Write the day's Data Docs; returns their list of batches, None where no batch has failed anything.

    The list of reports is written anew, since it links to them.

    Raises:
        StoreUnavailable: the database does not answer.
        BadConfiguration: they can't be written there.
        BadSuite: a suite is missing or broken.
    """
    window = window_of(day)
    parameters = {"start": window.start, "end": window.end, "most": MOST_BATCHES}
    with session(deployment.database_url) as connection:
        rows = connection.execute(query("report_failed_batches"), parameters).fetchall()
    folder = reports_folder() / DATA_DOCS
    try:
        _write_day(folder, day, rows)
    except OSError as error:
        raise unwritable("Data Docs", folder, error) from error
    return folder / day.isoformat() / INDEX if rows else None


def _write_day(folder: Path, day: date, rows: list[Row]) -> None:
    """Render a day's pages beside what is there, then let them take its place, and make the lists anew.

    Without rows the day's pages go: it was reviewed away, or the database is of another time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The pages go away from it, and it goes in any case: it is of no use to anybody else.
    with TemporaryDirectory(dir=folder, prefix=f".{day}.") as beside:
        made = Path(beside, day.isoformat())
        if rows:
            made.mkdir(mode=0o755)
            pages = render(made, map(failed_batch, rows))
            shutil.rmtree(made / "static", ignore_errors=True)
            _write_batches(made, day, pages, rows[0]["of"])
        with alone(folder.parent):
            replace_folder(folder / day.isoformat(), made if rows else None)
            _write_list(folder)
            write_index(folder.parent)


def failed_batch(row: Row) -> FailedBatch:
    """A load log's entry as Data Docs show it."""
    symbols: list[str] = row["symbols"]
    more = f" and {len(symbols) - SYMBOLS_NAMED} more" if len(symbols) > SYMBOLS_NAMED else ""
    window = row["window"]
    return FailedBatch(
        number=row["id"],
        dataset=row["dataset"],
        label=", ".join(symbols[:SYMBOLS_NAMED]) + more,
        window=Window(window.lower, window.upper),
        published_at=row["published_at"],
        staged=row["staged"],
        findings=tuple(row["findings"]),
    )


def _write_batches(folder: Path, day: date, pages: Iterable[tuple[FailedBatch, Path]], of: int) -> None:
    """The list of a day's pages, which lie in the folder; `of`: how many batches failed, with those without a page."""
    lines: list[dict[str, Any]] = [
        {
            "batch": batch,
            "link": quote(page.as_posix()),
            "critical": sum(f["failing"] for f in batch.findings if f["severity"] == "critical"),
            "warned": sum(f["failing"] for f in batch.findings if f["severity"] != "critical"),
        }
        for batch, page in pages
    ]
    text = environment().get_template("data_docs_day.html").render(day=day, lines=lines, of=of)
    write(folder / INDEX, text)


def _write_list(folder: Path) -> None:
    days = sorted((path.parent.name for path in folder.glob(f"[0-9]*/{INDEX}")), reverse=True)
    write(folder / INDEX, environment().get_template("data_docs_days.html").render(days=days))
