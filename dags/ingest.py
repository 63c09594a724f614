"""Airflow DAGs that load data: ingest_<dataset> keeps each dataset current, load_history fills a range by form, and
history_<dataset> a month per run, for backfills."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Context, CronDataIntervalTimetable, CronTriggerTimetable, dag

from perpflow.batches import LoadRequest, Plan
from perpflow.datasets import DATASETS
from perpflow.orchestration import forms
from perpflow.orchestration.alerting import ingest_deadline
from perpflow.orchestration.defaults import ARCHIVE_POOL, LIVE_PRIORITY, REST_POOL, START_DATE, default_args
from perpflow.orchestration.load_group import load_group
from perpflow.orchestration.months import MONTHLY, ArchiveSensor, month_of_run
from perpflow.quality.suites import broken_suites
from perpflow.settings import Collection, Deployment, load_collection
from perpflow.specs import LoadedSpec

COLLECTION = load_collection()

INGEST_DOC = """
### {title}: keep `{name}` current

Every run loads from where the ledger ends to the exchange's now, so a run after downtime heals it. A series that the
ledger has never met starts {days} days back; years of history are `load_history`'s work. Where the exchange's limits do
not let one run ask for every symbol, those that have waited longest go first; the log of `plan_windows` says how long.

`plan_windows` asks the ledger what is missing, then each batch goes `stage_rows` >> `check_quality` >> `publish_rows`.
`report` is red when a batch failed or rows were withheld, and names them; look into the table `quarantine`.
"""

MONTH_DOC = """
### {title}: load `{name}` month by month

Made for backfills: each run is one UTC month. Press *Backfill* on this page, or

    airflow backfill create --dag-id history_{name} --from-date 2024-01-01 --to-date 2024-12-31

Dates name the beginning of a month, both inclusive: this is all of 2024, twelve runs. Symbols and the rest may be given
as configuration, `{{"symbols": ["SOL/USDT"]}}`. What the ledger holds already is not fetched again unless *again* is
set. Airflow backfills months that are over; a month that is not, on the exchange's clock, loads what has settled of it.

On its schedule the month that has ended is loaded as soon as the archive has published it: `wait_for_archive` holds the
run until noon of the 8th. Triggered by hand, a run is for the last month that is over, and waits for nothing.
"""

HISTORY_DOC = """
### Load history

Trigger with the form: symbols, datasets and a range of UTC days. What the ledger holds already is not fetched again
unless *again* is set; facts that have not changed are not touched even then. The archive is asked first, REST for what
it lacks; each mapped batch shows symbol, kind of data and first day. `report` names everything that failed or was
withheld. A range before the data begins is trimmed, with a note in the log of `plan_windows`.
"""


SYMBOLS = forms.symbols(
    ["all"] if COLLECTION.symbols == "all" else list(COLLECTION.symbols),
    "One a line, as in SOL/USDT; `all` for every one that was traded in the range, delisted ones too.",
)


def ingest(spec: LoadedSpec, collection: Collection) -> None:
    """Register ingest_<dataset>."""

    def make_plan(deployment: Deployment, run: str, context: Context) -> Plan:
        from perpflow import pipeline

        return pipeline.plan_increment(deployment, spec.name, run, context["params"]["symbols_per_task"])

    @dag(
        dag_id=f"ingest_{spec.name}",
        schedule=CronTriggerTimetable(collection.schedule(spec.name), timezone="UTC"),
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=timedelta(hours=6),
        deadline=ingest_deadline(collection),
        default_args=default_args(collection.airflow.task_retries, LIVE_PRIORITY),
        params={"symbols_per_task": forms.symbols_per_task(collection.symbols_per_task)},
        tags={"perpflow", spec.name},
        doc_md=INGEST_DOC.format(title=spec.title, name=spec.name, days=collection.look_back_days),
    )
    def build() -> None:
        load_group(make_plan, REST_POOL)

    build()


def history(spec: LoadedSpec, collection: Collection) -> None:
    """Register history_<dataset>."""

    def make_plan(deployment: Deployment, run: str, context: Context) -> Plan:
        from perpflow import pipeline

        month = month_of_run(context)
        range_ = {"datasets": [spec.name], "start": month.start.isoformat(), "end": month.end.isoformat()}
        return pipeline.plan(deployment, LoadRequest.from_form(run, dict(context["params"]) | range_))

    @dag(
        dag_id=f"history_{spec.name}",
        # Never the deployment's idea of what a cron expression means.
        schedule=CronDataIntervalTimetable(MONTHLY, timezone="UTC"),
        start_date=START_DATE,
        catchup=False,
        max_active_runs=2,
        default_args=default_args(collection.airflow.task_retries),
        params={"symbols": SYMBOLS, "again": forms.AGAIN, "symbols_per_task": forms.SYMBOLS_PER_TASK},
        tags={"perpflow", spec.name},
        doc_md=MONTH_DOC.format(title=spec.title, name=spec.name),
    )
    def build() -> None:
        ArchiveSensor(task_id="wait_for_archive") >> load_group(make_plan, ARCHIVE_POOL)

    build()


def form_plan(deployment: Deployment, run: str, context: Context) -> Plan:
    """The plan of a filled-in form."""
    from perpflow import pipeline

    return pipeline.plan(deployment, LoadRequest.from_form(run, context["params"]))


@dag(
    schedule=None,
    start_date=START_DATE,
    max_active_runs=2,
    default_args=default_args(COLLECTION.airflow.task_retries),
    params={
        "symbols": SYMBOLS,
        **forms.datasets_and_range(),
        "again": forms.AGAIN,
        "symbols_per_task": forms.SYMBOLS_PER_TASK,
    },
    tags={"perpflow"},
    doc_md=HISTORY_DOC,
)
def load_history() -> None:
    """One range of history, batch by batch."""
    load_group(form_plan, ARCHIVE_POOL)


# A gate that cannot be read must never be an open one: suites.py tells what is broken.
BROKEN = broken_suites()
for dataset in DATASETS.values():
    if COLLECTION.dataset(dataset.name).enabled and dataset.name not in BROKEN:
        ingest(dataset, COLLECTION)
        history(dataset, COLLECTION)

load_history()
