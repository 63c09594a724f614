"""Airflow DAGs of what is live: stream_market keeps the latest prices in Redis and receives liquidations, run after run
without a hole; ingest_liquidations takes those into their table."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Context, CronTriggerTimetable, Param, dag, get_current_context, task

from perpflow.batches import Plan
from perpflow.datasets import LIQUIDATIONS
from perpflow.errors import StoreUnavailable, StreamSilent, StreamStopped
from perpflow.orchestration.alerting import ingest_deadline
from perpflow.orchestration.defaults import DEFAULT_POOL, LIVE_PRIORITY, START_DATE, STREAM_POOL, default_args
from perpflow.orchestration.exchange_sensor import ASK_EVERY_S, ExchangeSensor
from perpflow.orchestration.load_group import load_group
from perpflow.quality.suites import broken_suites
from perpflow.settings import Deployment, load_collection

COLLECTION = load_collection()

STREAM_DOC = """
### Stream live prices and liquidations into Redis

A run starts every hour, unless collection.yaml says otherwise, waits until the exchange answers, and streams until the
next one has received frames itself and taken over: so there are two for some seconds, and none never. Without a
successor it goes on, for three hours at most. Clearing a run, marking it failed or stopping Airflow ends its stream
properly; the next one, or a run that you trigger, starts another.

`python -m perpflow latest SOL/USDT --watch` shows the prices; liquidations wait in Redis for `ingest_liquidations`. The
same stream runs outside Airflow by `python -m perpflow stream`.
"""

INGEST_DOC = """
### Liquidations: from the stream into their table

The stream keeps each frame in Redis, or in the market database while Redis is away, until a run of this DAG has
published it to the table `liquidations`. Nobody else has them: what waits is never dropped, and published once, however
often a run is killed.

`plan_windows` makes batches of what waits, and of what a run that died has left; then each goes `stage_rows` >>
`check_quality` >> `publish_rows`. `report` is red when a batch failed, rows were withheld or Redis did not answer. When
the stream listened stands in the column `listening` of `coverage`: outside of that nothing is known.

`python -m perpflow drain` does the same outside Airflow.
"""

#: Two successors may have failed to come until a stream ends without one.
LONGEST = timedelta(hours=3)
#: What passes while nobody streams is gone: a stream that fails begins again soon, and if it fails at once each time,
#: until the next run is due. What that cannot mend is the end.
AGAIN_AFTER, UNTIL_THE_NEXT = timedelta(seconds=20), timedelta(hours=1)
#: Beyond that the task has not noticed that its time is over.
GRACE = timedelta(minutes=5)


@dag(
    schedule=CronTriggerTimetable(COLLECTION.stream.schedule, timezone="UTC"),
    start_date=START_DATE,
    catchup=False,
    # One that streams, its successor, and one that waits for an exchange in maintenance.
    max_active_runs=3,
    default_args=default_args(COLLECTION.airflow.task_retries, LIVE_PRIORITY),
    params={
        "seconds": Param(
            LONGEST.total_seconds(),
            type="number",
            minimum=10,
            maximum=LONGEST.total_seconds(),
            title="Seconds",
            description="How long to stream at most where no later run takes over.",
        )
    },
    tags={"perpflow"},
    doc_md=STREAM_DOC,
)
def stream_market() -> None:
    """Wait for the exchange, then stream until a successor has taken over."""

    @task(
        pool=STREAM_POOL,
        execution_timeout=LONGEST + GRACE,
        multiple_outputs=False,
        retries=UNTIL_THE_NEXT // AGAIN_AFTER,
        retry_delay=AGAIN_AFTER,
        retry_exponential_backoff=False,
    )
    def stream_live() -> dict[str, Any]:
        import asyncio
        from dataclasses import asdict

        from perpflow.orchestration.connections import deployment
        from perpflow.streaming import stream, this_process

        context = get_current_context()
        name = f"{context['dag_run'].run_id} on {this_process()}"
        ended = asyncio.run(stream(deployment(), name, context["params"]["seconds"]))
        if ended.lost:
            raise StoreUnavailable(f"{ended.lost} liquidations are lost: neither Redis nor the database took them.")
        if ended.how == "stopped":
            # A worker that is shut down: the retry streams on. What was cleared or marked is decided already.
            raise StreamStopped(f"the stream was told to stop after {ended.seconds:.0f} s.")
        if not ended.frames:
            raise StreamSilent(f"nothing has come in {ended.seconds:.0f} s.", hint="The log says why.")
        return asdict(ended)

    wait = ExchangeSensor(task_id="wait_for_exchange", ask_every_s=ASK_EVERY_S, timeout=LONGEST.total_seconds())
    wait >> stream_live()


def drain_plan(deployment: Deployment, run: str, _context: Context) -> Plan:
    """The plan of what waits."""
    from perpflow import pipeline

    return pipeline.plan_drain(deployment, run)


@dag(
    schedule=CronTriggerTimetable(COLLECTION.schedule(LIQUIDATIONS.name), timezone="UTC"),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    deadline=ingest_deadline(COLLECTION),
    default_args=default_args(COLLECTION.airflow.task_retries, LIVE_PRIORITY),
    tags={"perpflow", LIQUIDATIONS.name},
    doc_md=INGEST_DOC,
)
def ingest_liquidations() -> None:
    """Take received liquidations through the gate into their table."""
    load_group(drain_plan, DEFAULT_POOL)


stream_market()
# A gate that cannot be read must never be an open one. What the stream receives waits; suites.py tells what is broken.
if LIQUIDATIONS.name not in broken_suites():
    ingest_liquidations()
