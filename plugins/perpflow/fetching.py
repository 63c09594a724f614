"""From the exchange into staging: for each window the best source that has it, the next one for what it lacks.

Archive months, archive days, REST, in this order; after each, what the staged points cover decides what is still asked
for. What was asked and answered is kept as evidence: it tells a hole of the exchange from one of ours.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from perpflow.aligning import Aligned, Aligner
from perpflow.datasets import DATASETS, MONTH_PUBLISHED_AFTER
from perpflow.errors import (
    AmbiguousLabels,
    ChecksumWrong,
    ObjectDamaged,
    Permanent,
    StructurallyBad,
    Transient,
    UnknownSymbol,
)
from perpflow.evidence import Evidence, regular_window, unbroken_windows
from perpflow.exchange.archive import Archive, ArchiveObject, FetchedObject, objects_for
from perpflow.exchange.rest import Page, Rest
from perpflow.issue import Issue
from perpflow.parsing import backward_steps, copy_prefix, label_column, prefixed, render_rows
from perpflow.specs import Granularity, LoadedSpec, RestSource
from perpflow.store.archive_objects import ACCEPTED, OK, WRONG_CHECKSUM
from perpflow.store.ledger import SeriesKey
from perpflow.store.loader import Origin, StagingArea
from perpflow.windows import Timeframe, Window, intersect, merge, subtract

log = logging.getLogger(__name__)

#: Daily objects appear the next morning, monthly ones within a week, sometimes later; one that is absent after this
#: long does not exist.
ARCHIVE_LAG: dict[Granularity, timedelta] = {"daily": timedelta(days=3), "monthly": MONTH_PUBLISHED_AFTER}
#: Below four days of a month the daily files are fewer bytes than the month's one.
MONTHLY_FROM = timedelta(days=4)
#: The coarsest first: one month is one request, its thirty days are thirty.
GRANULARITIES: tuple[Granularity, ...] = ("monthly", "daily")
#: Objects and pages in memory at once: enough to keep one COPY busy, few enough to keep memory flat.
IN_FLIGHT = 6
#: Why an archive object is left out, and the verdict that it is recorded with.
LEFT_OUT: dict[type[Exception], str] = {
    ChecksumWrong: WRONG_CHECKSUM,
    ObjectDamaged: "damaged",
    StructurallyBad: "structurally bad",
    AmbiguousLabels: "ambiguous labels",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """Which archive objects an attempt reads: those that its windows need, or `only` these, whatever the ledger has.

    `left_alone` are verdicts by key on objects that are not asked for until they change: what they hold is no use. With
    `accepts_wrong_checksums` those among them whose checksum alone is wrong are read, and marked.
    """

    only: tuple[ArchiveObject, ...] = ()
    left_alone: Mapping[str, str] = field(default_factory=dict)
    accepts_wrong_checksums: bool = False

    def accepts(self, wanted: ArchiveObject) -> bool:
        """Whether it is to be read though its checksum is wrong."""
        return self.accepts_wrong_checksums and self.left_alone.get(wanted.key) in (WRONG_CHECKSUM, ACCEPTED)

    def leaves_alone(self, wanted: ArchiveObject) -> bool:
        """Whether it is not worth a request."""
        return not self.only and wanted.key in self.left_alone and not self.accepts(wanted)


@dataclass(frozen=True, slots=True)
class Demand:
    """A dataset's interest in an archive object: which series want which part of it."""

    spec: LoadedSpec
    symbol: str
    wanted: dict[str, list[Window]]

    @property
    def asked(self) -> list[Window]:
        """The part of the object that any series wants."""
        return merge(window for windows in self.wanted.values() for window in windows)


Covered = dict[SeriesKey, list[Window]]
Wanted = dict[str, Covered]
Demands = dict[ArchiveObject, list[Demand]]


class Fetcher:
    """Fills an attempt's staging area with what a batch wants.

    Args:
        exchange_symbols: the exchange's name by unified symbol.
        now: the exchange's clock.
        wanted: gaps by dataset and (symbol, series).
        reading: which archive objects to read.
    """

    def __init__(
        self,
        rest: Rest,
        archive: Archive,
        area: StagingArea,
        *,
        exchange_symbols: dict[str, str],
        now: datetime,
        wanted: Wanted,
        reading: Reading = Reading(),  # noqa: B008  frozen
    ) -> None:
        self._rest = rest
        self._archive = archive
        self._aligner = Aligner(archive)
        self._area = area
        self._names = exchange_symbols
        self._now = now
        self.wanted = wanted
        self._reading = reading
        self._left = wanted
        self._regular: dict[str, Covered | None] = {
            name: {} if DATASETS[name].series_in_key else None for name in wanted
        }
        self._seen = {name: Counter[str]() for name in wanted}
        self.evidence = Evidence()

    async def run(self) -> dict[str, tuple[int, dict[str, int]]]:
        """Fetch everything; returns rows staged and counts of normalisation by dataset.

        Raises:
            Transient, Permanent: a source failed for good; nothing of the attempt is ever published then.
        """
        if self._reading.only:
            await self._from_named_objects()
        else:
            for granularity in GRANULARITIES:
                await self._from_archive(granularity)
            await self._from_rest()
        return {name: await self._finish(DATASETS[name]) for name in self.wanted}

    async def both(self) -> None:
        """Fetch all that is wanted from the archive's finest files and from REST alike, for who compares the two.

        Raises: as `run`.
        """
        for granularity in GRANULARITIES:
            demands: Demands = {}
            for name, wanted in self.wanted.items():
                spec = DATASETS[name]
                if granularity == spec.archive.granularities[-1]:
                    self._demand(spec, granularity, wanted, demands)
            await bounded(self._take_object(*demand) for demand in sorted(demands.items()))
        await bounded(self._rest_jobs(self.wanted))
        for name in self.wanted:
            await self._finish(DATASETS[name])

    def covered(self) -> Wanted:
        """What the staged rows cover, by the datasets for which that is known without looking through the rows."""
        return {name: regular for name, regular in self._regular.items() if regular is not None}

    async def _finish(self, spec: LoadedSpec) -> tuple[int, dict[str, int]]:
        if spec.lead_in is not None:
            await self._fetch_lead_in(spec, spec.lead_in)
        await self._area.derive(spec)
        may_repeat = self._regular[spec.name] is None
        counts = await self._area.normalise(spec, self.evidence.origins, look_for_repeats=may_repeat)
        seen = {rule: rows for rule, rows in self._seen[spec.name].items() if rows}
        return await self._area.count(spec), counts | seen

    async def _remaining(self, spec: LoadedSpec) -> dict[SeriesKey, list[Window]]:
        """What is wanted and not yet here: on a grid by the staged points, else by what was answered in full."""
        wanted = self.wanted[spec.name]
        if not self._left[spec.name]:
            return {}
        regular = self._regular[spec.name]
        if regular is not None:
            here = regular
        elif spec.grid is None and not spec.series_in_key:
            here = {key: self.evidence.whole.get((spec.name, key), []) for key in wanted}
        else:
            here = await self._area.cover(spec)
        left = {key: subtract(windows, here.get(key, [])) for key, windows in wanted.items()}
        # A dataset that lacks nothing is not looked through again for the next source.
        self._left = self._left | {spec.name: {key: windows for key, windows in left.items() if windows}}
        return self._left[spec.name]

    # --- archive

    async def _from_named_objects(self) -> None:
        demands: Demands = {}
        for wanted in self._reading.only:
            for name, of_series in self.wanted.items():
                for (symbol, series), windows in of_series.items():
                    asked = intersect(windows, [wanted.period])
                    mine = self._names[symbol] == wanted.exchange_symbol and wanted.interval in (None, series)
                    if mine and asked:
                        _add(demands, wanted, DATASETS[name], symbol, series, asked)
        await bounded(self._take_object(*demand) for demand in sorted(demands.items()))

    async def _from_archive(self, granularity: Granularity) -> None:
        demands: Demands = {}
        for name in self.wanted:
            spec = DATASETS[name]
            if granularity in spec.archive.granularities:
                self._demand(spec, granularity, await self._remaining(spec), demands)
        await bounded(self._take_object(*demand) for demand in sorted(demands.items()))

    def _demand(
        self,
        spec: LoadedSpec,
        granularity: Granularity,
        remaining: dict[SeriesKey, list[Window]],
        demands: Demands,
    ) -> None:
        for (symbol, series), windows in remaining.items():
            for wanted in objects_for(spec.archive, granularity, self._names[symbol], series, windows, self._now):
                asked = intersect(windows, [wanted.period])
                if worth_reading(spec, granularity, asked):
                    _add(demands, wanted, spec, symbol, series, asked)

    async def _take_object(self, wanted: ArchiveObject, demands: list[Demand]) -> None:
        fetched = None
        try:
            if not self._reading.leaves_alone(wanted):
                fetched = await self._archive.fetch(wanted, verify=not self._reading.accepts(wanted))
            if fetched is None:
                if wanted.period.end <= self._now - ARCHIVE_LAG[wanted.granularity]:
                    self._answer(wanted, demands, None)
                return
            # What feeds several datasets is labelled for all of them alike.
            aligned = await self._aligner.align(fetched, demands[0].spec)
            for demand in demands:
                await self._copy_object(aligned, demand)
        except tuple(LEFT_OUT) as error:
            issue = fetched.issue if fetched else getattr(error, "issue", None)
            self._record(wanted.key, LEFT_OUT[type(error)], issue, fetched, detail=str(error))
            return
        log.info("%s: %d rows", wanted.key, fetched.rows)
        verdict = OK if fetched.is_verified else ACCEPTED
        self._record(wanted.key, verdict, fetched.issue, fetched, alignment=aligned.alignment)
        self._answer(wanted, demands, fetched)

    async def _copy_object(self, aligned: Aligned, demand: Demand) -> None:
        spec, fetched = demand.spec, aligned.fetched
        wanted = fetched.object
        number = self.evidence.number(Origin(wanted.key, wanted.period, tuple(demand.asked)))
        # A metrics row belongs to all the ratios at once.
        series = next(iter(demand.wanted)) if len(spec.series) == 1 or spec.series_in_key else "all"
        prefix = copy_prefix(self._area.stage_id, number, "archive", demand.symbol, series)
        await self._area.copy(spec, spec.archive.columns, prefixed(fetched.csv, prefix, len(spec.archive.columns)))
        self._seen[spec.name]["label_shifted"] += aligned.shifted
        self._see_order(demand, fetched, series)

    def _see_order(self, demand: Demand, fetched: FetchedObject, series: str) -> None:
        """Count rows out of order; keep what a regular file covers, and look through the rows after one that is not."""
        labels = label_column(fetched.csv)
        self._seen[demand.spec.name]["unsorted"] += backward_steps(labels)
        regular, timeframe = self._regular[demand.spec.name], demand.spec.timeframe_of(series)
        if regular is None or timeframe is None:
            return
        held = regular_window(labels, fetched.object.period, timeframe)
        pieces = intersect([held], demand.asked) if held else []
        # A candle that reaches over an edge would be covered in part.
        if all(timeframe.floor(edge) == edge for piece in pieces for edge in (piece.start, piece.end)) and held:
            regular.setdefault((demand.symbol, series), []).extend(pieces)
        else:
            self._regular[demand.spec.name] = None

    def _answer(self, wanted: ArchiveObject, demands: list[Demand], fetched: FetchedObject | None) -> None:
        """Keep that the archive was asked at its finest, which alone proves that it lacks what is absent."""
        for demand in demands:
            spec = demand.spec
            for series, windows in demand.wanted.items():
                key = (spec.name, (demand.symbol, series))
                if wanted.granularity == spec.archive.granularities[-1]:
                    self.evidence.archive.setdefault(key, []).extend(windows)
                if fetched is not None and spec.settles_on is not None:
                    proven = unbroken_windows(fetched, spec, spec.settles_on)
                    self.evidence.whole.setdefault(key, []).extend(intersect(windows, proven))

    def _record(
        self,
        key: str,
        verdict: str,
        issue: Issue | None,
        fetched: FetchedObject | None,
        *,
        detail: str | None = None,
        alignment: str | None = None,
    ) -> None:
        entry: dict[str, Any] = {"key": key, "verdict": verdict, "detail": detail, "alignment": alignment}
        if issue is not None:
            modified = issue.last_modified.isoformat() if issue.last_modified else None
            entry |= {"sha256": issue.sha256, "etag": issue.etag, "last_modified": modified}
            entry["checksum_etag"] = issue.checksum_etag
        if fetched is not None:
            entry |= {"first_label": fetched.first_label, "last_label": fetched.last_label, "rows": fetched.rows}
        self.evidence.objects.append(entry)

    # --- REST

    async def _from_rest(self) -> None:
        await bounded(self._rest_jobs({name: await self._remaining(DATASETS[name]) for name in self.wanted}))

    def _rest_jobs(self, wanted: Wanted) -> list[Coroutine[Any, Any, None]]:
        return [
            self._take_pages(DATASETS[name], key, *job)
            for name, of_series in wanted.items()
            for key, windows in of_series.items()
            for job in self._requests(DATASETS[name], key, windows)
        ]

    def _requests(
        self, spec: LoadedSpec, key: SeriesKey, windows: list[Window]
    ) -> Iterable[tuple[Window, list[Window]]]:
        """Spans to ask for, with the windows wanted in each; what lies before the endpoint's reach is answered."""
        source = spec.rest_for(key[1])
        if source.reach is not None and self.wanted[spec.name][key]:
            edge = self._now - source.reach
            beyond = [w for window in windows if (w := Window(min(window.start, edge), edge).intersect(window))]
            self.evidence.rest.setdefault((spec.name, key), []).extend(beyond)
            windows = subtract(windows, beyond)
        return bridged(windows, spec.timeframe_of(key[1]), source.page_rows)

    async def _take_pages(self, spec: LoadedSpec, key: SeriesKey, span: Window, wanted: list[Window]) -> None:
        symbol, series = key
        source = spec.rest_for(series)
        origin = Origin(source.path, span, tuple(wanted))
        answers = [self.evidence.rest]
        try:
            async with aclosing(self._pages(spec, source, key, span)) as pages:
                async for page in pages:
                    await self._copy_page(spec, source, page, origin, symbol, series)
            answers.append(self.evidence.whole)
        except UnknownSymbol:
            # A delisted contract is the archive's alone; REST has said so, and proves nothing beyond that.
            log.info("%s %s %s: REST no longer knows the symbol", spec.name, symbol, series)
            self.evidence.unknown.add((spec.name, key))
        for answered in answers:
            answered.setdefault((spec.name, key), []).extend(wanted)

    async def _pages(
        self, spec: LoadedSpec, source: RestSource, key: SeriesKey, span: Window
    ) -> AsyncGenerator[Page, None]:
        symbol, series = key
        # Now, not when the attempt began: what REST forgets after thirty days moves on while others are being fetched.
        now = await self._rest.now()
        pages = self._rest.pages(source, self._names[symbol], series, span, spec.timeframe_of(series), now)
        async with aclosing(pages):
            async for page in pages:
                yield page

    async def _copy_page(
        self, spec: LoadedSpec, source: RestSource, page: Page, origin: Origin, symbol: str, series: str
    ) -> None:
        log.info("%s %s %s %s: %d rows", source.path, symbol, series, page.window, len(page.rows))
        if not page.rows:
            return
        prefix = copy_prefix(self._area.stage_id, self.evidence.number(origin), "rest", symbol, series)
        names = tuple(column for _, column in source.fields)
        self._regular[spec.name] = None
        await self._area.copy(spec, names, prefixed(render_rows(page.rows, source), prefix, len(names)))

    async def _fetch_lead_in(self, spec: LoadedSpec, lead_in: timedelta) -> None:
        """Rows just before each wanted window, staged as series `lead_in`: deriving reads and then removes them."""
        jobs = []
        for key, windows in self.wanted[spec.name].items():
            source = spec.rest_for(key[1])
            for window in windows:
                span = Window(window.start - lead_in, window.start)
                jobs.append(self._take_lead_in(spec, source, key, span))
        await bounded(jobs)

    async def _take_lead_in(self, spec: LoadedSpec, source: RestSource, key: SeriesKey, span: Window) -> None:
        with suppress(UnknownSymbol):
            async with aclosing(self._pages(spec, source, key, span)) as pages:
                async for page in pages:
                    await self._copy_page(spec, source, page, Origin(source.path), key[0], "lead_in")


def _add(
    demands: Demands, wanted: ArchiveObject, spec: LoadedSpec, symbol: str, series: str, asked: list[Window]
) -> None:
    """Note a series' interest in an object."""
    others = demands.setdefault(wanted, [])
    mine = next((d for d in others if d.spec is spec and d.symbol == symbol), None)
    if mine is None:
        others.append(mine := Demand(spec, symbol, {}))
    mine.wanted[series] = asked


def worth_reading(spec: LoadedSpec, granularity: Granularity, asked: list[Window]) -> bool:
    """Whether the object is the right one to ask: a month's file for a few days is not, where there are daily files."""
    if granularity == spec.archive.granularities[-1]:
        return bool(asked)
    return sum((window.length for window in asked), timedelta(0)) >= MONTHLY_FROM


def bridged(
    windows: list[Window], timeframe: Timeframe | None, page_rows: int
) -> Iterable[tuple[Window, list[Window]]]:
    """Windows grouped so that those which one page can hold are asked for together: (span, windows in it).

    A day with a hole every hour costs one request, not twenty-four.
    """
    group: list[Window] = []
    for window in merge(windows):
        if group and not _fits(Window(group[0].start, window.end), timeframe, page_rows):
            yield Window(group[0].start, group[-1].end), group
            group = []
        group.append(window)
    if group:
        yield Window(group[0].start, group[-1].end), group


def _fits(span: Window, timeframe: Timeframe | None, page_rows: int) -> bool:
    # Without a grid the shortest interval known is an hour.
    points = span.length // timedelta(hours=1) if timeframe is None else timeframe.count(span)
    return points <= page_rows


def _gravity(failure: BaseException) -> tuple[bool, float]:
    """Of failures that came together the one that decides what the task does: give up, or come back much later."""
    wait = failure.retry_after_s if isinstance(failure, Transient) else None
    return isinstance(failure, Permanent), wait or 0.0


async def bounded(jobs: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run the jobs, a few at a time; the first failure ends all of them."""
    queue = iter(jobs)

    async def work() -> None:
        for job in queue:
            await job

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(work())
    except BaseExceptionGroup as failures:
        raise max(failures.exceptions, key=_gravity) from failures
    finally:
        for job in queue:
            job.close()
