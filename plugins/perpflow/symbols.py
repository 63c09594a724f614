"""Which contracts there are and were, and from when to when: the table `symbols`, with every change of it kept.

exchangeInfo names what is listed now; the archive has a folder of whatever was ever listed. A contract that only the
archive knows is read out of its name, and its life out of its first candle and the last one that was traded. So
research is not left with the contracts that have survived.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from psycopg.types.json import Jsonb

from perpflow.contracts import TRADIFI
from perpflow.datasets import DATASETS, FIVE_MINUTES, MONTH_PUBLISHED_AFTER
from perpflow.errors import AccessDenied, ExchangeUnavailable, ObjectDamaged, RequestRejected, StructurallyBad
from perpflow.evidence import settlements
from perpflow.exchange.archive import Archive, ArchiveObject, FetchedObject, folder_of
from perpflow.exchange.listing import (
    DELISTED,
    QUOTES,
    ListedSymbol,
    archived_symbol,
    is_delivery,
    name_of,
    split_name,
)
from perpflow.exchange.rest import Rest
from perpflow.fetching import ARCHIVE_LAG
from perpflow.parsing import numbers
from perpflow.specs import LoadedSpec
from perpflow.store import ledger
from perpflow.store.database import Connection, from_multirange, query, to_multirange
from perpflow.windows import Window, from_ms, month_of

log = logging.getLogger(__name__)

#: Folders that name contracts; all hundreds of them are one page of a listing.
FOLDERS = sorted({(spec.archive.kind, folder) for spec in DATASETS.values() for folder in spec.archive.granularities})
CANDLES = DATASETS["ohlcv"].archive
#: No funding interval is longer.
LONGEST_INTERVAL = timedelta(hours=8)
#: Contracts whose life is read from the archive at once; what was found is written after each lot.
LOT = 50


@dataclass(frozen=True, slots=True)
class Synced:
    """How many contracts were known before or are listed, how many the archive added, and which were left alone."""

    known: int
    archived: int
    deliveries: int
    unreadable: tuple[str, ...]


class Symbols:
    """The table `symbols`, and where its contents come from.

    Args:
        rest, archive: open sessions with the exchange.
        connection: the market database.
    """

    def __init__(self, rest: Rest, archive: Archive, connection: Connection) -> None:
        self._rest = rest
        self._archive = archive
        self._connection = connection

    def known(self) -> dict[str, ListedSymbol]:
        """Every contract of the table, by unified symbol."""
        return known_contracts(self._connection)

    async def refresh(self) -> None:
        """Take over what exchangeInfo says now; contracts that it no longer names are delisted.

        Raises:
            ExchangeUnavailable: it names none at all.
            Transient, Permanent: the exchange does not answer, or not as documented.
        """
        listed = await self._rest.listed()
        if not listed:
            raise ExchangeUnavailable("exchangeInfo lists no perpetual at all.", hint="Try again later.")
        self._write(listed, whole=True)

    async def sync(self) -> Synced:
        """`refresh`, and take up the contracts that only the archive knows, with their lives; last, markets' sessions.

        Raises: as `refresh`.
        """
        await self.refresh()
        known = self.known().values()
        names = {contract.exchange_symbol for contract in known}
        folders = await asyncio.gather(*(self._archive.symbols(*folder) for folder in FOLDERS))
        unknown = set().union(*folders) - names
        perpetuals = sorted(name for name in unknown if not is_delivery(name))
        pairs = {name: split_name(name, _quotes(known)) for name in perpetuals}
        archived = [archived_symbol(name, *pair) for name, pair in pairs.items() if pair]
        await self.complete([*archived, *known])
        unreadable = tuple(name for name, pair in pairs.items() if pair is None)
        for name in unreadable:
            log.warning("%s: the archive has it, and its name is none of a base and a known quote; left alone", name)
        if any(contract.contract_type == TRADIFI for contract in known):
            await self._learn_sessions()
        return Synced(len(names), len(archived), len(unknown) - len(perpetuals), unreadable)

    async def recognised(self, asked: Iterable[str]) -> tuple[tuple[str, ...], list[str]]:
        """Those of the symbols that there are or were, the archive's too; and of each of the others that it is none.

        The exchange is asked only where the table does not know one.

        Raises:
            Transient, Permanent: exchange or archive do not answer.
        """
        asked = tuple(asked)
        if not self.known().keys() >= set(asked):
            await self.refresh()
        known = self.known()
        unknown = [symbol for symbol in asked if symbol not in known and not await self.look_up(symbol)]
        reasons = [f"{symbol}: neither the exchange nor its archive knows such a perpetual" for symbol in unknown]
        return tuple(symbol for symbol in asked if symbol not in unknown), reasons

    async def look_up(self, symbol: str) -> bool:
        """Take up one contract if the archive has candles of it; returns whether it has.

        Raises:
            Transient, Permanent: the archive does not answer.
        """
        name = name_of(symbol)
        pair = split_name(name, _quotes(self.known().values()))
        contract = archived_symbol(name, *pair) if pair else None
        # Another way to cut the same name would be another symbol.
        if contract is None or contract.symbol != symbol:
            return False
        if not await self._archive.keys(folder_of(CANDLES.kind, "daily", name, None), limit=1):
            return False
        await self.complete([contract])
        return True

    async def complete(self, contracts: Iterable[ListedSymbol]) -> None:
        """Write those that are delisted without an end with the life that the archive shows; the others are left alone.

        Raises:
            Transient, Permanent: the archive does not answer.
        """
        now = await self._rest.now()
        rest = (contract for contract in contracts if contract.status == DELISTED and contract.delisted_at is None)
        # A lot at a time: the first time there are hundreds, and what was found need not be found again.
        while lot := list(islice(rest, LOT)):
            self._write(list(await asyncio.gather(*(self._with_life(contract, now) for contract in lot))))

    async def _with_life(self, contract: ListedSymbol, now: datetime) -> ListedSymbol:
        """From the first archived candle to the last traded one; the end stays open while more may be published."""
        life = CANDLES, contract.exchange_symbol, FIVE_MINUTES.name
        begins = contract.onboarded_at
        if begins is None and (first := await first_readable(self._archive, await self._archive.first_objects(*life))):
            begins = instant_of(first.first_label)
        ends = await self._trading_ended(await self._archive.last_objects(*life), now)
        return replace(contract, onboarded_at=begins, delisted_at=ends)

    async def _trading_ended(self, latest: list[ArchiveObject], now: datetime) -> datetime | None:
        """The end of the last candle with a trade; files go on after it, with flat candles. None while more may come.

        Where a file can't be read, the end of its period: the end is found once, and nothing beyond it is asked for.
        """
        if not latest or latest[0].period.end > now - ARCHIVE_LAG["daily"]:
            return None
        for wanted in latest:
            try:
                fetched = await self._archive.fetch(wanted)
                traded = last_traded(fetched) if fetched and fetched.rows else None
            except (ObjectDamaged, StructurallyBad):
                return wanted.period.end
            if traded is not None:
                return FIVE_MINUTES.after(traded)
        return latest[0].period.end

    def _write(self, contracts: list[ListedSymbol], *, whole: bool = False) -> None:
        parameters = {"listed": Jsonb([_row(contract) for contract in contracts]), "whole": whole, "delisted": DELISTED}
        for row in self._connection.execute(query("symbols_upsert"), parameters):
            log.info("%s: %s", row["symbol"], row["status"])

    async def _learn_sessions(self) -> None:
        """Learn when markets are closed. That only explains holes, and the next days' answers tell of this one too."""
        try:
            told = await self._rest.schedules()
        except (ExchangeUnavailable, AccessDenied, RequestRejected, StructurallyBad) as error:
            log.warning("when the markets of TradFi contracts are closed is not known beyond what was: %s", error)
            return
        for schedule in told:
            known, closed = to_multirange(schedule.known), to_multirange(schedule.closed)
            parameters = {"market": schedule.market, "known": known, "closed": closed}
            self._connection.execute(query("sessions_learn"), parameters)

    # --- the ends of series

    async def set_ends(self, spec: LoadedSpec, symbols: tuple[str, ...] | None = None) -> None:
        """Let the ledger's series of delisted contracts end where nothing can follow; of every contract by default.

        Raises:
            Transient, Permanent: the archive does not answer.
        """
        known, now = self.known(), await self._rest.now()
        rows = ledger.bounds(self._connection, (spec.name,), symbols)
        ends = await asyncio.gather(*(self._end(spec, known.get(row.symbol), row.available_to, now) for row in rows))
        for row, end in zip(rows, ends, strict=True):
            if end != row.available_to:
                ledger.set_end(self._connection, spec, (row.symbol, row.series), end)

    async def _end(
        self, spec: LoadedSpec, contract: ListedSymbol | None, recorded: datetime | None, now: datetime
    ) -> datetime | None:
        """No candle opens and nothing is measured from the contract's end on; None while it goes on."""
        ends = contract.delisted_at if contract else None
        if contract is None or ends is None or ends > now:
            return None
        if spec.settles_on is None:
            return ends
        month = month_of(ends)
        published = now >= month.end + MONTH_PUBLISHED_AFTER
        if recorded and published and abs(recorded - ends) <= LONGEST_INTERVAL:
            return recorded
        source = spec.archive
        wanted = ArchiveObject(source.kind, source.granularities[-1], contract.exchange_symbol, None, month)
        return after_last_settlement(await first_readable(self._archive, [wanted]), spec, ends)


def known_contracts(connection: Connection) -> dict[str, ListedSymbol]:
    """Every contract of the table `symbols`, by unified symbol."""
    return {row["symbol"]: ListedSymbol(**row) for row in connection.execute(query("symbols_read"))}


def after_last_settlement(month: FetchedObject | None, spec: LoadedSpec, ends: datetime) -> datetime:
    """Where settlements end: one may fall on the contract's very end, and none need fall in the hours before it.

    The archive tells, by the last one before the end and the interval beside it.
    """
    assert spec.settles_on is not None
    rows = [row for row in settlements(month, spec) if row[0] <= ends] if month else []
    last, interval = max(rows, default=(ends, timedelta(0)))
    return spec.settles_on.after(last) if last <= ends < last + interval else ends


def last_traded(candles: FetchedObject) -> datetime | None:
    """When the last candle of a file opens that has a trade; None without any.

    Raises:
        StructurallyBad: its rows are no candles.
    """
    times, trades = numbers(candles.csv, len(CANDLES.columns), 0, CANDLES.columns.index("trade_count"))
    traded = times[trades > 0]
    return from_ms(int(traded.max())) if traded.size else None


def closed_sessions(connection: Connection, symbols: Iterable[str] | None = None) -> dict[str, list[Window]]:
    """When the markets of TradFi contracts were or will be closed, as far as it is known, by symbol; None means all."""
    parameters = {"symbols": None if symbols is None else list(symbols)}
    rows = connection.execute(query("sessions_closed"), parameters)
    return {row["symbol"]: from_multirange(row["closed"]) for row in rows}


def _quotes(contracts: Iterable[ListedSymbol]) -> frozenset[str]:
    return QUOTES.union(contract.quote for contract in contracts)


def _row(contract: ListedSymbol) -> dict[str, str | None]:
    instants = {name: value.isoformat() for name, value in asdict(contract).items() if isinstance(value, datetime)}
    return asdict(contract) | instants


async def first_readable(archive: Archive, candidates: Iterable[ArchiveObject]) -> FetchedObject | None:
    """The first of the objects that tells when its rows begin and end; a damaged or empty one proves nothing.

    Raises:
        Transient, Permanent: the archive does not answer.
    """
    for candidate in candidates:
        with suppress(ObjectDamaged, StructurallyBad, ValueError):
            fetched = await archive.fetch(candidate)
            if (
                fetched is not None
                and fetched.rows
                and instant_of(fetched.first_label)
                and instant_of(fetched.last_label)
            ):
                return fetched
    return None


def instant_of(label: str) -> datetime:
    """A CSV label's instant: milliseconds, or text without a zone that means UTC.

    Raises:
        ValueError: it is neither.
    """
    return from_ms(int(label)) if label.isdigit() else datetime.fromisoformat(label).replace(tzinfo=UTC)
