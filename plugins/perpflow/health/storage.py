"""Checks of what is kept where: room on the disk, the database's size, and batches that were begun and left."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from perpflow.embedded.state import default_state_dir
from perpflow.errors import PerpflowError
from perpflow.health.finding import Finding, Level, above, below, span
from perpflow.health.surroundings import Surroundings
from perpflow.monitoring import HealthSettings
from perpflow.store.database import one, query, session

GB = 1e9
ROOM = "Make room, or move the files to a larger disk: a full one stops the database."
GROWTH = "Collect fewer symbols or timeframes, or raise health.database_gb in collection.yaml."


@dataclass(frozen=True, slots=True)
class Room:
    """Free bytes of a file system; `is_databases`: it has the market database's files; `size`: of that, if known."""

    free: int
    folder: Path
    is_databases: bool
    size: int | None


async def disk(around: Surroundings) -> list[Finding]:
    """How much room is left where the database's files are, or where ours are, and how large the database is."""
    server = None
    # A full disk is what a database dies of: then the room of all that can be seen from here is what matters.
    with suppress(PerpflowError), session(around.deployment.database_url) as connection:
        server = one(connection, query("health_disk"), {})
    size = server["bytes"] if server else None
    if server and server["is_local"] and server["folder"] and (free := _free(Path(server["folder"]))) is not None:
        return [disk_finding(Room(free, Path(server["folder"]), True, size), around.limits)]
    home = default_state_dir().absolute()
    # It may not have been made yet; the root is always there.
    rooms = (Room(free, folder, False, size) for folder in (home, *home.parents) if (free := _free(folder)) is not None)
    return [disk_finding(next(rooms), around.limits)]


def _free(folder: Path) -> int | None:
    """Free bytes; None where this machine, or this user, has no such folder."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def disk_finding(room: Room, limits: HealthSettings) -> Finding:
    """The worse of what is free and what the database takes."""
    free = below(room.free / GB, limits.disk_free_gb)
    size = above(room.size / GB, limits.database_gb) if room.size is not None else Level.GREEN
    whose = "where the market database's files are" if room.is_databases else "where Perpflow's own files are"
    cause = f"{_gb(room.free)} free {whose} ({room.folder})"
    cause += (
        f"; the database takes {_gb(room.size)}" if room.size is not None else "; the database does not say its size"
    )
    advice = [text for level, text in ((free, ROOM), (size, GROWTH)) if level]
    return Finding(max(free, size), cause, " ".join(advice))


def _gb(size: int) -> str:
    return f"{size / GB:,.1f} GB"


async def staging(around: Surroundings) -> list[Finding]:
    """Which batches were begun long ago and never published."""
    since = timedelta(hours=around.limits.staging_hours.yellow)
    with session(around.deployment.database_url) as connection:
        left = one(connection, query("health_staging"), {"since": since})
    return [staging_finding(left["batches"], left["oldest"], around.limits)]


def staging_finding(batches: int, oldest: timedelta, limits: HealthSettings) -> Finding:
    """Batches that nobody has taken further for long, the oldest for so long."""
    if not batches:
        return Finding(Level.GREEN, "no batch was begun and left")
    cause = f"{batches:,} batches were begun and not published, the oldest {span(oldest)} ago"
    advice = "See the reports of the runs that began them. The next plan asks for their windows again, as for any hole."
    return Finding(above(oldest / timedelta(hours=1), limits.staging_hours), cause, advice)
