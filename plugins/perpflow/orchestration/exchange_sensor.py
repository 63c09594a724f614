"""Waiting until the exchange answers, in the triggerer: no slot and no process is held meanwhile.

The trigger stands in the package because the triggerer reads no DAG files.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator, Context
from airflow.triggers.base import BaseTrigger, TriggerEvent

from perpflow.errors import AccessDenied, Permanent, Transient

#: Between two questions to an exchange that does not answer; a ban or an open circuit says itself when to ask again.
ASK_EVERY_S = 15.0


class ExchangeTrigger(BaseTrigger):
    """Fires when the exchange has answered, or has said that it never will.

    It may run in two places at once, and again after it has fired: asking twice does no harm.
    """

    def __init__(self, ask_every_s: float = ASK_EVERY_S) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ask_every_s = ask_every_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How Airflow keeps it: no address and no password, which the triggerer asks for itself."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"ask_every_s": self.ask_every_s}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until there is something to say."""
        from asgiref.sync import sync_to_async

        from perpflow.orchestration.connections import deployment
        from perpflow.sessions import require_answer

        # Not in the one thread of all triggers, in which somebody may be waiting for a server.
        where = await sync_to_async(deployment, thread_sensitive=False)()
        while True:
            try:
                await require_answer(where)
            except Transient as error:
                self.log.info("%s", error)
                await asyncio.sleep(max(self.ask_every_s, error.retry_after_s or 0.0))
            except Permanent as error:
                yield _event(str(error))
                return
            else:
                yield _event(None)
                return


def _event(refused: str | None) -> TriggerEvent:
    return TriggerEvent({"refused": refused})  # type: ignore[no-untyped-call]


class ExchangeSensor(BaseSensorOperator):
    """Waits until the exchange answers; asks once itself, and is deferred where that brings nothing."""

    def __init__(self, *, ask_every_s: float = ASK_EVERY_S, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.ask_every_s = ask_every_s

    def execute(self, context: Context) -> None:
        """Ask once: mostly it answers, and a way through the triggerer takes seconds in which nobody streams.

        Raises:
            AccessDenied: the exchange does not let this address in.
        """
        from perpflow.orchestration.connections import deployment
        from perpflow.sessions import require_answer

        try:
            asyncio.run(require_answer(deployment()))
        except Transient as error:
            self.log.info("%s", error)
        except Permanent as error:
            raise AccessDenied(str(error)) from error
        else:
            return
        self.defer(
            trigger=ExchangeTrigger(self.ask_every_s),
            method_name=self.execute_complete.__name__,
            timeout=timedelta(seconds=self.timeout),
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """Go on, or end where waiting cannot help.

        Raises:
            AccessDenied: the exchange does not let this address in.
        """
        if event["refused"] is not None:
            raise AccessDenied(event["refused"])
