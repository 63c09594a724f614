"""The events of streams as the exchange writes them: field names, order and number formats of the recorded frames.

`E` is the event time and `T` the trade time, milliseconds UTC; `st` tells USD-M (1) from COIN-M (2) symbols, which come
mixed on the streams of all mark prices since both share a backend.
"""

from __future__ import annotations

import json
import math
from typing import NamedTuple

from simulator.quotes import DayStatistics, Premium
from simulator.symbols import Contract

USD_M, COIN_M = 1, 2
Event = dict[str, object]


class Order(NamedTuple):
    """A liquidation as it was filled; prices, and quantities of the last and of all fills, as text; `time` in ms."""

    symbol: str
    pair: str
    side: str
    quantity: str
    price: str
    average: str
    last: str
    time: int


def encode(content: object) -> bytes:
    """JSON as the exchange writes it: no spaces, symbols outside ASCII as they are."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def tick_text(contract: Contract, price: float) -> str:
    """A price on the contract's ticks."""
    units = max(round(price * 10**contract.price_decimals / contract.tick), 1) * contract.tick
    return f"{units / 10**contract.price_decimals:.{contract.price_decimals}f}"


def quantity_text(contract: Contract, quantity: float) -> str:
    """A quantity with the contract's digits, at least the smallest."""
    units = max(math.floor(quantity * 10**contract.quantity_decimals), 1)
    return f"{units / 10**contract.quantity_decimals:.{contract.quantity_decimals}f}"


def mark_price(symbol: str, quote: Premium, at: int, margin: int = USD_M) -> Event:
    """`markPriceUpdate`; the moving average `ap` is the mark itself, as in all recorded frames."""
    return {
        "e": "markPriceUpdate", "E": at, "s": symbol, "p": quote.mark, "ap": quote.mark, "P": quote.settle,
        "i": quote.index_price, "r": quote.rate, "T": quote.next_funding, "st": margin,
    }  # fmt: skip


def force_order(order: Order, at: int) -> Event:
    """`forceOrder`: a snapshot of a filled liquidation."""
    return {
        "e": "forceOrder", "E": at,
        "o": {
            "s": order.symbol, "S": order.side, "o": "LIMIT", "f": "IOC", "q": order.quantity, "p": order.price,
            "ap": order.average, "X": "FILLED", "l": order.last, "z": order.quantity, "T": order.time,
            "ps": order.pair, "st": USD_M,
        },
    }  # fmt: skip


def agg_trade(contract: Contract, number: int, price: float, quantity: str, at: int) -> Event:
    """`aggTrade` number `number` of its symbol, of two trades, 150 ms before it is told; as recorded in 2026."""
    return {
        "e": "aggTrade", "E": at, "a": number, "s": contract.symbol, "p": tick_text(contract, price), "q": quantity,
        "nq": quantity, "f": 2 * number, "l": 2 * number + 1, "T": at - 150, "m": number % 3 == 0, "st": USD_M,
    }  # fmt: skip


def book_ticker(contract: Contract, number: int, price: float, sizes: tuple[str, str], at: int) -> Event:
    """`bookTicker`: bid and ask one tick below and above the price, and what stands there."""
    step = contract.tick / 10**contract.price_decimals
    return {
        "e": "bookTicker", "u": number, "s": contract.symbol, "ps": contract.pair,
        "b": tick_text(contract, price - step), "B": sizes[0], "a": tick_text(contract, price + step), "A": sizes[1],
        "T": at, "E": at, "st": USD_M,
    }  # fmt: skip


def ticker(contract: Contract, day: DayStatistics, price: float, quantity: str, at: int) -> Event:
    """`24hrTicker`: the last 24 hours up to the price now."""
    first = at // 1000
    return {
        "e": "24hrTicker", "E": at, "s": contract.symbol, "p": f"{price - day.open:.{contract.price_decimals}f}",
        "P": f"{(price / day.open - 1) * 100:.3f}",
        "w": tick_text(contract, day.quote_volume / day.volume if day.volume else price),
        "c": tick_text(contract, price), "Q": quantity, "o": tick_text(contract, day.open),
        "h": tick_text(contract, max(day.high, price)), "l": tick_text(contract, min(day.low, price)),
        "v": quantity_text(contract, day.volume), "q": f"{day.quote_volume:.2f}", "O": at - 86_400_000, "C": at,
        "F": first, "L": first + day.trades, "n": day.trades,
    }  # fmt: skip
