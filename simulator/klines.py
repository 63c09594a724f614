"""Every kind of kline that the exchange gives: the twelve fields of its rows, out of a block of the market's candles.

A kind has the name of its endpoint and of its archive folder. Its candles are a market's like those of trades, so that
an hour is its twelve five-minute candles to the last digit, and the running candle is what it has come to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from simulator.grid import Ints, candle_ends, to_ms
from simulator.market import CLOSE, COUNT, HIGH, LOW, OPEN, QUOTE, TAKER, TAKER_QUOTE, TIME, VOLUME, Market
from simulator.symbols import Contract

# open_time, open, high, low, close, volume, close_time, quote_volume, count, taker_buy_volume,
# taker_buy_quote_volume, ignore: the twelve fields of REST and archive alike, all text.
KlineRow = tuple[str, ...]
#: Contract, interval, and the market's candles (shape (10, n)).
Render = Callable[[Contract, str, Ints], list[KlineRow]]
#: The exchange's first mark price, of whatever contract; measured.
MARK_PRICES_FROM = to_ms("2019-12-23T11:58")
#: A premium of nothing, in units of what the premiums' market counts in.
_NO_PREMIUM = 10**8


def decimals(values: Ints, places: int) -> list[str]:
    """Fixed-point text of non-negative integers that count in 10**-places."""
    if not places:
        return list(map(str, values.tolist()))
    whole, rest = np.divmod(values, 10**places)
    pattern = f"%d.%0{places}d"
    return [pattern % pair for pair in zip(whole.tolist(), rest.tolist(), strict=True)]


def signed_decimals(values: Ints, places: int) -> list[str]:
    """Fixed-point text of integers of either sign that count in 10**-places."""
    texts = decimals(np.abs(values), places)
    return [f"-{text}" if value < 0 else text for value, text in zip(values.tolist(), texts, strict=True)]


def traded(contract: Contract, interval: str, block: Ints) -> list[KlineRow]:
    """Prices, volumes and trades."""
    price, size = contract.price_decimals, contract.quantity_decimals
    columns = [
        list(map(str, block[TIME].tolist())),
        *(decimals(block[row], price) for row in (OPEN, HIGH, LOW, CLOSE)),
        decimals(block[VOLUME], size),
        list(map(str, (candle_ends(interval, block[TIME]) - 1).tolist())),
        decimals(block[QUOTE], price + size),
        list(map(str, block[COUNT].tolist())),
        decimals(block[TAKER], size),
        decimals(block[TAKER_QUOTE], price + size),
        ["0"] * block.shape[1],
    ]
    return list(zip(*columns, strict=True))


def mark_price(contract: Contract, interval: str, block: Ints) -> list[KlineRow]:
    """The price of trades, to eight digits, as premiumIndex has it."""
    more = 10 ** (8 - contract.price_decimals)
    return _untraded(interval, block[TIME], [decimals(block[row] * more, 8) for row in (OPEN, HIGH, LOW, CLOSE)])


def premium_index(_contract: Contract, interval: str, block: Ints) -> list[KlineRow]:
    """By how much the candles of `premiums` are off one: up to a tenth of a percent or so, of either sign."""
    prices = [signed_decimals(block[row] - _NO_PREMIUM, 8) for row in (OPEN, HIGH, LOW, CLOSE)]
    return _untraded(interval, block[TIME], prices)


def itself(contract: Contract) -> Contract:
    """The contract whose trades the candles are of."""
    return contract


@lru_cache(maxsize=1024)
def premiums(contract: Contract) -> Contract:
    """A market of its own, which moves around one by a few thousandths of a percent a day."""
    return replace(
        contract, symbol=f"{contract.symbol} premium", price=1.0, price_decimals=8, tick=1, daily_move=0.00005,
        quantity_decimals=0, minute_volume=1.0,
    )  # fmt: skip


def _untraded(interval: str, times: Ints, prices: list[list[str]]) -> list[KlineRow]:
    """Rows whose volumes are placeholders; the count is of the seconds' samples."""
    closes = candle_ends(interval, times)
    nothing = ["0"] * times.shape[0]
    samples = list(map(str, ((closes - times) // 1000).tolist()))
    ends = list(map(str, (closes - 1).tolist()))
    columns = [list(map(str, times.tolist())), *prices, nothing, ends, nothing, samples, nothing, nothing, nothing]
    return list(zip(*columns, strict=True))


class Kind(NamedTuple):
    """How rows of a kind are rendered, out of whose candles, and since when the exchange has any (0: the listing)."""

    render: Render
    of: Callable[[Contract], Contract] = itself
    begins: int = 0

    def rows(
        self, market: Market, contract: Contract, interval: str, start: int, end: int, now: int | None
    ) -> list[KlineRow]:
        """Candles whose open time lies in `[start, end)`; `now` leaves the running candle unclosed."""
        source = self.of(contract)
        if start < self.begins:
            # Its first candle begins before it, and holds what came after it.
            source = replace(source, listed=max(source.listed, self.begins))
        return self.render(contract, interval, market.candles(source, interval, start, end, now))

    def first_archived(self, contract: Contract) -> int:
        """The first instant that archive files of the kind cover."""
        return max(contract.listed, self.begins) if self.begins else contract.first_archived


TRADED = "klines"
KINDS: dict[str, Kind] = {
    TRADED: Kind(traded),
    "markPriceKlines": Kind(mark_price, begins=MARK_PRICES_FROM),
    "premiumIndexKlines": Kind(premium_index, of=premiums),
}
