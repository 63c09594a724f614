"""`GET /fapi/v1/exchangeInfo`: the contracts listed at a moment, complete enough for ccxt to load its markets."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.symbols import NO_DELIVERY, Contract

_ORDER_LIMITS = [
    {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
]
_ORDER_TYPES = ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]


def exchange_info(contracts: Sequence[Contract], now: int, weight: int) -> dict[str, object]:
    """The whole answer; delisted and not yet listed contracts are not in it. `weight`: what a minute may hold."""
    weights = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight}
    return {
        "timezone": "UTC",
        # Stale by design: the exchange's own documentation says to ignore this field.
        "serverTime": now - 37_000,
        "futuresType": "U_MARGINED",
        "rateLimits": [weights, *_ORDER_LIMITS],
        "exchangeFilters": [],
        "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": [_entry(contract) for contract in contracts if contract.is_listed(now)],
    }


def _entry(contract: Contract) -> dict[str, object]:
    return {
        "symbol": contract.symbol,
        "pair": contract.pair,
        "contractType": contract.contract_type,
        "deliveryDate": contract.ends,
        "onboardDate": contract.listed,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": contract.base,
        "quoteAsset": contract.quote,
        "marginAsset": contract.quote,
        "pricePrecision": contract.price_decimals,
        "quantityPrecision": contract.quantity_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": contract.underlying_type,
        "underlyingSubType": list(contract.underlying_subtypes),
        "settlePlan": 0,
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10000,
        "filters": _filters(contract),
        "orderTypes": _ORDER_TYPES,
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        "permissionSets": ["GRID", "COPY"] if contract.delivery == NO_DELIVERY else ["GRID"],
    }


def _filters(contract: Contract) -> list[dict[str, object]]:
    tick = f"{contract.tick / 10**contract.price_decimals:.{contract.price_decimals}f}"
    step = f"{10**-contract.quantity_decimals:.{contract.quantity_decimals}f}"
    lot = {"stepSize": step, "maxQty": "10000000", "minQty": step}
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "4529764", "tickSize": tick},
        {"filterType": "LOT_SIZE", **lot},
        {"filterType": "MARKET_LOT_SIZE", **lot, "maxQty": "1000000"},
        {"filterType": "MAX_NUM_ORDERS", "limit": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
        {"filterType": "MIN_NOTIONAL", "notional": "5"},
        {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500", "multiplierDecimal": "4"},
    ]
