"""The list of days: what each page says of itself in its head, and how completeness and failures went.

The pages are the history: a day stays as it was told, while the ledger behind it goes on.
"""

from __future__ import annotations

import json
import math
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

_NAMES = tuple(field.name for field in fields(Summary))
_SUMMARY = re.compile(r'<script type="application/json" id="summary">(.*?)</script>', re.DOTALL)


def write_index(folder: Path) -> Path:
    """Write the list of the folder's pages; returns where it is.

    Raises:
        BadConfiguration: it can't be written there.
    """
    found = [said for day, path in pages(folder) if (said := summary_of(day, path))]
    drawn = [said for said in found[:DAYS_DRAWN][::-1] if None not in (said["share"], said["failed"])]
    shares, failed = [said["share"] for said in drawn], [float(said["failed"]) for said in drawn]
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


def summary_of(day: date, path: Path) -> dict[str, Any] | None:
    """What a page says of its day: the numbers of `Summary` by name; None for each that it does not say.

    So has a page of another version, which knows fewer or more of them, and one that somebody else has put there. None
    in place of all where the page is gone meanwhile.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            said = _said(file.read(HEAD_BYTES))
    except FileNotFoundError:
        return None
    except OSError:
        said = {}
    numbers = {name: said.get(name) for name in _NAMES}
    return {name: value if _is_number(value) else None for name, value in numbers.items()} | {"day": day}


def _said(text: str) -> dict[str, Any]:
    head = _SUMMARY.search(text)
    try:
        said = json.loads(head[1]) if head else {}
    except json.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
