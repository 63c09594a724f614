"""What there is to load: symbols, the life of each series, gaps, batches.

Expected is what lies between the start asked for, or the first instant that any source has, and the last instant that
has settled on the exchange's clock; planned is what of it the ledger does not cover.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from perpflow.batches import MOST_BATCHES, Alarm, Batch, LoadRequest, Plan, cut, cut_gaps, symbols_per_task
from perpflow.contracts import ANNOUNCED
from perpflow.costing import cost
from perpflow.datasets import DATASETS, by_archive_kind
from perpflow.estimating import estimated
from perpflow.exchange.archive import Archive
from perpflow.exchange.listing import DELISTED, ListedSymbol
from perpflow.exchange.rest import Rest
from perpflow.lives import Lives
from perpflow.never_loaded import named, never_loaded
from perpflow.reissues import plan_reissued
from perpflow.rotation import Due, allowance, longest_wait, turn
from perpflow.settings import Collection
from perpflow.settling import settled
from perpflow.specs import Budget, LoadedSpec
from perpflow.store import ledger, turns
from perpflow.store.database import Connection
from perpflow.store.ledger import SeriesKey
from perpflow.symbols import Symbols
from perpflow.windows import Window, intersect, merge, subtract

log = logging.getLogger(__name__)

#: What is younger the next increment fills.
INCREMENTS_WITHIN = timedelta(hours=1)


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
        self._lives = Lives(rest, archive, connection, collection)
        self._table = Symbols(rest, archive, connection)
        self._contracts: dict[str, ListedSymbol] = {}
        self._plan = Plan()

    async def history(self, request: LoadRequest) -> Plan:
        """Batches for every gap between the request's start and end; unknown symbols are rejected, the others go on.

        Raises:
            BadConfiguration: nothing can be in the range.
        """
        now = await self._rest.now()
        request.require_past(self._collection, now)
        names = await self._with_history(request)
        found: dict[str, dict[SeriesKey, list[Window]]] = {}
        for group in by_archive_kind(request.datasets):
            found |= {name: await self._history_gaps(request, DATASETS[name], names, now) for name in group}
            hulls = _hulls((found[name] for name in group), min(request.end or now, now))
            self._plan.batches += cut(request, group, hulls)
        self._plan.estimate = estimated(self._plan.batches, found, now)
        return self._plan

    async def increment(self, dataset: str, run: str, per_task: int | None) -> Plan:
        """Batches from each series' watermark to now: whatever was down meanwhile is healed by the next run.

        What the ledger lacks of the last days is asked for too, the watermark notwithstanding: a batch may have failed
        while a later one was published, and some points come late. A series that the ledger has never met starts there
        as well; its history is `load_history`'s work. Where the exchange's limits do not let it ask for all symbols,
        those have their turn that have waited longest.
        """
        spec, now = DATASETS[dataset], await self._rest.now()
        names = await self._still_listed()
        await self._find_lives(spec, names)
        rows = ledger.bounds(self._connection, (dataset,), tuple(names))
        look_back = now - timedelta(days=self._collection.look_back_days)
        spans = {
            (row.symbol, row.series): span
            for row in rows
            if row.series in self._collection.series(dataset)
            if (span := settled(spec, row.series, min(row.covered_to or look_back, look_back), now, now))
        }
        gaps = ledger.gaps(self._connection, spec, spans, now=now)
        waiting = {(row.symbol, row.series): row.covered_to or look_back for row in rows}
        hulls = self._in_turn(spec, _hulls([gaps], now), due_of(spec, gaps, waiting), len(names), now)
        per_task = per_task or symbols_per_task(len(hulls))
        request = LoadRequest((dataset,), tuple(names), None, None, run, symbols_per_task=per_task, live=True)
        self._plan.batches += cut(request, (dataset,), hulls)
        return self._plan

    def _in_turn(
        self, spec: LoadedSpec, hulls: dict[str, Window], due: dict[str, Due], symbols: int, now: datetime
    ) -> dict[str, Window]:
        """What the limits let an increment ask for until the next one; who waits is noted, and goes first then."""
        allowed = allowance(spec, self._collection, now)
        if not turn(due.values(), allowed).waiting:
            return hulls
        taken_at = turns.read(self._connection, spec.name, tuple(due))
        queue = [replace(one, since=max(one.since, taken_at.get(one.symbol, one.since))) for one in due.values()]
        mine = turn(queue, allowed)
        turns.take(self._connection, spec.name, mine.taken, now)
        minutes = longest_wait(spec, self._collection, symbols, now, queue) // timedelta(minutes=1)
        self._plan.notes.append(
            f"{spec.name}: {len(mine.taken)} of {len(due)} symbols this time, those that have waited longest; "
            f"the limits let each have its turn within {minutes} minutes"
        )
        return {symbol: hulls[symbol] for symbol in mine.taken}

    async def repair(self, request: LoadRequest, *, estimates: bool = False) -> Plan:
        """Batches for every hole in what the ledger knows, from where collection.yaml begins to what has settled.

        First what REST gives and forgets, the oldest first; the rest by months, the latest first; what is more than a
        run can hold is the next one's. Series that the ledger has never met are `load_history`'s work, and so is what
        lies before the first point of one, unless collection.yaml begins there.

        Args:
            estimates: whether to say what it takes; of thousands of holes that takes as long as to find them.

        Raises:
            BadConfiguration: nothing can be in the range.
        """
        now = await self._rest.now()
        request.require_past(self._collection, now)
        await self._table.refresh()
        self._contracts = self._table.known()
        request = await self._of_known(request)
        never = {one.symbol: None for one in never_loaded(self._connection, self._collection, request)}
        if never:
            self._plan.notes.append(f"never loaded, which is load_history's work: series of {named(list(never))}")
        found = self._holes(request, now)
        names = {symbol for holes in found.values() for symbol, _ in holes}
        await self._table.complete(self._contracts[symbol] for symbol in names if symbol in self._contracts)
        self._plan.alarms = [
            alarm
            for name in request.datasets
            for alarm in alarms_of(DATASETS[name], found[name], now, self._collection.health.forgotten_within)
        ]
        parts = {name: _by_reach(DATASETS[name], found[name], now) for name in request.datasets}
        left: Counter[tuple[str, ...]] = Counter()
        for is_urgent in (True, False):
            for group in by_archive_kind(request.datasets):
                gaps = _by_symbol(parts[name][is_urgent] for name in group)
                room = MOST_BATCHES - len(self._plan.batches)
                # What is the nearest to being forgotten is what can't wait.
                batches, more = cut_gaps(request, group, gaps, room, oldest_first=is_urgent)
                self._plan.batches += batches
                left[group] += more
        self._plan.notes += [
            f"{', '.join(group)}: {more} more batches than a run can hold; the next one goes on"
            for group, more in left.items()
            if more
        ]
        if estimates:
            self._plan.estimate = estimated(self._plan.batches, found, now)
        return self._plan

    async def reissued(self, request: LoadRequest) -> Plan:
        """Batches of the archive files that were issued again since they were read, or are still to be tried again."""
        request = await self._of_known(request)
        names = {contract.exchange_symbol: symbol for symbol, contract in self._table.known().items()}
        now = await self._rest.now()
        plan = await plan_reissued(self._archive, self._connection, request, names, self._collection, now)
        plan.rejected += self._plan.rejected
        return plan

    def _holes(self, request: LoadRequest, now: datetime) -> dict[str, dict[SeriesKey, list[Window]]]:
        """Of contracts that are known; the ledger may have met others."""
        wanted = {
            (name, series): span
            for name in request.datasets
            for series in self._collection.series(name)
            if (span := self._wanted_of(name, series, request, now))
        }
        symbols = None if request.symbols == ("all",) else request.symbols
        found = ledger.holes(self._connection, wanted, symbols, now=now)
        ours = set(symbols or self._collection.collected(self._contracts.values()))
        early = {name for name in request.datasets if request.start and request.start < self._collection.start_of(name)}
        partly = {s for name, holes in found.items() for s, _ in holes if name in early or s not in ours}
        bounds = ledger.bounds(self._connection, request.datasets, tuple(partly)) if partly else ()
        mine = {(row.dataset, (row.symbol, row.series)): self._repaired(row, row.symbol in ours, now) for row in bounds}
        return {name: self._lasting(name, found.get(name, {}), mine, now) for name in request.datasets}

    def _repaired(self, row: ledger.Bounds, is_ours: bool, now: datetime) -> list[Window]:
        """From when to when a series is repaired: what was loaded of it, and what collection.yaml asks for."""
        collected = Window(min(self._collection.start_of(row.dataset), now), now)
        return [window for window in (row.extent, collected if is_ours else None) if window]

    def _lasting(
        self,
        name: str,
        holes: dict[SeriesKey, list[Window]],
        repaired: dict[tuple[str, SeriesKey], list[Window]],
        now: datetime,
    ) -> dict[SeriesKey, list[Window]]:
        """Those that no increment is about to fill, within what is repaired of a series where that is not all of it."""
        lasting = {}
        symbols = len(self._followed()) if self._collection.symbols == "all" else len(self._collection.symbols)
        left_to_increments = max(INCREMENTS_WITHIN, longest_wait(DATASETS[name], self._collection, symbols, now))
        for key, windows in holes.items():
            old = [window for window in windows if window.start < now - left_to_increments]
            if (name, key) in repaired:
                old = intersect(old, repaired[name, key])
            if old and key[0] in self._contracts:
                lasting[key] = old
        return lasting

    def _wanted_of(self, name: str, series: str, request: LoadRequest, now: datetime) -> Window | None:
        start = request.start or self._collection.start_of(name)
        return settled(DATASETS[name], series, start, request.end or now, now)

    async def _with_history(self, request: LoadRequest) -> dict[str, str]:
        """The exchange's names, by unified symbol, of those asked for, or of all whose life touches the range."""
        wanted = await self._wanted(request.symbols)
        # Without a market: the archive alone knows it.
        if wanted is None and all(c.status != DELISTED or c.market for c in self._contracts.values()):
            # Nobody has looked there yet, and those that are gone are part of any history of all.
            await self._table.sync()
            self._contracts = self._table.known()
        of = self._contracts if wanted is None else wanted
        await self._table.complete(self._contracts[symbol] for symbol in of)
        self._contracts = self._table.known()
        if wanted is None:
            start = request.start or min(map(self._collection.start_of, request.datasets))
            wanted = [contract.symbol for contract in self._contracts.values() if self._traded_after(contract, start)]
        return {symbol: self._contracts[symbol].exchange_symbol for symbol in wanted}

    async def _still_listed(self) -> dict[str, str]:
        """The configured ones without those that the exchange has delisted: nothing new will come of them."""
        wanted = await self._wanted(None)
        if wanted is None:
            wanted = self._followed()
        gone = [symbol for symbol in wanted if self._contracts[symbol].status == DELISTED]
        self._plan.notes += [f"{symbol}: no longer listed, so nothing new is to come" for symbol in gone]
        return {symbol: self._contracts[symbol].exchange_symbol for symbol in wanted if symbol not in gone}

    def _followed(self) -> list[str]:
        """What `all` means to increments."""
        return [contract.symbol for contract in self._contracts.values() if self._collection.follows(contract)]

    async def _wanted(self, asked: tuple[str, ...] | None) -> list[str] | None:
        """Those of the symbols asked for, or configured, that there are or were, the archive's too; None for all."""
        await self._table.refresh()
        self._contracts = self._table.known()
        wanted = asked or self._collection.symbols
        if wanted in ("all", ("all",)):
            return None
        return list(await self._recognised(wanted))

    async def _recognised(self, symbols: Iterable[str]) -> tuple[str, ...]:
        known, unknown = await self._table.recognised(symbols)
        self._plan.rejected += unknown
        self._contracts = self._table.known()
        return known

    async def _of_known(self, request: LoadRequest) -> LoadRequest:
        """The request without the symbols by name that there never were."""
        if request.symbols in (None, ("all",)):
            return request
        return replace(request, symbols=await self._recognised(request.symbols or ()))

    def _traded_after(self, contract: ListedSymbol, start: datetime) -> bool:
        """Whether a contract that `all` means was traded after `start`, for all that is known; delisted ones too.

        Not since when: the exchange's listing dates are wrong at times, each series' own first instant is found.
        """
        is_traded = contract.status != ANNOUNCED and (contract.delisted_at is None or contract.delisted_at > start)
        return is_traded and self._collection.covers(contract)

    async def _history_gaps(
        self, request: LoadRequest, spec: LoadedSpec, names: dict[str, str], now: datetime
    ) -> dict[SeriesKey, list[Window]]:
        await self._find_lives(spec, names, again=request.again)
        start = request.start or self._collection.start_of(spec.name)
        spans: dict[SeriesKey, Window] = {}
        for row in ledger.bounds(self._connection, (spec.name,), tuple(names)):
            if row.series not in self._collection.series(spec.name):
                continue
            self._note_trim(row, start)
            span = settled(spec, row.series, start, request.end or now, now)
            if span:
                spans[row.symbol, row.series] = span
        return ledger.gaps(self._connection, spec, spans, now=now, again=request.again)

    async def _find_lives(self, spec: LoadedSpec, names: Iterable[str], *, again: bool = False) -> None:
        """Find where series begin and where those of delisted contracts end."""
        contracts = {symbol: self._contracts[symbol] for symbol in names}
        self._plan.rejected += await self._lives.find(spec, contracts, again=again)
        await self._table.set_ends(spec, tuple(contracts))

    def _note_trim(self, row: ledger.Bounds, start: datetime) -> None:
        subject = f"{row.dataset} {row.symbol} {row.series}"
        if row.available_from is None:
            self._plan.notes.append(f"{subject}: no source has any data yet")
        elif row.available_from > start:
            begins = f"{row.available_from:%Y-%m-%d %H:%M}"
            self._plan.notes.append(f"{subject}: begins {begins} UTC ({row.evidence}); the range before is trimmed")


def _by_reach(
    spec: LoadedSpec, holes: dict[SeriesKey, list[Window]], now: datetime
) -> dict[bool, dict[SeriesKey, list[Window]]]:
    """The parts of the holes by whether REST gives them now and will have forgotten them in a month."""
    parts: dict[bool, dict[SeriesKey, list[Window]]] = {True: {}, False: {}}
    by_series = {series: _reached(spec, series, now) for series in {series for _, series in holes}}
    for key, windows in holes.items():
        reached = by_series[key[1]]
        # So it is with most of them, and a universe has tens of thousands.
        if not reached or windows[-1].end <= reached[0].start:
            parts[False][key] = windows
            continue
        for is_urgent, part in ((True, intersect(windows, reached)), (False, subtract(windows, reached))):
            if part:
                parts[is_urgent][key] = part
    return parts


def alarms_of(spec: LoadedSpec, holes: dict[SeriesKey, list[Window]], now: datetime, urgent: timedelta) -> list[Alarm]:
    """An alarm for each series with a hole that REST is about to forget: the first part that is at stake.

    Args:
        urgent: what REST forgets within this time is at stake; afterwards only the archive may have it.
    """
    alarms, by_series = [], {series: _reached(spec, series, now) for series in {series for _, series in holes}}
    for (symbol, series), windows in holes.items():
        reach = spec.rest_for(series).reach
        for reached in by_series[series]:
            at_stake = intersect(windows, [Window(reached.start, reached.start + urgent)])
            alarms += [Alarm(spec.name, symbol, series, hole, hole.start + reach) for hole in at_stake[:1] if reach]
    return alarms


def _reached(spec: LoadedSpec, series: str, now: datetime) -> list[Window]:
    """What REST gives of a series now and will forget, by whole points; nothing where it forgets none."""
    reach, grid = spec.rest_for(series).reach, spec.instants_of(series)
    if reach is None:
        return []
    return [Window(grid.ceil(now - reach) if grid else now - reach, now)]


def due_of(
    spec: LoadedSpec, gaps: Mapping[SeriesKey, list[Window]], waiting: Mapping[SeriesKey, datetime]
) -> dict[str, Due]:
    """By symbol since when its stalest series with a gap waits, and what asking for its gaps costs of each budget."""
    costs: dict[str, Counter[Budget]] = {}
    since: dict[str, datetime] = {}
    for (symbol, series), windows in gaps.items():
        if windows:
            costs.setdefault(symbol, Counter())[spec.rest_for(series).budget] += cost(spec, series, windows)
            since[symbol] = min(since.get(symbol, waiting[symbol, series]), waiting[symbol, series])
    return {symbol: Due(symbol, since[symbol], costs[symbol]) for symbol in costs}


def _by_symbol(gaps: Iterable[dict[SeriesKey, list[Window]]]) -> dict[str, list[Window]]:
    """The windows of all series of a symbol, as they come."""
    by_symbol: dict[str, list[Window]] = {}
    for dataset in gaps:
        for (symbol, _), windows in dataset.items():
            by_symbol.setdefault(symbol, []).extend(windows)
    return by_symbol


def _hulls(gaps: Iterable[dict[SeriesKey, list[Window]]], end: datetime) -> dict[str, Window]:
    """For each symbol the window from its first gap to its last, over all the series, but not beyond `end`."""
    merged = {symbol: merge(windows) for symbol, windows in _by_symbol(gaps).items()}
    return {
        symbol: Window(windows[0].start, min(windows[-1].end, end)) for symbol, windows in merged.items() if windows
    }


def wanted_of(
    connection: Connection, batch: Batch, collection: Collection, now: datetime
) -> dict[str, dict[SeriesKey, list[Window]]]:
    """The gaps inside a batch as the ledger shows them now, by dataset and (symbol, series).

    Of files that were issued again, what is covered, or known to lack: who loaded ten days of a month gets no others.
    """
    wanted = {}
    for spec in batch.specs:
        spans = {(symbol, series): batch.window for symbol in batch.symbols for series in collection.series(spec.name)}
        clipped = {
            key: span for key, window in spans.items() if (span := settled(spec, key[1], window.start, window.end, now))
        }
        if batch.objects:
            rows = ledger.read(connection, (spec.name,), batch.symbols)
            known = {(row.symbol, row.series): row.accounted for row in rows}
            gaps = {key: intersect([span], known.get(key, [])) for key, span in clipped.items()}
        else:
            gaps = ledger.gaps(connection, spec, clipped, now=now, again=batch.again)
        wanted[spec.name] = {key: windows for key, windows in gaps.items() if windows}
    return wanted
