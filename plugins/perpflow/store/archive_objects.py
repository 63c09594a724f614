"""The archive files that were read: what they were then, which of them to leave alone, which have changed since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from perpflow.issue import Issue
from perpflow.store.database import Connection, query

OK = "ok"
WRONG_CHECKSUM = "wrong checksum"
#: Read although its checksum is wrong, because collection.yaml says so.
ACCEPTED = "accepted"

#: A file that is being re-issued is whole again in a minute; one that was left out so often, by runs half a day apart,
#: is what the archive has to say.
MOST_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of which files were read, from the first key to the last."""

    name: str
    first: str
    last: str


def record(connection: Connection, objects: list[dict[str, Any]], *, reread: bool) -> None:
    """Record files as they were when read; part of the publish transaction.

    Args:
        objects: as `Evidence.objects` has them; of files that were read again, `mixed` says of which not all was.
        reread: whether they were read again, for all that the facts have of them.
    """
    if objects:
        connection.execute(query("publish_objects"), {"objects": Jsonb(objects), "reread": reread})


def left_alone(connection: Connection) -> dict[str, str]:
    """The verdicts, by key, on files that were left out often enough: they are not asked for until they change."""
    rows = connection.execute(query("objects_left_alone"), {"most": MOST_ATTEMPTS})
    return {row["key"]: row["verdict"] for row in rows}


def folders(connection: Connection) -> list[Folder]:
    """The folders of all files that were read, ascending."""
    return [Folder(**row) for row in connection.execute(query("objects_folders"))]


def changed(connection: Connection, listed: Mapping[str, Issue], *, accepts_wrong_checksums: bool) -> list[str]:
    """Which of the listed files are another issue than was read, or one that is still to be tried again; ascending.

    Args:
        listed: by key what the listing says; it knows no SHA-256.
        accepts_wrong_checksums: whether issues whose checksum stays wrong are to be read all the same.
    """
    issues = [
        {
            "key": key,
            "etag": issue.etag,
            "last_modified": issue.last_modified.isoformat() if issue.last_modified else None,
            "checksum_etag": issue.checksum_etag,
        }
        for key, issue in listed.items()
    ]
    parameters = {"listed": Jsonb(issues), "most": MOST_ATTEMPTS, "accepts": accepts_wrong_checksums}
    found = connection.execute(query("objects_changed"), parameters)
    return [row["key"] for row in found]


def corrections(
    connection: Connection, datasets: Iterable[str], symbols: Iterable[str] | None, start: Any, most: int
) -> list[dict[str, Any]]:
    """Rows that their source has changed, the latest correction first, at most so many.

    Args:
        start: of the rows' own time, an aware datetime, or None for all.
    """
    parameters = {
        "datasets": list(datasets),
        "symbols": None if symbols is None else list(symbols),
        "start": start,
        "most": most,
    }
    return connection.execute(query("corrections_read"), parameters).fetchall()
