"""The reports' folder: what is written there is whole, and what is not leaves nothing behind."""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perpflow.errors import BadConfiguration
from perpflow.reports.folder import LEFT_S, alone, replace_folder, unwritable, write


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """The kernel refuses to write more into a file, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_page_that_finds_no_room_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "index.html", "old")
    with no_file_above(4096), pytest.raises(BadConfiguration, match="can't be written: File too large"):
        write(tmp_path / "index.html", "new" * 10_000)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    assert (tmp_path / "index.html").read_text() == "old"


def test_what_to_do_depends_on_what_is_wrong(tmp_path: Path) -> None:
    full, forbidden = (
        str(unwritable("the report", tmp_path, OSError(n, os.strerror(n)))) for n in (errno.ENOSPC, errno.EACCES)
    )
    assert "Make room there" in full
    assert "name a folder that can be written to" in forbidden


def test_what_killed_writers_left_goes_after_a_day_and_nothing_else(tmp_path: Path) -> None:
    old = [".quality_2026-11-26.html.ab12_xyz", ".index.html.ab12_xyz", "data_docs/.2026-11-26.ab12_xyz"]
    kept = [
        ".ssh",
        ".index.html.swp",
        ".bashrc",
        "quality_2026-11-26.html",
        "data_docs/2026-11-26",
        ".index.html.new_wxyz",
    ]
    (tmp_path / "data_docs").mkdir()
    for name in old + kept:
        path = tmp_path / name
        if path.suffix == ".html" or ".html." in name:
            path.write_text("half")
        else:
            path.mkdir()
            (path / "page").write_text("half")
        if not name.endswith("new_wxyz"):
            os.utime(path, (time.time() - LEFT_S - 60,) * 2)
    with alone(tmp_path):
        assert [name for name in old if (tmp_path / name).exists()] == []
        assert [name for name in kept if not (tmp_path / name).exists()] == []


def test_a_folder_takes_the_place_of_another_one(tmp_path: Path) -> None:
    target, made = tmp_path / "2026-11-26", tmp_path / "made"
    for _ in range(2):
        made.mkdir()
        (made / "page").write_text("new")
        replace_folder(target, made)
        assert [path.name for path in tmp_path.iterdir()] == ["2026-11-26"]
        assert (target / "page").read_text() == "new"
    replace_folder(target, None)
    assert list(tmp_path.iterdir()) == []
