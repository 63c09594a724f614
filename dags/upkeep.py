"""Airflow DAGs that keep the store in order: migrate_database its schema, sync_symbols what it knows of contracts,
repair_gaps whatever the ledger lacks, correct_reissued what the archive has issued again, fold_load_log its log; and
reconcile_sources compares archive and REST."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Context, CronTriggerTimetable, dag, task

from perpflow.batches import LoadRequest, Plan
from perpflow.orchestration import forms
from perpflow.orchestration.defaults import ARCHIVE_POOL, REPAIR_PRIORITY, REST_POOL, START_DATE, default_args
from perpflow.orchestration.load_group import load_group
from perpflow.settings import Deployment, load_collection

RETRIES = load_collection().airflow.task_retries

MIGRATE_DOC = """
### Migrate the market database

Applies the SQL files under `include/sql` that are not applied yet: plain ones everywhere, hypertables where TimescaleDB
is, community SQL where its licence is. Run it once after installing, and after each update; running it again does
nothing.
"""

SYMBOLS_DOC = """
### Know every contract there is or was

Brings the table `symbols` up to date once a day: what the exchange lists, and what only its archive still has, so that
histories of `all` hold the contracts that did not survive. `symbol_history` keeps each change with the time at which it
was seen. Series of delisted contracts end in the ledger, and are not asked for beyond.

The first run reads the first and last candles of hundreds of delisted contracts, which takes some minutes. Names that
can't be read are in the log and in what the task returns; delivery contracts are left out.
"""

REPAIR_DOC = """
### Fill every hole that the ledger knows of

Twice a day, or by form: whatever should be there, from the configured start on, and is neither present nor explained is
asked for again; of symbols that are not collected, what lacks between what was loaded. So are rows that the tables have
lost, once an audit has missed them. First what REST gives now and will have forgotten in thirty days, the oldest first,
then the rest by months, the latest first, from the archive's months and days and from REST. What no source has is
marked, and not asked for again for a week, then for two, up to sixteen. More than a run can hold is left to the next
one, as the log of `plan_windows` says. What is younger than an hour the next increment brings.

A hole in open interest or ratios that REST will forget within three days raises an alarm: a warning in the log of
`plan_windows`, the counter `alarms.<dataset>`, and an event of the asset `perpflow://holes` that names the holes.

A series that was never loaded is `load_history`'s work. `python -m perpflow repair` does the same outside Airflow.
"""

REISSUED_DOC = """
### Read again what the archive has issued again

Once a day, or by form: the listing's ETag and date of every archive file that was read are compared with those that it
had then, a thousand files to a request. What differs is read again: rows that differ are corrected, their old and new
values kept in the table `corrections` (`python -m perpflow corrections` shows them), points that are new are added.
Rows that a new issue no longer has stay. A folder that can't be listed makes the run red; all others are read.

Files that had to be left out are tried three times in all, by this and by `repair_gaps`, and again when they change.
`python -m perpflow repair --reissued` does the same outside Airflow.
"""

RECONCILE_DOC = """
### Do archive and REST agree?

Once a week, or by form: both are asked anew for the same days, and compared value by value, where the tables hold the
archive's values alone. The task returns, for each column of a series, how many points agree, how many differ by no more
than the tolerance (REST's ratios have four decimals, the archive's eight; all else has to be equal), how many by more,
and how many one of the two alone has; `reconciliations` keeps the last comparison. Beyond the tolerance the run is red
and names instants and both values. Nothing is changed.

Funding, of which the archive has files by month alone, is compared over the latest month of which there is one.

Where collection.yaml says `all`, other symbols have their turn in each run. `python -m perpflow reconcile` does the
same outside Airflow.
"""

FOLD_DOC = """
### Fold old entries of the load log

Once a day: `data_versions` has an entry for each batch and dataset, thousands a day where hundreds of symbols are
collected. Of those that are older than `load_log_days` in collection.yaml one is made for each day, dataset and group
of symbols, with the sums of their counts and, in `batches`, how many they were. Entries of batches of which anything
was withheld, left out or warned of stay as they are, for ever.
"""

#: When the archive has published the day before.
AFTER_THE_ARCHIVE = "20 9 * * *"
#: The same, on Sundays.
WEEKLY = "50 11 * * 0"
#: The same, and when repair_gaps may be done with most of its work.
AFTER_REPAIR = "10 11 * * *"
#: Long before REST forgets anything, and after the archive has published.
TWICE_A_DAY = "40 9,21 * * *"
#: A universe of contracts has tens of thousands of folders, each of which is listed.
LISTING_TIMEOUT = timedelta(hours=3)
#: When nothing else is due.
AT_NIGHT = "25 2 * * *"


@dag(schedule=None, start_date=START_DATE, default_args=default_args(RETRIES), tags={"perpflow"}, doc_md=MIGRATE_DOC)
def migrate_database() -> None:
    """Bring the market database's schema up to date."""

    @task
    def migrate() -> list[str]:
        from perpflow import pipeline
        from perpflow.orchestration.connections import deployment

        return pipeline.migrate(deployment())

    migrate()


@dag(
    schedule=CronTriggerTimetable(AFTER_THE_ARCHIVE, timezone="UTC"),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(RETRIES),
    tags={"perpflow"},
    doc_md=SYMBOLS_DOC,
)
def sync_symbols() -> None:
    """Take up the exchange's contracts, those of the archive included."""

    @task(pool=ARCHIVE_POOL, multiple_outputs=False)
    def sync() -> dict[str, Any]:
        from dataclasses import asdict

        from perpflow import pipeline
        from perpflow.orchestration.connections import deployment

        return asdict(pipeline.sync_symbols(deployment()))

    sync()


def repair_plan(deployment: Deployment, run: str, context: Context) -> Plan:
    """The plan of what is lacking."""
    from perpflow import pipeline

    return pipeline.plan_repair(deployment, LoadRequest.from_form(run, dict(context["params"])))


@dag(
    schedule=CronTriggerTimetable(TWICE_A_DAY, timezone="UTC"),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(RETRIES, REPAIR_PRIORITY),
    params={
        "symbols": forms.symbols(["all"], "One a line, as in SOL/USDT; `all` for every one that the ledger knows."),
        **forms.datasets_and_range(),
        "symbols_per_task": forms.SYMBOLS_PER_TASK,
    },
    tags={"perpflow"},
    doc_md=REPAIR_DOC,
)
def repair_gaps() -> None:
    """Fill what is lacking."""
    load_group(repair_plan, ARCHIVE_POOL, raises_alarm=True)


def reissued_plan(deployment: Deployment, run: str, context: Context) -> Plan:
    """The plan of what was issued again."""
    from perpflow import pipeline

    return pipeline.plan_reissued(deployment, LoadRequest.from_form(run, dict(context["params"])))


@dag(
    schedule=CronTriggerTimetable(AFTER_REPAIR, timezone="UTC"),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(RETRIES, REPAIR_PRIORITY),
    params={
        "symbols": forms.symbols(["all"], "One a line, as in SOL/USDT; `all` for every one of which files were read."),
        "datasets": forms.datasets(),
    },
    tags={"perpflow"},
    doc_md=REISSUED_DOC,
)
def correct_reissued() -> None:
    """Read again what was issued again."""
    load_group(reissued_plan, ARCHIVE_POOL, plan_timeout=LISTING_TIMEOUT)


@dag(
    schedule=CronTriggerTimetable(WEEKLY, timezone="UTC"),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(RETRIES),
    params={
        "symbols": forms.symbols([], "One a line, as in SOL/USDT; left empty: those of collection.yaml."),
        "datasets": forms.datasets(),
        "days": forms.DAYS,
    },
    tags={"perpflow"},
    doc_md=RECONCILE_DOC,
)
def reconcile_sources() -> None:
    """Compare archive and REST."""

    @task(pool=REST_POOL, multiple_outputs=False)
    def reconcile() -> list[dict[str, Any]]:
        from airflow.sdk import get_current_context

        from perpflow import pipeline, reconciling
        from perpflow.errors import BatchFaulty
        from perpflow.orchestration.connections import deployment
        from perpflow.reconcile_command import plain

        context = get_current_context()
        request = LoadRequest.from_form(f"reconcile_sources|{context['dag_run'].run_id}", dict(context["params"]))
        request, unknown = pipeline.recognised(deployment(), request)
        found = reconciling.reconcile(deployment(), request, context["params"]["days"])
        reconciling.complain(found)
        if unknown:
            raise BatchFaulty(f"rejected {'; '.join(unknown)}.", hint="The others agree.")
        return [plain(one) for one in found]

    reconcile()


@dag(
    schedule=CronTriggerTimetable(AT_NIGHT, timezone="UTC"),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(RETRIES),
    tags={"perpflow"},
    doc_md=FOLD_DOC,
)
def fold_load_log() -> None:
    """Make a few entries of the log of loads out of many old ones."""

    @task(multiple_outputs=False)
    def fold() -> dict[str, int]:
        from perpflow import pipeline
        from perpflow.orchestration.connections import deployment

        return pipeline.fold_log(deployment())

    fold()


migrate_database()
sync_symbols()
repair_gaps()
correct_reissued()
reconcile_sources()
fold_load_log()
