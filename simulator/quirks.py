"""The exchange's oddities, each a named entry that says exactly where it happens. On by default (`--no-quirks`).

Places are fixed dates, not offsets from the clock, so tests can name them. What each one copies from the real service
is in its note. `find` is how the code that serves data, and the truth that tests compare with, ask for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from simulator.grid import DAY, FIVE_MINUTES, to_ms

# Archive kline files of data before this day have no header line, later ones have one.
KLINE_HEADER_FROM = to_ms("2026-07-01")
# Funding settlements before this instant have an empty mark price on REST.
MARK_PRICE_FROM = to_ms("2026-06-01")


@dataclass(frozen=True, slots=True)
class Quirk:
    """One oddity: `[start, end)` in milliseconds UTC; `symbol` or `interval` None means all of them.

    `columns` are the fields of a metrics row that it is about, where it is not about the whole row.
    """

    name: str
    dataset: str
    note: str
    symbol: str | None = None
    start: int = 0
    end: int = 4_133_404_800_000
    interval: str | None = None
    columns: tuple[str, ...] = ()

    def touches(self, start: int, end: int) -> bool:
        """Whether the quirk happens anywhere in `[start, end)`."""
        return self.start < end and start < self.end


def _day(name: str, dataset: str, symbol: str, day: str, note: str, interval: str | None = None) -> Quirk:
    return Quirk(name, dataset, note, symbol, to_ms(day), to_ms(day) + DAY, interval)


def _span(name: str, dataset: str, symbol: str, start: str, end: str, note: str) -> Quirk:
    return Quirk(name, dataset, note, symbol, to_ms(start), to_ms(end))


QUIRKS: tuple[Quirk, ...] = (
    Quirk("headerless", "klines", "archive files of older data have no header", end=KLINE_HEADER_FROM),
    Quirk("blank_mark_price", "fundingRate", 'REST markPrice "" on old settlements', end=MARK_PRICE_FROM),
    Quirk("jitter", "fundingRate", "fundingTime and calc_time lie 0 to 17 ms after the hour"),
    Quirk("descending", "openInterestHist", "the list comes newest first"),
    _day("doubled", "klines", "BTCUSDT", "2026-08-12", "every row twice, daily and monthly files, all intervals"),
    _day("doubled", "metrics", "ETHUSDT", "2026-07-14", "every row twice, side by side"),
    _day("doubled", "metrics", "BTCUSDT", "2020-09-01", "576 rows, as recorded"),
    _day("unsorted", "metrics", "BTCUSDT", "2026-09-20", "288 rows with three jumps backward, as recorded"),
    _day("off_grid", "metrics", "BTCUSDT", "2026-08-19", "create_time 1 to 3 s after the grid (archive only)"),
    _span("missing_tail", "metrics", "SOLUSDT", "2026-10-03T13:35", "2026-10-04", "archive ends at 13:30; REST has it"),
    _span("missing_tail", "metrics", "SOLUSDT", "2026-06-16T13:35", "2026-06-17", "archive ends at 13:30, for ever"),
    _span("missing_tail", "metrics", "BTCUSDT", "2024-02-16T13:35", "2024-02-17", "as recorded (bpd 335)"),
    _span("end_labels", "metrics", "ETHUSDT", "2026-05-20", "2026-06-25", "create_time 5 min after the instant: 00:05 "
          "to 00:00, the older generation of files (bpd 491)"),
    _day("end_labels", "metrics", "BTCUSDT", "2026-08-26", "the same on one day that was issued again"),
    _day("end_labels", "metrics", "SOLUSDT", "2026-05-08", "the same, with the tail missing: 00:05 to 13:35"),
    _span("missing_tail", "metrics", "SOLUSDT", "2026-05-08T13:35", "2026-05-09", "for ever"),
    _day("end_labels", "metrics", "SOLUSDT", "2026-05-13", "the same, with the head missing: 06:05 to 00:00"),
    _span("missing_head", "metrics", "SOLUSDT", "2026-05-13", "2026-05-13T06:00", "for ever"),
    _span("missing_head", "metrics", "SOLUSDT", "2026-05-19", "2026-05-19T00:05", "true labels, 00:05 to 23:55"),
    _span("one_row", "metrics", "BTCUSDT", "2022-06-01", "2022-06-04", "one row a day, that of midnight, create_time a "
          "bare date: the oldest generation of files, as recorded"),
    _day("wrong_checksum", "metrics", "ALICEUSDT", "2026-05-14", "CHECKSUM names another hash, for ever (bpd: STXXUSDT "
         "2026-07-09)"),
    _day("missing_file", "metrics", "ALICEUSDT", "2026-08-05", "no daily file: 404, not listed"),
    _span("zero_all", "metrics", "SOLUSDT", "2026-08-27T04:00", "2026-08-27T05:00", "open interest 0 and value 0"),
    _span("zero_all", "metrics", "SOLUSDT", "2026-10-08T02:00", "2026-10-08T02:30", "the same, on REST as well"),
    _span("zero_value", "metrics", "BTCUSDT", "2026-07-08T10:00", "2026-07-08T11:00", "open interest > 0, value 0"),
    _span("zero_value", "metrics", "BTCUSDT", "2023-04-10T08:00", "2023-04-10T09:00", "12 rows, as recorded"),
    _span("blank", "metrics", "ETHUSDT", "2026-06-24T16:00", "2026-06-24T16:30", "both columns blank (archive)"),
    Quirk("blank_ratios", "metrics", "two ratios blank in three rows (archive)", "ETHUSDT", to_ms("2026-07-21T10:00"),
          to_ms("2026-07-21T10:15"), columns=("top_account", "taker_ratio")),
    _span("rest_hole", "openInterestHist", "ETHUSDT", "2026-10-01T08:00", "2026-10-01T08:10", "REST lacks two points"),
    _span("afterlife", "klines", "FTMUSDT", "2026-06-30T09:00", "2026-06-30T09:40", "files go on after the delisting, "
          "without volume (archive, all intervals)"),
    _span("afterlife", "metrics", "FTMUSDT", "2026-06-30T09:00", "2026-06-30T09:40", "eight rows after the delisting"),
    _span("afterlife", "metrics", "FTMUSDT", "2026-07-01", "2026-07-01T00:40", "a file of eight rows on the day after"),
    _span("afterlife", "metrics", "FTMUSDT", "2026-07-02", "2026-07-02T00:40", "and on the day after that"),
    _day("monthly_lacks_day", "klines", "SOLUSDT", "2026-06-09", "the monthly file lacks a day the daily has", "5m"),
    _span("no_candles", "markPriceKlines", "SOLUSDT", "2026-09-10T03:40", "2026-09-10T04:00", "no candle that lies "
          "within, from archive and REST alike (bpd 483, 484)"),
)  # fmt: skip

# The quirks under which an open-interest point counts as missing, wherever it is read.
NO_OPEN_INTEREST = ("zero_all", "zero_value", "blank")
# The quirks that keep whole metrics rows out of the archive.
_NO_ARCHIVE_ROW = ("missing_tail", "missing_head", "missing_file")


def find(
    quirks: Iterable[Quirk], name: str | tuple[str, ...], dataset: str, symbol: str, start: int, end: int,
    interval: str | None = None,
) -> list[Quirk]:  # fmt: skip
    """The quirks of that name (or names) that touch `[start, end)` of the dataset, symbol and interval."""
    names = (name,) if isinstance(name, str) else name
    return [
        quirk
        for quirk in quirks
        if quirk.name in names
        and quirk.dataset == dataset
        and quirk.symbol in (None, symbol)
        and (interval is None or quirk.interval in (None, interval))
        and quirk.touches(start, end)
    ]


def instants(quirks: Iterable[Quirk], start: int, end: int, step: int = FIVE_MINUTES) -> list[int]:
    """The grid instants in `[start, end)` that any of the quirks covers, ascending."""
    covered: set[int] = set()
    for quirk in quirks:
        first = -(-max(start, quirk.start) // step) * step
        covered.update(range(first, min(end, quirk.end), step))
    return sorted(covered)


def without_archive_row(quirks: Iterable[Quirk], symbol: str, start: int, end: int) -> list[int]:
    """The metrics instants in `[start, end)` for which the archive has no row of five minutes, ascending.

    A row that stands for a whole day is none: who stores it as midnight's stores something else.
    """
    return instants(find(tuple(quirks), (*_NO_ARCHIVE_ROW, "one_row"), "metrics", symbol, start, end), start, end)
