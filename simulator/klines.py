"""Every kind of kline that the exchange gives: the twelve fields of its rows, out of a block of the market's candles.

A kind has the name of its endpoint and of its archive folder.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simulator.grid import Ints, candle_ends
from simulator.market import CLOSE, COUNT, HIGH, LOW, OPEN, QUOTE, TAKER, TAKER_QUOTE, TIME, VOLUME
from simulator.randomness import hashed
from simulator.symbols import Contract

# open_time, open, high, low, close, volume, close_time, quote_volume, count, taker_buy_volume,
# taker_buy_quote_volume, ignore: the twelve fields of REST and archive alike, all text.
KlineRow = tuple[str, ...]
#: Seed, contract, interval, and the market's candles (shape (10, n)).
Render = Callable[[int, Contract, str, Ints], list[KlineRow]]


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


def traded(_seed: int, contract: Contract, interval: str, block: Ints) -> list[KlineRow]:
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


def mark_price(_seed: int, contract: Contract, interval: str, block: Ints) -> list[KlineRow]:
    """The price of trades, to eight digits, as premiumIndex has it."""
    more = 10 ** (8 - contract.price_decimals)
    return _untraded(interval, block[TIME], [decimals(block[row] * more, 8) for row in (OPEN, HIGH, LOW, CLOSE)])


def premium_index(seed: int, contract: Contract, interval: str, block: Ints) -> list[KlineRow]:
    """A few hundredths of a percent up and down, drawn for each candle by itself, whatever its interval."""
    drawn = np.array([
        hashed(seed, contract.number, f"premium {interval} {part}", block[TIME]) % np.uint64(80_000)
        for part in range(4)
    ]).astype(np.int64) - 30_000  # fmt: skip
    prices = (drawn[0], drawn.max(axis=0), drawn.min(axis=0), drawn[3])
    return _untraded(interval, block[TIME], [signed_decimals(price, 8) for price in prices])


def _untraded(interval: str, times: Ints, prices: list[list[str]]) -> list[KlineRow]:
    """Rows whose volumes are placeholders; the count is of the seconds' samples."""
    closes = candle_ends(interval, times)
    nothing = ["0"] * times.shape[0]
    samples = list(map(str, ((closes - times) // 1000).tolist()))
    ends = list(map(str, (closes - 1).tolist()))
    columns = [list(map(str, times.tolist())), *prices, nothing, ends, nothing, samples, nothing, nothing, nothing]
    return list(zip(*columns, strict=True))


TRADED = "klines"
KINDS: dict[str, Render] = {
    TRADED: traded,
    "markPriceKlines": mark_price,
    "premiumIndexKlines": premium_index,
}
