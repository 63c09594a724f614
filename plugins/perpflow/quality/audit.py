"""The audits: what is held against what once rows are published, each as one SQL query over whatever has not been
audited.

The gate sees one batch of one dataset. What two timeframes, two datasets or ledger and table say of the same instant,
it can't compare: often the other half comes later. So an audit runs for the un-audited windows of each dataset that it
reads, whichever of them was published last.

Each query gives its findings: symbol, series, window, severity, column and detail. It has to make every finding that
overlaps the windows asked for, and none depends on how these are cut: then looking again finds the same again, and a
finding that is not made again is no more. Times are UTC, windows half-open.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from perpflow.datasets import DATASETS
from perpflow.quality.suites import load_suite
from perpflow.specs import LoadedSpec
from perpflow.store.database import columns, query
from perpflow.windows import DAY, MILLISECOND, TIMEFRAMES, Timeframe, Window, merge

CANDLES = tuple(name for name, spec in DATASETS.items() if spec.series_in_key)
ON_GRID = tuple(name for name, spec in DATASETS.items() if spec.series_in_key or spec.grid)

#: Columns of a candle that are picked out of finer ones, not added up.
PICKED = ("open", "high", "low", "close")
#: Prices that are picked are the same decimal text, and so the same number. Sums of up to 8,928 doubles of one sign (a
#: month of 5m candles) are off by 1e-12 of themselves at most. 1e-9 is well above that, and below one lot of 0.001 in
#: a day of 300,000 BTC: no candle that lacks a trade passes.
TOLERANCE_OF_SUMS = 1e-9
#: Prices implied by recorded metrics (BTC/USDT, 2023-11-14) move by 0.25 % at most from one instant to the next, and
#: have the eight decimals of mark prices, which lie within some tenths of a percent of the last price: this is eight
#: times as much. In a crash it is the candle's own range that grows.
TOLERANCE_OF_VALUE = 0.02
#: A settlement's mark price is one of the mark prices of its minute; prices of trades lie further off when markets are
#: upset.
TOLERANCE_OF_MARK = 0.005
TOLERANCE_OF_TRADES = 0.03
#: Mark price follows the index and how far trades are off it on average, so whole candles of the two touch, or nearly
#: so. A thin book has had wicks of a third; but a candle also holds where they come from.
TOLERANCE_OF_RANGES = 0.25
#: Ratios of which one instant says something about the next. What takers buy within five minutes does not.
JUMPING = ("top_position", "top_account", "global_account")


@dataclass(frozen=True, slots=True)
class Audit:
    """What is compared.

    `reads` are the datasets whose un-audited windows it looks at; its findings are about `of`, or, where that is empty,
    about whichever of them it runs for. `reach` is how many periods beyond those windows a finding may lie that depends
    on them. One that looks `everywhere` reads the ledger or another small table, not facts: it looks at all of it.
    """

    name: str
    query: str
    reads: tuple[str, ...]
    says: str
    of: str = ""
    reach: int = 0
    everywhere: bool = False
    constants: dict[str, Any] = field(default_factory=dict)
    #: The limit of its target's suite that it goes by, and the dataset whose prices deny its target's.
    limit: str = ""
    beside: str = ""
    #: The gate's expectations of the same, `*` for the column: what a person released from one is no finding.
    rules: tuple[str, ...] = ()

    def target(self, dataset: str) -> str:
        """The dataset that its findings are about when it runs for `dataset`."""
        return self.of or dataset

    def limits(self, dataset: str) -> dict[str, float]:
        """What it goes by when it runs for `dataset`, by series, `*` for all others.

        Raises:
            BadSuite: the suite that says so is broken.
        """
        return load_suite(self.target(dataset)).limits[self.limit] if self.limit else {}


AUDITS: tuple[Audit, ...] = (
    Audit(
        "completeness",
        "audit_completeness",
        reads=tuple(DATASETS),
        says="between what is accounted for nothing is neither present nor explained",
        everywhere=True,
    ),
    Audit(
        "ledger_agrees",
        "audit_ledger_agrees",
        reads=ON_GRID,
        says="the table has the points that the ledger calls present, and no others",
    ),
    Audit(
        "settlements_follow",
        "audit_settlements_follow",
        reads=("funding_rate",),
        says="each settlement follows the one before by its interval, and the ledger calls it present",
        # The longest funding interval, in hours: a settlement tells of what lacks that far before it.
        reach=8,
    ),
    Audit(
        "numbers",
        "audit_numbers",
        reads=tuple(DATASETS),
        says="every value is a number",
        rules=("expect_column_values_to_be_between(*)",),
    ),
    Audit(
        "cross_timeframe",
        "audit_cross_timeframe",
        reads=CANDLES,
        says="a coarser candle is what the finest ones of its time amount to",
    ),
    Audit(
        "open_interest_value",
        "audit_open_interest_value",
        reads=("open_interest", "ohlcv"),
        of="open_interest",
        says="open interest is valued at the price of its instant",
        reach=1,
        constants={"tolerance": TOLERANCE_OF_VALUE},
        rules=("value_fits_the_candles", "value_fits_the_day"),
    ),
    # The gate judges a newest point before its successor, or the other price, is there.
    Audit(
        "jump_taken_back",
        "audit_jump_taken_back",
        reads=("open_interest", "long_short_ratio"),
        says="no value is far off for a single instant",
        reach=1,
        limit="jump",
        rules=("no_lone_jump", "no_lone_jump_of_*"),
    ),
    Audit(
        "spike_denied_by_mark",
        "audit_spike_denied",
        reads=("ohlcv", "mark_price"),
        of="ohlcv",
        says="a close far from both its neighbours is one that the mark price went along with",
        reach=1,
        limit="move",
        beside="mark_price",
        rules=("no_lone_spike",),
    ),
    Audit(
        "spike_denied_by_trades",
        "audit_spike_denied",
        reads=("mark_price", "ohlcv"),
        of="mark_price",
        says="a mark price far from both its neighbours is one that trades went along with",
        reach=1,
        limit="move",
        beside="ohlcv",
        rules=("no_lone_spike",),
    ),
    Audit(
        "wick_denied_by_mark",
        "audit_wick_denied",
        reads=("ohlcv", "mark_price"),
        of="ohlcv",
        says="a wick far from its candle's body is one that the mark price had too",
        limit="wick",
        beside="mark_price",
        rules=("no_lone_wick",),
    ),
    # Of several candles alike that are wrong each is denied by no neighbour. The two datasets are in doubt both.
    Audit(
        "apart_from_mark",
        "audit_prices_apart",
        reads=("ohlcv", "mark_price"),
        of="ohlcv",
        says="candles of trades touch those of mark price",
        constants={"tolerance": TOLERANCE_OF_RANGES},
        rules=("no_lone_spike",),
    ),
    Audit(
        "apart_from_trades",
        "audit_prices_apart",
        reads=("mark_price", "ohlcv"),
        of="mark_price",
        says="candles of mark price touch those of trades",
        constants={"tolerance": TOLERANCE_OF_RANGES},
    ),
    Audit(
        "funding_mark",
        "audit_funding_mark",
        reads=("funding_rate", "mark_price", "ohlcv"),
        of="funding_rate",
        says="a settlement's mark price is one of the candles' at its instant",
        reach=1,
        constants={
            "tolerance": TOLERANCE_OF_MARK,
            "tolerance_of_trades": TOLERANCE_OF_TRADES,
            # Finest first, none longer than the shortest interval.
            "timeframes": [name for name, frame in TIMEFRAMES.items() if frame.length and frame.length * 24 <= DAY],
        },
        rules=("mark_price_fits_the_candles",),
    ),
    Audit(
        "sources_agree",
        "audit_sources_agree",
        reads=tuple(DATASETS),
        says="archive and REST agree about what both have",
        everywhere=True,
    ),
)


def _tiles(coarse: Timeframe, fine: Timeframe) -> bool:
    """Whether periods of the one are made up of whole periods of the other."""
    # Weeks and months begin at midnight, but not on a grid of days.
    length = coarse.length if coarse.length and coarse.length <= 3 * DAY else DAY
    return fine is not coarse and fine.length is not None and fine.length <= length and length % fine.length == DAY * 0


#: What there is to compare of candles: (coarser, finer) timeframes, the finest first.
PAIRS: tuple[tuple[str, str], ...] = tuple(
    (coarse.name, fine.name) for coarse in TIMEFRAMES.values() for fine in TIMEFRAMES.values() if _tiles(coarse, fine)
)


def windows_to_look_at(spec: LoadedSpec, series: str, windows: Iterable[Window], reach: int) -> list[Window]:
    """The windows by whole periods of the series, and so many periods more on either side."""
    grid = spec.instants_of(series)
    assert grid is not None, "what is loaded has instants on a grid"
    return merge(_extended(grid, window, reach) for window in windows)


def _extended(grid: Timeframe, window: Window, reach: int) -> Window:
    start, end = grid.floor(window.start), grid.ceil(window.end)
    for _ in range(reach):
        start, end = grid.floor(start - MILLISECOND), grid.after(end)
    return Window(start, end)


def statement(audit: Audit, dataset: str) -> sql.Composed:
    """The audit's query for when it runs for that dataset."""
    spec = DATASETS[audit.target(dataset)]
    values = [column.name for column in spec.values]
    summed = [name for name in values if name not in PICKED]
    tolerances = dict.fromkeys(PICKED, 0.0) | dict.fromkeys(summed, TOLERANCE_OF_SUMS)
    return query(
        audit.query,
        table=sql.Identifier(spec.name),
        beside=sql.Identifier(audit.beside),
        of_series=_of_series(spec),
        value=_value(spec),
        column=sql.Identifier("l", "series") if spec.partial_rows else sql.Literal(spec.values[0].name),
        **_numbers(spec),
        sums=sql.SQL("").join(query("audit_sum", column=sql.Identifier(name)) for name in summed),
        compared=sql.SQL(", ").join(
            query("audit_compared", title=sql.Literal(name), column=sql.Identifier(name), tolerance=sql.Literal(value))
            for name, value in tolerances.items()
        ),
    )


def _numbers(spec: LoadedSpec) -> dict[str, sql.Composable]:
    """The columns that can hold something else than a number, and each with its name and the series that it is of."""
    names = [column.name for column in spec.values if column.type == "double precision"]
    of = {wire: source.series for source in spec.rest for _, wire in source.fields}
    each = (
        query("audit_number", title=sql.Literal(name), series=sql.Literal(of.get(name)), column=sql.Identifier(name))
        for name in names
    )
    return {"columns": columns(tuple(names), of="t"), "numbers": sql.SQL(", ").join(each)}


def _value(spec: LoadedSpec) -> sql.Composable:
    """The value of a row that is the series': its first one, or that of several which share the row."""
    if not spec.partial_rows:
        return sql.Identifier("t", spec.values[0].name)
    ratios = (query("audit_ratio_value", title=sql.Literal(name), column=sql.Identifier(name)) for name in JUMPING)
    return sql.SQL("CASE l.series {} END").format(sql.SQL(" ").join(ratios))


def _of_series(spec: LoadedSpec) -> sql.Composable:
    """What makes a row of the table one of the series."""
    if spec.series_in_key:
        return query("audit_of_timeframe", series=sql.Identifier("l", "series"))
    if not spec.partial_rows:
        return sql.Literal(True)
    ratios = (
        query("audit_of_ratio", title=sql.Literal(series), column=sql.Identifier(series)) for series in spec.series
    )
    return sql.SQL("({})").format(sql.SQL(" OR ").join(ratios))
