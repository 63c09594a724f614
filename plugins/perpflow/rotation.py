"""Which symbols an increment takes, where the exchange's limits do not let it ask for all of them. Pure.

550 symbols in five series of statistics are 2,750 requests, and 1,000 may be sent in five minutes. But a request brings
500 points, more than 41 hours of them: nothing is lost by who waits for some runs. So an increment takes what its part
of the budget allows until the next run, those first that have waited longest. The same holds for every budget.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from croniter import croniter  # type: ignore[import-untyped]

from perpflow.costing import page_cost
from perpflow.datasets import DATASETS
from perpflow.exchange.weight_budget import LIMITS
from perpflow.settings import Collection
from perpflow.specs import Budget, LoadedSpec

#: Of what backfill may use at most, increments plan with so much: a universe that would need every request leaves
#: something to repairs and histories, and to what is asked twice.
PLANNED = 0.75
#: However seldom a schedule comes: a task that stages may take three hours.
LONGEST_RUN = timedelta(hours=2)
HOUR = timedelta(hours=1)
#: A month has no fixed length.
MONTH = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Due:
    """A symbol that something is to come of: since when it waits, and what asking for it costs of each budget."""

    symbol: str
    since: datetime
    costs: Mapping[Budget, int]


@dataclass(frozen=True, slots=True)
class Turn:
    """Whom this run takes and whom it leaves to the next ones."""

    taken: tuple[str, ...]
    waiting: tuple[str, ...]


def turn(due: Iterable[Due], allowance: Mapping[Budget, float]) -> Turn:
    """Those that have waited longest, as many as the allowance pays for, and one at least.

    Who costs more than is left is not passed over for one that costs less: nobody starves.
    """
    queue = sorted(due, key=lambda one: (one.since, one.symbol))
    spent: Counter[Budget] = Counter()
    taken = 0
    for one in queue:
        spent.update(one.costs)
        if taken and any(spent[budget] > allowance[budget] for budget in one.costs):
            break
        taken += 1
    return Turn(tuple(one.symbol for one in queue[:taken]), tuple(one.symbol for one in queue[taken:]))


def allowance(spec: LoadedSpec, collection: Collection, now: datetime) -> dict[Budget, float]:
    """What an increment of the dataset may spend until its next run: its part of what increments plan with.

    Datasets that share a budget are allowed parts of it in proportion to what they would ask for, so that the symbols
    of all of them wait alike.
    """
    exchange = collection.exchange
    part = exchange.rate_share * max(exchange.live_reserve, PLANNED * (1 - exchange.live_reserve))
    others = {s.name: demand(s, collection, now) for s in DATASETS.values() if collection.dataset(s.name).enabled}
    mine = demand(spec, collection, now)
    every_s = min(interval(collection.schedule(spec.name), now), LONGEST_RUN).total_seconds()
    allowed = {}
    for budget, asked in mine.items():
        whole, window_s = LIMITS[budget]
        all_asked = asked + sum(other.get(budget, 0.0) for name, other in others.items() if name != spec.name)
        allowed[budget] = whole * part * every_s / window_s * asked / all_asked
    return allowed


def demand(spec: LoadedSpec, collection: Collection, now: datetime) -> dict[Budget, float]:
    """Units of each budget that one symbol takes in an hour, were it asked for at every run that has something new."""
    between = interval(collection.schedule(spec.name), now)
    units: defaultdict[Budget, float] = defaultdict(float)
    for series in collection.series(spec.name):
        source, grid = spec.rest_for(series), spec.instants_of(series)
        length = grid.length or MONTH if grid else HOUR
        every = max(between, length)
        rows = every // length
        pages = -(-rows // source.page_rows)
        units[source.budget] += pages * page_cost(spec, series, min(rows, source.page_rows)) * (HOUR / every)
    return units


def runs_of_a_round(
    spec: LoadedSpec, collection: Collection, symbols: int, now: datetime, due: Iterable[Due] = ()
) -> int:
    """After how many runs each of so many symbols has been taken: one, where a run can take them all.

    A symbol counts with a full page of each series, or with what the dearest of those that are due costs.
    """
    most: Counter[Budget] = Counter()
    for series in collection.series(spec.name):
        most[spec.rest_for(series).budget] += page_cost(spec, series)
    for one in due:
        most |= Counter(one.costs)
    allowed = allowance(spec, collection, now)
    a_run = min(int(allowed[budget] / units) for budget, units in most.items())
    return max(-(-symbols // max(a_run, 1)), 1)


def longest_wait(
    spec: LoadedSpec, collection: Collection, symbols: int, now: datetime, due: Iterable[Due] = ()
) -> timedelta:
    """Until when each of so many symbols has had its turn, from now; nothing where every run takes all of them."""
    runs = runs_of_a_round(spec, collection, symbols, now, due)
    return timedelta(0) if runs == 1 else nth_run(collection.schedule(spec.name), now, runs) - now


def interval(schedule: str, now: datetime) -> timedelta:
    """From the latest run that was due to the next one."""
    following: datetime = croniter(schedule, now).get_next(datetime)
    latest: datetime = croniter(schedule, following).get_prev(datetime)
    return following - latest


def nth_run(schedule: str, now: datetime, number: int) -> datetime:
    """When the `number`-th run from now on is due."""
    runs, run = croniter(schedule, now), now
    for _ in range(number):
        run = runs.get_next(datetime)
    return run
