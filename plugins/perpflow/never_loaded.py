"""What is collected, or asked for by name, and was never loaded. The ledger tells of no hole there: it knows nothing.

Loading it is a history's work: `load_history`, or `python -m perpflow backfill`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from perpflow.batches import LoadRequest
from perpflow.datasets import DATASETS
from perpflow.settings import Collection
from perpflow.store.database import Connection, query
from perpflow.symbols import known_contracts

#: As many are named in a line, and may stand in a command.
SYMBOLS_NAMED = 10
#: What stands for the symbols of `all` as long as no contract is known.
ALL = "all"


@dataclass(frozen=True, slots=True)
class NeverLoaded:
    """A series of which the ledger has nothing: neither a point, nor that a source was asked for one."""

    dataset: str
    symbol: str
    series: str


def never_loaded(connection: Connection, collection: Collection, asked: LoadRequest) -> list[NeverLoaded]:
    """The series that should be there and of which nothing is: of the symbols asked for, or of those collected.

    Where all datasets are asked for, those that are switched off are left out. A series that no source has is known.
    """
    everything = asked.datasets == tuple(DATASETS)
    names = [name for name in asked.datasets if collection.dataset(name).enabled or not everything]
    rows = connection.execute(query("coverage_met"), {"datasets": names})
    met = {(row["dataset"], row["symbol"], row["series"]) for row in rows}
    return [
        NeverLoaded(name, symbol, series)
        for name in names
        for symbol in _symbols(connection, collection, asked)
        for series in collection.series(name)
        if (name, symbol, series) not in met
    ]


def _symbols(connection: Connection, collection: Collection, asked: LoadRequest) -> tuple[str, ...]:
    if asked.symbols not in (None, (ALL,)):
        return asked.symbols or ()
    if collection.symbols != ALL:
        return tuple(collection.symbols)
    contracts = known_contracts(connection).values()
    return tuple(sorted(contract.symbol for contract in contracts if collection.follows(contract))) or (ALL,)


def described(found: Iterable[NeverLoaded], asked: LoadRequest) -> Iterator[str]:
    """For each group of symbols that lack the same a line that says so, and one with the command that loads it."""
    of_symbol: dict[str, dict[str, list[str]]] = {}
    for one in found:
        of_symbol.setdefault(one.symbol, {}).setdefault(one.dataset, []).append(one.series)
    groups: dict[str, list[str]] = {}
    for symbol, lacking in of_symbol.items():
        what = ", ".join(f"{name} ({' '.join(series)})" for name, series in lacking.items())
        groups.setdefault(what, []).append(symbol)
    for what, symbols in groups.items():
        yield f"never loaded: {named(symbols)}: {what}"
        yield f"  load_history loads it, or: {_command(symbols, tuple(of_symbol[symbols[0]]), asked)}"


def named(symbols: list[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(symbols) - SYMBOLS_NAMED
    return ", ".join(symbols[:SYMBOLS_NAMED]) + (f" and {more} more" if more > 0 else "")


def _command(symbols: list[str], datasets: tuple[str, ...], asked: LoadRequest) -> str:
    """Without symbols it takes those of collection.yaml, and loads what the ledger lacks of them."""
    are_collected = asked.symbols in (None, (ALL,)) and (len(symbols) > SYMBOLS_NAMED or ALL in symbols)
    of = "" if are_collected else f" --symbols {','.join(symbols)}"
    those = "" if set(datasets) == set(DATASETS) else f" --datasets {','.join(datasets)}"
    return f"python -m perpflow backfill{of}{those}"
