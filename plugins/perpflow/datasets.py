"""THE TABLE: what each dataset is. Everything that differs between datasets stands here, as data.

The table feeds archive paths, REST paging, COPY column order, upsert keys, the ledger's series, DAGs, assets and the
README's dataset table. DDL is hand-written SQL (include/sql); an integration test compares the two column by column.

Sources: the exchange's USD-M futures REST documentation and its public data archive. Prices and volumes are double
precision (exact to 15 significant digits). Time is UTC: the start of what a row describes for candles, the instant of
the measurement or settlement otherwise.
"""

from __future__ import annotations

from datetime import timedelta
from graphlib import TopologicalSorter

from perpflow.specs import ArchiveSource, Column, DatasetSpec, LoadedSpec, RestSource, StreamedSpec
from perpflow.windows import TIMEFRAMES

FIVE_MINUTES = TIMEFRAMES["5m"]

SYMBOL = Column("symbol", "text", "", "unified name, `SOL/USDT`")
TIME = Column("time", "timestamp with time zone", "UTC", "instant of the measurement")


def num(name: str, unit: str, meaning: str = "") -> Column:
    """A double-precision column."""
    return Column(name, "double precision", unit, meaning)


def whole(name: str, unit: str, meaning: str = "") -> Column:
    """A bigint column."""
    return Column(name, "bigint", unit, meaning)


#: Monthly objects of the archive appear by the first Monday, the 7th at the latest, and daily ones the next morning at
#: about 08:40 UTC; in place of what comes later still, the daily files and REST are asked.
MONTH_PUBLISHED_AFTER = timedelta(days=7, hours=12)
DAY_PUBLISHED_AFTER = timedelta(hours=9)

#: Statistics endpoints answer for the last 30 days; an hour is kept back because the edge moves while we ask.
STATISTICS_REACH = timedelta(days=30) - timedelta(hours=1)

OHLCV = LoadedSpec(
    name="ohlcv",
    title="Candles",
    key=("symbol", "timeframe", "time"),
    columns=(
        SYMBOL,
        Column("timeframe", "text", "", "the exchange's kline interval"),
        Column("time", "timestamp with time zone", "UTC", "open time"),
        num("open", "quote per base"),
        num("high", "quote per base"),
        num("low", "quote per base"),
        num("close", "quote per base"),
        num("volume", "base"),
        num("quote_volume", "quote"),
        whole("trade_count", "trades"),
        num("taker_buy_volume", "base"),
        num("taker_buy_quote_volume", "quote"),
    ),
    series=("5m", "15m", "1h", "4h", "1d"),
    series_in_key=True,
    # A mark is judged by candles in turn where these are there: it follows other markets, and does not need them.
    judged_by=("mark_price",),
    archive=ArchiveSource(
        kind="klines",
        granularities=("monthly", "daily"),
        by_interval=True,
        columns=(
            "open_time_ms",
            "open",
            "high",
            "low",
            "close",
            "volume",
            "close_time_ms",
            "quote_volume",
            "trade_count",
            "taker_buy_volume",
            "taker_buy_quote_volume",
            "ignored",
        ),
    ),
    rest=(
        RestSource(
            method="fapiPublicGetKlines",
            path="/fapi/v1/klines",
            budget="weight",
            # 499 rows cost 2, i.e. 249 rows per unit of weight; 1000 would cost 5 (200), 1500 cost 10 (150).
            page_rows=499,
            weight=2,
            period_parameter="interval",
            fields=(
                (0, "open_time_ms"),
                (1, "open"),
                (2, "high"),
                (3, "low"),
                (4, "close"),
                (5, "volume"),
                (6, "close_time_ms"),
                (7, "quote_volume"),
                (8, "trade_count"),
                (9, "taker_buy_volume"),
                (10, "taker_buy_quote_volume"),
            ),
        ),
    ),
    schedule="*/5 * * * *",
)

#: The `metrics` CSV: one row per five minutes feeds two datasets.
METRICS_COLUMNS = (
    "create_time",
    "exchange_symbol",
    "reported_open_interest",
    "reported_open_interest_value",
    "top_account",
    "top_position",
    "global_account",
    "taker_volume",
)
METRICS = ArchiveSource(
    kind="metrics",
    granularities=("daily",),
    columns=METRICS_COLUMNS,
    implied_price=("reported_open_interest_value", "reported_open_interest"),
    row_bytes=40,
)

OPEN_INTEREST = LoadedSpec(
    name="open_interest",
    title="Open interest",
    key=("symbol", "time"),
    columns=(
        SYMBOL,
        TIME,
        num("open_interest", "base"),
        num("open_interest_value", "quote"),
    ),
    series=("5m",),
    grid=FIVE_MINUTES,
    tolerance=timedelta(seconds=60),
    judged_by=("ohlcv",),
    has_blanks=True,
    archive=METRICS,
    rest=(
        RestSource(
            method="fapiDataGetOpenInterestHist",
            path="/futures/data/openInterestHist",
            budget="statistics",
            page_rows=500,
            weight=1,
            period_parameter="period",
            reach=STATISTICS_REACH,
            row_bytes=172,
            fields=(
                ("timestamp", "timestamp_ms"),
                ("sumOpenInterest", "reported_open_interest"),
                ("sumOpenInterestValue", "reported_open_interest_value"),
            ),
        ),
    ),
    schedule="*/5 * * * *",
)

FUNDING_RATE = LoadedSpec(
    name="funding_rate",
    title="Funding rates",
    key=("symbol", "time"),
    columns=(
        SYMBOL,
        Column("time", "timestamp with time zone", "UTC", "instant of the settlement"),
        num("funding_rate", "1 per interval"),
        num("mark_price", "quote per base", "at the settlement; REST alone gives it"),
        Column("interval_hours", "smallint", "h", "the interval that ends at this settlement, inferred from history"),
    ),
    series=("settlement",),
    # The longest funding interval is 8 h; a day holds the settlement before any window's first one.
    lead_in=timedelta(days=1),
    derive="derive_funding_interval",
    judged_by=("ohlcv",),
    settles_on=TIMEFRAMES["1h"],
    tolerance=timedelta(seconds=1),
    settles_after=timedelta(minutes=5),
    archive=ArchiveSource(
        kind="fundingRate",
        granularities=("monthly",),
        columns=("funding_time_ms", "reported_interval_hours", "funding_rate"),
        interval_column="reported_interval_hours",
        row_bytes=11,
    ),
    rest=(
        RestSource(
            method="fapiPublicGetFundingRate",
            path="/fapi/v1/fundingRate",
            budget="funding",
            page_rows=1000,
            weight=1,
            fields=(("fundingTime", "funding_time_ms"), ("fundingRate", "funding_rate"), ("markPrice", "mark_price")),
        ),
    ),
    schedule="7 * * * *",
)


def _ratio(series: str, endpoint: str, fields: tuple[tuple[str | int, str], ...]) -> RestSource:
    return RestSource(
        method=f"fapiDataGet{endpoint[0].upper()}{endpoint[1:]}",
        path=f"/futures/data/{endpoint}",
        budget="statistics",
        page_rows=500,
        weight=1,
        period_parameter="period",
        reach=STATISTICS_REACH,
        series=series,
        decimals=4,
        fields=(("timestamp", "timestamp_ms"), *fields),
    )


LONG_SHORT_RATIO = LoadedSpec(
    name="long_short_ratio",
    title="Long/short ratios",
    key=("symbol", "time"),
    columns=(
        SYMBOL,
        TIME,
        num("top_position", "long / short", "top traders' positions"),
        num("top_account", "long / short", "top traders' accounts"),
        num("global_account", "long / short", "all accounts"),
        num("taker_volume", "buy / sell", "taker volume of the five minutes"),
        num("top_position_long_share", "1", "REST alone gives it"),
        num("top_account_long_share", "1", "REST alone gives it"),
        num("global_account_long_share", "1", "REST alone gives it"),
        num("taker_buy_volume", "base", "REST alone gives it"),
        num("taker_sell_volume", "base", "REST alone gives it"),
    ),
    series=("top_position", "top_account", "global_account", "taker_volume"),
    grid=FIVE_MINUTES,
    tolerance=timedelta(seconds=60),
    has_blanks=True,
    partial_rows=True,
    archive=METRICS,
    rest=(
        _ratio(
            "top_position",
            "topLongShortPositionRatio",
            (("longShortRatio", "top_position"), ("longAccount", "top_position_long_share")),
        ),
        _ratio(
            "top_account",
            "topLongShortAccountRatio",
            (("longShortRatio", "top_account"), ("longAccount", "top_account_long_share")),
        ),
        _ratio(
            "global_account",
            "globalLongShortAccountRatio",
            (("longShortRatio", "global_account"), ("longAccount", "global_account_long_share")),
        ),
        _ratio(
            "taker_volume",
            "takerlongshortRatio",
            (("buySellRatio", "taker_volume"), ("buyVol", "taker_buy_volume"), ("sellVol", "taker_sell_volume")),
        ),
    ),
    schedule="*/15 * * * *",
)


def _price_candles(name: str, title: str, kind: str, unit: str, schedule: str) -> LoadedSpec:
    """Candles of something that is not traded: what they have in place of volumes are placeholders, and not stored."""
    return LoadedSpec(
        name=name,
        title=title,
        key=OHLCV.key,
        columns=(*OHLCV.columns[:3], *(num(column, unit) for column in ("open", "high", "low", "close"))),
        series=("5m", "1h"),
        series_in_key=True,
        archive=ArchiveSource(
            kind=kind,
            granularities=("monthly", "daily"),
            by_interval=True,
            row_bytes=21,
            columns=(
                "open_time_ms",
                "open",
                "high",
                "low",
                "close",
                "no_volume",
                "close_time_ms",
                "no_quote_volume",
                "sample_count",
                "no_taker_volume",
                "no_taker_quote",
                "ignored",
            ),
        ),
        rest=(
            RestSource(
                method=f"fapiPublicGet{kind[0].upper()}{kind[1:]}",
                path=f"/fapi/v1/{kind}",
                budget="weight",
                page_rows=OHLCV.rest[0].page_rows,
                weight=OHLCV.rest[0].weight,
                period_parameter="interval",
                fields=(
                    (0, "open_time_ms"),
                    (1, "open"),
                    (2, "high"),
                    (3, "low"),
                    (4, "close"),
                    (6, "close_time_ms"),
                ),
            ),
        ),
        schedule=schedule,
    )


MARK_PRICE = _price_candles("mark_price", "Mark prices", "markPriceKlines", "quote per base", "4-59/15 * * * *")
PREMIUM_INDEX = _price_candles(
    "premium_index", "Premium index", "premiumIndexKlines", "1, of the index", "9-59/15 * * * *"
)

LIQUIDATIONS = StreamedSpec(
    name="liquidations",
    title="Liquidations",
    key=("symbol", "time", "side", "average_price", "filled_quantity"),
    judged_by=("ohlcv",),
    columns=(
        SYMBOL,
        Column("time", "timestamp with time zone", "UTC", "instant of the trade"),
        Column("side", "text", "", "of the order: `SELL` closed a long position, `BUY` a short one"),
        num("average_price", "quote per base", "at which it was filled"),
        num("filled_quantity", "base", "what was filled in all"),
        num("price", "quote per base", "the order's own, at which the position was bankrupt"),
        num("quantity", "base", "what was ordered"),
        Column("order_type", "text", ""),
        Column("time_in_force", "text", ""),
        Column("status", "text", "", "of the order: `FILLED`, or `PARTIALLY_FILLED`"),
    ),
    series=("forceOrder",),
    stream="!forceOrder@arr",
    fields=(
        "received_ms",
        "event_time_ms",
        "exchange_symbol",
        "side",
        "order_type",
        "time_in_force",
        "quantity",
        "price",
        "average_price",
        "status",
        "filled_quantity",
        "trade_time_ms",
    ),
    schedule="*/5 * * * *",
)

#: What archive and REST give, and can be asked for again.
DATASETS: dict[str, LoadedSpec] = {
    spec.name: spec for spec in (OHLCV, OPEN_INTEREST, FUNDING_RATE, LONG_SHORT_RATIO, MARK_PRICE, PREMIUM_INDEX)
}
#: Every fact table.
TABLES: dict[str, DatasetSpec] = {**DATASETS, LIQUIDATIONS.name: LIQUIDATIONS}

#: Every fact table ends with these; `source` is the best one that the row's values came from.
PROVENANCE: tuple[Column, ...] = (
    Column("source", "text", "", "archive, rest or stream"),
    Column("first_seen_at", "timestamp with time zone", "UTC", "kept for ever: what was known when"),
    Column("ingested_at", "timestamp with time zone", "UTC", "last change of a value"),
)


def by_archive_kind(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Dataset names grouped by the archive folder that feeds them, so that one object is downloaded once for all.

    Within a group in the table's order, in which publishers take the ledger's locks, whatever the order in which they
    were asked for; what other datasets are judged by comes before these.
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(names, key=list(DATASETS).index):
        groups.setdefault(DATASETS[name].archive.kind, []).append(name)
    judges = {
        kind: [DATASETS[judge].archive.kind for name in group for judge in DATASETS[name].judged_by]
        for kind, group in groups.items()
    }
    return [tuple(groups[kind]) for kind in TopologicalSorter(judges).static_order() if kind in groups]
