"""Archive files that the exchange has issued again since they were read.

Published files are uploaded again, repaired or recomputed, under the same key. The listing names ETag and Last-Modified
of a thousand objects to a page: whatever differs from what was read is read again, as it stands, whatever the ledger
has of its time. Source: the listing of `https://data.binance.vision`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime

from perpflow.batches import MOST_BATCHES, Batch, LoadRequest, Plan
from perpflow.datasets import DATASETS, by_archive_kind
from perpflow.errors import CircuitOpen, ExchangeUnavailable, RequestRejected
from perpflow.exchange.archive import Archive, ArchiveObject, Listed, object_of
from perpflow.fetching import bounded
from perpflow.issue import Issue
from perpflow.settings import Collection
from perpflow.settling import settled
from perpflow.store import archive_objects, ledger
from perpflow.store.archive_objects import Folder
from perpflow.store.database import Connection
from perpflow.store.ledger import Coverage
from perpflow.windows import Window, intersect, month_of

log = logging.getLogger(__name__)

CHECKSUM = ".CHECKSUM"
#: A folder that can't be listed has its turn in the next run; of more the listing itself is the reason.
MOST_FAILED = 20


async def plan_reissued(
    archive: Archive,
    connection: Connection,
    request: LoadRequest,
    names: Mapping[str, str],
    collection: Collection,
    now: datetime,
) -> Plan:
    """Batches that read changed files again: for each archive folder's datasets one a symbol, granularity and month.

    A file is read again for all datasets that it feeds, also where one of them alone is asked for: what is recorded of
    it is that it was read, not for whom.

    Args:
        names: unified symbols by the exchange's names.
        collection: files of intervals that it does not collect are left as they were read.
        now: the exchange's clock.

    Raises:
        as `Search.through`. A folder that fails alone is named among what the plan rejects.
    """
    plan, batches = Plan(), []
    folders = archive_objects.folders(connection)
    search = Search(archive, connection, collection.exchange.accepts_wrong_checksums)
    for group in by_archive_kind(tuple(DATASETS)):
        if not set(group).intersection(request.datasets):
            continue
        intervals = {interval for name in group for interval in collection.series(name)}
        mine = [folder for folder in folders if _is_wanted(folder, group, request, names, intervals)]
        changed = _accounted_for(connection, group, await search.through(mine), names, now)
        log.info("%s: %d files of %d folders were issued again", ", ".join(group), len(changed), len(mine))
        batches += list(_batches(request, group, changed, names))
    plan.rejected += search.failed
    plan.batches = batches[:MOST_BATCHES]
    if len(batches) > MOST_BATCHES:
        plan.notes.append(f"{len(batches) - MOST_BATCHES} more batches than a run can hold; the next one goes on")
    return plan


def _is_wanted(
    folder: Folder, group: tuple[str, ...], request: LoadRequest, names: Mapping[str, str], intervals: set[str]
) -> bool:
    found = object_of(folder.first)
    if found is None or found.kind != DATASETS[group[0]].archive.kind:
        return False
    symbol = names.get(found.exchange_symbol)
    asked = request.symbols in (None, ("all",)) or symbol in (request.symbols or ())
    return symbol is not None and asked and (found.interval is None or found.interval in intervals)


class Search:
    """Looks through folders of the archive for files that are another issue than was read.

    `failed` names the folders that could not be listed, and why: the others are looked through all the same.
    """

    def __init__(self, archive: Archive, connection: Connection, accepts_wrong_checksums: bool) -> None:
        self._archive = archive
        self._connection = connection
        self._accepts = accepts_wrong_checksums
        self.failed: list[str] = []

    async def through(self, folders: Iterable[Folder]) -> list[ArchiveObject]:
        """The files of these folders that were issued again.

        Raises:
            CircuitOpen, RateLimited, IpBanned, AccessDenied: the listing answers nobody now.
            ExchangeUnavailable, RequestRejected: so many folders failed that it must be the listing.
        """
        found: list[str] = []
        await bounded(self._look_through(folder, found) for folder in folders)
        return [wanted for key in found if (wanted := object_of(key))]

    async def _look_through(self, folder: Folder, found: list[str]) -> None:
        try:
            # A listing begins after its marker: without its last letter the first key's is the one before it.
            listed = await self._archive.listed(folder.name, after=folder.first[:-1], until=folder.last + CHECKSUM)
        except CircuitOpen:
            raise
        except (ExchangeUnavailable, RequestRejected) as error:
            self.failed.append(f"{folder.name}: {error}")
            if len(self.failed) > MOST_FAILED:
                raise
            return
        found += archive_objects.changed(self._connection, issues_of(listed), accepts_wrong_checksums=self._accepts)


def issues_of(listed: Iterable[Listed]) -> dict[str, Issue]:
    """What a listing says of each file and of the checksum beside it."""
    entries = {entry.key: entry for entry in listed}
    checksums = {key.removesuffix(CHECKSUM): entry.etag for key, entry in entries.items() if key.endswith(CHECKSUM)}
    return {
        key: Issue("", entry.etag, entry.last_modified, checksums.get(key))
        for key, entry in entries.items()
        if not key.endswith(CHECKSUM)
    }


def _accounted_for(
    connection: Connection,
    group: tuple[str, ...],
    changed: list[ArchiveObject],
    names: Mapping[str, str],
    now: datetime,
) -> list[ArchiveObject]:
    """The files of whose time the ledger has anything.

    Of others nothing would be read: they were left out, and whether their time is a hole is repair's to say.
    """
    symbols = tuple({names[wanted.exchange_symbol] for wanted in changed})
    rows: dict[str, list[Coverage]] = {symbol: [] for symbol in symbols}
    for row in ledger.read(connection, group, symbols):
        rows[row.symbol].append(row)
    return [wanted for wanted in changed if accounted_in(wanted, rows[names[wanted.exchange_symbol]], now)]


def accounted_in(
    wanted: ArchiveObject, rows: Iterable[Coverage], now: datetime
) -> dict[tuple[str, str, str], list[Window]]:
    """What the ledger covers or explains of a file's points, by dataset, symbol and series; `rows` are of its symbol.

    A week belongs to the month in which it begins, wherever it ends.
    """
    found = {}
    for row in rows:
        spec = DATASETS[row.dataset]
        if spec.archive.kind == wanted.kind and wanted.interval in (None, row.series):
            span = settled(spec, row.series, wanted.period.start, wanted.period.end, now)
            found[row.dataset, row.symbol, row.series] = intersect(row.accounted, [span] if span else [])
    return {key: windows for key, windows in found.items() if windows}


def _batches(
    request: LoadRequest, group: tuple[str, ...], changed: list[ArchiveObject], names: Mapping[str, str]
) -> Iterable[Batch]:
    """A month's file and its days' stand in batches of their own: they may say different things of one row."""
    parts: dict[tuple[str, str, Window], list[ArchiveObject]] = {}
    for wanted in changed:
        key = (names[wanted.exchange_symbol], wanted.granularity, month_of(wanted.period.start))
        parts.setdefault(key, []).append(wanted)
    for (symbol, granularity, month), objects in sorted(parts.items()):
        window = Window(min(o.period.start for o in objects), max(o.period.end for o in objects))
        what = f"{objects[0].kind}|{symbol}|re-issued {granularity} {month.start:%Y-%m}"
        yield Batch(
            id=f"{request.run}|{request.made_at:%Y%m%dT%H%M%S.%f}|{what}",
            run=request.run,
            datasets=group,
            symbols=(symbol,),
            window=window,
            again=True,
            objects=tuple(wanted.key for wanted in objects),
        )
