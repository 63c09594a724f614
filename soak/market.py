"""What a campaign loads: symbols, spans, loads that overlap, and rows that the gate must withhold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from random import Random

from perpflow.batches import LoadRequest
from perpflow.datasets import DATASETS
from perpflow.windows import DAY, Window
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
class Load:
    """A request to be loaded by several processes, its batches each by `copies` of them at once."""

    number: int
    datasets: tuple[str, ...]
    symbols: tuple[str, ...]
    window: Window
    again: bool
    copies: int

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
        return [
            Load(number, self.datasets, self.symbols, window, again=False, copies=_copies(dice))
            for number, window in enumerate(windows, 1)
        ]

    def further_loads(self, dice: Random, first: int) -> Iterator[Load]:
        """Without end parts of the spans once more, most of them `again`; numbered from `first`."""
        for number in count(first):
            datasets = tuple(dice.sample(self.datasets, dice.randint(1, len(self.datasets))))
            symbols = tuple(dice.sample(self.symbols, dice.randint(1, min(2, len(self.symbols)))))
            window = _part(dice.choice(self.spans), dice)
            yield Load(number, datasets, symbols, window, again=dice.random() < AGAIN, copies=_copies(dice))


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
    return Market(symbols, spans, (candles, interest))


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
