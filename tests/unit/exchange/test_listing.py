"""exchangeInfo becomes the perpetual contracts under their unified names."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from perpflow.errors import StructurallyBad
from perpflow.exchange.listing import listed_symbols, unified_symbol

SOL = {
    "symbol": "SOLUSDT",
    "contractType": "PERPETUAL",
    "status": "TRADING",
    "baseAsset": "SOL",
    "quoteAsset": "USDT",
    "onboardDate": 1600066800000,
    "deliveryDate": 4133404800000,
}


@pytest.mark.parametrize(
    ("exchange_symbol", "base", "quote", "unified"),
    [
        ("SOLUSDT", "SOL", "USDT", "SOL/USDT"),
        ("1000PEPEUSDC", "1000PEPE", "USDC", "1000PEPE/USDC"),
        ("ICPUSDTSETTLED", "ICP", "USDT", "ICP/USDT#SETTLED"),
        ("币安人生USDT", "币安人生", "USDT", "币安人生/USDT"),
        ("ODDNAME", "SOL", "USDT", "SOL/USDT#ODDNAME"),
    ],
)
def test_names_are_unified(exchange_symbol: str, base: str, quote: str, unified: str) -> None:
    assert unified_symbol(exchange_symbol, base, quote) == unified


def test_only_perpetuals_are_taken() -> None:
    kinds = ["PERPETUAL", "TRADIFI_PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER", ""]
    listed = listed_symbols({"symbols": [{**SOL, "contractType": kind} for kind in kinds]})
    assert [contract.contract_type for contract in listed] == ["PERPETUAL", "TRADIFI_PERPETUAL"]


def test_a_contract_without_an_end_has_no_delisting() -> None:
    contract = listed_symbols({"symbols": [SOL]})[0]
    assert contract.onboarded_at == datetime(2020, 9, 14, 7, tzinfo=UTC)
    assert contract.delisted_at is None
    assert (contract.symbol, contract.exchange_symbol, contract.status) == ("SOL/USDT", "SOLUSDT", "TRADING")


def test_an_announced_end_is_the_delisting() -> None:
    contract = listed_symbols({"symbols": [{**SOL, "deliveryDate": 1791000000000}]})[0]
    assert contract.delisted_at == datetime(2026, 10, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"symbols": [{"contractType": "PERPETUAL"}]},
        {"symbols": [None]},
        {"symbols": [{**SOL, "onboardDate": 10**20}]},
    ],
)
def test_another_shape_is_refused(answer: dict[str, object]) -> None:
    with pytest.raises(StructurallyBad, match="exchangeInfo does not look as documented"):
        listed_symbols(answer)
