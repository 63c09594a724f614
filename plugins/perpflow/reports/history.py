"""The list of days: what each page says of itself in its head, and how completeness and failures went.

The pages are the history: a day stays as it was told, while the ledger behind it goes on.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

from perpflow.reports import plots
from perpflow.reports.facts import Summary
from perpflow.reports.folder import DATA_DOCS, INDEX, pages, write
from perpflow.reports.page import environment

#: Where a page's summary ends at the latest.
HEAD_BYTES = 4096
#: As many days are drawn; the list has all.
DAYS_DRAWN = 90

_SUMMARY = re.compile(r'<script type="application/json" id="summary">(.*?)</script>', re.DOTALL)


def write_index(folder: Path) -> Path:
    """Write the list of the folder's pages; returns where it is.

    Raises:
        BadConfiguration: it can't be written there.
    """
    found = [summary for day, path in pages(folder) if (summary := summary_of(day, path))]
    drawn = found[:DAYS_DRAWN][::-1]
    shares, failed = [one.share for one in drawn], [float(one.failed) for one in drawn]
    text = (
        environment()
        .get_template("index.html")
        .render(
            days=found,
            drawn=drawn,
            shares_plot=plots.sparkline(shares, "good", "Completeness", least=min(shares), most=1.0) if drawn else None,
            failed_plot=plots.sparkline(failed, "critical", "Rows that failed") if drawn else None,
            has_data_docs=(folder / DATA_DOCS / INDEX).exists(),
        )
    )
    write(folder / INDEX, text)
    return folder / INDEX


def summary_of(day: date, path: Path) -> Summary | None:
    """What a page says of its day; None where it is none of ours, or of another version."""
    with path.open(encoding="utf-8", errors="replace") as file:
        head = _SUMMARY.search(file.read(HEAD_BYTES))
    try:
        said: dict[str, Any] = json.loads(head[1]) if head else {}
    except json.JSONDecodeError:
        return None
    if not isinstance(said, dict) or said.keys() != {field.name for field in fields(Summary)}:
        return None
    return Summary(**said | {"day": day})
