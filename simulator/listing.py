"""The S3 listing (ListObjects version 1): at most 1000 keys a page, markers, common prefixes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Protocol
from xml.sax.saxutils import escape

from simulator.archive import StoredObject
from simulator.grid import to_datetime
from simulator.messages import Reply

PAGE_KEYS = 1000
BUCKET = "data.binance.vision"


class Store(Protocol):
    """What a listing and the downloads need of an archive."""

    def children(self, folder: str, now: int) -> list[tuple[str, int]]:
        """Names directly below a folder (sub-folders end in "/") with their last-modified time, in key order."""

    def get(self, key: str, now: int) -> StoredObject | None:
        """An object that exists at `now`."""

    def etag(self, key: str, now: int) -> str:
        """The version mark of an object."""


def list_objects(store: Store, query: dict[str, str], now: int) -> Reply:
    """The XML of `GET /?prefix=...&delimiter=/&marker=...&max-keys=...`; Size is nominal (contents are made on demand).

    `NextMarker` is there only with a delimiter; without one, go on from the last key, as on S3.
    """
    prefix, marker, delimiter = query.get("prefix", ""), query.get("marker", ""), query.get("delimiter", "")
    most = min(PAGE_KEYS, int(query.get("max-keys") or PAGE_KEYS))
    entries = _one_level(store, prefix, now) if delimiter else _all_levels(store, prefix, marker, now)
    after = ((key, modified) for key, modified in entries if key.encode() > marker.encode())
    page = list(islice(after, most + 1))
    truncated, page = len(page) > most, page[:most]
    next_marker = f"<NextMarker>{escape(page[-1][0])}</NextMarker>" if truncated and delimiter else ""
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
        f"<Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix><Marker>{escape(marker)}</Marker>{next_marker}",
        f"<MaxKeys>{most}</MaxKeys>{f'<Delimiter>{escape(delimiter)}</Delimiter>' if delimiter else ''}",
        f"<IsTruncated>{str(truncated).lower()}</IsTruncated>",
        *(_contents(store, key, modified, now) for key, modified in page if not key.endswith("/")),
        *(f"<CommonPrefixes><Prefix>{escape(key)}</Prefix></CommonPrefixes>" for key, _ in page if key.endswith("/")),
        "</ListBucketResult>",
    ]
    return Reply(200, "".join(parts).encode(), "application/xml")


def _contents(store: Store, key: str, modified: int, now: int) -> str:
    moment = f"{to_datetime(modified):%Y-%m-%dT%H:%M:%S}.000Z"
    size = 105 if key.endswith(".CHECKSUM") else 9_000
    etag = f"&quot;{store.etag(key, now)}&quot;"
    return (
        f"<Contents><Key>{escape(key)}</Key><LastModified>{moment}</LastModified><ETag>{etag}</ETag>"
        f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def _split(prefix: str) -> tuple[str, str]:
    folder, _, start = prefix.rpartition("/")
    return (f"{folder}/" if folder else ""), start


def _one_level(store: Store, prefix: str, now: int) -> Iterator[tuple[str, int]]:
    folder, start = _split(prefix)
    for name, modified in store.children(folder, now):
        if name.startswith(start):
            yield folder + name, modified


def _all_levels(store: Store, prefix: str, marker: str, now: int) -> Iterator[tuple[str, int]]:
    """Every key below the prefix in key order; folders that lie wholly before the marker are not entered."""
    for key, modified in _one_level(store, prefix, now):
        if not key.endswith("/"):
            yield key, modified
        elif marker.startswith(key) or key.encode() > marker.encode():
            yield from _all_levels(store, key, marker, now)


def no_such_key(key: str) -> Reply:
    """The 404 of a missing object."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>'
        f"<Message>The specified key does not exist.</Message><Key>{escape(key)}</Key></Error>"
    )
    return Reply(404, body.encode(), "application/xml")
