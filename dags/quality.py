"""Airflow DAG of the quarantine's review: a person releases or rejects what the gate has withheld."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context, Param, TriggerRule, dag, get_current_context, task, task_group

from perpflow.batches import Plan
from perpflow.datasets import TABLES
from perpflow.orchestration import forms
from perpflow.orchestration.defaults import DEFAULT_POOL, START_DATE, default_args
from perpflow.orchestration.load_group import load_group
from perpflow.orchestration.review_operator import FORM, ReviewOperator
from perpflow.settings import Deployment, load_collection

COLLECTION = load_collection()

REVIEW_DOC = """
### Decide about rows that the gate has withheld

Trigger it; the form narrows it down to datasets, symbols, one expectation. For each expectation that rows fail, the
largest groups first and twenty at most, a task `group.ask` waits under **Required Actions**: it shows the first rows,
what they fail, and the published rows before and after them. Answer with a note:

- **release**: the rows pass what they failed, now and whenever they are read again. All else still applies.
- **reject**: they are never published. They stay in the table `quarantine`, the hole stays explained.
- **leave**: nothing is decided. So it is, too, after a week without an answer.

Numbers under *Rows* narrow the answer to these; one that is unknown is named by a red task `group.record`, and the
others are decided. Of rows with the same key one at most can be released, and none where the same source's is
published with other values; *Reject their rivals* rejects the others and replaces what is published. Once all groups
are answered, what is released goes `stage_rows` >> `check_quality` >> `publish_rows`, from the quarantine itself.
`report` is red where an answer could not be carried out, and names it.

`python -m perpflow quarantine` does the same outside Airflow.
"""


def released_plan(deployment: Deployment, _run: str, context: Context) -> Plan:
    """The plan of all that is released and not published, and which answers could not be recorded."""
    from perpflow import reviewing

    instance = context["ti"]
    plan = reviewing.plan(deployment, f"{context['dag_run'].dag_id}|{context['dag_run'].run_id}")
    groups = instance.xcom_pull(task_ids="collect_waiting")
    if groups is None:
        plan.rejected.append("the quarantine could not be read; see the log of collect_waiting")
    for number, group in enumerate(groups or ()):
        (recorded,) = instance.xcom_pull(task_ids="group.record", map_indexes=[number]) or [None]
        if recorded is None:
            plan.rejected.append(
                f"the answer about {group['label']}, of which nothing was recorded: the log of its task group.record"
                " says why; clear its task group.ask to be asked again"
            )
    return plan


@dag(
    schedule=None,
    start_date=START_DATE,
    default_args=default_args(COLLECTION.airflow.task_retries),
    params={
        "datasets": forms.datasets(TABLES),
        "symbols": forms.symbols([], "One a line, as in SOL/USDT; left empty: all."),
        "expectation": Param(
            None,
            type=["null", "string"],
            title="Expectation",
            description="What the rows fail, by its name in the table quarantine; left empty: anything.",
        ),
    },
    tags={"perpflow"},
    doc_md=REVIEW_DOC,
)
def review_quarantine() -> None:
    """Ask about each group of withheld rows, record the answers, load what is released."""

    @task(multiple_outputs=False)
    def collect_waiting() -> list[dict[str, Any]]:
        from perpflow import review_forms
        from perpflow.orchestration.connections import deployment

        return review_forms.groups(deployment(), dict(get_current_context()["params"]))

    @task(multiple_outputs=False, map_index_template="{{ label }}")
    def record(group: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        from dataclasses import asdict

        from perpflow import review_forms
        from perpflow.orchestration.connections import deployment

        context = get_current_context()
        context["label"] = group["label"]  # type: ignore[typeddict-unknown-key]
        review = f"{context['dag_run'].dag_id}|{context['dag_run'].run_id}|{group['label']}"
        return asdict(review_forms.answer(deployment(), group, given, review))

    @task_group(group_id="group")
    def review(group: Any) -> None:
        asked = ReviewOperator(task_id="ask", group=group, params=FORM, map_index_template="{{ label }}")
        record(group, asked.output)

    reviewed = review.expand(group=collect_waiting())
    # Whatever becomes of one answer, the others are carried out.
    reviewed >> load_group(released_plan, DEFAULT_POOL, trigger_rule=TriggerRule.ALL_DONE)


review_quarantine()
