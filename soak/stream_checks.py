"""What must hold of the live stream: the exchange's log and report against table, ledger and what was done to whom.

Instants are milliseconds on the exchange's clock, which runs beside the real one; spans are half-open pairs of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from perpflow.datasets import LIQUIDATIONS, TABLES
from perpflow.store import loader
from perpflow.store.database import session
from perpflow.windows import to_ms
from simulator.process import Handle
from simulator.symbols import BY_SYMBOL
from soak.checks import Check, check
from soak.stream_processes import StreamKill, StreamProcess
from soak.tally import Tally
from tests.loading import Row, rows

STREAM = LIQUIDATIONS.stream
MINUTE_MS = 60_000
#: Clocks of exchange and report are one; its report rounds to milliseconds.
TOLERANCE_MS = 50
#: What a stream that is killed has received in its last second may not have been put where it is safe.
UNSAFE_S = 1.0
#: A killed process's connections close at once; the exchange notices within this.
CLOSES_WITHIN_S = 0.5
#: What is claimed begins with a mark price and ends a second before one; they come every second.
BEAT_MS = 3_000
#: The exchange sends so often.
PULSE_S = 0.1
#: Of a gap shorter than this nobody can tell: the exchange pulses ten times a second.
SHORTEST_GAP_MS = 100
MOST_GROWTH_MB_PER_MIN = 1.0
#: Before that buffers fill and code is loaded.
WARM_UP_S = 20.0
LIVED_S = 60.0
MB = 1024 * 1024

Span = tuple[float, float]
TABLE = """
SELECT symbol, time, side, average_price, filled_quantity, price, quantity, order_type, time_in_force, status
FROM liquidations
"""
CLAIMS = """
SELECT lower(span), upper(span) FROM coverage, unnest(listening) AS span
WHERE dataset = 'liquidations' AND symbol = '*' AND series = 'forceOrder' ORDER BY 1
"""
ORPHANS = "SELECT count(*) FROM staging.liquidations WHERE stage_id NOT IN (SELECT stage_id FROM staging.manifests)"


@dataclass(frozen=True, slots=True)
class Struck:
    """A trouble of some kind: real seconds from its begin until what it does to connections is over."""

    kind: str
    start: float
    end: float


@dataclass(frozen=True)
class Evidence:
    """All that is known in the end.

    Args:
        log: the exchange's liquidations, as it reports them.
        report: its report of the streams.
        table: rows of `liquidations`: symbol, trade time in ms, and the values as in the order told.
        listening: what the ledger claims, by event time.
        span: real seconds from when a stream was there first, to when the last one was told to stop.
        struck: what has touched the exchange's connections; outages are among them.
    """

    log: list[dict[str, Any]]
    report: dict[str, Any]
    table: list[Row]
    listening: list[Span]
    span: Span
    kills: list[StreamKill] = field(default_factory=list)
    struck: list[Struck] = field(default_factory=list)

    @cached_property
    def told(self) -> list[tuple[dict[str, Any], Row]]:
        """The log of contracts that the table is about, with the row of each."""
        return [(entry, row_of(entry)) for entry in self.log if "_" not in entry["o"]["s"]]

    @cached_property
    def there(self) -> set[Row]:
        """The table's rows."""
        return set(self.table)

    @cached_property
    def subscribed(self) -> list[Span]:
        """When anybody listened, as the exchange saw it."""
        now_s = self.report["now_s"]
        spans = self.report["listened"].get(STREAM, [])
        return united((self._at(since), self._at(now_s if until is None else until)) for since, until in spans)

    @cached_property
    def outages(self) -> list[Span]:
        """When the exchange was away."""
        return united((self.at(each.start), self.at(each.end)) for each in self.struck if each.kind in OUTAGES)

    def at(self, unix: float) -> float:
        """An instant of the real clock."""
        return float(self.report["stream_now"] - 1000 * (self.report["unix"] - unix))

    def _at(self, second: float) -> float:
        return float(self.report["stream_now"] - 1000 * (self.report["now_s"] - second))

    def claims(self, event_ms: int) -> bool:
        """Whether the ledger says that this instant was listened to."""
        index = bisect_right([start for start, _ in self.listening], event_ms) - 1
        return index >= 0 and event_ms < self.listening[index][1]

    def is_excused(self, entry: dict[str, Any]) -> bool:
        """Whether it was sent to nobody but streams that were killed within the next second."""
        closed = [self._closed_unix[number] for number in entry["connections"]]
        return all(
            any(
                entry["emitted_unix"] >= kill.at - UNSAFE_S and kill.at - 0.1 <= at <= kill.at + CLOSES_WITHIN_S
                for kill in self.kills
            )
            for at in closed
        )

    def fate_of(self, entry: dict[str, Any]) -> str:
        """When after it was sent each of its connections closed, and why, and when streams were killed."""
        sent = entry["emitted_unix"]
        reasons = {each["id"]: each["reason"] or "by the client" for each in self.report["connections"]}
        ends = ((number, self._closed_unix[number] - sent) for number in entry["connections"])
        closed = [f"connection {number} closed {after:+.3f} s ({reasons[number]})" for number, after in ends]
        return ", ".join([*closed, *(f"killed {kill.at - sent:+.3f} s" for kill in self.kills)])

    @cached_property
    def _closed_unix(self) -> dict[int, float]:
        offset, known = self.report["unix"] - self.report["now_s"], self.report["connections"]
        return {each["id"]: float("inf") if each["closed_s"] is None else offset + each["closed_s"] for each in known}


#: Troubles in which the exchange does not deliver: nobody can be subscribed, or nothing comes of it.
OUTAGES = ("outage", "ws_silence", "ws_half_open")


def gathered(exchange: Handle, url: str, span: Span, kills: list[StreamKill], struck: list[Struck]) -> Evidence:
    """Ask exchange and database for the rest."""
    with session(url) as connection:
        table = [(symbol, to_ms(time), *values) for symbol, time, *values in rows(connection, TABLE)]
        listening = [(float(to_ms(start)), float(to_ms(end))) for start, end in rows(connection, CLAIMS)]
    return Evidence(exchange.liquidations(), exchange.streams(), table, listening, span, kills, struck)


def row_of(entry: dict[str, Any]) -> Row:
    """The table's row of a liquidation that the exchange told."""
    order = entry["o"]
    contract = BY_SYMBOL[order["s"]]
    numbers = (float(order[name]) for name in ("ap", "z", "p", "q"))
    return (f"{contract.base}/{contract.quote}", order["T"], order["S"], *numbers, order["o"], order["f"], order["X"])


# --- liquidations


def of_liquidations(evidence: Evidence, least_untouched: int) -> list[Check]:
    """What must hold of table and ledger."""
    return [
        what_is_claimed_is_there(evidence),
        what_was_sent_is_there(evidence),
        nothing_is_invented(evidence),
        claims_are_supported(evidence),
        minutes_are_marked(evidence, least_untouched),
    ]


def what_is_claimed_is_there(evidence: Evidence) -> Check:
    """Every liquidation of an instant that the ledger claims is in the table, once, value for value."""
    claimed = [(entry, row) for entry, row in evidence.told if evidence.claims(entry["E"])]
    doubled = len(evidence.table) - len(evidence.there)
    return check(
        f"{len(claimed):,} of {len(evidence.told):,} liquidations fell into times claimed: each is there once",
        [
            *(_named(entry, row) for entry, row in claimed if row not in evidence.there),
            *([f"{doubled} rows are there twice"] if doubled else []),
        ],
    )


def what_was_sent_is_there(evidence: Evidence) -> Check:
    """Every liquidation that was sent to anybody is in the table, if not all whom it was sent to were killed."""
    # The last stream hangs up when it is told to stop; what comes while it does so it does not wait for.
    until = evidence.span[1] - PULSE_S
    sent = [(entry, row) for entry, row in evidence.told if entry["sent_to"] and entry["emitted_unix"] < until]
    lacking = [(entry, row) for entry, row in sent if row not in evidence.there]
    excused = [entry for entry, _ in lacking if evidence.is_excused(entry)]
    return check(
        f"{len(sent):,} liquidations were sent: all are there but {len(excused)} that a killed stream took with it",
        (
            f"{_named(entry, row)}; {evidence.fate_of(entry)}"
            for entry, row in lacking
            if not evidence.is_excused(entry)
        ),
    )


def nothing_is_invented(evidence: Evidence) -> Check:
    """The table holds nothing that the exchange has not told."""
    true = {row for _, row in evidence.told}
    return check(
        f"none of {len(evidence.there):,} rows is invented", (str(row) for row in sorted(evidence.there - true))
    )


def _named(entry: dict[str, Any], row: Row) -> str:
    return f"missing: {row}, told at {entry['E']}, sent to {entry['connections']}"


# --- listening


def claims_are_supported(evidence: Evidence) -> Check:
    """Nothing is claimed as listened when nobody was subscribed."""
    wide = [(start - TOLERANCE_MS, end + TOLERANCE_MS) for start, end in evidence.subscribed]
    claimed = sum(end - start for start, end in evidence.listening)
    subscribed = sum(end - start for start, end in evidence.subscribed)
    return check(
        f"{claimed / 1000:.0f} s are claimed as listened, of {subscribed / 1000:.0f} s subscribed",
        (
            f"[{start:.0f}, {end:.0f}) is claimed, but somebody was not subscribed in it"
            for start, end in evidence.listening
            if not any(since <= start and end <= until for since, until in wide)
        ),
    )


def minutes_are_marked(evidence: Evidence, least_untouched: int) -> Check:
    """A minute with a hole is not claimed whole; one that nothing has touched is, and there were some."""
    began, ended = (evidence.at(second) for second in evidence.span)
    first = int(-(-(began + BEAT_MS) // MINUTE_MS)) * MINUTE_MS
    faults, marked, untouched = [], 0, 0
    minutes = range(first, int(ended - BEAT_MS) - MINUTE_MS + 1, MINUTE_MS)
    for start in minutes:
        minute = (start, start + MINUTE_MS)
        gap = MINUTE_MS - _length(intersected([minute], evidence.subscribed))
        is_claimed = any(since <= minute[0] and minute[1] <= until for since, until in evidence.listening)
        marked += is_claimed
        untouched += (is_whole := gap <= 0 and not _is_touched(evidence, minute))
        if gap > SHORTEST_GAP_MS and is_claimed:
            faults.append(f"the minute from {start} is claimed, although {gap:.0f} ms of it were not subscribed")
        if is_whole and not is_claimed:
            faults.append(f"the minute from {start} is not claimed, although nothing was in its way")
    if untouched < least_untouched:
        faults.append(f"{untouched} minutes had nothing in their way, and {least_untouched} should have been left so")
    return check(f"of {len(minutes)} minutes {marked} are claimed whole, {untouched} had nothing in their way", faults)


#: Troubles that leave no hole in what is claimed.
_HARMLESS = ("burst", "ws_duplicate")


def _is_touched(evidence: Evidence, minute: Span) -> bool:
    """Whether something has happened in a minute, or just before or after it, for which a hole is allowed."""
    start, end = minute[0] - BEAT_MS, minute[1] + BEAT_MS
    # What a killed stream had received was claimed up to five seconds before.
    killed = ((evidence.at(kill.at) - 7_000, evidence.at(kill.at)) for kill in evidence.kills)
    struck = (
        (evidence.at(each.start), evidence.at(each.end)) for each in evidence.struck if each.kind not in _HARMLESS
    )
    return any(since < end and until > start for since, until in (*killed, *struck))


# --- subscriptions


def subscribed_nearly_always(evidence: Evidence, least: float) -> Check:
    """Somebody was subscribed for that share of the time outside outages of the exchange."""
    wanted = without([(evidence.at(evidence.span[0]), evidence.at(evidence.span[1]))], evidence.outages)
    share = _length(intersected(wanted, evidence.subscribed)) / _length(wanted)
    gaps = sorted(without(wanted, evidence.subscribed), key=lambda gap: gap[0] - gap[1])
    longest = ", ".join(f"{(end - start) / 1000:.1f} s" for start, end in gaps[:3])
    subject = f"subscribed {share:.2%} of {_length(wanted) / 1000:.0f} s outside outages ({len(gaps)} gaps: {longest})"
    began = evidence.at(evidence.span[0])
    faults = [f"{(end - start) / 1000:.1f} s after {(start - began) / 1000:.0f} s" for start, end in gaps]
    return check(subject, [] if share >= least else [f"less than {least:.0%}", *faults])


# --- processes


def of_processes(tally: Tally, faults: Iterable[str], least: dict[str, int]) -> list[Check]:
    """Each process ended as it may, and enough of them died."""
    counted = tally.kills + tally.done + tally.struck
    return [
        check(f"{tally.done['hand-over']} hand-overs, none failed", faults),
        check(
            "each trouble came often enough",
            (f"{name}: {counted[name]} of {times}" for name, times in least.items() if counted[name] < times),
        ),
    ]


def values_never_go_back(seen: int, faults: list[str]) -> Check:
    """What the watcher has seen."""
    return check(f"{seen:,} groups of latest values were seen, none goes back", faults if seen else ["none was seen"])


def memory_is_flat(process: StreamProcess, resident: int) -> Check:
    """The slope of a stream's memory after its warm-up, by least squares; `resident` bytes are the imports'."""
    samples = [(at, held / MB) for at, held in process.memory if at - process.began >= WARM_UP_S]
    lived = process.memory[-1][0] - process.began if process.memory else 0.0
    slope = _slope_per_min(samples)
    held = samples[-1][1] if samples else 0.0
    subject = (
        f"memory {slope:+.2f} MB a minute over the last {max(lived - WARM_UP_S, 0):.0f} s, "
        f"{held:.0f} MB in all, {held - resident / MB:.0f} MB beyond the imports"
    )
    return check(subject, [f"grew in {lived:.0f} s"] if lived > LIVED_S and slope >= MOST_GROWTH_MB_PER_MIN else [])


def _slope_per_min(samples: list[tuple[float, float]]) -> float:
    if len(samples) < 2:
        return 0.0
    mean_at = sum(at for at, _ in samples) / len(samples)
    mean = sum(held for _, held in samples) / len(samples)
    spread = sum((at - mean_at) ** 2 for at, _ in samples)
    return 60 * sum((at - mean_at) * (held - mean) for at, held in samples) / spread if spread else 0.0


# --- staging


def nothing_waits(url: str, waiting: int) -> Check:
    """Nothing is left in Redis or in staging, and the gate has withheld nothing.

    Args:
        waiting: entries that are left in Redis.
    """
    with session(url) as connection:
        loader.sweep(connection, TABLES.values())
        counts = {
            "staging.received": rows(connection, "SELECT count(*) FROM staging.received")[0][0],
            "staging.liquidations": rows(connection, ORPHANS)[0][0],
            "quarantine": rows(connection, "SELECT count(*) FROM quarantine")[0][0],
            "Redis": waiting,
        }
    return check(
        "nothing waits, in staging or in quarantine", (f"{place}: {count}" for place, count in counts.items() if count)
    )


# --- spans


def united(spans: Iterable[Span]) -> list[Span]:
    """In order, those that touch as one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def without(spans: list[Span], taken: list[Span]) -> list[Span]:
    """What is left of some spans; both united."""
    return [part for span in spans for part in _left_of(span, taken)]


def intersected(spans: list[Span], others: list[Span]) -> list[Span]:
    """What is in both; both united."""
    return [
        (max(start, since), min(end, until))
        for start, end in spans
        for since, until in others
        if since < end and until > start
    ]


def _left_of(span: Span, taken: list[Span]) -> Iterator[Span]:
    start, end = span
    edges = [start, *(edge for part in intersected([span], taken) for edge in part), end]
    yield from ((since, until) for since, until in list(pairwise(edges))[::2] if since < until)


def _length(spans: list[Span]) -> float:
    return sum(end - start for start, end in spans)
