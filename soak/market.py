"""What a campaign loads: symbols, spans, loads that overlap, and rows that the gate must withhold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count, cycle
from random import Random
from typing import Literal

from perpflow.batches import LoadRequest
from perpflow.datasets import DATASETS
from perpflow.specs import LoadedSpec
from perpflow.windows import DAY, Window, to_ms
from simulator.corruption import parse_corruption
from simulator.grid import longest
from simulator.process import Handle
from tests.loading import EXCHANGE_SYMBOLS, utc

#: The simulated exchange's default clock, which stands still.
NOW = utc("2026-10-15T12:34:56")
#: In June a monthly file lacks a day and metrics break off for ever; August has doubled and shifted rows and lacks a
#: file; October has holes that REST fills and some that nothing does, and today, which REST alone has.
JUNE = Window(utc("2026-06-08"), utc("2026-06-18"))
AUGUST = Window(utc("2026-08-04"), utc("2026-08-21"))
AUTUMN = Window(utc("2026-09-28"), NOW)
HOUR = timedelta(hours=1)
#: Each window begins before the one before it has ended.
OVERLAP = timedelta(hours=30)
STEPS_MS = {"metrics": 300_000, "fundingRate": 86_400_000}
#: Folders of the archive, and of how many days each the first issue is another than the next.
KINDS = sorted({spec.archive.kind for spec in DATASETS.values()})
ISSUES_EACH = 2
Planner = Literal["plan", "repair", "reissued"]
PLANNERS: tuple[Planner, ...] = ("plan", "repair", "reissued")
#: Of the loads that follow on the first ones so many are loads, repairs, and of what was issued again.
PLANNED_BY = (6, 3, 2)
#: Loads that mend are numbered from here.
MENDING = 1_000_000
#: Where all is loaded already, a load that is not `again` has nothing to do.
AGAIN = 0.8


@dataclass(frozen=True, slots=True)
class Corruption:
    """Rows that are spoiled at the source, in the archive and on REST alike, beyond what the gate lets pass."""

    dataset: str
    kind: str
    what: str
    symbol: str
    day: datetime
    rows: int
    interval: str | None = None

    @property
    def series(self) -> str:
        """The ledger's name of the series."""
        return self.interval or DATASETS[self.dataset].series[0]

    @property
    def times(self) -> list[datetime]:
        """The instants of the rows: simulator.corruption puts them at six in the morning."""
        six = self.day + timedelta(hours=6)
        return [six + n * timedelta(minutes=5) for n in range(self.rows)]

    def spoil(self, exchange: Handle) -> None:
        """Spoil them until all faults of the exchange are cleared."""
        exchange.add_fault(
            "corrupt_rows",
            dataset=self.kind,
            symbol=EXCHANGE_SYMBOLS[self.symbol],
            date=f"{self.day:%Y-%m-%d}",
            what=self.what,
            count=self.rows,
            interval=self.interval,
        )


@dataclass(frozen=True, slots=True)
class FirstIssue:
    """A day of the archive whose first issue has other values than the one that follows."""

    kind: str
    symbol: str
    day: datetime

    def serve(self, exchange: Handle) -> int:
        """Have the archive serve it; the number of the fault, whose end is the next issue."""
        return exchange.add_fault("corrupt_rows", **self.fault())

    def fault(self) -> dict[str, str]:
        """As the simulator knows it."""
        symbol, day = EXCHANGE_SYMBOLS[self.symbol], f"{self.day:%Y-%m-%d}"
        return {"dataset": self.kind, "symbol": symbol, "date": day, "what": "revised", "only": "archive"}

    def changes(self, spec: LoadedSpec, symbol: str, series: str, time: datetime) -> bool:
        """Whether the row of that key may have had another value."""
        if (spec.archive.kind, symbol) != (self.kind, self.symbol):
            return False
        # As simulator.corruption has it: of settlements those of the day.
        step_ms = longest(series) if spec.series_in_key else STEPS_MS[self.kind]
        return parse_corruption(0, dict(self.fault()), 1.0, 0).covers(to_ms(time), step_ms)


@dataclass(frozen=True, slots=True)
class Load:
    """A request to be loaded by several processes, its batches each by `copies` of them at once.

    `planned_by` is the step that plans it: as a load, as the repair of what lacks there, or of what was issued again.
    """

    number: int
    datasets: tuple[str, ...]
    symbols: tuple[str, ...]
    window: Window
    again: bool
    copies: int
    planned_by: Planner = "plan"

    def request(self) -> LoadRequest:
        """As the pipeline plans it."""
        run = f"soak {self.number}"
        return LoadRequest(self.datasets, self.symbols, self.window.start, self.window.end, run, self.again)


@dataclass(frozen=True, slots=True)
class Market:
    """What has to be there in the end: all datasets of some symbols in some spans, less the spoiled rows."""

    symbols: tuple[str, ...]
    spans: tuple[Window, ...]
    corruptions: tuple[Corruption, ...] = ()
    first_issues: tuple[FirstIssue, ...] = ()
    now: datetime = NOW
    datasets: tuple[str, ...] = field(default=tuple(DATASETS))

    def spoil(self, exchange: Handle) -> None:
        """Have the exchange serve the corrupted rows."""
        for corruption in self.corruptions:
            corruption.spoil(exchange)

    def covering_loads(self, dice: Random) -> list[Load]:
        """Loads whose windows cover the spans and overlap, in any order."""
        windows = [window for span in self.spans for window in _overlapping(span, dice)]
        dice.shuffle(windows)
        loads = [
            Load(number, self.datasets, self.symbols, window, again=False, copies=_copies(dice))
            for number, window in enumerate(windows, 1)
        ]
        # Among them, while kills are still wanted, what mends: by turns of holes and of files that were issued again.
        menders = cycle(PLANNERS[1:])
        mending = [replace(load, number=load.number + MENDING, planned_by=next(menders)) for load in loads]
        return [load for pair in zip(loads, mending, strict=True) for load in pair]

    def further_loads(self, dice: Random, first: int) -> Iterator[Load]:
        """Without end parts of the spans once more, most of them `again`; numbered from `first`."""
        for number in count(first):
            datasets = tuple(dice.sample(self.datasets, dice.randint(1, len(self.datasets))))
            symbols = tuple(dice.sample(self.symbols, dice.randint(1, min(2, len(self.symbols)))))
            window = _part(dice.choice(self.spans), dice)
            again, copies = dice.random() < AGAIN, _copies(dice)
            (planned_by,) = dice.choices(PLANNERS, PLANNED_BY)
            yield Load(number, datasets, symbols, window, again, copies, planned_by)

    def last_loads(self, first: int) -> Iterator[Load]:
        """What mends everything that has gone wrong: of each span the repair, and what was issued again."""
        for number, span in enumerate(self.spans, first):
            yield Load(number, self.datasets, self.symbols, span, again=False, copies=1, planned_by="repair")
        number = first + len(self.spans)
        yield Load(number, self.datasets, self.symbols, self.spans[0], again=False, copies=1, planned_by="reissued")


def drawn(dice: Random, symbols: tuple[str, ...], spans: tuple[Window, ...]) -> Market:
    """A market whose spoiled rows are drawn: candles and open interest, on days that the archive has."""
    days = [span.start + n * DAY for span in spans for n in range(span.length // DAY - 1)]
    candles = Corruption(
        "ohlcv",
        "klines",
        dice.choice(("high_below_low", "negative_volume", "nan_price")),
        dice.choice(symbols),
        dice.choice(days),
        dice.randint(3, 40),
        "5m",
    )
    interest = Corruption(
        "open_interest", "metrics", "negative_value", dice.choice(symbols), dice.choice(days), dice.randint(3, 40)
    )
    spoiled = {candles.day, interest.day}
    whole = [day for day in days if day not in spoiled]
    drawn_for = [kind for kind in KINDS for _ in range(ISSUES_EACH)] if whole else []
    issues = [FirstIssue(kind, dice.choice(symbols), dice.choice(whole)) for kind in drawn_for]
    return Market(symbols, spans, (candles, interest), tuple(dict.fromkeys(issues)))


def _overlapping(span: Window, dice: Random) -> Iterator[Window]:
    """Windows of two to six days, to the hour, that cover the span and overlap."""
    start = span.start
    while start < span.end:
        end = min(start + dice.randint(48, 144) * HOUR, span.end)
        yield Window(start, end)
        if end == span.end:
            return
        start = end - dice.randint(1, OVERLAP // HOUR) * HOUR


def _part(span: Window, dice: Random) -> Window:
    """Half a day to four days of the span."""
    hours = span.length // HOUR
    length = min(dice.randint(12, 96), hours)
    start = span.start + dice.randint(0, hours - length) * HOUR
    return Window(start, start + length * HOUR)


def _copies(dice: Random) -> int:
    """Every third load has two processes on each of its batches."""
    return 2 if dice.random() < 1 / 3 else 1
