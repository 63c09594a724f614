"""The way of a batch as Airflow tasks: plan >> [ stage >> check >> publish ] mapped over batches >> report.

Task bodies read the context, call the pipeline and return small facts. `report` always runs and alone decides the
colour of the run: a failed batch never blocks the others, and no failure ends in a green run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Asset, AssetAlias, Context, TriggerRule, get_current_context, task, task_group

from perpflow.batches import Batch, Estimate, Plan
from perpflow.datasets import TABLES
from perpflow.errors import BatchFaulty
from perpflow.settings import Collection, Deployment

log = logging.getLogger(__name__)

#: Which datasets a batch holds is known only when it runs, hence an alias: each published dataset's own asset is
#: updated through it.
PUBLISHED = AssetAlias("perpflow_published")

#: Holes that REST is about to forget: who wants to be told schedules a DAG on this asset, or listens to its events.
ALARM = Asset(name="perpflow_holes", uri="perpflow://holes")
ALARMED = AssetAlias("perpflow_alarmed")
#: An event is a row of Airflow's database, and shown whole.
MOST_IN_AN_EVENT = 200

#: Years of one symbol in one task, within the exchange's limits, may take this long.
STAGE_TIMEOUT = timedelta(hours=3)
PLAN_TIMEOUT = timedelta(minutes=30)


def load_group(
    make_plan: Callable[[Deployment, str, Context], Plan],
    pool: str,
    *,
    raises_alarm: bool = False,
    trigger_rule: TriggerRule = TriggerRule.ALL_SUCCESS,
    plan_timeout: timedelta = PLAN_TIMEOUT,
) -> Any:
    """Add the tasks to the DAG that is being defined; returns the first one, for what must come before it.

    Args:
        make_plan: gets deployment, the run's name in the load log, and its context; gives the plan.
        pool: Airflow pool of the staging tasks, the only ones that ask the exchange.
        raises_alarm: whether its plans tell of holes that are about to be forgotten.
        trigger_rule: when to plan, by what came of the tasks before.
        plan_timeout: how long planning may take.
    """

    outlets = [ALARMED] if raises_alarm else []

    @task(task_id="plan_windows", pool=pool, outlets=outlets, trigger_rule=trigger_rule, execution_timeout=plan_timeout)
    def plan_windows() -> list[dict[str, Any]]:
        from perpflow.orchestration.connections import deployment

        context = get_current_context()
        plan = make_plan(deployment(), _run_key(context), context)
        for note in (*plan.notes, *(f"rejected {reason}" for reason in plan.rejected)):
            log.info("%s", note)
        log.info("%d batches", len(plan.batches))
        context["ti"].xcom_push("rejected", plan.rejected)
        if plan.estimate is not None:
            context["ti"].xcom_push("plan", _tell(plan.estimate, deployment().collection))
        if plan.alarms:
            extra: dict[str, Any] = {
                "holes": [alarm.to_json() for alarm in plan.alarms[:MOST_IN_AN_EVENT]],
                "series": len(plan.alarms),
            }
            context["outlet_events"][ALARMED].add(ALARM, extra=extra)
        of = {"of": len(plan.batches), "planned_at": datetime.now(UTC).isoformat()}
        return [batch.to_json() | of | {"number": number} for number, batch in enumerate(plan.batches, 1)]

    planned: Any = plan_windows()

    @task_group(group_id="batch")
    def batch(item: dict[str, Any]) -> None:
        stage_rows.override(pool=pool)(item) >> check_quality(item) >> publish_rows(item)

    batch.expand(item=planned) >> report(planned)
    return planned


@task(multiple_outputs=False, map_index_template="{{ label }}", execution_timeout=STAGE_TIMEOUT)
def stage_rows(item: dict[str, Any]) -> dict[str, int]:
    """Fetch what the ledger lacks of the batch and COPY it into staging; returns rows by dataset."""
    from perpflow import pipeline
    from perpflow.orchestration.connections import deployment

    batch = _labelled(item)
    staged = pipeline.stage(deployment(), batch)
    log.info("%s: staged %s", batch.label, staged)
    return staged


@task(multiple_outputs=False, map_index_template="{{ label }}")
def check_quality(item: dict[str, Any]) -> dict[str, int]:
    """Run the gate over the staged batch; returns how many rows it withheld, by dataset."""
    from perpflow import pipeline
    from perpflow.orchestration.connections import deployment

    batch = _labelled(item)
    verdicts = pipeline.check(deployment(), batch)
    for verdict in verdicts.values():
        for finding in verdict.findings:
            log.warning("%s %s: %s", batch.label, verdict.dataset, finding)
    return {name: sum(f.withheld for f in verdict.findings) for name, verdict in verdicts.items()}


@task(multiple_outputs=False, map_index_template="{{ label }}", outlets=[PUBLISHED])
def publish_rows(item: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Publish the batch with its ledger entries in one transaction; updates the assets of datasets that changed."""
    from perpflow import pipeline, reporting
    from perpflow.orchestration.connections import deployment

    batch = _labelled(item)
    published = pipeline.publish(deployment(), batch)
    log.info("%s: published %s", batch.label, published)
    planned_at = datetime.fromisoformat(item["planned_at"])
    log.info("%s", reporting.progress(deployment(), batch, planned_at, item["of"]))
    events = get_current_context()["outlet_events"][PUBLISHED]
    for name, counts in published.items():
        if counts["inserted"] or counts["updated"]:
            events.add(
                Asset(name=name, uri=TABLES[name].asset_uri), extra=batch.to_json() | {"dataset": name, **counts}
            )
    return published


@task(multiple_outputs=False, trigger_rule=TriggerRule.ALL_DONE, retries=0)
def report(planned: list[dict[str, Any]] | None) -> dict[str, int]:
    """Say what became of every batch and return the run's counts; fails where one was not published or anything was
    withheld, and names it."""
    from perpflow import reporting
    from perpflow.orchestration.connections import deployment

    if planned is None:
        raise BatchFaulty("nothing was planned, so nothing was loaded.", hint="See the log of plan_windows.")
    context = get_current_context()
    rejected = context["ti"].xcom_pull(task_ids="plan_windows", key="rejected") or []
    plan = Plan([Batch.from_json(item) for item in planned], rejected=list(rejected))
    entries = reporting.report(deployment(), plan)
    # Sums only: the entries hold ranges, which XCom refuses.
    counts = ("staged", "inserted", "updated", "corrected", "unchanged", "quarantined")
    return {count: sum(entry[count] for entry in entries) for count in counts}


def _tell(estimate: Estimate, collection: Collection) -> dict[str, Any]:
    """Say what a plan will take, before anything starts; returns the same as plain values."""
    from perpflow import estimating

    way = estimating.by_airflow(collection)
    for line in estimating.described(estimate, collection, way):
        log.info("%s", line)
    return estimating.summarised(estimate, collection, way)


def _run_key(context: Context) -> str:
    """The run's name in the load log: run ids are unique within their DAG only."""
    return f"{context['dag_run'].dag_id}|{context['dag_run'].run_id}"


def _labelled(item: dict[str, Any]) -> Batch:
    """The batch, its label given to the UI in place of a map index, and its place in the plan to the log."""
    batch = Batch.from_json(item)
    log.info("batch %d of %d: %s, %s", item["number"], item["of"], batch.label, batch.window)
    get_current_context()["label"] = batch.label  # type: ignore[typeddict-unknown-key]
    return batch
