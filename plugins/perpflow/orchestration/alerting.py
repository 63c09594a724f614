"""Looking at everything and telling whom it concerns, as a task; and telling of runs that are late."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference, Variable  # type: ignore[attr-defined]

from perpflow.errors import PerpflowError, StoreUnavailable, Unhealthy
from perpflow.health.finding import Finding, Level, worst
from perpflow.health.news import Memory, Message, Told
from perpflow.settings import Collection, load_collection

#: An Airflow variable: what was told, where the market database can't be asked.
VARIABLE = "perpflow_alerts"
#: A finding may quote a server; XCom is shown whole.
LONGEST_CAUSE = 500


class VariableOfAlerts:
    """An Airflow variable: where a task runs Airflow's own database answers, whatever the market database does."""

    def read(self) -> Memory:
        """All that is known there."""
        with _airflow_answers():
            written = Variable.get(VARIABLE, default=None)
        try:
            entries = json.loads(written) if written else []
            return {(recipient, title): Told.from_json(told) for recipient, title, *told in entries}
        except (ValueError, KeyError, TypeError) as error:
            raise StoreUnavailable(
                f"Airflow's variable {VARIABLE} is not what we write ({error}).", hint="Delete it."
            ) from error

    def write(self, memory: Memory) -> None:
        """Note what was told: all of it."""
        entries = [[*key, *told.to_json()] for key, told in memory.items()]
        with _airflow_answers():
            Variable.set(VARIABLE, json.dumps(entries), description="Whom check_health has told what; it writes this.")


@contextmanager
def _airflow_answers() -> Iterator[None]:
    """Around questions to Airflow's API.

    Raises:
        StoreUnavailable: it does not answer them.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError

    try:
        yield
    except AirflowRuntimeError as error:
        raise StoreUnavailable(f"Airflow does not give or take its variable {VARIABLE}: {error}") from error


def summary(findings: list[Finding]) -> dict[str, Any]:
    """The findings, small: all that is not green, and how many are."""
    told = [finding.to_json() for finding in findings if finding.level]
    checks = [said | {"cause": said["cause"][:LONGEST_CAUSE]} for said in told]
    return {"level": str(worst(findings)), "green": len(findings) - len(checks), "checks": checks}


def tell_of(findings: list[Finding], collection: Collection, database_url: str) -> list[str]:
    """Tell everybody in collection.yaml's `alerts` what is news; returns whom that failed for, and why."""
    from perpflow.health.telling import TableOfAlerts, tell
    from perpflow.orchestration.notifiers import send

    faults = unsendable(collection)
    places = (TableOfAlerts(database_url), VariableOfAlerts())
    sendable = tuple(alert for alert in collection.alerts if alert.name not in faults)
    told = tell(sendable, findings, places, send, datetime.now(UTC), collection.health.repeat_after)
    return [*(f"{name}: {why}" for name, why in faults.items()), *told]


def unsendable(collection: Collection) -> dict[str, str]:
    """The recipients that nothing could be sent to, and why: it is to be known before it matters."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    from perpflow.orchestration.notifiers import require_sendable

    faults = {}
    for alert in collection.alerts:
        try:
            require_sendable(alert)
        except (PerpflowError, AirflowNotFoundException) as error:
            faults[alert.name] = str(error)
    return faults


def complain(findings: list[Finding], faults: list[str]) -> None:
    """Make the task red where a check is, or where somebody could not be told.

    Raises:
        Unhealthy: names each red check with its cause, and whom nobody could tell.
    """
    red = [f"{finding.title}: {finding.cause}" for finding in findings if finding.level is Level.RED]
    said = [f"red: {'; '.join(red)}."] if red else []
    said += [f"not told: {'; '.join(faults)}."] if faults else []
    if said:
        raise Unhealthy(" ".join(said), hint="The log has all findings, and what to do.")


def ingest_deadline(collection: Collection) -> DeadlineAlert:
    """For a DAG that keeps a dataset current: a run that takes too long is told."""
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(minutes=collection.health.ingest_deadline_minutes),
        callback=AsyncCallback(tell_of_missed_deadline),
    )


async def tell_of_missed_deadline(context: dict[str, Any]) -> None:
    """Tell everybody of a run that is not done in time. In the triggerer, which calls this once for each such run.

    Raises:
        Unhealthy: names whom nobody could tell; the others were.
    """
    from asgiref.sync import sync_to_async

    # Notifiers block, and all triggers share one loop.
    await sync_to_async(_tell_of_missed_deadline)(context["dag_run"])


def _tell_of_missed_deadline(run: dict[str, Any]) -> None:
    from perpflow.orchestration.notifiers import send

    collection, faults = load_collection(), []
    message = deadline_message(run, collection.health.ingest_deadline_minutes)
    for alert in collection.alerts:
        try:
            send(alert, message)
        except Exception as error:  # each library has its own; the others must be told, and Airflow is told of it
            faults.append(f"{alert.name}: {error or type(error).__name__}")
    complain([], faults)


def deadline_message(run: dict[str, Any], minutes: float) -> Message:
    """That a run is late.

    Args:
        run: as Airflow's REST API describes it.
    """
    dag, name = run["dag_id"], run["dag_run_id"]
    line = f"{dag}: its run {name} was queued at {run['queued_at']} and is not done {minutes:g} minutes later. "
    line += f"Look at its tasks; other runs of {dag} wait for it."
    return Message(f"Perpflow red: {dag} is late", (line,), {"level": "red", "dag": dag, "run": name})
