"""Checks of the live stream: whether one runs and how, what waits to be drained, when it listened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from perpflow.coverage_table import where
from perpflow.draining import DATABASE, opened
from perpflow.errors import PerpflowError
from perpflow.health.finding import Finding, Level, above, span
from perpflow.health.surroundings import Surroundings
from perpflow.listening_summary import ListeningSummary, read_listening, since_first
from perpflow.monitoring import HealthSettings
from perpflow.store.cache import read_counts
from perpflow.store.database import session
from perpflow.store.lease import Holder, holder
from perpflow.store.received import MOST_ENTRIES, Backlog, RedisEntries
from perpflow.store.stream_measures import KEPT_S, LastMeasures, StreamMeasures, read_last_measures

START = "Switch the DAG stream_market on, or run `python -m perpflow stream`."
DRAIN = "Switch the DAG ingest_liquidations on, or run `python -m perpflow drain`."
#: A stream that ended longer ago may have been given up: it is told, and is no alarm any more.
MISSED_FOR = timedelta(seconds=KEPT_S)
#: Frames that are just being put away count among those that wait in memory.
MOST_IN_MEMORY = 20
LATELY_MINUTES = 60
#: Of listening a stream tells every few seconds; what it told of last began so long before.
TOLD_EVERY = timedelta(seconds=10)
ONE_DAY = timedelta(days=1)


# --- whether a stream runs


async def stream(around: Surroundings) -> list[Finding]:
    """Who holds the lease, and how its stream is; where nobody does, whether somebody used to."""
    assert around.redis is not None
    lease, last = await holder(around.redis), await read_last_measures(around.redis)
    if lease is not None:
        counts = await read_counts(around.redis, LATELY_MINUTES)
        own = last if last is not None and last.measures.holder == lease.name else None
        if own is not None and own.is_fresh:
            return [running_finding(lease, own.measures, counts, around.limits)]
        seconds, _ = await around.redis.time()
        taken_ago = datetime.fromtimestamp(seconds, UTC) - lease.since if lease.since else None
        return [mute_finding(lease, own.age if own else taken_ago, around.limits)]
    if last is not None:
        return [ended_finding(last)]
    return [await _without_any_trace(around)]


def running_finding(
    lease: Holder, measures: StreamMeasures, counts: Mapping[str, int], limits: HealthSettings
) -> Finding:
    """A stream and what it measures; `counts` are the counters of the last hour."""
    cause = f"{lease.name} streams{_since(lease)}: {_said(measures)}"
    if not measures.connections:
        cause = f"no connection to the exchange: {cause}"
        return Finding(Level.RED, cause, "It goes on trying. Check the network, and see exchange and circuits.")
    problems = list(_problems(measures, counts, limits))
    if not problems:
        return Finding(Level.GREEN, cause)
    found, advice = zip(*problems, strict=True)
    return Finding(Level.YELLOW, f"{'; '.join(found)}; {cause}", " ".join(dict.fromkeys(advice)))


def mute_finding(lease: Holder, silent: timedelta | None, limits: HealthSettings) -> Finding:
    """A stream that holds the lease and has said nothing of itself: it has just begun, or can't.

    Args:
        silent: for how long, by Redis' clock; None where that is not known.
    """
    level = Level.YELLOW if silent is None else above(silent.total_seconds(), limits.stream_silence_s)
    if level is Level.GREEN:
        return Finding(level, f"{lease.name} has begun to stream{_since(lease)}")
    cause = f"{lease.name} holds the lease{_since(lease)} and says nothing of itself"
    cause += f", for {span(silent)} now" if silent is not None else ""
    return Finding(level, cause, f"Look at its log. {START} A new stream takes over.")


def ended_finding(last: LastMeasures) -> Finding:
    """No stream, and how the last one was."""
    measures = last.measures
    error = f"; its last error: {measures.last_error}" if measures.last_error else ""
    cause = f"none runs; {measures.holder} wrote until {span(last.age)} ago{error}"
    return Finding(Level.RED, cause, START)


async def _without_any_trace(around: Surroundings) -> Finding:
    """No stream has run for a week, as far as Redis knows; the ledger may know of one."""
    try:
        with session(around.deployment.database_url) as connection:
            listened = read_listening(connection)
        if not listened and around.deployment.collection.stream.liquidations:
            return Finding(Level.YELLOW, "none runs, and none ever has; stream.liquidations wants one", START)
        if not listened:
            return Finding(Level.GREEN, "none runs, and none has in the last week")
        return forgotten_finding(listened[-1].end, await around.rest.now())
    except PerpflowError:
        return Finding(Level.YELLOW, "none runs; whether one did is not known: see database, schema, exchange")


def forgotten_finding(listened_until: datetime, now: datetime) -> Finding:
    """No stream, and no trace of one but the ledger's; both instants are on the exchange's clock."""
    is_missed = now - listened_until < MISSED_FOR
    cause = f"none runs; liquidations were listened to until {listened_until:%Y-%m-%d %H:%M} UTC"
    return Finding(Level.RED if is_missed else Level.YELLOW, cause, START)


def _since(lease: Holder) -> str:
    return f" since {lease.since:%Y-%m-%d %H:%M:%S} UTC" if lease.since else ""


def _problems(measures: StreamMeasures, counts: Mapping[str, int], limits: HealthSettings) -> Iterator[tuple[str, str]]:
    """What is amiss, and what to do about it."""
    if measures.write_ms is None or measures.lag_ms is None:
        yield "nothing was written lately", "Look at its log, and see exchange."
    elif measures.write_ms[1] > limits.stream_write_s * 1000:
        yield (
            f"writing takes {measures.write_ms[1]:,.0f} ms",
            "Redis or the stream's machine is slow: look at its load.",
        )
    if measures.lag_ms is not None and measures.lag_ms[1] > limits.stream_lag_s * 1000:
        yield f"values are {measures.lag_ms[1] / 1000:,.0f} s late", "Check the network and the exchange's status page."
    if dropped := counts.get("stream.dropped", 0):
        yield f"{dropped:,} frames were dropped in the last hour", "Stream fewer symbols, or last_price: ticker."
    if broken := counts.get("stream.breaks", 0) + counts.get("stream.stalls", 0):
        stalled = f"{counts.get('stream.stalls', 0)} of them by silence"
        yield f"connections broke {broken} times in the last hour, {stalled}", "Look at its log, and at the network."
    if measures.liquidations_waiting > MOST_IN_MEMORY:
        waiting = f"{measures.liquidations_waiting:,} liquidations are in its memory alone"
        yield waiting, "Neither Redis nor the market database takes them: see liquidations and database; don't end it."


def _said(measures: StreamMeasures) -> str:
    """All figures, on one line."""
    rates = ", ".join(f"{kind} {rate:,.1f}/s" for kind, rate in measures.frames_per_s.items())
    parts = [
        f"frames {rates or 'none'}",
        f"lag {_pair(measures.lag_ms)}",
        f"write {_pair(measures.write_ms)}",
        f"{measures.connections} connections, {measures.reconnects} times broken, {measures.stalls} stalled",
        f"{measures.dropped:,} frames dropped",
        f"{measures.waiting:,} frames and {measures.liquidations_waiting:,} liquidations in memory",
    ]
    return "; ".join([*parts, *([f"last error: {measures.last_error}"] if measures.last_error else [])])


def _pair(figures: tuple[float, float] | None) -> str:
    return "-" if figures is None else f"{figures[0]:,.0f} ms (95 %: {figures[1]:,.0f})"


# --- what waits to be drained


async def liquidations(around: Surroundings) -> list[Finding]:
    """How much waits to be drained, and for how long; what was lost in the last hour."""
    assert around.redis is not None
    redis, database = await _backlogs(around)
    counts = await read_counts(around.redis, LATELY_MINUTES)
    return [backlog_finding(redis, database, around.limits, counts.get("liquidations.lost", 0))]


async def _backlogs(around: Surroundings) -> tuple[Backlog, Backlog]:
    assert around.redis is not None
    in_redis = await RedisEntries(around.redis).backlog()
    async with opened(around.deployment, DATABASE) as waiting:
        return in_redis, await waiting.backlog()


def backlog_finding(redis: Backlog, database: Backlog, limits: HealthSettings, lost: int = 0) -> Finding:
    """Yellow and red long before there is no room: what does not fit any more pushes out what nobody has drained."""
    filled, waits = redis.entries / MOST_ENTRIES, max(redis.oldest, database.oldest)
    cause = f"{redis.entries:,} entries wait in Redis ({filled:.0%} of the room), {database.entries:,} in the database"
    cause += f", the oldest for {span(waits)}" if redis.entries + database.entries else ""
    if lost:
        return Finding(Level.RED, f"{lost:,} were lost in the last hour; {cause}", f"{DRAIN} See the stream's log.")
    minutes = waits / timedelta(minutes=1)
    level = max(above(filled, limits.liquidations_room), above(minutes, limits.liquidations_minutes))
    return Finding(level, cause, DRAIN if level else "")


# --- when it listened


async def listening(around: Surroundings) -> list[Finding]:
    """Which minutes of the last day liquidations were listened to, and which not; on the exchange's clock."""
    if not around.deployment.collection.stream.liquidations:
        return [Finding(Level.GREEN, "switched off: stream.liquidations in collection.yaml")]
    now = await around.rest.now()
    backlogs = await _backlogs(around)
    waits = max((backlog.oldest + TOLD_EVERY for backlog in backlogs if backlog.entries), default=timedelta(0))
    # The ledger last: what is drained meanwhile is in it.
    with session(around.deployment.database_url) as connection:
        listened = read_listening(connection)
    return [listening_finding(since_first(listened, now=now, at_most=ONE_DAY, waits=waits))]


def listening_finding(found: ListeningSummary | None) -> Finding:
    """Yellow where a minute was not listened to, or none ever was."""
    if found is None:
        return Finding(Level.YELLOW, "liquidations have not been listened to yet", START)
    if not found.minutes:
        return Finding(Level.GREEN, "no whole minute of the last day has been drained yet")
    extent = f"{found.minutes:,} minutes ({where([found.window])})"
    if not found.silent:
        return Finding(Level.GREEN, f"all of {extent} were listened to")
    cause = f"{found.heard:,} of {extent} were listened to, not {where(found.silent)}"
    return Finding(
        Level.YELLOW, cause, "Nobody can give what was not heard; see stream, and let it run without a break."
    )
