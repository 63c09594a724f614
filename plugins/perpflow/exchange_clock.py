"""The exchange's clock for who looks at the data: by it is decided what has settled. Asked once, and not for long."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from perpflow.errors import PerpflowError
from perpflow.health.surroundings import PATIENCE_S, surroundings
from perpflow.settings import Deployment

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clock:
    """An instant, UTC; and why it is this machine's, None where it is the exchange's."""

    now: datetime
    problem: str | None = None


def exchange_now(deployment: Deployment) -> Clock:
    """The exchange's clock; this machine's, with a warning, where the exchange does not tell its own in seconds.

    A view of the data is wanted above all while something is away: the exchange, Redis, or a part of the limits.
    """
    try:
        return asyncio.run(_asked(deployment))
    except TimeoutError:
        problem = f"no answer within {PATIENCE_S:g} s"
    except PerpflowError as error:
        problem = str(error)
    log.warning("by this machine's clock, since the exchange does not tell its own: %s", problem)
    return Clock(datetime.now(UTC), problem)


async def _asked(deployment: Deployment) -> Clock:
    # Whatever it is that takes long: without Redis a process may have to wait for its own part of the limits.
    async with surroundings(deployment) as around, asyncio.timeout(PATIENCE_S):
        return Clock(await around.rest.now())
