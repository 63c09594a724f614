"""Contracts that only the archive knows: their names are read, or reported, never guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpflow.exchange.listing import QUOTES, archived_symbol, is_delivery, name_of, split_name
from perpflow.settings import is_symbol

bases = st.text(st.characters(whitelist_categories=("Lu", "Nd", "Lo"), blacklist_characters="/#"), min_size=1)


@given(bases, st.sampled_from(sorted(QUOTES)), st.sampled_from(["", "SETTLED"]))
def test_a_joined_name_splits_back(base: str, quote: str, suffix: str) -> None:
    assert split_name(base + quote + suffix) == (base, quote)


@given(bases, st.sampled_from(sorted(QUOTES)), st.sampled_from(["", "SETTLED"]))
def test_a_unified_symbol_names_the_exchange_s_and_is_read_out_of_it(base: str, quote: str, suffix: str) -> None:
    contract = archived_symbol(base + quote + suffix, base, quote)
    assert name_of(contract.symbol) == contract.exchange_symbol
    assert is_symbol(contract.symbol)
    assert (contract.symbol.partition("#")[2], contract.status) == (suffix, "DELISTED")


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("FTMUSDT", ("FTM", "USDT")),
        ("BTCBUSD", ("BTC", "BUSD")),
        ("ETHBTC", ("ETH", "BTC")),
        ("1000SHIBUSDC", ("1000SHIB", "USDC")),
        ("ICPUSDTSETTLED", ("ICP", "USDT")),
        ("币安人生USDT", ("币安人生", "USDT")),
        ("USDTUSDT", ("USDT", "USDT")),
    ],
)
def test_names_of_the_archive_are_split(name: str, pair: tuple[str, str]) -> None:
    assert split_name(name) == pair


@pytest.mark.parametrize("name", ["USDT", "SETTLED", "SOLEUR", "SOLUSDT2", "", "USDTSETTLED"])
def test_a_name_that_is_no_base_and_known_quote_is_not_guessed(name: str) -> None:
    assert split_name(name) is None


def test_the_longest_quote_that_fits_is_taken() -> None:
    assert split_name("SOLFDUSD", {"USD", "FDUSD"}) == ("SOL", "FDUSD")
    assert split_name("SOLBUSD", {"USD"}) == ("SOLB", "USD")


def test_delivery_contracts_are_told_by_their_date() -> None:
    assert is_delivery("BTCUSDT_260925")
    assert not is_delivery("BTCUSDT")
    assert not is_delivery("BTCUSDT_PERP")
