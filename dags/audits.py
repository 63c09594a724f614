"""Airflow DAGs that audit what was published: audit_<dataset> after each update of a dataset's asset; and an example of
a DAG downstream, which uses only what is verified."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, AssetAlias, dag, get_current_context, task

from perpflow.datasets import DATASETS
from perpflow.orchestration import forms
from perpflow.orchestration.defaults import START_DATE, default_args
from perpflow.orchestration.verified import verified_asset
from perpflow.settings import Collection, load_collection
from perpflow.specs import LoadedSpec

COLLECTION = load_collection()

AUDIT_DOC = """
### {title}: audit `{name}`

Runs when `{name}` was published. The ledger says what no audit has looked at yet, whatever the event says, so a run
that failed or was killed is made up for by the next one. The audits compare what the gate can't: timeframes with each
other, datasets with each other, the table with the ledger. A critical finding is *disputed* in the ledger and ends
`verified_until` there until it is mended; the run is red while one is open, and names it. All findings stand in the
table `audit_findings`. What is so and stays so a person accepts: `python -m perpflow audit accept`.

Where `verified_until` has moved, the asset `perpflow://verified/{name}` is updated. With *again* it looks at all that
there is. `python -m perpflow audit` does the same outside Airflow.
"""

EXAMPLE_DOC = """
### An example: hourly returns of what is verified

Runs when candles were verified further. It asks the ledger how far each symbol's hourly candles are verified and reads
none beyond, so what it finds never rests on a value that nobody has looked at. The event only wakes it.
"""

#: An event is only needed where something has moved, hence an alias.
VERIFIED = AssetAlias("perpflow_verified")


def audit(spec: LoadedSpec, collection: Collection) -> None:
    """Register audit_<dataset>."""

    @dag(
        dag_id=f"audit_{spec.name}",
        schedule=[Asset(name=spec.name, uri=spec.asset_uri)],
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=timedelta(hours=6),
        default_args=default_args(collection.airflow.task_retries) | {"execution_timeout": timedelta(hours=3)},
        params={"again": forms.AUDIT_AGAIN},
        tags={"perpflow", spec.name},
        doc_md=AUDIT_DOC.format(title=spec.title, name=spec.name),
    )
    def build() -> None:
        @task(multiple_outputs=False, outlets=[VERIFIED])
        def look() -> dict[str, int]:
            from perpflow import auditing
            from perpflow.orchestration.connections import deployment
            from perpflow.orchestration.verified import tell

            context, market = get_current_context(), deployment()
            done = auditing.audit(market, (spec.name,), again=context["params"]["again"])
            tell(context["outlet_events"][VERIFIED], done)
            # Last of all: a run that is killed before tells it when it is tried again.
            auditing.told(market, done.moved)
            return {"found": done.found, "resolved": done.resolved, "moved": len(done.moved)}

        @task(retries=0)
        def report() -> None:
            from perpflow import auditing
            from perpflow.orchestration.connections import deployment

            auditing.complain(deployment(), (spec.name,))

        look() >> report()

    build()


@dag(
    schedule=[verified_asset("ohlcv")],
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    default_args=default_args(COLLECTION.airflow.task_retries),
    tags={"perpflow", "example"},
    doc_md=EXAMPLE_DOC,
)
def example_downstream() -> None:
    """Hourly returns, up to where candles are verified."""

    @task(multiple_outputs=False)
    def hourly_returns() -> dict[str, Any]:
        from perpflow import example_downstream
        from perpflow.orchestration.connections import deployment

        # A model would be fed here; what a task returns is kept by Airflow, hence a summary.
        return example_downstream.summary(example_downstream.hourly_returns(deployment()))

    hourly_returns()


for dataset in DATASETS.values():
    audit(dataset, COLLECTION)

example_downstream()
