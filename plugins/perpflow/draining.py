"""Draining: liquidations that wait where the stream has put them become batches, and those go the way of every batch.

A batch takes its entries from one place only, Redis or the market database, so that neither holds up the other. They
are its own from the plan on, whoever stages it and however often; they go when it is published. What a batch that died
has left, a later one takes over.
"""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from redis import RedisError

from perpflow import frames
from perpflow.batches import ALL_CONTRACTS, Batch, Plan
from perpflow.datasets import LIQUIDATIONS
from perpflow.errors import StateDamaged, StoreUnavailable, StructurallyBad
from perpflow.exchange.listing import QUOTES, is_delivery, split_name, unified_symbol
from perpflow.settings import Deployment
from perpflow.store import manifests
from perpflow.store.cache import open_redis
from perpflow.store.database import Connection, connection_options, query, unavailable
from perpflow.store.loader import Origin, StagingArea
from perpflow.store.received import RECLAIM_AFTER_S, DatabaseEntries, Entry, Listened, RedisEntries, Told, Waiting
from perpflow.windows import Window, from_ms, merge

log = logging.getLogger(__name__)

REDIS, DATABASE = "redis", "database"
#: A batch of so many is staged, checked and published within seconds.
BATCH_ENTRIES = 20_000
#: As many in a run; the next one goes on.
MOST_BATCHES = 20
#: An event is told about a second after the trade; what is told much later is for the gate.
BEFORE_TOLD = timedelta(hours=1)


async def plan(deployment: Deployment, run: str, reclaim_after_s: float = RECLAIM_AFTER_S) -> Plan:
    """Batches of all that waits, which are those entries' owners from now on.

    Redis that does not answer, or is damaged, is among what the plan could not take, and the rest goes on.

    Raises:
        StoreUnavailable: the market database does not answer.
    """
    planned = Plan()
    for place in (REDIS, DATABASE) if deployment.redis_url else (DATABASE,):
        try:
            async with opened(deployment, place) as waiting:
                await _claim_all(planned, waiting, run, place, reclaim_after_s)
        except (StoreUnavailable, StateDamaged) as error:
            if place == DATABASE:
                raise
            planned.rejected.append(f"what waits in Redis: {error}")
    return planned


async def _claim_all(planned: Plan, waiting: Waiting, run: str, place: str, reclaim_after_s: float) -> None:
    made_at = datetime.now(UTC)
    for number in range(MOST_BATCHES):
        batch = f"{run}|{made_at:%Y%m%dT%H%M%S.%f}|{LIQUIDATIONS.name}|{number}|{place}"
        entries = await waiting.claim(batch, BATCH_ENTRIES, reclaim_after_s)
        if entries:
            window = _window_of(entries)
            planned.batches.append(Batch(batch, run, (LIQUIDATIONS.name,), (ALL_CONTRACTS,), window, live=True))
        if len(entries) < BATCH_ENTRIES:
            # What has come since is the next run's: a batch for each would be three tasks for a handful of entries.
            await _note_the_held(planned, waiting, place)
            return
    planned.notes.append(f"more waits than {MOST_BATCHES} batches hold; the next run goes on")


async def _note_the_held(planned: Plan, waiting: Waiting, place: str) -> None:
    """What is there and was not taken is another batch's, which is at work or has died."""
    held = (await waiting.backlog()).entries
    if held and not planned.batches:
        where = "Redis" if place == REDIS else "the database"
        planned.notes.append(f"{held} entries in {where} are another drain's; one that has died gives them up in time")


def _window_of(entries: Iterable[Entry]) -> Window:
    """From an hour before the first event to just after the last one; about now where there is none to read."""
    instants = []
    for entry in entries:
        if isinstance(entry, Listened):
            instants += [entry.start_ms, entry.end_ms]
        else:
            instants += [event.event_ms for event in _read(entry)[0]]
    if not instants:
        return Window(datetime.now(UTC) - BEFORE_TOLD, datetime.now(UTC))
    return Window(from_ms(min(instants)) - BEFORE_TOLD, from_ms(max(instants)) + timedelta(seconds=1))


async def stage(connection: Connection, deployment: Deployment, batch: Batch) -> dict[str, int]:
    """Read the batch's entries into staging, under a new attempt; returns staged rows by dataset.

    Raises:
        StoreUnavailable: the place where they wait does not answer.
        BatchSuperseded: another attempt has claimed the batch meanwhile.
    """
    stage_id = manifests.claim(connection, batch)
    async with opened(deployment, batch.id.rpartition("|")[2]) as waiting:
        entries = await waiting.of_batch(batch.id)
    sorted_out = sort_out(entries, _symbols(connection))
    async with StagingArea.open(deployment.database_url, stage_id) as area:
        await area.copy(LIQUIDATIONS, LIQUIDATIONS.fields, _lines(stage_id, sorted_out.rows))
        counts = await area.normalise(LIQUIDATIONS, [Origin(LIQUIDATIONS.stream)])
        rows = await area.count(LIQUIDATIONS)
    contents = {LIQUIDATIONS.name: {"rows": rows, "normalised": {**counts, **sorted_out.left_out}}}
    manifests.write(connection, batch, stage_id, contents, _evidence(sorted_out))
    return {LIQUIDATIONS.name: rows}


async def done(deployment: Deployment, batch: Batch) -> None:
    """Let the entries of a published batch go; where that fails a later batch publishes them again, for nothing."""
    try:
        async with opened(deployment, batch.id.rpartition("|")[2]) as waiting:
            await waiting.done(batch.id)
    except (StoreUnavailable, StateDamaged) as error:
        log.warning("%s is published; its entries go later: %s", batch.label, error)


@asynccontextmanager
async def opened(deployment: Deployment, place: str) -> AsyncIterator[Waiting]:
    """What waits in `REDIS` or `DATABASE`.

    Raises:
        StoreUnavailable: the place does not answer.
    """
    try:
        if place == REDIS and deployment.redis_url:
            async with open_redis(deployment.redis_url) as redis:
                yield RedisEntries(redis)
        else:
            options = connection_options(deployment.database_url)
            async with await psycopg.AsyncConnection.connect(deployment.database_url, **options) as connection:
                yield DatabaseEntries(connection)
    except psycopg.OperationalError as error:
        raise unavailable(error) from error
    except (RedisError, OSError) as error:
        what = "Redis" if place == REDIS else "the market database"
        raise StoreUnavailable(f"{what} does not answer: {error}.", hint="See `python -m perpflow health`.") from error


# --- from entries to rows


@dataclass(slots=True)
class SortedOut:
    """What entries hold: rows by symbol, when somebody listened, frames that nobody can read, and what was left out."""

    rows: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    listened: list[Window] = field(default_factory=list)
    unreadable: list[dict[str, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def sort_out(entries: Iterable[Entry], symbols: Mapping[str, str]) -> SortedOut:
    """Tell the entries' contents apart.

    Args:
        symbols: unified symbols by the exchange's names; what is not among them is read out of its name, and a name
            that cannot be read stays, for the gate. COIN-M and delivery contracts, which nothing else here is about
            either, are counted and left out.
    """
    found = SortedOut()
    for entry in entries:
        if isinstance(entry, Listened):
            found.listened += _listened(entry)
            continue
        events, problem = _read(entry)
        if problem:
            found.unreadable.append({"frame": _text(entry.frame), "reason": problem.replace("\0", r"\x00")})
        for event in events:
            if event.market != frames.USD_M or is_delivery(event.exchange_symbol):
                found.left_out["other_market" if event.market != frames.USD_M else "delivery_contract"] += 1
            else:
                symbol = symbols.get(event.exchange_symbol) or _symbol_of(event.exchange_symbol)
                found.rows.append((symbol, _row(event, entry.received_ms)))
    found.listened = merge(found.listened)
    return found


def _read(entry: Told) -> tuple[list[frames.ForceOrder], str]:
    """The liquidations of a frame, and what is wrong with the rest of it."""
    try:
        frame = frames.decode(entry.frame)
    except StructurallyBad as error:
        return [], str(error)
    events = [event for event in frame.events if isinstance(event, frames.ForceOrder)]
    others = [f"a {type(event).__name__} among liquidations" for event in frame.events if event not in events]
    nothing = [] if frame.events or frame.unreadable else ["a frame without an event"]
    return events, "; ".join((*frame.unreadable, *others, *nothing))


def _text(frame: bytes) -> str:
    """The frame as JSON in PostgreSQL can hold it, which knows no zero byte."""
    return frame.decode(errors="backslashreplace").replace("\0", r"\x00")


def _listened(entry: Listened) -> list[Window]:
    return [Window(from_ms(entry.start_ms), from_ms(entry.end_ms))] if entry.start_ms < entry.end_ms else []


def _symbol_of(exchange_symbol: str) -> str:
    pair = split_name(exchange_symbol, QUOTES)
    return unified_symbol(exchange_symbol, *pair) if pair else exchange_symbol


def _row(event: frames.ForceOrder, received_ms: int) -> tuple[Any, ...]:
    """The values of `LIQUIDATIONS.fields`."""
    order = event.order
    return (
        received_ms,
        event.event_ms,
        order.exchange_symbol,
        order.side,
        order.order_type,
        order.time_in_force,
        order.quantity,
        order.price,
        order.average_price,
        order.status,
        order.filled_quantity,
        order.trade_ms,
    )


def _lines(stage_id: int, rows: Iterable[tuple[str, tuple[Any, ...]]]) -> Iterator[bytes]:
    """Rows as CSV for COPY. The first column after the prefix is that of the series."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    (series,) = LIQUIDATIONS.series
    for symbol, values in rows:
        writer.writerow((stage_id, 0, "stream", symbol, series, *values))
    yield text.getvalue().encode()


def _symbols(connection: Connection) -> dict[str, str]:
    return {row["exchange_symbol"]: row["symbol"] for row in connection.execute(query("symbols_read"))}


def _evidence(found: SortedOut) -> dict[str, Any]:
    """What publishing must know, as plain values for the manifest."""
    return {
        "now": datetime.now(UTC).isoformat(),
        "origins": [LIQUIDATIONS.stream],
        "objects": [],
        "symbols": sorted({symbol for symbol, _ in found.rows}),
        "listened": [[window.start.isoformat(), window.end.isoformat()] for window in found.listened],
        "unreadable": found.unreadable,
    }
