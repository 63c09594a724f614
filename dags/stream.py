"""Airflow DAG that streams: stream_market keeps the latest prices in Redis, run after run without a hole."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task

from perpflow.errors import StreamStopped
from perpflow.orchestration.defaults import LIVE_PRIORITY, START_DATE, STREAM_POOL, default_args
from perpflow.orchestration.exchange_sensor import ASK_EVERY_S, ExchangeSensor
from perpflow.settings import load_collection

STREAM_DOC = """
### Stream live prices into Redis

A run starts every hour, waits until the exchange answers, and streams until the next one has received frames itself and
taken over: so there are two for some seconds, and none never. Without a successor it goes on, for three hours at most.
Clearing a run, marking it failed or stopping Airflow ends its stream properly; the next one, or a run that you trigger,
starts another.

`python -m perpflow latest SOL/USDT --watch` shows what it writes. The same stream runs outside Airflow by
`python -m perpflow stream`.
"""

#: Two successors may have failed to come until a stream ends without one.
LONGEST = timedelta(hours=3)
#: Beyond that the task has not noticed that its time is over.
GRACE = timedelta(minutes=5)


@dag(
    schedule=CronTriggerTimetable("0 * * * *", timezone="UTC"),
    start_date=START_DATE,
    catchup=False,
    # One that streams, its successor, and one that waits for an exchange in maintenance.
    max_active_runs=3,
    default_args=default_args(load_collection().airflow.task_retries, LIVE_PRIORITY),
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

    @task(pool=STREAM_POOL, execution_timeout=LONGEST + GRACE, multiple_outputs=False)
    def stream_prices() -> dict[str, Any]:
        import asyncio
        from dataclasses import asdict

        from perpflow.orchestration.connections import deployment
        from perpflow.streaming import stream, this_process

        context = get_current_context()
        name = f"{context['dag_run'].run_id} on {this_process()}"
        ended = asyncio.run(stream(deployment(), name, context["params"]["seconds"]))
        if ended.how == "stopped":
            # A worker that is shut down: the retry streams on. What was cleared or marked is decided already.
            raise StreamStopped(f"the stream was told to stop after {ended.seconds:.0f} s.")
        return asdict(ended)

    wait = ExchangeSensor(task_id="wait_for_exchange", ask_every_s=ASK_EVERY_S, timeout=LONGEST.total_seconds())
    wait >> stream_prices()


stream_market()
