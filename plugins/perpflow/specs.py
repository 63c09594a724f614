"""What a dataset may be: the classes of the entries of datasets.py."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from perpflow.windows import TIMEFRAMES, Timeframe

Budget = Literal["weight", "statistics", "funding"]
Granularity = Literal["monthly", "daily"]
Source = Literal["archive", "rest", "stream"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a fact table: its name, PostgreSQL type, unit, and what it means where the name does not say."""

    name: str
    type: str
    unit: str
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class RestSource:
    """A REST endpoint that gives rows of a dataset.

    `method` is ccxt's implicit method, `path` the exchange's; `fields` maps a wire field (or its position) to the
    staging column it is copied into. `weight` counts against `budget`; `reach` is how far back it answers (None: the
    whole history). `series` names the only series that it gives (None: the series asked for by `period_parameter`).
    `decimals` is how many its values have where the archive has more.
    `row_bytes` is what a row takes of an answer, before compression.
    """

    method: str
    path: str
    budget: Budget
    page_rows: int
    weight: int
    fields: tuple[tuple[str | int, str], ...]
    period_parameter: str | None = None
    reach: timedelta | None = None
    series: str | None = None
    decimals: int | None = None
    row_bytes: int = 130


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    """A folder of the bulk archive: `data/futures/um/<granularity>/<kind>/<symbol>[/<interval>]/...zip`.

    `columns` are the staging columns in the order of the CSV's columns, the time first. `interval_column` names the one
    that says how many hours lie between two rows, where no grid says it: it proves that none is missing between them.
    `implied_price` names two columns whose quotient is the price at a row's instant. Files that have them write the
    time as text, and some label a row with the end of its period, not the start: prices tell which (alignment.py).
    `row_bytes` is what a row takes of a zip.
    """

    kind: str
    granularities: tuple[Granularity, ...]
    columns: tuple[str, ...]
    by_interval: bool = False
    interval_column: str | None = None
    implied_price: tuple[str, str] | None = None
    row_bytes: int = 49


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """What a dataset is, wherever its rows come from.

    `series` are the ledger's names for what is covered separately: the timeframes for candles, the ratios for
    long_short_ratio. `timeframe_of` gives a series its grid, None where nobody knows beforehand at which instants there
    will be a point; `settles_on` is the grid that they fall on even then.
    `tolerance` is how far off its grid an instant may be reported and still be put on it. `settles_after` is how
    long after an instant the exchange may still be about to publish it. `lead_in` is how far before a window rows
    are needed to derive a column, which the query `derive` does. `judged_by` are the datasets whose published rows
    its suite judges it by, and which what loads both loads first; of two that judge each other one comes first.
    `partial_rows`: one source gives some of a row's columns only, so staged rows of one key are united.
    `has_blanks`: a row may hold no point (zero or blank), which is a missing one.
    """

    name: str
    title: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    series: tuple[str, ...]
    schedule: str
    series_in_key: bool = False
    grid: Timeframe | None = None
    settles_on: Timeframe | None = None
    tolerance: timedelta = timedelta(0)
    settles_after: timedelta = timedelta(0)
    lead_in: timedelta | None = None
    derive: str | None = None
    judged_by: tuple[str, ...] = ()
    partial_rows: bool = False
    has_blanks: bool = False

    @property
    def wire_columns(self) -> frozenset[str]:
        """The staging columns that its sources fill, as they come."""
        return frozenset()

    @property
    def archive_values(self) -> frozenset[str]:
        """The value columns that the archive gives; no other source overwrites what the archive gave there."""
        return frozenset()

    @property
    def feed(self) -> str:
        """Where its rows come from, for people: the archive's folder, or the stream."""
        return self.name

    @property
    def asset_uri(self) -> str:
        """The Airflow asset that a published batch updates."""
        return f"perpflow://{self.name}"

    @property
    def series_column(self) -> str:
        """The staging column that a row's series is copied into."""
        return "timeframe" if self.series_in_key else "series"

    @property
    def series_of_rows(self) -> str:
        """What a row belongs to where its key does not say it: the only series, or all of them."""
        return self.series[0] if len(self.series) == 1 else "all"

    @property
    def values(self) -> tuple[Column, ...]:
        """The columns beyond the key."""
        return tuple(column for column in self.columns if column.name not in self.key)

    def timeframe_of(self, series: str) -> Timeframe | None:
        """The grid that the series' points lie on, or None (funding: the interval changes inside a history)."""
        return TIMEFRAMES[series] if self.series_in_key else self.grid

    def instants_of(self, series: str) -> Timeframe | None:
        """The grid that the series' instants are put on, whether or not there is a point at each."""
        return self.timeframe_of(series) or self.settles_on


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSpec(DatasetSpec):
    """A dataset with a history that can be asked for: the archive's and REST's."""

    archive: ArchiveSource
    rest: tuple[RestSource, ...]

    @property
    def wire_columns(self) -> frozenset[str]:
        """The columns of the archive's files, and those that fields of REST answers are copied into."""
        return frozenset((*self.archive.columns, *(name for source in self.rest for _, name in source.fields)))

    @property
    def archive_values(self) -> frozenset[str]:
        """The value columns that the archive gives; REST never overwrites what the archive gave there."""
        wire = frozenset(self.archive.columns)
        return frozenset(c.name for c in self.values if c.name in wire or f"reported_{c.name}" in wire)

    @property
    def feed(self) -> str:
        """The archive's folder."""
        return self.archive.kind

    @property
    def comparable(self) -> dict[str, float]:
        """The value columns that archive and REST both give, and how far apart they may be.

        REST has cut digits off, and nobody says whether it rounds or truncates: a unit of the last digit covers both.
        """
        given = {
            name: source.decimals for source in self.rest for _, wire in source.fields for name in _columns_of(wire)
        }
        names = [column.name for column in self.values if column.name in self.archive_values and column.name in given]
        decimals = {name: given[name] for name in names}
        return {name: 0.0 if digits is None else 10.0**-digits for name, digits in decimals.items()}

    def rest_for(self, series: str) -> RestSource:
        """The endpoint that gives `series`."""
        return next(source for source in self.rest if source.series in (None, series))


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedSpec(DatasetSpec):
    """A dataset that nothing but a live stream gives: what was not listened to is gone.

    `stream` is the exchange's name of it; `fields` are the staging columns that an event fills, in their order. The
    ledger has one row of it for all contracts, whose `listening` says when somebody listened.
    """

    stream: str
    fields: tuple[str, ...]

    @property
    def wire_columns(self) -> frozenset[str]:
        """The columns that an event fills."""
        return frozenset(self.fields)


def _columns_of(wire: str) -> tuple[str, str]:
    """The names that a fact table's column may have which is filled from a staging column."""
    return wire, wire.removeprefix("reported_")
