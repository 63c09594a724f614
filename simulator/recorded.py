"""Recorded files, laid out as the archive lays them out, served over archive and REST alike.

`<folder>/data/futures/um/{daily|monthly}/...zip`, with `.CHECKSUM` files or without (then made on the fly). Symbols,
their digits and their listing dates come from the files themselves; REST answers from the rows in them, so an interval
that was not recorded is an empty list. Metrics files hold no taker volumes: sellVol is 1 and buyVol the ratio.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from simulator.archive import ARCHIVE_INTERVALS, ROOT, StoredObject, checksum_text
from simulator.feed import FundingRow, MetricRow
from simulator.grid import DAY, HOUR, longest, to_ms
from simulator.klines import TRADED, KlineRow
from simulator.symbols import Contract

_QUOTES = ("USDT", "USDC", "BUSD", "BTC")
_SPELLED = {interval: name for name, interval in ARCHIVE_INTERVALS.items()}


def csv_lines(path: Path) -> list[list[str]]:
    """The data lines of the one CSV inside a zip, split; a header line, if there, is left out."""
    with zipfile.ZipFile(path) as container:
        text = container.read(container.namelist()[0]).decode()
    lines = [line.split(",") for line in text.splitlines() if line]
    return lines if lines and lines[0][0][:1].isdigit() else lines[1:]


class RecordedFeed:
    """Rows out of recorded zips, read once per series (lazily) and kept sorted without duplicates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / ROOT
        self.klines = lru_cache(maxsize=64)(self._klines)
        self.metrics = lru_cache(maxsize=32)(self._metrics)
        self.funding = lru_cache(maxsize=32)(self._funding)
        names = {path.name for path in self.folder.glob("*/*/*") if path.is_dir()}
        self.contracts: Sequence[Contract] = [self._contract(name) for name in sorted(names)]

    def _files(self, dataset: str, below: str) -> list[Path]:
        return sorted(self.folder.glob(f"*/{dataset}/{below}/*.zip"))

    def _lines(self, dataset: str, below: str) -> list[list[str]]:
        return [line for path in self._files(dataset, below) for line in csv_lines(path)]

    def _klines(self, symbol: str, interval: str, kind: str = TRADED) -> list[KlineRow]:
        rows = {int(line[0]): tuple(line) for line in self._lines(kind, f"{symbol}/{_SPELLED[interval]}")}
        return [rows[time] for time in sorted(rows)]

    def _metrics(self, symbol: str) -> list[MetricRow]:
        rows = {}
        for moment, _, amount, value, top_account, top_position, accounts, taker in self._lines("metrics", symbol):
            time = to_ms(moment)
            rows[time] = MetricRow(time, amount, value, top_account, top_position, accounts, taker, taker, "1")
        return [rows[time] for time in sorted(rows)]

    def _funding(self, symbol: str) -> list[FundingRow]:
        rows = {int(line[0]): FundingRow(int(line[0]), line[2], "", int(line[1])) for line in self._lines(
            "fundingRate", symbol)}  # fmt: skip
        return [rows[time] for time in sorted(rows)]

    def _contract(self, symbol: str) -> Contract:
        quote = next((quote for quote in _QUOTES if symbol.endswith(quote)), "USDT")
        files = self.folder.glob(f"*/*/{symbol}/**/*.zip")
        labels = [path.stem.removeprefix(f"{symbol}-").split("-", 1)[1] for path in files]
        listed = min((to_ms(label if len(label) > 7 else f"{label}-01") for label in labels), default=0)
        intervals = [path.parent.name for path in self._files("klines", f"{symbol}/*")]
        row: KlineRow = ("", "1.00", "", "", "", "1.000")
        if intervals:
            row = (self.klines(symbol, ARCHIVE_INTERVALS[intervals[0]]) or [row])[0]
        hours = [entry.interval_hours for entry in self.funding(symbol)[-1:]] or [8]
        return Contract(
            symbol, symbol.removesuffix(quote), listed, float(row[1]), _places(row[1]), _places(row[5]), 0.0, 0.0,
            quote=quote, funding=((0, hours[0]),),
        )  # fmt: skip

    def kline_rows(
        self, contract: Contract, interval: str, start: int, end: int, now: int | None, kind: str = TRADED
    ) -> list[KlineRow]:
        """Recorded candles whose open time lies in `[start, end)`."""
        return [row for row in self.klines(contract.symbol, interval, kind) if start <= int(row[0]) < end]

    def metric_rows(self, contract: Contract, start: int, end: int) -> list[MetricRow]:
        """Recorded 5-minute statistics whose instant lies in `[start, end)`."""
        return [row for row in self.metrics(contract.symbol) if start <= row.time < end]

    def funding_rows(self, contract: Contract, start: int, end: int) -> list[FundingRow]:
        """Recorded settlements in `[start, end)`; the archive has no mark prices."""
        return [row for row in self.funding(contract.symbol) if start <= row.time < end]


def _places(text: str) -> int:
    return min(len(text.partition(".")[2]), 8)


def recorded_now(feed: RecordedFeed) -> int:
    """Noon of the day after the last recorded row's day: every recorded daily file is published by then."""
    last = 0
    for contract in feed.contracts:
        for interval in {path.parent.name for path in feed.folder.glob(f"*/klines/{contract.symbol}/*/*.zip")}:
            native = ARCHIVE_INTERVALS[interval]
            last = max([last, *(int(row[0]) + longest(native) for row in feed.klines(contract.symbol, native)[-1:])])
        last = max([last, *(row.time for row in feed.metrics(contract.symbol)[-1:])])
        last = max([last, *(row.time for row in feed.funding(contract.symbol)[-1:])])
    return -(-last // DAY) * DAY + 12 * HOUR


class RecordedArchive:
    """The recorded files as objects: bytes as they are, all of them published whatever the clock says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, key: str) -> Path | None:
        path = (self.folder / key).resolve()
        return path if path.is_relative_to(self.folder.resolve()) else None

    def children(self, folder: str, now: int) -> list[tuple[str, int]]:
        """Names directly below a folder; every zip has a CHECKSUM beside it."""
        path = self._path(folder)
        if path is None or not path.is_dir():
            return []
        names: dict[str, int] = {}
        for entry in path.iterdir():
            modified = int(entry.stat().st_mtime * 1000)
            if entry.is_dir():
                names[f"{entry.name}/"] = 0
            elif entry.suffix == ".zip":
                names |= {entry.name: modified, f"{entry.name}.CHECKSUM": modified}
        return sorted(names.items(), key=lambda item: item[0].encode())

    def get(self, key: str, now: int) -> StoredObject | None:
        """The file of a key; a CHECKSUM that was not recorded is computed."""
        path, whole = self._path(key), self._path(key.removesuffix(".CHECKSUM"))
        if path is None or whole is None or not whole.is_file():
            return None
        content = path.read_bytes() if path.is_file() else checksum_text(whole.read_bytes(), whole.name)
        return StoredObject(content, _etag(content), int(whole.stat().st_mtime * 1000))

    def etag(self, key: str, now: int) -> str:
        """The MD5 of the object, as S3 has it for simple uploads."""
        found = self.get(key, now)
        return found.etag if found else ""


def _etag(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
