"""Whose turn it was, where a run can't take every symbol: what is remembered from one to the next.

An increment's turns are kept under its dataset, those of others under a word of their own.
"""

from __future__ import annotations

from datetime import datetime

from perpflow.store.database import Connection, query


def read(connection: Connection, dataset: str, symbols: tuple[str, ...]) -> dict[str, datetime]:
    """When each symbol was last taken, on the exchange's clock; those that never were are left out."""
    rows = connection.execute(query("turns_read"), {"dataset": dataset, "symbols": list(symbols)})
    return {row["symbol"]: row["taken_at"] for row in rows}


def take(connection: Connection, dataset: str, symbols: tuple[str, ...], now: datetime) -> None:
    """Note that these are taken now."""
    connection.execute(query("turns_take"), {"dataset": dataset, "symbols": list(symbols), "now": now})
