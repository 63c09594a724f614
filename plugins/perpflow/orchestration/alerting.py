"""Looking at everything and telling whom it concerns, as a task; and telling of runs that are late."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import (  # type: ignore[attr-defined]
    AsyncCallback,
    DeadlineAlert,
    DeadlineReference,
    Variable,
    get_current_context,
)

from perpflow.datasets import TABLES
from perpflow.errors import PerpflowError, StoreUnavailable, Unhealthy
from perpflow.health.finding import Finding, Level, worst
from perpflow.health.news import Memory, Told
from perpflow.settings import Collection

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


def tell_of(findings: list[Finding], collection: Collection, database_url: str, *, is_whole: bool = True) -> list[str]:
    """Tell everybody in collection.yaml's `alerts` what is news; returns whom that failed for, and why.

    Args:
        is_whole: these are all findings of a look; then what is not among them is over.
    """
    from perpflow.health.telling import TableOfAlerts, tell
    from perpflow.orchestration.notifiers import prepare

    faults = unsendable(collection)
    places = (TableOfAlerts(database_url), VariableOfAlerts())
    sendable = tuple(alert for alert in collection.alerts if alert.name not in faults)
    repeat_after = collection.health.repeat_after
    told = tell(sendable, findings, places, prepare, datetime.now(UTC), repeat_after, is_whole=is_whole)
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

    # Notifiers block, and all triggers share one loop, and one thread for what may only run in that.
    await sync_to_async(_tell_of_missed_deadline, thread_sensitive=False)(context["dag_run"])


def _tell_of_missed_deadline(run: dict[str, Any]) -> None:
    """As above.

    Args:
        run: as Airflow's REST API describes it.
    """
    from perpflow.orchestration.connections import deployment

    # Airflow forgets the deadline of a run that succeeds, and of no other.
    if run["end_date"]:
        return
    where = deployment()
    LateRun.of(run).note()
    finding = LateRun.of(run).finding(where.collection)
    complain([], tell_of([finding], where.collection, where.database_url, is_whole=False))


@dataclass(frozen=True, slots=True)
class LateRun:
    """A run that was told as late: what Airflow's variable `perpflow_late_<dag>` keeps until the run has ended."""

    dag: str
    run: str
    queued_at: datetime

    @classmethod
    def of(cls, run: dict[str, Any]) -> LateRun:
        """Of a run as Airflow's REST API describes it."""
        return cls(run["dag_id"], run["dag_run_id"], datetime.fromisoformat(run["queued_at"]))

    def note(self) -> None:
        """Keep it: `check_health` tells its end."""
        description = "A run that was told as late; check_health deletes this once the run has ended."
        with _airflow_answers():
            Variable.set(_late(self.dag), json.dumps([self.run, self.queued_at.isoformat()]), description=description)

    def finding(self, collection: Collection) -> Finding:
        """The finding `late <dag>`."""
        queued, minutes = self.queued_at.astimezone(UTC), collection.health.ingest_deadline_minutes
        cause = (
            f"its run {self.run} was queued at {queued:%Y-%m-%d %H:%M} UTC and is not done {minutes:g} minutes later"
        )
        advice = f"Look at its tasks; other runs of {self.dag} wait for it."
        return Finding(Level.RED, cause, advice, self.dag, check="late")


def _late(dag: str) -> str:
    return f"perpflow_late_{dag}"


def late_findings(collection: Collection) -> list[Finding]:
    """The runs of ingest_* that were told as late and have not ended; forgets those that have. In a task.

    Raises:
        StoreUnavailable: Airflow's API does not answer.
    """
    noted = (_noted(f"ingest_{dataset}") for dataset in TABLES)
    return [late.finding(collection) for late in noted if late is not None and not _has_ended(late)]


def _noted(dag: str) -> LateRun | None:
    with _airflow_answers():
        written = Variable.get(_late(dag), default=None)
    if written is None:
        return None
    run, queued_at = json.loads(written)
    return LateRun(dag, run, datetime.fromisoformat(queued_at))


def _has_ended(late: LateRun) -> bool:
    instance = get_current_context()["ti"]
    with _airflow_answers():
        # One that was deleted has ended too.
        if instance.get_dr_count(dag_id=late.dag, run_ids=[late.run], states=["running", "queued"]):
            return False
        Variable.delete(_late(late.dag))
    return True
