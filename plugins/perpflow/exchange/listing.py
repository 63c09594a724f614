"""The contracts that the exchange lists or has listed: `GET /fapi/v1/exchangeInfo`, and the archive's names. Pure.

Only perpetuals, TradFi ones included. Symbols may be non-ASCII; `status` is the exchange's word (TRADING, SETTLING...),
or DELISTED, which is ours: exchangeInfo does not name delisted contracts at all, and the archive names nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from perpflow.contracts import PERPETUAL_TYPES
from perpflow.errors import StructurallyBad
from perpflow.windows import from_ms

#: deliveryDate of contracts that have no delisting date: 2100-12-25.
NO_DELIVERY_MS = 4_133_404_800_000

DELISTED = "DELISTED"
#: What the archive calls the older of two contracts of one name.
TWIN_SUFFIX = "SETTLED"
#: Quotes of USD-M perpetuals so far; BUSD is gone from exchangeInfo, its contracts are in the archive.
QUOTES = frozenset({"USDT", "USDC", "BUSD", "BTC"})
_DELIVERY = re.compile(r"_\d{6}$", re.ASCII)


@dataclass(frozen=True, slots=True)
class ListedSymbol:
    """A perpetual contract. `delisted_at` is None while no end is announced, or known.

    `market` is the exchange's underlyingType: COIN is always open, others have sessions (exchange/schedule.py).
    """

    symbol: str
    exchange_symbol: str
    base: str
    quote: str
    contract_type: str
    status: str
    onboarded_at: datetime | None
    delisted_at: datetime | None
    market: str | None = None


def is_delivery(exchange_symbol: str) -> bool:
    """Whether the name is a delivery contract's: `BTCUSDT_260925`."""
    return _DELIVERY.search(exchange_symbol) is not None


def split_name(exchange_symbol: str, quotes: Iterable[str] = QUOTES) -> tuple[str, str] | None:
    """Base and quote of a perpetual's name, by the longest quote that it ends with; None where none fits."""
    pair = exchange_symbol.removesuffix(TWIN_SUFFIX)
    fitting = [quote for quote in quotes if pair.endswith(quote) and pair != quote]
    quote = max(fitting, key=len, default=None)
    return (pair.removesuffix(quote), quote) if quote else None


def archived_symbol(exchange_symbol: str, base: str, quote: str) -> ListedSymbol:
    """A contract that the archive alone knows. It does not say of which type: TradFi ones are called PERPETUAL too."""
    symbol = unified_symbol(exchange_symbol, base, quote)
    return ListedSymbol(symbol, exchange_symbol, base, quote, "PERPETUAL", DELISTED, None, None)


def unified_symbol(exchange_symbol: str, base: str, quote: str) -> str:
    """`SOL/USDT` for SOLUSDT; a twin's suffix follows a hash sign: `ICP/USDT#SETTLED` for ICPUSDTSETTLED."""
    suffix = exchange_symbol.removeprefix(base + quote)
    return f"{base}/{quote}#{suffix}" if suffix else f"{base}/{quote}"


def name_of(symbol: str) -> str:
    """The exchange's name that a unified symbol stands for, unless exchangeInfo calls base or quote differently."""
    pair, _, suffix = symbol.partition("#")
    return pair.replace("/", "", 1) + suffix


def listed_symbols(exchange_info: Mapping[str, Any]) -> list[ListedSymbol]:
    """The perpetual contracts of an exchangeInfo answer.

    Raises:
        StructurallyBad: there is no list of symbols, or a contract lacks a field.
    """
    try:
        contracts = exchange_info["symbols"]
        return [_listed(contract) for contract in contracts if contract["contractType"] in PERPETUAL_TYPES]
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise StructurallyBad(
            f"exchangeInfo does not look as documented ({type(error).__name__}: {error}).",
            hint="Compare the exchange's documentation with exchange/listing.py.",
        ) from error


def _listed(contract: Mapping[str, Any]) -> ListedSymbol:
    exchange_symbol, base, quote = contract["symbol"], contract["baseAsset"], contract["quoteAsset"]
    delivery_ms = int(contract["deliveryDate"])
    return ListedSymbol(
        symbol=unified_symbol(exchange_symbol, base, quote),
        exchange_symbol=exchange_symbol,
        base=base,
        quote=quote,
        contract_type=contract["contractType"],
        status=contract["status"],
        onboarded_at=from_ms(int(contract["onboardDate"])),
        delisted_at=from_ms(delivery_ms) if 0 < delivery_ms < NO_DELIVERY_MS else None,
        market=contract.get("underlyingType"),
    )
