"""Batches: the unit that is staged, checked and published together. Pure, but for the instant of a request.

A batch is one or more symbols, the datasets that one archive folder feeds, and at most a month; longer where a range
would make more batches than a scheduler can map.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from perpflow.datasets import DATASETS, TABLES
from perpflow.errors import BadConfiguration
from perpflow.settings import Collection, is_symbol
from perpflow.specs import Budget, DatasetSpec, StreamedSpec
from perpflow.windows import Window, parse_instant, split

#: Airflow maps at most 1,024 task instances by default (`[core] max_map_length`); three archive folders share them.
MOST_BATCHES = 320
#: A batch is three tasks, of 4.4 s each where a scheduler has the imports ready: with four at once these take 80 s of
#: the five minutes until the next increment.
MOST_OF_AN_INCREMENT = 24
#: What a batch is of that holds whatever a stream of all contracts has brought.
ALL_CONTRACTS = "*"
#: A batch of more symbols is not named by all of them.
NAMED_SYMBOLS = 20
#: A month at a time; wider where the range is so long that there would be too many.
SPANS_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What a person or a schedule asks for. `symbols` None means the configured ones; `end` None means now.

    `again` loads also what the ledger holds already; facts that are unchanged stay untouched. `made_at` sets the
    batches of a run that is cleared and planned anew apart from those that it has published before. `live` work keeps
    data current: it may spend what backfill leaves to it of the exchange's limits.
    """

    datasets: tuple[str, ...]
    symbols: tuple[str, ...] | None
    start: datetime | None
    end: datetime | None
    run: str
    again: bool = False
    symbols_per_task: int = 1
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    live: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.datasets if name not in DATASETS]
        if unknown or not self.datasets:
            streamed = [name for name in unknown if name in TABLES]
            why = f" A stream alone gives {', '.join(streamed)}: nobody can ask for that again." if streamed else ""
            raise BadConfiguration(
                f"datasets = {list(self.datasets)}: {', '.join(unknown) or 'none'} is not among those that can be"
                f" loaded, repaired and audited.{why}",
                hint=f"Allowed: {', '.join(DATASETS)}.",
            )
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise BadConfiguration(
                f"the range ends at {self.end.isoformat()}, not after its start {self.start.isoformat()}.",
                hint="Give an end that lies after the start; ranges are half-open, the end is not loaded.",
            )

    @classmethod
    def from_form(cls, run: str, form: Mapping[str, Any]) -> LoadRequest:
        """The request of a filled-in form or command line: `start` and `end` are UTC dates or instants, or None.

        What a form does not ask for is left at that: no range, nothing again, a symbol to a task.

        Raises:
            BadConfiguration: a value cannot be understood, or the end does not lie after the start.
        """
        symbols = tuple(dict.fromkeys(form["symbols"] or ())) or None
        malformed = [symbol for symbol in symbols or () if symbol != "all" and not is_symbol(symbol)]
        if malformed:
            raise BadConfiguration(f"symbols = {malformed}: not symbols.", hint="Write SOL/USDT, or all.")
        if symbols and "all" in symbols and len(symbols) > 1:
            raise BadConfiguration(f"symbols = {list(symbols)}: all stands alone.", hint="Write all, or symbols.")
        return cls(
            datasets=tuple(dict.fromkeys(form["datasets"])),
            symbols=symbols,
            start=_instant("start", form.get("start")),
            end=_instant("end", form.get("end")),
            run=run,
            again=bool(form.get("again")),
            symbols_per_task=form.get("symbols_per_task", 1),
        )

    def require_past(self, collection: Collection, now: datetime) -> None:
        """Refuse a range in which there can be nothing: it has not begun yet, or ends before anything is collected.

        Args:
            now: the exchange's clock.

        Raises:
            BadConfiguration: it is such a range.
        """
        if self.start is not None and self.start >= min(self.end or now, now):
            raise BadConfiguration(
                f"the range begins at {self.start.isoformat()}, which has not passed on the exchange's clock.",
                hint=f"There it is {now:%Y-%m-%dT%H:%MZ}: give an earlier start.",
            )
        first = min(map(collection.start_of, self.datasets))
        if self.start is None and self.end is not None and self.end <= first:
            raise BadConfiguration(
                f"the range ends at {self.end.isoformat()}, before collection.yaml's start {first.isoformat()}.",
                hint="Give a start, or a later end.",
            )


def _instant(name: str, text: str | None) -> datetime | None:
    try:
        return parse_instant(text) if text else None
    except ValueError as error:
        raise BadConfiguration(
            f"{name} = {text!r}: {str(error).rstrip('.')}.", hint="Write 2026-04-18 or 2026-04-18T12:00:00Z."
        ) from error


@dataclass(frozen=True, slots=True)
class Batch:
    """A unit of work. The same request, datasets, symbols and window give the same id.

    Where `objects` names files of the archive, these are what is read, and nothing else. Where `review` names a review
    of the quarantine, its rows are what that review has released.
    """

    id: str
    run: str
    datasets: tuple[str, ...]
    symbols: tuple[str, ...]
    window: Window
    again: bool = False
    live: bool = False
    objects: tuple[str, ...] = ()
    review: str | None = None

    @property
    def specs(self) -> tuple[DatasetSpec, ...]:
        """The table's entries of its datasets."""
        return tuple(TABLES[name] for name in self.datasets)

    @property
    def is_streamed(self) -> bool:
        """Whether its rows were received from a stream, and wait; the others are asked for."""
        return self.review is None and any(isinstance(spec, StreamedSpec) for spec in self.specs)

    @property
    def label(self) -> str:
        """What the UI shows instead of a map index: `SOL/USDT klines 2026-04-01`; of a stream, until when it goes."""
        if self.review is not None:
            return f"released {self.specs[0].name} {self.window.start:%Y-%m-%d}"
        if self.is_streamed:
            return f"{self.specs[0].feed} until {self.window.end:%Y-%m-%d %H:%M}"
        symbols = self.symbols[0] if len(self.symbols) == 1 else f"{self.symbols[0]} +{len(self.symbols) - 1}"
        again = " re-issued" if self.objects else ""
        return f"{symbols} {self.specs[0].feed}{again} {self.window.start:%Y-%m-%d}"

    def to_json(self) -> dict[str, Any]:
        """As plain values, for XCom."""
        return {
            "id": self.id,
            "run": self.run,
            "datasets": list(self.datasets),
            "symbols": list(self.symbols),
            "start": self.window.start.isoformat(),
            "end": self.window.end.isoformat(),
            "again": self.again,
            "live": self.live,
            "objects": list(self.objects),
            "review": self.review,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Batch:
        """The batch that `to_json` described."""
        window = Window(datetime.fromisoformat(data["start"]), datetime.fromisoformat(data["end"]))
        datasets, symbols = tuple(data["datasets"]), tuple(data["symbols"])
        objects, review = tuple(data["objects"]), data.get("review")
        return cls(data["id"], data["run"], datasets, symbols, window, data["again"], data["live"], objects, review)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A hole that REST can still fill, and from when on it no longer gives the first of its points."""

    dataset: str
    symbol: str
    series: str
    window: Window
    forgotten_at: datetime

    def __str__(self) -> str:
        what = f"{self.dataset} {self.symbol} {self.series} {self.window}"
        return f"{what}: REST forgets it from {self.forgotten_at:%Y-%m-%dT%H:%MZ} on"

    def to_json(self) -> dict[str, str]:
        """As plain values, for an asset event; instants as ISO text."""
        instants = {"start": self.window.start, "end": self.window.end, "forgotten_at": self.forgotten_at}
        names = {"dataset": self.dataset, "symbol": self.symbol, "series": self.series}
        return names | {name: instant.isoformat() for name, instant in instants.items()}


@dataclass(slots=True)
class Estimate:
    """What a plan asks of the sources: files of the archive, requests of REST and what they take of its budgets.

    `rows` are those that come, `size` the bytes that are transferred for them, before REST's compression.
    """

    batches: int = 0
    files: int = 0
    requests: Counter[Budget] = field(default_factory=Counter)
    units: Counter[Budget] = field(default_factory=Counter)
    rows: int = 0
    size: int = 0


@dataclass(slots=True)
class Plan:
    """What will be loaded, what was trimmed and why, which symbols were refused, and which holes are urgent.

    A history has an `estimate` of what it takes.
    """

    batches: list[Batch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    estimate: Estimate | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values, for XCom."""
        return {"batches": [b.to_json() for b in self.batches], "notes": self.notes, "rejected": self.rejected}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """The plan that `to_json` described."""
        return cls([Batch.from_json(b) for b in data["batches"]], list(data["notes"]), list(data["rejected"]))


def symbols_per_task(symbols: int) -> int:
    """How many of an increment's symbols share a task: each has its own unless there are too many for a run."""
    return max(-(-symbols // MOST_OF_AN_INCREMENT), 1)


def cut(request: LoadRequest, datasets: tuple[str, ...], hulls: Mapping[str, Window]) -> list[Batch]:
    """Batches of one archive folder's datasets that cover each symbol's `hulls` window; no symbol's overlap.

    Months first get longer, then symbols share a batch, until a scheduler can map what comes out. Where symbols that
    begin at different times share one, its window holds them all: what a symbol lacks in it, its ledger row knows.
    """
    if not hulls:
        return []
    pieces = {months: _pieces(hulls, months) for months in SPANS_MONTHS}
    per_task = request.symbols_per_task
    while True:
        for by_period in pieces.values():
            # Counted first: a universe of 500 symbols has tens of thousands of months.
            if sum(-(-len(windows) // per_task) for windows in by_period) <= MOST_BATCHES:
                return list(_batches(request, datasets, by_period, per_task))
        per_task *= 2


def cut_gaps(
    request: LoadRequest,
    datasets: tuple[str, ...],
    gaps: Mapping[str, Iterable[Window]],
    most: int = MOST_BATCHES,
    *,
    oldest_first: bool = False,
) -> tuple[list[Batch], int]:
    """Batches of the months in which there are gaps, the latest month first; and how many more there would be.

    In its months a symbol's window reaches from the first gap to the last: what it holds in between, its ledger row
    knows. Holes are few, and lie far apart; a history is cut by `cut`.
    """
    by_month: dict[datetime, dict[str, Window]] = {}
    for symbol, windows in gaps.items():
        for gap in windows:
            for piece in split(gap, 1):
                month = by_month.setdefault(piece.start.replace(day=1, hour=0, minute=0, second=0, microsecond=0), {})
                known = month.get(symbol, piece)
                month[symbol] = Window(min(known.start, piece.start), max(known.end, piece.end))
    in_turn = [by_month[month] for month in sorted(by_month, reverse=not oldest_first)]
    batches = list(_batches(request, datasets, in_turn, request.symbols_per_task))
    return batches[:most], max(len(batches) - most, 0)


def _named(group: tuple[str, ...]) -> str:
    """The symbols of a batch for its name: all, or the first and a hash, for an index entry has 2,700 bytes at most."""
    if len(group) <= NAMED_SYMBOLS:
        return "+".join(group)
    digest = hashlib.sha256("+".join(group).encode()).hexdigest()[:16]
    return f"{group[0]}+{len(group) - 1}:{digest}"


def _pieces(hulls: Mapping[str, Window], by_months: int) -> list[dict[str, Window]]:
    """For each period of `by_months` months, ascending, what of it each symbol's window holds."""
    whole = Window(min(hull.start for hull in hulls.values()), max(hull.end for hull in hulls.values()))
    symbols = sorted(hulls)
    periods = [
        {symbol: cut for symbol in symbols if (cut := hulls[symbol].intersect(period))}
        for period in split(whole, by_months)
    ]
    return [period for period in periods if period]


def _batches(
    request: LoadRequest, datasets: tuple[str, ...], by_period: list[dict[str, Window]], per_task: int
) -> Iterable[Batch]:
    kind = DATASETS[datasets[0]].archive.kind
    for windows in by_period:
        # Those that begin together stand together, so that few windows hold more than their symbols asked for.
        symbols = sorted(windows, key=lambda symbol: (windows[symbol], symbol))
        for i in range(0, len(symbols), per_task):
            group = tuple(sorted(symbols[i : i + per_task]))
            window = Window(min(windows[s].start for s in group), max(windows[s].end for s in group))
            span = f"{window.start:%Y%m%dT%H%M}-{window.end:%Y%m%dT%H%M}"
            name = f"{request.run}|{request.made_at:%Y%m%dT%H%M%S.%f}|{kind}|{_named(group)}|{span}"
            yield Batch(name, request.run, datasets, group, window, request.again, request.live)
