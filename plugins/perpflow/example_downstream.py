"""An example of what comes downstream: hourly returns, of verified candles and no others."""

from __future__ import annotations

from typing import Any

from perpflow.settings import Deployment
from perpflow.store.database import query, session


def hourly_returns(deployment: Deployment) -> list[dict[str, Any]]:
    """Each symbol's returns in the last thirty verified days: how many, their mean and spread, and until when; UTC.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with session(deployment.database_url) as connection:
        rows = connection.execute(query("example_hourly_returns")).fetchall()
    return [row | {"verified_until": row["verified_until"].isoformat()} for row in rows]
