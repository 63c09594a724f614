"""What there is to load: symbols, the life of each series, gaps, batches.

Expected is what lies between the start asked for, or the first instant that any source has, and the last instant that
has settled on the exchange's clock; planned is what of it the ledger does not cover.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from psycopg.types.json import Jsonb

from perpflow.batches import Batch, LoadRequest, Plan, cut
from perpflow.datasets import DATASETS, DatasetSpec, by_archive_kind
from perpflow.errors import BadConfiguration, ObjectDamaged, StructurallyBad, UnknownSymbol
from perpflow.exchange.archive import Archive
from perpflow.exchange.listing import ListedSymbol
from perpflow.exchange.rest import Rest
from perpflow.settings import Collection
from perpflow.store import ledger
from perpflow.store.database import Connection, query
from perpflow.store.ledger import SeriesKey
from perpflow.windows import Window, from_ms, merge

#: Symbols in these states have data to come; the others keep what they have.
COLLECTED_STATUS = frozenset({"TRADING", "PRE_DELIVERING", "SETTLING", "PRE_SETTLE"})

Life = tuple[datetime, str]


class Planner:
    """Plans one request.

    Args:
        rest, archive: open sessions with the exchange.
        connection: the market database.
        collection: the configured symbols, timeframes and starts.
    """

    def __init__(self, rest: Rest, archive: Archive, connection: Connection, collection: Collection) -> None:
        self._rest = rest
        self._archive = archive
        self._connection = connection
        self._collection = collection
        self._first_objects: dict[tuple[str, str, str | None], asyncio.Task[Life | None]] = {}
        self._listed: set[str] = set()
        self._plan = Plan()

    async def history(self, request: LoadRequest) -> Plan:
        """Batches for every gap between the request's start and end; unknown symbols are rejected, the others go on.

        Raises:
            BadConfiguration: the range lies in the future.
        """
        now = await self._rest.now()
        if request.start is not None and request.start >= min(request.end or now, now):
            raise BadConfiguration(
                f"the range begins at {request.start.isoformat()}, which has not passed on the exchange's clock.",
                hint=f"There it is {now:%Y-%m-%dT%H:%MZ}: give an earlier start.",
            )
        names = await self._symbols(request.symbols)
        for group in by_archive_kind(request.datasets):
            gaps = [await self._history_gaps(request, DATASETS[name], names, now) for name in group]
            self._plan.batches += cut(request, group, _hulls(gaps, min(request.end or now, now)))
        return self._plan

    async def increment(self, dataset: str, run: str, symbols_per_task: int) -> Plan:
        """Batches from each series' watermark to now: whatever was down meanwhile is healed by the next run.

        What the ledger lacks of the last days is asked for too, the watermark notwithstanding: a batch may have failed
        while a later one was published, and some points come late. A series that the ledger has never met starts there
        as well; its history is `load_history`'s work.
        """
        spec, now = DATASETS[dataset], await self._rest.now()
        names = self._still_listed(await self._symbols(None))
        await self._find_lives(spec, names)
        rows = ledger.read(self._connection, (dataset,), tuple(names))
        look_back = now - timedelta(days=self._collection.look_back_days)
        spans = {
            (row.symbol, row.series): span
            for row in rows
            if row.series in self._collection.series(dataset)
            if (span := settled(spec, row.series, min(row.watermark or look_back, look_back), now, now))
        }
        gaps = ledger.gaps(self._connection, spec, spans, now=now)
        request = LoadRequest((dataset,), tuple(names), None, None, run, symbols_per_task=symbols_per_task, live=True)
        self._plan.batches += cut(request, (dataset,), _hulls([gaps], now))
        return self._plan

    async def _symbols(self, asked: tuple[str, ...] | None) -> dict[str, str]:
        """The exchange's names by unified symbol: those asked for, or the configured ones."""
        listed = await self._rest.listed()
        self._listed = {symbol.symbol for symbol in listed}
        self._connection.execute(query("symbols_upsert"), {"listed": Jsonb([_row(symbol) for symbol in listed])})
        known = {row["symbol"]: row["exchange_symbol"] for row in self._connection.execute(query("symbols_read"))}
        wanted = asked or self._collection.symbols
        if wanted == "all" or wanted == ("all",):
            return {s.symbol: s.exchange_symbol for s in listed if self._is_collected(s)}
        self._plan.rejected += [
            f"{symbol}: the exchange lists no such perpetual" for symbol in wanted if symbol not in known
        ]
        return {symbol: known[symbol] for symbol in wanted if symbol in known}

    def _still_listed(self, names: dict[str, str]) -> dict[str, str]:
        """Without the symbols that the exchange has delisted: nothing new will come of them."""
        gone = [symbol for symbol in names if symbol not in self._listed]
        self._plan.notes += [f"{symbol}: no longer listed, so nothing new is to come" for symbol in gone]
        return {symbol: name for symbol, name in names.items() if symbol in self._listed}

    def _is_collected(self, symbol: ListedSymbol) -> bool:
        return symbol.quote == self._collection.quote and symbol.status in COLLECTED_STATUS

    async def _history_gaps(
        self, request: LoadRequest, spec: DatasetSpec, names: dict[str, str], now: datetime
    ) -> dict[SeriesKey, list[Window]]:
        await self._find_lives(spec, names)
        start = request.start or self._collection.start_of(spec.name)
        spans: dict[SeriesKey, Window] = {}
        for row in ledger.read(self._connection, (spec.name,), tuple(names)):
            if row.series not in self._collection.series(spec.name):
                continue
            self._note_trim(row, start)
            span = settled(spec, row.series, start, request.end or now, now)
            if span:
                spans[row.symbol, row.series] = span
        return ledger.gaps(self._connection, spec, spans, now=now, again=request.again)

    def _note_trim(self, row: ledger.Coverage, start: datetime) -> None:
        subject = f"{row.dataset} {row.symbol} {row.series}"
        if row.available_from is None:
            self._plan.notes.append(f"{subject}: no source has any data yet")
        elif row.available_from > start:
            begins = f"{row.available_from:%Y-%m-%d %H:%M}"
            self._plan.notes.append(f"{subject}: begins {begins} UTC ({row.evidence}); the range before is trimmed")

    # --- the life of a series

    async def _find_lives(self, spec: DatasetSpec, names: dict[str, str]) -> None:
        """Find each series' first instant where the ledger does not know it yet; once, with its evidence."""
        series = self._collection.series(spec.name)
        ledger.ensure(self._connection, spec, tuple(names), series)
        rows = ledger.read(self._connection, (spec.name,), tuple(names))
        unknown = [(r.symbol, r.series) for r in rows if r.available_from is None and r.series in series]
        lives = await asyncio.gather(*(self._first_instant(spec, names[symbol], name) for symbol, name in unknown))
        for key, life in zip(unknown, lives, strict=True):
            if life is not None:
                ledger.set_life(self._connection, spec, key, *life)

    async def _first_instant(self, spec: DatasetSpec, exchange_symbol: str, series: str) -> Life | None:
        """The earliest instant that any source has: REST where it answers for all of history, else the archive."""
        source, grid = spec.rest_for(series), spec.instants_of(series)
        life = None
        if source.reach is not None:
            life = await self._first_archived(spec, exchange_symbol, series)
        try:
            if life is None and (first := await self._rest.first_instant(source, exchange_symbol, series)):
                life = first, f"first row of {source.path}"
        except UnknownSymbol:
            # A delisted contract is the archive's alone.
            life = await self._first_archived(spec, exchange_symbol, series)
        # Reported a little off its grid, and stored on it: so must be the edge that windows begin at.
        return (grid.snap(life[0], spec.tolerance), life[1]) if life and grid else life

    async def _first_archived(self, spec: DatasetSpec, exchange_symbol: str, series: str) -> Life | None:
        """The first label of the archive's first object; asked once for all the series that the object feeds."""
        interval = series if spec.archive.by_interval else None
        key = (spec.archive.kind, exchange_symbol, interval)
        if key not in self._first_objects:
            self._first_objects[key] = asyncio.ensure_future(self._read_first_object(spec, exchange_symbol, interval))
        return await self._first_objects[key]

    async def _read_first_object(self, spec: DatasetSpec, exchange_symbol: str, interval: str | None) -> Life | None:
        """The first label of the earliest object that can be read; one that is damaged or empty proves nothing."""
        for candidate in await self._archive.first_objects(spec.archive, exchange_symbol, interval):
            with suppress(ObjectDamaged, StructurallyBad, ValueError):
                fetched = await self._archive.fetch(candidate)
                if fetched is not None and fetched.rows:
                    return _instant(fetched.first_label), f"first label of {candidate.key}"
        return None


def settled(spec: DatasetSpec, series: str, start: datetime, end: datetime, now: datetime) -> Window | None:
    """The whole periods that begin in `[start, end)` and have settled by `now`, the exchange's clock.

    A week that begins before `end` belongs to the range even where it ends after it: batches are cut at months.
    """
    timeframe, latest = spec.timeframe_of(series), now - spec.settles_after
    if timeframe is not None:
        start, end, latest = timeframe.ceil(start), timeframe.ceil(end), timeframe.floor(latest)
    elif spec.settles_on is not None:
        # What settles is over in an instant: the last one that may have is itself within reach.
        hour = spec.settles_on
        start, end, latest = hour.ceil(start), hour.ceil(end), hour.after(hour.floor(latest))
    end = min(end, latest)
    return Window(start, end) if start < end else None


def _hulls(gaps: Iterable[dict[SeriesKey, list[Window]]], end: datetime) -> dict[str, Window]:
    """For each symbol the window from its first gap to its last, over all the series, but not beyond `end`."""
    by_symbol: dict[str, list[Window]] = {}
    for dataset in gaps:
        for (symbol, _), windows in dataset.items():
            by_symbol.setdefault(symbol, []).extend(windows)
    merged = {symbol: merge(windows) for symbol, windows in by_symbol.items()}
    return {
        symbol: Window(windows[0].start, min(windows[-1].end, end)) for symbol, windows in merged.items() if windows
    }


def wanted_of(
    connection: Connection, batch: Batch, collection: Collection, now: datetime
) -> dict[str, dict[SeriesKey, list[Window]]]:
    """The gaps inside a batch as the ledger shows them now, by dataset and (symbol, series)."""
    wanted = {}
    for spec in batch.specs:
        spans = {(symbol, series): batch.window for symbol in batch.symbols for series in collection.series(spec.name)}
        clipped = {
            key: span for key, window in spans.items() if (span := settled(spec, key[1], window.start, window.end, now))
        }
        gaps = ledger.gaps(connection, spec, clipped, now=now, again=batch.again)
        wanted[spec.name] = {key: windows for key, windows in gaps.items() if windows}
    return wanted


def _instant(label: str) -> datetime:
    """A CSV label's instant: milliseconds, or text without a zone that means UTC.

    Raises:
        ValueError: it is neither.
    """
    return from_ms(int(label)) if label.isdigit() else datetime.fromisoformat(label).replace(tzinfo=UTC)


def _row(symbol: ListedSymbol) -> dict[str, str | None]:
    instants = {name: value.isoformat() for name, value in asdict(symbol).items() if isinstance(value, datetime)}
    return asdict(symbol) | instants
