"""The contracts that the exchange lists: `GET /fapi/v1/exchangeInfo` to `ListedSymbol`. Pure.

Only perpetuals, TradFi ones included. Symbols may be non-ASCII; `status` is the exchange's word (TRADING, SETTLING...).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from perpflow.errors import StructurallyBad
from perpflow.windows import from_ms

PERPETUAL_TYPES = frozenset({"PERPETUAL", "TRADIFI_PERPETUAL"})
#: deliveryDate of contracts that have no delisting date: 2100-12-25.
NO_DELIVERY_MS = 4_133_404_800_000


@dataclass(frozen=True, slots=True)
class ListedSymbol:
    """A perpetual contract of `exchangeInfo`. `delisted_at` is None while no end is announced."""

    symbol: str
    exchange_symbol: str
    base: str
    quote: str
    contract_type: str
    status: str
    onboarded_at: datetime
    delisted_at: datetime | None


def unified_symbol(exchange_symbol: str, base: str, quote: str) -> str:
    """`SOL/USDT` for SOLUSDT; a twin's suffix follows a hash sign: `ICP/USDT#SETTLED` for ICPUSDTSETTLED."""
    suffix = exchange_symbol.removeprefix(base + quote)
    return f"{base}/{quote}#{suffix}" if suffix else f"{base}/{quote}"


def listed_symbols(exchange_info: Mapping[str, Any]) -> list[ListedSymbol]:
    """The perpetual contracts of an exchangeInfo answer.

    Raises:
        StructurallyBad: there is no list of symbols, or a contract lacks a field.
    """
    try:
        contracts = exchange_info["symbols"]
        return [_listed(contract) for contract in contracts if contract["contractType"] in PERPETUAL_TYPES]
    except (LookupError, TypeError, ValueError) as error:
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
    )
