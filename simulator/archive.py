"""The archive: daily and monthly zips with their CHECKSUM, made on demand from a feed, each time the same bytes.

Keys follow `data/futures/um/{daily|monthly}/{klines|metrics|fundingRate}/<SYMBOL>/[<interval>/]<name>.zip`. A daily
file appears on the next day at 08:40 UTC, a monthly one on the third of the next month at 09:00 UTC. Kline and funding
times are milliseconds; metrics write `YYYY-MM-DD HH:MM:SS` UTC.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from simulator.corruption import CorruptedFeed
from simulator.delays import Delays
from simulator.feed import MetricRow
from simulator.grid import (
    DAY,
    FIVE_MINUTES,
    FIXED_INTERVALS,
    HOUR,
    KLINE_INTERVALS,
    MINUTE,
    candle_end,
    candle_start,
    longest,
    month_bounds,
    months_between,
    to_date,
    to_datetime,
    to_ms,
)
from simulator.klines import KINDS, KlineRow
from simulator.quirks import KLINE_HEADER_FROM, Quirk, find, instants, without_archive_row
from simulator.symbols import NO_DELIVERY, Contract

ROOT = "data/futures/um/"
KLINES_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
METRICS_HEADER = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
)
FUNDING_HEADER = "calc_time,funding_interval_hours,last_funding_rate"
DATASETS = {"daily": (*KINDS, "metrics"), "monthly": ("fundingRate", *KINDS)}
# The month is spelled 1mo in the archive; longer than a day exists in monthly files only.
ARCHIVE_INTERVALS = {("1mo" if interval == "1M" else interval): interval for interval in KLINE_INTERVALS}
DAILY_INTERVALS = tuple(name for name in FIXED_INTERVALS if name != "3d")
_CACHE_BYTES = 48 * 2**20


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """What one zip holds: `[start, end)` of a dataset of a contract, published at `usually_published` (ms UTC)."""

    granularity: str
    dataset: str
    contract: Contract
    interval: str | None
    label: str

    @property
    def bounds(self) -> tuple[int, int]:
        """The UTC day or month that the file is for."""
        if self.granularity == "monthly":
            return month_bounds(self.label)
        return to_ms(self.label), to_ms(self.label) + DAY

    @property
    def usually_published(self) -> int:
        """When the file appears if nothing delays it."""
        end = self.bounds[1]
        return end + 8 * HOUR + 40 * MINUTE if self.granularity == "daily" else end + 2 * DAY + 9 * HOUR

    @property
    def name(self) -> str:
        """The file name without `.zip`."""
        return f"{self.contract.symbol}-{self._spelled() or self.dataset}-{self.label}"

    @property
    def key(self) -> str:
        """The object key of the zip."""
        folder = f"{self._spelled()}/" if self.interval else ""
        return f"{ROOT}{self.granularity}/{self.dataset}/{self.contract.symbol}/{folder}{self.name}.zip"

    def _spelled(self) -> str:
        return "1mo" if self.interval == "1M" else self.interval or ""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's bytes and the headers that identify this version of it."""

    content: bytes
    etag: str
    last_modified: int


class SyntheticArchive:
    """All files that exist at a moment, as a tree for listing and as bytes for download."""

    def __init__(self, feed: CorruptedFeed, seed: int, quirks: Sequence[Quirk]) -> None:
        self.feed, self.seed, self.quirks = feed.as_archived(), seed, quirks
        self.delays = Delays()
        #: What sets an object that is spoiled on its way out apart from what it is without that, by key.
        self.spoiled: Callable[[str], str] = lambda _: ""
        self._contracts = {contract.symbol: contract for contract in feed.contracts}
        self._zips: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def published(self, file: ArchiveFile) -> int:
        """When a file appears, and the Last-Modified that it has."""
        return file.usually_published + self.delays.delay_ms(file.key)

    def find(self, key: str, now: int) -> ArchiveFile | None:
        """The file of a zip's key if it is published at `now`."""
        parts = key.removeprefix(ROOT).removesuffix(".zip").split("/")
        if not key.startswith(ROOT) or len(parts) not in (4, 5) or parts[2] not in self._contracts:
            return None
        granularity, dataset, symbol, folder = *parts[:3], parts[3] if len(parts) == 5 else ""
        label = parts[-1].removeprefix(f"{symbol}-{folder or dataset}-")
        if not re.fullmatch(r"\d{4}-\d\d-\d\d" if granularity == "daily" else r"\d{4}-\d\d", label):
            return None
        contract, interval = self._contracts[symbol], ARCHIVE_INTERVALS.get(folder)
        file = ArchiveFile(granularity, dataset, contract, interval, label)
        return file if file.key == key and self._has_series(file) and self._exists(file, now) else None

    def _has_series(self, file: ArchiveFile) -> bool:
        if file.dataset not in DATASETS.get(file.granularity, ()):
            return False
        if (file.dataset in KINDS) != (file.interval is not None):
            return False
        return file.granularity == "monthly" or file.interval in (None, *DAILY_INTERVALS)

    def _exists(self, file: ArchiveFile, now: int) -> bool:
        try:
            start, end = file.bounds
        except ValueError:
            return False
        first = _first_archived(file.dataset, file.contract, file.granularity)
        if first is None or end <= first or start >= self._ends(file) or self.published(file) > now:
            return False
        return not find(self.quirks, "missing_file", file.dataset, file.contract.symbol, start, end)

    def _ends(self, file: ArchiveFile) -> int:
        """Where the rows of a series end; files may go on after the delisting."""
        contract = file.contract
        late = find(self.quirks, "afterlife", file.dataset, contract.symbol, contract.ends, NO_DELIVERY)
        return max([contract.ends, *(quirk.end for quirk in late)])

    def files(
        self, granularity: str, dataset: str, contract: Contract, interval: str | None, now: int
    ) -> Iterator[ArchiveFile]:
        """All files of one series that are published at `now`, ascending."""
        start = _first_archived(dataset, contract, granularity)
        series = ArchiveFile(granularity, dataset, contract, interval, "")
        if start is None or not self._has_series(series):
            return
        end = min(self._ends(series), now)
        for label in months_between(start, end) if granularity == "monthly" else _days(start, end):
            file = replace(series, label=label)
            if self._exists(file, now):
                yield file

    def children(self, folder: str, now: int) -> list[tuple[str, int]]:
        """Names directly below a folder (sub-folders end in "/") with their last-modified time, in key order."""
        trail = ["data/", "futures/", "um/"]
        parts = [f"{part}/" for part in folder.split("/") if part]
        if len(parts) < 3:
            return [(trail[len(parts)], 0)] if parts == trail[: len(parts)] else []
        if parts[:3] != trail:
            return []
        names = self._below([part[:-1] for part in parts[3:]], now)
        return sorted(names, key=lambda entry: entry[0].encode())

    def _below(self, parts: list[str], now: int) -> list[tuple[str, int]]:
        """Names below `um/<parts>`: granularities, datasets, symbols, intervals of klines, files."""
        if len(parts) < 2:
            names = DATASETS.get(parts[0], ()) if parts else tuple(DATASETS)
            return [(f"{name}/", 0) for name in names]
        granularity, dataset = parts[:2]
        if len(parts) == 2:
            probe = "1d" if dataset in KINDS else None
            symbols = [
                symbol
                for symbol, contract in self._contracts.items()
                if any(True for _ in self.files(granularity, dataset, contract, probe, now))
            ]
            return [(f"{symbol}/", 0) for symbol in symbols]
        contract = self._contracts.get(parts[2])
        if contract is None or len(parts) > 4:
            return []
        if len(parts) == 3 and dataset in KINDS:
            return [
                (f"{name}/", 0)
                for name, interval in ARCHIVE_INTERVALS.items()
                if any(True for _ in self.files(granularity, dataset, contract, interval, now))
            ]
        interval = ARCHIVE_INTERVALS.get(parts[3]) if len(parts) == 4 else None
        files = self.files(granularity, dataset, contract, interval, now)
        return [(f"{file.name}.zip{suffix}", self.published(file)) for file in files for suffix in ("", ".CHECKSUM")]

    def get(self, key: str, now: int) -> StoredObject | None:
        """An object (zip or CHECKSUM) that is published at `now`."""
        file = self.find(key.removesuffix(".CHECKSUM"), now)
        if file is None:
            return None
        content = self._zip(file)
        if key.endswith(".CHECKSUM"):
            wrong = find(self.quirks, "wrong_checksum", file.dataset, file.contract.symbol, *file.bounds)
            content = checksum_text(content + b"of another issue" if wrong else content, f"{file.name}.zip")
        return StoredObject(content, self.etag(key, now), self.published(file))

    def etag(self, key: str, now: int) -> str:
        """The version mark of an object, without making it: it changes when a corruption or a fault does."""
        file = self.find(key.removesuffix(".CHECKSUM"), now)
        version = (self._version(file) if file else "") + self.spoiled(key)
        return hashlib.md5(f"{self.seed}:{version}:{key}".encode(), usedforsecurity=False).hexdigest()

    def _version(self, file: ArchiveFile) -> str:
        spoils = self.feed.matching(file.dataset, file.contract.symbol, *file.bounds, file.interval)
        return ",".join(str(spoil.id) for spoil in spoils)

    def _zip(self, file: ArchiveFile) -> bytes:
        cached = (file.key, self._version(file))
        if cached not in self._zips:
            self._zips[cached] = zipped(f"{file.name}.csv", self.csv(file), file.bounds[1])
            while sum(map(len, self._zips.values())) > _CACHE_BYTES:
                self._zips.popitem(last=False)
        return self._zips[cached]

    def csv(self, file: ArchiveFile) -> str:
        """The text of the file's CSV, quirks and corruptions included."""
        render = {"metrics": self._metrics, "fundingRate": self._funding}.get(file.dataset, self._klines)
        return "\n".join(render(file)) + "\n"

    def _klines(self, file: ArchiveFile) -> list[str]:
        start, end = file.bounds
        symbol, interval = file.contract.symbol, file.interval or ""
        # The first candle opens before the listing, and holds what came after it.
        begins = max(start, candle_start(interval, KINDS[file.dataset].first_archived(file.contract)))
        rows = self.feed.kline_rows(file.contract, interval, begins, end, None, file.dataset)
        rows = self._with_kline_quirks(rows, symbol, file) + self._dead_klines(file)
        headed = start >= KLINE_HEADER_FROM or not any(quirk.name == "headerless" for quirk in self.quirks)
        return ([KLINES_HEADER] if headed else []) + [",".join(row) for row in rows]

    def _with_kline_quirks(self, rows: list[KlineRow], symbol: str, file: ArchiveFile) -> list[KlineRow]:
        start, end = file.bounds
        if file.granularity == "monthly":
            for quirk in find(self.quirks, "monthly_lacks_day", file.dataset, symbol, start, end, file.interval):
                rows = [row for row in rows if not quirk.start <= int(row[0]) < quirk.end]
        for quirk in find(self.quirks, "doubled", file.dataset, symbol, start, end, file.interval):
            rows = [row for row in rows for _ in range(2 if quirk.start <= int(row[0]) < quirk.end else 1)]
        return rows

    def _dead_klines(self, file: ArchiveFile) -> list[KlineRow]:
        """Candles that begin after the delisting: the last price, and no trade."""
        contract, interval = file.contract, file.interval or ""
        times = self._dead_times(file, longest(interval))
        last = self.feed.kline_rows(contract, "1m", contract.ends - MINUTE, contract.ends, None) if times else []
        return [
            (str(time), *[row[4]] * 4, "0", str(time + longest(interval) - 1), "0", "0", "0", "0", "0")
            for row in last
            for time in times
        ]

    def _metrics(self, file: ArchiveFile) -> list[str]:
        start, end = file.bounds
        symbol = file.contract.symbol
        gone = set(without_archive_row(self.quirks, symbol, start, end))
        # The row that stands for a whole day is that of its midnight.
        kept = {start} if self._unit(file) == "D" else set()
        rows = [row for row in self.feed.metric_rows(file.contract, start, end) if row.time not in gone - kept]
        for quirk in find(self.quirks, "blank_ratios", "metrics", symbol, start, end):
            blank = dict.fromkeys(quirk.columns, "")
            within = range(quirk.start, quirk.end)
            rows = [MetricRow(**(row._asdict() | blank)) if row.time in within else row for row in rows]
        rows += self._dead_metrics(file)
        return [METRICS_HEADER, *_metrics_lines(symbol, self._relabelled(rows, symbol, start), self._unit(file))]

    def _dead_metrics(self, file: ArchiveFile) -> list[MetricRow]:
        """Rows after the delisting: the last one before it, over and over."""
        times = self._dead_times(file, FIVE_MINUTES)
        ends = file.contract.ends
        last = self.feed.metric_rows(file.contract, ends - FIVE_MINUTES, ends) if times else []
        return [row._replace(time=time) for row in last for time in times]

    def _dead_times(self, file: ArchiveFile, step: int) -> list[int]:
        dead = find(self.quirks, "afterlife", file.dataset, file.contract.symbol, *file.bounds)
        return instants(dead, *file.bounds, step)

    def _unit(self, file: ArchiveFile) -> Literal["s", "D"]:
        """The last unit that create_time is written to."""
        return "D" if find(self.quirks, "one_row", "metrics", file.contract.symbol, *file.bounds) else "s"

    def _relabelled(self, rows: list[MetricRow], symbol: str, day: int) -> list[MetricRow]:
        """The rows as often, in the order and with the labels that the day's file has."""
        end = day + DAY
        if find(self.quirks, "doubled", "metrics", symbol, day, end):
            rows = [row for row in rows for _ in range(2)]
        if find(self.quirks, "unsorted", "metrics", symbol, day, end):
            rows = _jumbled(rows)
        if find(self.quirks, "off_grid", "metrics", symbol, day, end):
            rows = [row._replace(time=row.time + 1000 * (1 + index % 3)) for index, row in enumerate(rows)]
        if self.feed.shifts_labels(symbol, day) or find(self.quirks, "end_labels", "metrics", symbol, day, end):
            rows = [row._replace(time=row.time + FIVE_MINUTES) for row in rows]
        return rows

    def _funding(self, file: ArchiveFile) -> list[str]:
        rows = self.feed.funding_rows(file.contract, *file.bounds)
        return [FUNDING_HEADER, *(f"{row.time},{row.interval_hours},{row.rate}" for row in rows)]


def _first_archived(dataset: str, contract: Contract, granularity: str) -> int | None:
    if dataset == "metrics":
        return contract.first_metrics if contract.has_metrics else None
    if dataset == "fundingRate" and contract.delivery < NO_DELIVERY:
        return None
    start = KINDS[dataset].first_archived(contract) if dataset in KINDS else contract.first_archived
    # Monthly files of contracts older than the archive begin with the first whole month of it.
    if granularity == "monthly" and contract.archive_from and start > candle_start("1M", start):
        return candle_end("1M", start)
    return start


def _days(start: int, end: int) -> list[str]:
    return [to_date(at).isoformat() for at in range(start - start % DAY, end, DAY)]


def _jumbled(rows: list[MetricRow]) -> list[MetricRow]:
    """Four interleaved passes over the day: three jumps backward of almost a day, as recorded for 2026-09-20."""
    return [row for offset in range(4) for row in rows[offset::4]]


def _metrics_lines(symbol: str, rows: list[MetricRow], unit: Literal["s", "D"]) -> list[str]:
    times = np.array([row.time for row in rows], dtype="datetime64[ms]")
    moments = [text.replace("T", " ") for text in np.datetime_as_string(times, unit=unit).tolist()]
    return [
        ",".join((
            moment, symbol, row.open_interest, row.value, _trimmed(row.top_account), _trimmed(row.top_position),
            _trimmed(row.global_account), _trimmed(row.taker_ratio),
        ))
        for moment, row in zip(moments, rows, strict=True)
    ]  # fmt: skip


def _trimmed(ratio: str) -> str:
    """The archive writes no trailing zeros in ratios."""
    return ratio.rstrip("0").rstrip(".") if "." in ratio else ratio


def zipped(name: str, text: str, moment: int) -> bytes:
    """A zip of one member whose bytes depend on nothing but the arguments (`moment` dates the member)."""
    dated = to_datetime(moment)
    member = zipfile.ZipInfo(name, (dated.year, dated.month, dated.day, 2, 0, 0))
    member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as container:
        container.writestr(member, text, compresslevel=1)
    return buffer.getvalue()


def checksum_text(content: bytes, name: str) -> bytes:
    """The CHECKSUM sibling: sha256, two spaces, the zip's name."""
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()
