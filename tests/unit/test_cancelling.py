"""Tasks end when they are told to, also those that do not hear it the first time."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from perpflow import cancelling


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling, "CANCEL_AGAIN_S", 0.01)


async def hears_the_second_time(started: asyncio.Event) -> None:
    """As `asyncio.wait_for` before Python 3.12, when what it waits for is done just when it is cancelled."""
    with contextlib.suppress(asyncio.CancelledError):
        started.set()
        await asyncio.Event().wait()
    await asyncio.Event().wait()


async def fails() -> None:
    raise OSError


async def test_who_has_not_heard_a_cancellation_is_told_again() -> None:
    started = asyncio.Event()
    tasks = [asyncio.create_task(hears_the_second_time(started)), asyncio.create_task(fails())]
    await started.wait()
    async with asyncio.timeout(5):
        await cancelling.cancelled(tasks)
    assert tasks[0].cancelled()
    await cancelling.cancelled([])


async def test_a_limit_holds_for_work_that_hears_nothing_at_first() -> None:
    async with asyncio.timeout(5):
        await cancelling.within(0.01, hears_the_second_time(asyncio.Event()))


async def test_what_work_raises_within_its_limit_is_raised() -> None:
    with pytest.raises(OSError):  # noqa: PT011  # whichever
        await cancelling.within(5, fails())


async def test_work_does_not_outlive_whoever_waits_for_it() -> None:
    started = asyncio.Event()
    waiting = asyncio.create_task(cancelling.within(60, hears_the_second_time(started)))
    await started.wait()
    async with asyncio.timeout(5):
        await cancelling.cancelled([waiting])
    assert asyncio.all_tasks() == {asyncio.current_task()}
