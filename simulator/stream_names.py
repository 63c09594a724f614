"""Stream names and what they stand for: `<symbol>@<kind>` of one symbol, `!<kind>@arr` of all.

Names are lower case but for their kind; the exchange acknowledges any name and sends nothing on one that it does not
know. Whatever the simulator does not send (klines, depth) is such a name as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from simulator.grid import SECOND
from simulator.symbols import Contract

MARK_PRICE, FORCE_ORDER, AGG_TRADE, TICKER, BOOK_TICKER = "markPrice", "forceOrder", "aggTrade", "ticker", "bookTicker"
# Where a connection's path leads; on legacy paths (`/ws`, `/stream`) everything is acknowledged, only /public is sent.
MARKET, PUBLIC, LEGACY = "market", "public", "legacy"


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream that the simulator sends: every `period` ms of stream time, 0 for whenever there is something.

    `contract` None means all symbols.
    """

    name: str
    kind: str
    period: int
    contract: Contract | None = None

    @property
    def category(self) -> str:
        """The routed path on which it is sent."""
        return PUBLIC if self.kind == BOOK_TICKER else MARKET

    def flows_on(self, category: str) -> bool:
        """Whether a connection of that category gets it."""
        return self.category == (PUBLIC if category == LEGACY else category)


# What follows the symbol -> kind and period, as documented; book tickers come in real time, here ten times a second.
_OF_A_SYMBOL: dict[str, tuple[str, int]] = {
    "markPrice": (MARK_PRICE, 3 * SECOND), "markPrice@1s": (MARK_PRICE, SECOND), "forceOrder": (FORCE_ORDER, 0),
    "aggTrade": (AGG_TRADE, 100), "ticker": (TICKER, 2 * SECOND), "bookTicker": (BOOK_TICKER, 100),
}  # fmt: skip
_OF_ALL: dict[str, tuple[str, int]] = {
    "!markPrice@arr": (MARK_PRICE, 3 * SECOND), "!markPrice@arr@1s": (MARK_PRICE, SECOND),
    "!forceOrder@arr": (FORCE_ORDER, 0), "!ticker@arr": (TICKER, SECOND),
}  # fmt: skip


def streams(contracts: Iterable[Contract]) -> dict[str, Stream]:
    """Every stream that is sent, by name."""
    known = {name: Stream(name, *entry) for name, entry in _OF_ALL.items()}
    for contract in contracts:
        for suffix, entry in _OF_A_SYMBOL.items():
            name = f"{contract.symbol.lower()}@{suffix}"
            known[name] = Stream(name, *entry, contract)
    return known
