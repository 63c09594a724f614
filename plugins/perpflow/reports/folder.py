"""Where reports are kept: `PERPFLOW_REPORTS`, else `reports` in the state folder (`PERPFLOW_HOME`, else `.perpflow`).

<reports>/quality_2026-11-27.html   a page for each UTC day
<reports>/index.html                the list of them
<reports>/data_docs/                what the loads of a day failed, by Great Expectations
<reports>/.lock                     held by who writes there

In Airflow, tasks write there and the API server reads: where these are several machines, it has to be a folder of both.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

from perpflow.embedded.processes import exclusive
from perpflow.embedded.state import default_state_dir
from perpflow.errors import BadConfiguration

VARIABLE = "PERPFLOW_REPORTS"
INDEX = "index.html"
DATA_DOCS = "data_docs"
#: Held by who writes; the kernel lets go of it when a writer dies.
LOCK = ".lock"
#: What is unfinished for so long nobody finishes any more: writers take minutes at most.
LEFT_S = 86_400

_UNFINISHED = re.compile(r"\.(quality_\d{4}-\d{2}-\d{2}\.html|index\.html|\d{4}-\d{2}-\d{2})\.[a-z0-9_]{8}")
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


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the reports' folder for as long as pages take their place and lists are made of them: one writer at a time.

    Makes the folder where there is none, and takes away what writers that were killed have left a day ago or earlier.

    Raises:
        BadConfiguration: it can't be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / LOCK
        if not lock.exists():
            lock.touch()
            # Writers may be several accounts: Airflow's, and whoever runs the command.
            lock.chmod(0o666)
        with ExitStack() as stack:
            stack.enter_context(exclusive(lock))
            _sweep(folder)
            _sweep(folder / DATA_DOCS)
            # Outside this `try`: what goes wrong meanwhile is no fault of the lock.
            held = stack.pop_all()
    except OSError as error:
        raise unwritable("reports", folder, error) from error
    with held:
        yield


def _sweep(folder: Path) -> None:
    """Only what is called as we call what is not finished: the folder may be anybody's."""
    before = time.time() - LEFT_S
    for path in folder.glob(".*"):
        if _UNFINISHED.fullmatch(path.name) and path.lstat().st_mtime < before:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def write(path: Path, text: str, instead: str | None = None) -> None:
    """Replace a file at once: who reads it meanwhile gets the old one or the new one, whole.

    Args:
        instead: what to do where it can't be; left out: to have another folder of reports.

    Raises:
        BadConfiguration: it can't be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: two runs may write the same page at once.
        with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            new = Path(file.name)
            try:
                file.write(text)
                file.flush()
                # Temporary files are their owner's alone, and the API server may be somebody else.
                new.chmod(0o644)
                new.replace(path)
            except BaseException:
                # Half a page is of no use, and on a full disk it takes the room of others.
                new.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise unwritable("the report", path, error, instead) from error


def replace_folder(target: Path, made: Path | None) -> None:
    """Let a folder take the place of another one, or of none; without it the other one is taken away.

    Who reads meanwhile finds the old one, the new one, or for a moment none, but never a part. `made` is beside the
    target; whoever calls is `alone` there.

    Raises:
        OSError: it can't be written there.
    """
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", ignore_cleanup_errors=True) as aside:
        if target.exists():
            target.replace(Path(aside, target.name))
        if made is not None:
            made.replace(target)


def unwritable(what: str, path: Path, error: OSError, instead: str | None = None) -> BadConfiguration:
    """The error of what can't be written, with what to do about it."""
    hint = instead or f"Let {VARIABLE} name a folder that can be written to, or leave it unset."
    if not instead and error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = f"Make room there, or let {VARIABLE} name a folder on another disk."
    return BadConfiguration(f"{what} {path} can't be written: {error.strerror}.", hint=hint)
