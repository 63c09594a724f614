"""An issue of an archive object: what tells these bytes from those that the same key has held before, or will hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Issue:
    """The zip's SHA-256 and what the archive's headers say of it, and of the checksum file beside it.

    ETags are as the archive writes them, without the quotes; `last_modified` is UTC.
    """

    sha256: str
    etag: str | None = None
    last_modified: datetime | None = None
    checksum_etag: str | None = None
