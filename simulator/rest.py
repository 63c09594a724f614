"""`/fapi/v1/...`: exchangeInfo, time, klines, funding, premium index, open interest.

Start and end times are milliseconds UTC, compared with a candle's open time, both inclusive; lists ascend; the running
candle is in the answer until somebody else leaves it out. Every public function takes the feed, the query and the
simulated now, and returns the JSON reply or raises `RestError`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from simulator.exchange_info import exchange_info
from simulator.feed import Feed, FundingRow
from simulator.grid import HOUR, KLINE_INTERVALS, MINUTE, candle_start, longest
from simulator.klines import KINDS, KlineRow
from simulator.messages import Reply, funding_limit_reply, invalid_data, invalid_interval, json_reply
from simulator.paging import first_rows, last_rows
from simulator.parameters import Query, integer, listed_contract, page_size, required, time_range
from simulator.quotes import premium
from simulator.schedule import trading_schedule
from simulator.symbols import NO_DELIVERY, Contract

KLINES_DEFAULT, KLINES_MOST = 500, 1500
FUNDING_DEFAULT, FUNDING_MOST = 100, 1000
# Without start and end the exchange gives the most recent 200 settlements, whatever limit says.
FUNDING_LATEST = 200
_KLINE_JSON = '[%s,"%s","%s","%s","%s","%s",%s,"%s",%s,"%s","%s","%s"]'


def klines_weight(query: Query) -> int:
    """Request weight of a klines call by its limit: below 100 1, below 500 2, up to 1000 5, above 10."""
    limit = int(text) if (text := query.get("limit", "")).isdigit() else KLINES_DEFAULT
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


def premium_index_weight(query: Query) -> int:
    """1 with a symbol, 10 without."""
    return 1 if query.get("symbol") else 10


def ping(feed: Feed, query: Query, now: int) -> Reply:
    """`GET /fapi/v1/ping`."""
    return json_reply({})


def server_time(feed: Feed, query: Query, now: int) -> Reply:
    """`GET /fapi/v1/time`: the simulated now in milliseconds."""
    return json_reply({"serverTime": now})


def info(feed: Feed, query: Query, now: int, weight: int = 2400) -> Reply:
    """`GET /fapi/v1/exchangeInfo`: contracts listed now, and the weight that a minute may hold."""
    return json_reply(exchange_info(feed.contracts, now, weight))


def klines(kind: str, feed: Feed, query: Query, now: int) -> Reply:
    """`GET /fapi/v1/<kind>`: rows from startTime on; without it the latest rows up to endTime or now."""
    contract = listed_contract(feed.contracts, query, now)
    interval = required(query, "interval")
    if interval not in KLINE_INTERVALS:
        raise invalid_interval()
    limit = page_size(query, KLINES_DEFAULT, KLINES_MOST, invalid_data("limit"))
    start, end = time_range(query)
    stop = min(now, now if end is None else end) + 1
    listed = candle_start(interval, contract.listed)

    def fetch(first: int, until: int) -> list[KlineRow]:
        return feed.kline_rows(contract, interval, first, until, now, kind)

    if start is None:
        rows = last_rows(fetch, listed, stop, limit, longest(interval))
    else:
        # From before the listing on, rows begin with the listing; off-grid starts begin with the next candle.
        rows = first_rows(fetch, max(start, listed), stop, limit, longest(interval))
    return Reply(200, ("[" + ",".join(_KLINE_JSON % row for row in rows) + "]").encode(), rows=len(rows))


def funding_rate(feed: Feed, query: Query, now: int) -> Reply:
    """`GET /fapi/v1/fundingRate`: settlements up to now; all symbols mixed when none is named."""
    if (integer(query, "limit") or 0) > FUNDING_MOST:
        return funding_limit_reply()
    limit = page_size(query, FUNDING_DEFAULT, FUNDING_MOST, invalid_data("limit"))
    start, end = time_range(query)
    if query.get("symbol"):
        contracts = [listed_contract(feed.contracts, query, now)]
    else:
        contracts = [contract for contract in feed.contracts if contract.is_listed(now)]
    rows: list[tuple[int, str, FundingRow]] = []
    for contract in contracts:
        rows += [(row.time, contract.symbol, row) for row in _settled(feed, contract, start, end, limit, now)]
    rows.sort(key=lambda entry: entry[:2])
    if len(contracts) > 1:
        rows = rows[:limit] if start else rows[-limit:]
    return json_reply([_funding_entry(symbol, row) for _, symbol, row in rows])


def _settled(
    feed: Feed, contract: Contract, start: int | None, end: int | None, limit: int, now: int
) -> list[FundingRow]:
    last = min(now, now if end is None else end) + 1
    if start == 0:
        # Measured: startTime=0 gives the latest record, not the earliest.
        return feed.funding_rows(contract, last - 9 * HOUR, last)[-1:]
    if start is None:
        count = FUNDING_LATEST if end is None else limit
        return feed.funding_rows(contract, last - count * 8 * HOUR - MINUTE, last)[-count:]
    return feed.funding_rows(contract, start, last)[:limit]


def _funding_entry(symbol: str, row: FundingRow) -> dict[str, object]:
    return {
        "symbol": symbol, "fundingTime": row.time, "fundingRate": row.rate, "markPrice": row.mark,
        "rateType": "Regular",
    }  # fmt: skip


def funding_info(feed: Feed, query: Query, now: int) -> Reply:
    """`GET /fapi/v1/fundingInfo`: only contracts whose interval is or was adjusted; current state, no history."""
    entries = []
    for contract in feed.contracts:
        adjusted = [hours for since, hours in contract.funding if since <= now]
        if contract.is_listed(now) and contract.delivery == NO_DELIVERY and adjusted != [8]:
            entries.append({
                "symbol": contract.symbol, "adjustedFundingRateCap": "0.02000000",
                "adjustedFundingRateFloor": "-0.02000000", "fundingIntervalHours": adjusted[-1], "disclaimer": False,
            })  # fmt: skip
    return json_reply(entries)


def premium_index(feed: Feed, query: Query, now: int) -> Reply:
    """`GET /fapi/v1/premiumIndex`: an object with a symbol, a list without."""
    if query.get("symbol"):
        return json_reply(_premium(feed, listed_contract(feed.contracts, query, now), now))
    return json_reply([_premium(feed, contract, now) for contract in feed.contracts if contract.is_listed(now)])


def _premium(feed: Feed, contract: Contract, now: int) -> dict[str, object]:
    quote = premium(feed, contract, now)
    return {
        "symbol": contract.symbol,
        "markPrice": quote.mark,
        "indexPrice": quote.index_price,
        "estimatedSettlePrice": quote.settle,
        "lastFundingRate": quote.rate,
        "interestRate": "0.00010000" if quote.rate else "",
        "nextFundingTime": quote.next_funding,
        "time": now,
    }


def open_interest(feed: Feed, query: Query, now: int) -> Reply:
    """`GET /fapi/v1/openInterest`: the current figure in base units."""
    contract = listed_contract(feed.contracts, query, now)
    rows = feed.metric_rows(contract, now - 10 * MINUTE, now + 1)
    amount = (rows[-1].open_interest if rows else "") or "0"
    return Reply(200, json.dumps({"symbol": contract.symbol, "openInterest": amount, "time": now}).encode())


def sessions(feed: Feed, query: Query, now: int) -> Reply:
    """`GET /fapi/v1/tradingSchedule`."""
    return Reply(200, json.dumps(trading_schedule(now)).encode())


Endpoint = Callable[[Feed, Query, int], Reply]


def flat(weight: int) -> Callable[[Query], int]:
    """The same weight whatever the query."""
    return lambda _query: weight


INFO = "/fapi/v1/exchangeInfo"
# path -> (what answers, which limit it counts against, its weight there)
ENDPOINTS: dict[str, tuple[Endpoint, str, Callable[[Query], int]]] = {
    "/fapi/v1/ping": (ping, "weight", flat(1)),
    "/fapi/v1/time": (server_time, "weight", flat(1)),
    INFO: (info, "weight", flat(1)),
    **{f"/fapi/v1/{kind}": (partial(klines, kind), "weight", klines_weight) for kind in KINDS},
    "/fapi/v1/fundingRate": (funding_rate, "funding", flat(1)),
    "/fapi/v1/fundingInfo": (funding_info, "funding", flat(1)),
    "/fapi/v1/premiumIndex": (premium_index, "weight", premium_index_weight),
    "/fapi/v1/openInterest": (open_interest, "weight", flat(1)),
    "/fapi/v1/tradingSchedule": (sessions, "weight", flat(5)),
}
