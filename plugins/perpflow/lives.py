"""Where series begin: the first instant that any source has of each, found once, with its evidence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from perpflow.aligning import Aligner
from perpflow.errors import (
    AccessDenied,
    AmbiguousLabels,
    ObjectDamaged,
    RequestRejected,
    StructurallyBad,
    Transient,
    UnknownSymbol,
)
from perpflow.exchange.archive import Archive, ArchiveObject, FetchedObject
from perpflow.exchange.listing import DELISTED, ListedSymbol
from perpflow.exchange.rest import Rest
from perpflow.parsing import labels
from perpflow.settings import Collection
from perpflow.specs import LoadedSpec, RestSource
from perpflow.store import ledger
from perpflow.store.database import Connection
from perpflow.symbols import instant_of

log = logging.getLogger(__name__)

#: The first instant of a series, UTC, and what says so.
Life = tuple[datetime, str]


class Lives:
    """Looks for the first instants of series that the ledger does not know yet.

    Args:
        rest, archive: open sessions with the exchange.
        connection: the market database.
        collection: the configured timeframes.
    """

    def __init__(self, rest: Rest, archive: Archive, connection: Connection, collection: Collection) -> None:
        self._rest = rest
        self._archive = archive
        self._aligner = Aligner(archive)
        self._connection = connection
        self._collection = collection
        self._first_objects: dict[tuple[str, str, str | None], asyncio.Task[Life | None]] = {}

    async def find(self, spec: LoadedSpec, contracts: Mapping[str, ListedSymbol], *, again: bool = False) -> list[str]:
        """Find each series' first instant where the ledger does not know it yet; returns what the exchange refused.

        Args:
            contracts: those whose series are meant, by unified symbol.
            again: look for those that it knows once more: a life may turn out to begin earlier, never later.

        Raises:
            Transient, Permanent: a source does not answer, or not as documented.
        """
        series = self._collection.series(spec.name)
        ledger.ensure(self._connection, spec, tuple(contracts), series)
        rows = ledger.bounds(self._connection, (spec.name,), tuple(contracts))
        unknown = [(r.symbol, r.series) for r in rows if (again or r.available_from is None) and r.series in series]
        refused: list[str] = []

        async def first(symbol: str, one: str) -> Life | None:
            try:
                return await self._first_instant(spec, contracts[symbol], one)
            except (RequestRejected, StructurallyBad) as error:
                # One contract that the exchange does not answer for keeps no other one waiting; the next plan asks.
                refused.append(f"{spec.name} {symbol} {one}: {error}")
                return None

        found = await asyncio.gather(*(first(*key) for key in unknown))
        for key, life in zip(unknown, found, strict=True):
            if life is not None:
                ledger.set_life(self._connection, spec, key, *life)
        return refused

    async def _first_instant(self, spec: LoadedSpec, contract: ListedSymbol, series: str) -> Life | None:
        """The earliest instant that any source has: REST where it answers for all of history, else the archive.

        Of a contract so young that REST has forgotten nothing yet, the earlier of both: the first day's file may be
        still to come. A first row that comes after whole files of the archive is a wrong answer, and is not believed.
        """
        source, grid = spec.rest_for(series), spec.instants_of(series)
        life = None  # a delisted contract is the archive's alone
        if source.reach is not None or contract.status == DELISTED:
            life = await self._first_archived(spec, contract.exchange_symbol, series)
        if contract.status != DELISTED and await self._may_begin_before(source, life):
            told = await self._first_of_rest(source, contract, series)
            if told is not None and await self._is_archived_before(spec, contract.exchange_symbol, series, told[0]):
                told = life or await self._first_archived(spec, contract.exchange_symbol, series) or told
            life = min(filter(None, (told, life)), default=None)
        # Reported a little off its grid, and stored on it: so must be the edge that windows begin at.
        return (grid.snap(life[0], spec.tolerance), life[1]) if life and grid else life

    async def _may_begin_before(self, source: RestSource, life: Life | None) -> bool:
        """Whether REST may have an earlier first row than the archive."""
        return life is None or (source.reach is not None and life[0] > await self._rest.now() - source.reach)

    async def _is_archived_before(self, spec: LoadedSpec, exchange_symbol: str, series: str, instant: datetime) -> bool:
        """Whether files tell of an earlier time. Where the listing does not answer, REST's word counts."""
        interval = series if spec.archive.by_interval else None
        try:
            found = await self._archive.first_objects(spec.archive, exchange_symbol, interval)
        except (Transient, AccessDenied, RequestRejected) as error:
            log.warning(
                "%s %s %s: the archive can't confirm the first row: %s", spec.name, exchange_symbol, series, error
            )
            return False
        return any(first.period.end <= instant for first in found)

    async def _first_of_rest(self, source: RestSource, contract: ListedSymbol, series: str) -> Life | None:
        # Delisted since it was listed a moment ago.
        with suppress(UnknownSymbol):
            if first := await self._rest.first_instant(source, contract.exchange_symbol, series):
                return first, f"first row of {source.path}"
        return None

    async def _first_archived(self, spec: LoadedSpec, exchange_symbol: str, series: str) -> Life | None:
        """The first label of the archive's first object; asked once for all the series that the object feeds."""
        interval = series if spec.archive.by_interval else None
        key = (spec.archive.kind, exchange_symbol, interval)
        if key not in self._first_objects:
            self._first_objects[key] = asyncio.ensure_future(self._read_first_object(spec, exchange_symbol, interval))
        return await self._first_objects[key]

    async def _read_first_object(self, spec: LoadedSpec, exchange_symbol: str, interval: str | None) -> Life | None:
        """The first label of the earliest object; the period of one that is damaged, if there is no finer one of it."""
        candidates = await self._archive.first_objects(spec.archive, exchange_symbol, interval)
        for candidate in candidates:
            try:
                fetched = await self._archive.fetch(candidate)
            except (ObjectDamaged, StructurallyBad):
                if not any(_is_part(other, candidate) for other in candidates):
                    return _unusable(candidate)
                continue
            with suppress(ValueError):
                if fetched is not None and fetched.rows:
                    return await self._begins(fetched, spec)
        return None

    async def _begins(self, fetched: FetchedObject, spec: LoadedSpec) -> Life:
        try:
            aligned = await self._aligner.align(fetched, spec)
        except (AmbiguousLabels, StructurallyBad):
            return _unusable(fetched.object)
        return instant_of(labels(aligned.fetched.csv)[0]), f"first label of {fetched.object.key}"


def _is_part(other: ArchiveObject, whole: ArchiveObject) -> bool:
    return other.period != whole.period and other.period.intersect(whole.period) == other.period


def _unusable(first: ArchiveObject) -> Life:
    # There is something of its time, and a later issue of the file may be fit for use: a gap until then.
    period = "day" if first.granularity == "daily" else "month"
    return first.period.start, f"{period} of {first.key}, which can't be used as it is"
