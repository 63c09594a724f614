"""Streams that come by the clock: mark prices, trades, tickers, book tickers; content is a function of stream time.

What a stream sends at a moment depends on seed, symbol and time alone, but for the numbers of trades and books, which
count on without gaps for as long as somebody listens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import count

import numpy as np

from simulator.payloads import COIN_M, Event, agg_trade, book_ticker, encode, mark_price, quantity_text, ticker
from simulator.quotes import Quotes
from simulator.randomness import uniform
from simulator.stream_names import AGG_TRADE, BOOK_TICKER, MARK_PRICE, TICKER, Stream
from simulator.symbols import BY_SYMBOL, Contract

# All mark prices come in frames of so many (the exchange: 744 and 191), each a part of the whole.
SHARD = 8
# COIN-M symbols among them, and whose price they have.
COIN_MARGINED = {"BTCUSD_PERP": "BTCUSDT", "ETHUSD_PERP": "ETHUSDT", "BTCUSD_261225": "BTCUSDT_261225"}
# Numbers of trades have ten digits, as recorded.
FIRST_NUMBER = 3_000_000_000
# How many quantities of a symbol there are; the n-th trade has the n-th of them.
_QUANTITIES = 64


class Periodic:
    """Makes the payloads of periodic streams."""

    def __init__(self, seed: int, contracts: Sequence[Contract], quotes: Quotes) -> None:
        self.seed, self.contracts, self.quotes = seed, contracts, quotes
        self._numbers: defaultdict[tuple[str, str], Iterator[int]] = defaultdict(lambda: count(FIRST_NUMBER))
        self._quantities: dict[str, list[str]] = {}
        self._last_tickers: dict[str, Event] = {}
        self._events: dict[str, Callable[[Contract, int], Event]] = {
            MARK_PRICE: self.mark_price, AGG_TRADE: self.agg_trade, TICKER: self.ticker, BOOK_TICKER: self.book_ticker,
        }  # fmt: skip

    def payloads(self, stream: Stream, at: int) -> list[bytes]:
        """The frames of a stream at a moment of its period; none for a symbol that is not listed then."""
        if stream.contract is not None:
            return [encode(self.event(stream.kind, stream.contract, at))] if stream.contract.is_listed(at) else []
        if stream.kind == MARK_PRICE:
            entries = self.all_mark_prices(at)
            return [encode(entries[first : first + SHARD]) for first in range(0, len(entries), SHARD)]
        changed = self._changed_tickers(at)
        return [encode(changed)] if changed else []

    def event(self, kind: str, contract: Contract, at: int) -> Event:
        """One event of a symbol."""
        return self._events[kind](contract, at)

    def mark_price(self, contract: Contract, at: int) -> Event:
        """The mark price on the way from the minute's open to its close."""
        return mark_price(contract.symbol, self.quotes.premium(contract, at), at)

    def all_mark_prices(self, at: int) -> list[Event]:
        """Every listed symbol, perpetuals on stocks and delivery contracts included, and COIN-M symbols."""
        entries = [self.mark_price(contract, at) for contract in self.contracts if contract.is_listed(at)]
        for symbol, like in COIN_MARGINED.items():
            if BY_SYMBOL[like] in self.contracts and BY_SYMBOL[like].is_listed(at):
                entries.append(mark_price(symbol, self.quotes.premium(BY_SYMBOL[like], at), at, COIN_M))
        return entries

    def agg_trade(self, contract: Contract, at: int) -> Event:
        """The next trade."""
        return self.trade(contract, self.next_number(AGG_TRADE, contract), at)

    def trade(self, contract: Contract, number: int, at: int) -> Event:
        """The trade of a number."""
        price = self.quotes.price(contract, at - 150)
        return agg_trade(contract, number, price, self._quantity(contract, number), at)

    def next_number(self, kind: str, contract: Contract) -> int:
        """The next number of a symbol's trades or books."""
        return next(self._numbers[kind, contract.symbol])

    def book_ticker(self, contract: Contract, at: int) -> Event:
        """The book's next state."""
        number = self.next_number(BOOK_TICKER, contract)
        sizes = self._quantity(contract, number), self._quantity(contract, number * 7 + 3)
        return book_ticker(contract, number, self.quotes.price(contract, at), sizes, at)

    def ticker(self, contract: Contract, at: int) -> Event:
        """The last 24 hours."""
        day, price = self.quotes.day(contract, at), self.quotes.price(contract, at)
        return ticker(contract, day, price, self._quantity(contract, at // 1000), at)

    def _changed_tickers(self, at: int) -> list[Event]:
        """The tickers whose price or statistics have changed since they were last told."""
        changed = []
        for contract in self.contracts:
            if contract.is_listed(at):
                event = self.ticker(contract, at)
                last, self._last_tickers[contract.symbol] = self._last_tickers.get(contract.symbol), event
                if last is None or any(event[field] != last[field] for field in ("c", "o", "h", "l", "v")):
                    changed.append(event)
        return changed

    def _quantity(self, contract: Contract, number: int) -> str:
        """A quantity between a thousandth and a tenth of the symbol's usual minute."""
        known = self._quantities.get(contract.symbol)
        if known is None:
            shares = uniform(self.seed, contract.number, "quantity", np.arange(_QUANTITIES, dtype=np.int64))
            usual = contract.minute_volume or 1.0
            known = [quantity_text(contract, usual * 10 ** (2 * share - 3)) for share in shares.tolist()]
            self._quantities[contract.symbol] = known
        return known[number % _QUANTITIES]
