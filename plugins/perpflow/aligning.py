"""Labels put right: what alignment.py decides, with the candles fetched that it needs as a witness.

The candles are the archive's own, of the month where there is a file of it, else of the day; read once for all the
files of an attempt that need them. They are no evidence and are recorded nowhere: nothing of them is stored.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from perpflow.alignment import Alignment, Opens, hear, opens_of, with_labels_at_start
from perpflow.datasets import DATASETS
from perpflow.errors import AmbiguousLabels, ObjectDamaged, StructurallyBad
from perpflow.exchange.archive import Archive, ArchiveObject, FetchedObject
from perpflow.specs import Granularity, LoadedSpec
from perpflow.windows import Timeframe, month_of

log = logging.getLogger(__name__)

CANDLES = DATASETS["ohlcv"]


@dataclass(frozen=True, slots=True)
class Aligned:
    """A file whose labels are its rows' instants, and how it was labelled; None where there was nothing to decide."""

    fetched: FetchedObject
    alignment: Alignment | None

    @property
    def shifted(self) -> int:
        """How many rows' labels were moved."""
        return self.fetched.rows if self.alignment == "end" else 0


class Aligner:
    """Decides how archive objects are labelled, and undoes a shift.

    Args:
        archive: an open session.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._candles: dict[ArchiveObject, asyncio.Task[Opens | None]] = {}

    async def align(self, fetched: FetchedObject, spec: LoadedSpec) -> Aligned:
        """The file with the instants of its rows as labels.

        Raises:
            AmbiguousLabels: nobody can tell how it is labelled.
            StructurallyBad: its labels are no instants, or its rows do not have the dataset's columns.
            AccessDenied, ExchangeUnavailable, RateLimited: the archive does not give the candles.
        """
        if spec.archive.implied_price is None or spec.grid is None or not fetched.rows:
            return Aligned(fetched, None)
        heard = hear(fetched, spec, await self._opens(fetched.object, spec.grid))
        if heard.alignment is None:
            raise AmbiguousLabels(
                f"it can't be told whether rows are labelled with the start or the end of their {spec.grid.name}: "
                f"{heard.because}.",
                symbol=fetched.object.exchange_symbol,
                window=fetched.object.period,
                hint="Other sources cover the window where they can; the file is asked for again by the next load.",
            )
        if heard.alignment == "start":
            return Aligned(fetched, "start")
        log.info("%s: labelled with the end; %s", fetched.object.key, heard.because)
        return Aligned(with_labels_at_start(fetched, spec), "end")

    async def _opens(self, wanted: ArchiveObject, timeframe: Timeframe) -> Opens | None:
        """The candles around the object's period, from the first of the archive's files that has any of it."""
        for granularity in CANDLES.archive.granularities:
            opens = await self._read_once(_candles_for(wanted, granularity, timeframe), timeframe)
            if opens is not None and opens.reach(wanted.period):
                return opens
        return None

    async def _read_once(self, wanted: ArchiveObject, timeframe: Timeframe) -> Opens | None:
        if wanted not in self._candles:
            self._candles[wanted] = asyncio.ensure_future(self._read(wanted, timeframe))
        return await self._candles[wanted]

    async def _read(self, wanted: ArchiveObject, timeframe: Timeframe) -> Opens | None:
        try:
            fetched = await self._archive.fetch(wanted)
            return None if fetched is None else opens_of(fetched, CANDLES, timeframe)
        except (ObjectDamaged, StructurallyBad) as error:
            # Whoever loads candles reports it; here a witness is silent.
            log.warning("no candles to compare with: %s", error)
            return None


def _candles_for(wanted: ArchiveObject, granularity: Granularity, timeframe: Timeframe) -> ArchiveObject:
    period = month_of(wanted.period.start) if granularity == "monthly" else wanted.period
    return ArchiveObject(CANDLES.archive.kind, granularity, wanted.exchange_symbol, timeframe.name, period)
