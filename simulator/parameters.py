"""Query parameters of the REST endpoints, checked the way the exchange checks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simulator.messages import RestError, invalid_symbol, missing_parameter, start_after_end
from simulator.symbols import Contract

Query = Mapping[str, str]


def integer(query: Query, name: str) -> int | None:
    """An optional integer parameter; -1102 when it is not one."""
    text = query.get(name, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise missing_parameter(name) from None


def required(query: Query, name: str) -> str:
    """A mandatory text parameter; -1102 when absent or empty."""
    if not query.get(name):
        raise missing_parameter(name)
    return query[name]


def page_size(query: Query, default: int, most: int, refusal: RestError) -> int:
    """The `limit` parameter; `refusal` is raised when it lies outside 1 to `most`."""
    limit = integer(query, "limit")
    if limit is None:
        return default
    if not 1 <= limit <= most:
        raise refusal
    return limit


def time_range(query: Query) -> tuple[int | None, int | None]:
    """startTime and endTime (milliseconds, both inclusive); -1023 when they are crossed."""
    start, end = integer(query, "startTime"), integer(query, "endTime")
    if start is not None and end is not None and start > end:
        raise start_after_end()
    return start, end


def listed_contract(contracts: Sequence[Contract], query: Query, now: int) -> Contract:
    """The contract that `symbol` names; -1102 when absent, -1121 when not listed at `now`."""
    symbol = required(query, "symbol")
    for contract in contracts:
        if contract.symbol == symbol and contract.is_listed(now):
            return contract
    raise invalid_symbol()
