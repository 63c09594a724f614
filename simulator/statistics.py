"""`/futures/data/...`: open interest, three long/short ratios and the taker volumes, the last 30 days only.

Instants are the multiples of the period. Ratios are rounded to four decimals here (the archive has eight), next to the
shares or volumes that the archive lacks. Requests weigh nothing in the minute budget; they count 1000 per five minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation

from simulator.feed import Feed, MetricRow
from simulator.grid import DAY, FIVE_MINUTES, SECOND, STATISTIC_PERIODS
from simulator.messages import Reply, invalid_parameter, json_reply
from simulator.paging import first_rows, last_rows
from simulator.parameters import Query, listed_contract, page_size, required, time_range
from simulator.quirks import Quirk, find, instants
from simulator.symbols import Contract

PAGE_DEFAULT, PAGE_MOST = 30, 500
# -30 days was measured to work, -35 days to fail; the minute lets a client's own arithmetic take its time.
REMEMBERED = 30 * DAY + 60 * SECOND
# A point appears a few seconds after its instant.
DELAY = 3 * SECOND
_FOUR = Decimal("0.0001")
_EIGHT = Decimal("0.00000001")


def answer(feed: Feed, quirks: Sequence[Quirk], name: str, query: Query, now: int) -> Reply:
    """The reply of `GET /futures/data/<name>`; -1130 for a startTime that is no longer remembered."""
    contract = listed_contract(feed.contracts, query, now)
    period = STATISTIC_PERIODS.get(required(query, "period"))
    if period is None:
        raise invalid_parameter("period")
    limit = page_size(query, PAGE_DEFAULT, PAGE_MOST, invalid_parameter("limit"))
    start, end = time_range(query)
    if start is not None and start < now - REMEMBERED:
        raise invalid_parameter("startTime")
    rows = _select(feed, contract, period, (start, end, limit), now)
    entries = [_ENTRIES[name](contract, row) for row in _without_holes(rows, quirks, name, contract)]
    if find(quirks, "descending", name, contract.symbol, now, now + 1):
        entries.reverse()
    return json_reply(entries)


def _select(
    feed: Feed, contract: Contract, period: int, page: tuple[int | None, int | None, int], now: int
) -> list[MetricRow]:
    """From startTime on, `limit` rows; without it the latest `limit` rows up to endTime or now."""
    start, end, limit = page
    # + 1 because both ends are inclusive; the newest instant must be DELAY old.
    stop = min(now - DELAY, now if end is None else end) + 1

    def fetch(first: int, until: int) -> list[MetricRow]:
        return _points(feed, contract, period, first, until)

    if start is None:
        return last_rows(fetch, now - REMEMBERED, stop, limit, period)
    return first_rows(fetch, start, stop, limit, period)


def _points(feed: Feed, contract: Contract, period: int, start: int, stop: int) -> list[MetricRow]:
    """One row per instant of the period; taker volumes are summed over the period that ends there."""
    if period == FIVE_MINUTES:
        return feed.metric_rows(contract, start, stop)
    fives = feed.metric_rows(contract, start - period + FIVE_MINUTES, stop)
    points = []
    for index, row in enumerate(fives):
        if row.time % period == 0 and row.time >= start:
            recent = fives[max(index + 1 - period // FIVE_MINUTES, 0) : index + 1]
            within = [other for other in recent if other.time > row.time - period]
            points.append(_with_flow(row, within))
    return points


def _with_flow(row: MetricRow, within: list[MetricRow]) -> MetricRow:
    buy, sell = (sum(Decimal(getattr(other, side)) for other in within) for side in ("buy", "sell"))
    ratio = Decimal(buy / sell).quantize(_EIGHT) if sell else Decimal(0)
    return row._replace(buy=str(buy), sell=str(sell), taker_ratio=str(ratio))


def _without_holes(rows: list[MetricRow], quirks: Sequence[Quirk], name: str, contract: Contract) -> list[MetricRow]:
    if not rows:
        return rows
    first, last = rows[0].time, rows[-1].time + 1
    holes = set(instants(find(quirks, "rest_hole", name, contract.symbol, first, last), first, last))
    return [row for row in rows if row.time not in holes]


def rounded(text: str, to: Decimal = _FOUR) -> str:
    """A decimal text rounded half up, or the text itself when it is no finite number (a spoiled value)."""
    try:
        return str((Decimal(text) + 0).quantize(to, rounding="ROUND_HALF_UP"))
    except InvalidOperation:
        return text


def long_share(ratio: str) -> str:
    """The share of longs that a long/short ratio means, four decimals; the text itself when spoiled."""
    try:
        return rounded(str(Decimal(ratio) / (1 + Decimal(ratio))))
    except (InvalidOperation, ZeroDivisionError):
        return ratio


def _ratio(contract: Contract, text: str, time: int) -> dict[str, object]:
    longs = long_share(text)
    try:
        shorts = str(1 - Decimal(longs))
    except InvalidOperation:
        shorts = text
    return {
        "symbol": contract.symbol, "longAccount": longs, "longShortRatio": rounded(text),
        "shortAccount": shorts, "timestamp": time,
    }  # fmt: skip


def _open_interest(contract: Contract, row: MetricRow) -> dict[str, object]:
    return {
        "symbol": contract.symbol, "sumOpenInterest": rounded(row.open_interest or "0", _EIGHT),
        "sumOpenInterestValue": rounded(row.value or "0", _EIGHT),
        "CMCCirculatingSupply": f"{contract.open_interest * 211:.8f}", "timestamp": row.time,
    }  # fmt: skip


def _taker(contract: Contract, row: MetricRow) -> dict[str, object]:
    """The one statistic without a symbol field."""
    return {
        "buySellRatio": rounded(row.taker_ratio), "sellVol": rounded(row.sell), "buyVol": rounded(row.buy),
        "timestamp": row.time,
    }  # fmt: skip


_ENTRIES: dict[str, Callable[[Contract, MetricRow], dict[str, object]]] = {
    "openInterestHist": _open_interest,
    "topLongShortPositionRatio": lambda contract, row: _ratio(contract, row.top_position, row.time),
    "topLongShortAccountRatio": lambda contract, row: _ratio(contract, row.top_account, row.time),
    "globalLongShortAccountRatio": lambda contract, row: _ratio(contract, row.global_account, row.time),
    "takerlongshortRatio": _taker,
}
NAMES: tuple[str, ...] = tuple(_ENTRIES)
