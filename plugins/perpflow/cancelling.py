"""Ends of asyncio tasks that must come, whatever the libraries inside make of a cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

CANCEL_AGAIN_S = 0.2


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel them, and wait until they have ended; what they raised is dropped.

    Before Python 3.12 `asyncio.wait_for` drops a cancellation that comes just when what it waits for is done, and
    redis-py sends every command through it; psycopg waits ten seconds for the server to cancel its query. Who
    has not heard is told again.
    """
    tasks = list(tasks)
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)


async def within(limit_s: float, work: Coroutine[Any, Any, None]) -> None:
    """Do it, and give up when the time is over; `asyncio.timeout` cancels once only, and waits for what comes of it.

    Raises: what the work raises.
    """
    task = asyncio.create_task(work)
    is_told_to_end = False
    while not task.done():
        try:
            await asyncio.wait({task}, timeout=limit_s)
        except asyncio.CancelledError:
            # Not before the work has ended: nobody else would wait for it.
            is_told_to_end = True
        if not task.done():
            task.cancel()
            limit_s = CANCEL_AGAIN_S
    error = None if task.cancelled() else task.exception()
    if is_told_to_end:
        raise asyncio.CancelledError
    if error is not None:
        raise error
