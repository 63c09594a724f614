"""Where reports are kept: `PERPFLOW_REPORTS`, else `reports` in the state folder (`PERPFLOW_HOME`, else `.perpflow`).

<reports>/quality_2026-11-27.html   a page for each UTC day
<reports>/index.html                the list of them
<reports>/data_docs/                what the loads of a day failed, by Great Expectations

In Airflow, tasks write there and the API server reads: where these are several machines, it has to be a folder of both.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from tempfile import NamedTemporaryFile

from perpflow.embedded.state import default_state_dir
from perpflow.errors import BadConfiguration

VARIABLE = "PERPFLOW_REPORTS"
INDEX = "index.html"
DATA_DOCS = "data_docs"

_PAGE = re.compile(r"quality_(\d{4}-\d{2}-\d{2})\.html")


def reports_folder() -> Path:
    """The folder, which may not be there yet."""
    configured = os.environ.get(VARIABLE)
    return Path(configured).expanduser() if configured else default_state_dir() / "reports"


def page_name(day: date) -> str:
    """A day's page, inside the folder."""
    return f"quality_{day.isoformat()}.html"


def day_of(name: str) -> date | None:
    """The day whose page has this name; None where it is no page's."""
    found = _PAGE.fullmatch(name)
    try:
        return date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def pages(folder: Path) -> Iterator[tuple[date, Path]]:
    """The pages of a folder, the latest day first."""
    paths = {day: path for path in folder.glob("quality_*.html") if (day := day_of(path.name)) is not None}
    yield from sorted(paths.items(), reverse=True)


def write(path: Path, text: str) -> None:
    """Replace a file at once: who reads it meanwhile gets the old one or the new one, whole.

    Raises:
        BadConfiguration: it can't be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: two runs may write the same page at once.
        with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(text)
        new = Path(file.name)
        # Temporary files are their owner's alone, and the API server may be somebody else.
        new.chmod(0o644)
        new.replace(path)
    except OSError as error:
        hint = f"Let {VARIABLE} name a folder that can be written to, or leave it unset."
        raise BadConfiguration(f"the report {path} can't be written: {error.strerror}.", hint=hint) from error
