"""Open interest, which no stream tells: looked up over REST, symbol after symbol, evenly spread and within limits."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from perpflow.errors import PerpflowError
from perpflow.exchange.rest import Rest
from perpflow.exchange.weight_budget import LIMITS
from perpflow.seldom import Seldom
from perpflow.store.latest import Latest, OpenInterest
from perpflow.windows import to_ms

log = logging.getLogger(__name__)

#: Of what Perpflow allows itself this part may go into looking, at most; one look costs one unit of weight.
PART = 0.25
#: Where there is nothing to look at now.
PAUSE_S = 5.0


class OpenInterestPoll:
    """Looks at each contract's open interest again and again.

    Args:
        wanted: gives the contracts to look at: unified symbols by the exchange's names.
        every_s: seconds from one look at a contract to the next, where there are so few that the budget allows it.
        rate_share: the part of the exchange's limits that Perpflow allows itself.
    """

    def __init__(self, rest: Rest, wanted: Callable[[], dict[str, str]], every_s: float, rate_share: float) -> None:
        self._rest = rest
        self._wanted = wanted
        self._every_s = every_s
        weight, window_s = LIMITS["weight"]
        self._least_s = window_s / (weight * rate_share * PART)
        self._values: dict[str, Latest] = {}
        self._seldom = Seldom(log)

    def take(self) -> dict[str, Latest]:
        """What has been seen since the last time, by unified symbol."""
        seen, self._values = self._values, {}
        return seen

    async def run(self) -> None:
        """Look without end. What cannot be had now is asked for again in its turn."""
        while True:
            wanted = self._wanted()
            pause_s = max(self._every_s / max(len(wanted), 1), self._least_s) if wanted else PAUSE_S
            for name, symbol in wanted.items() or [("", "")]:
                began = time.monotonic()
                if name:
                    await self._look(name, symbol)
                await asyncio.sleep(max(0.0, pause_s - (time.monotonic() - began)))

    async def _look(self, name: str, symbol: str) -> None:
        try:
            found = await self._rest.open_interest(name)
        except PerpflowError as error:
            self._seldom.warning("%s: its open interest is not known now: %s", symbol, error)
        else:
            seen = OpenInterest(to_ms(found.time), time.time_ns() // 1_000_000, found.open_interest)
            self._values[symbol] = Latest(symbol, open_interest=seen)
