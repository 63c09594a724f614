"""An example of what comes downstream: hourly returns, of verified candles and no others."""

from __future__ import annotations

from typing import Any

from perpflow.settings import Deployment
from perpflow.store.database import query, session


def hourly_returns(deployment: Deployment) -> list[dict[str, Any]]:
    """Each symbol's returns in the last thirty verified days: how many, their mean and spread, and until when.

    From one candle to that of the next hour: where candles are absent, for a reason that is known, there is none.
    Returns are shares of one, `verified_until` is ISO text, UTC.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with session(deployment.database_url) as connection:
        rows = connection.execute(query("example_hourly_returns")).fetchall()
    return [row | {"verified_until": row["verified_until"].isoformat()} for row in rows]


def summary(returns: list[dict[str, Any]]) -> dict[str, Any]:
    """What is small enough for Airflow's own database: symbols and hours, and from where to where they are verified."""
    ends = [row["verified_until"] for row in returns]
    return {
        "symbols": len(returns),
        "hours": sum(row["hours"] for row in returns),
        "verified_until": {"earliest": min(ends, default=None), "latest": max(ends, default=None)},
    }
