"""A real Airflow over the embedded services and a simulated exchange, and how tests talk to it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from perpflow import embedded
from perpflow.datasets import DATASETS
from perpflow.embedded import processes
from perpflow.embedded.accounts import Account
from perpflow.embedded.airflow_client import AirflowClient, TaskState
from perpflow.embedded.airflow_runs import FINAL
from perpflow.embedded.airflow_settings import ExchangeAddress, environment, pools
from perpflow.embedded.airflow_stack import DAEMONS, AirflowStack
from perpflow.embedded.processes import is_alive
from simulator.process import Handle, running

RUN_TIMEOUT_S = 240
DAGS = {
    "check_health",
    "correct_reissued",
    "example_downstream",
    "fold_load_log",
    "ingest_liquidations",
    "load_history",
    "migrate_database",
    "quality_report",
    "reconcile_sources",
    "repair_gaps",
    "review_quarantine",
    "stream_market",
    "sync_symbols",
} | {f"{kind}_{name}" for kind in ("audit", "ingest", "history") for name in DATASETS}


@dataclass(frozen=True)
class Airflow:
    """A running Airflow, and what its tasks write to and read from."""

    client: AirflowClient
    database_url: str
    exchange: Handle
    environment: dict[str, str]
    stack: AirflowStack

    @property
    def redis_url(self) -> str:
        """The Redis of its house."""
        return self.environment["AIRFLOW_CONN_PERPFLOW_REDIS"]

    def run(self, dag: str, conf: dict[str, Any]) -> tuple[str, str]:
        """Trigger a DAG and wait for the end of the run; returns run id and final state."""
        run = self.client.trigger(dag, conf)
        return run, self.ended(dag, run)

    def ended(self, dag: str, run: str) -> str:
        """The final state of a run, once it has one."""
        return awaited(lambda: self.client.run_states(dag).get(run), lambda state: state in FINAL)

    def tasks(self, dag: str, run: str) -> list[TaskState]:
        """The task instances of a run."""
        return self.client.task_states(dag, run)

    def end_runs(self, dag: str) -> None:
        """Pause the DAG and mark failed what still runs of it."""
        self.client.pause(dag, paused=True)
        for run, state in self.client.run_states(dag).items():
            if state not in FINAL:
                self.client._call("PATCH", f"dags/{dag}/dagRuns/{run}", json={"state": "failed"})

    def pid_of(self, dag: str, run: str, task: str, map_index: int = -1) -> int:
        """The process of a task that runs."""
        instances = f"dags/{dag}/dagRuns/{run}/taskInstances/{task}"
        return int(self.client._call("GET", instances if map_index < 0 else f"{instances}/{map_index}")["pid"])

    def kill_scheduler(self) -> None:
        """Kill it as the system does that runs out of memory: it alone, so what it has started lives on.

        At the worst moment: in the middle of a transaction that holds the lock of all schedulers.
        """
        scheduler = psutil.Process(self._launched()["pids"]["scheduler"])
        url = self.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "")
        with psycopg.connect(url, autocommit=True) as metadata:
            deadline = time.monotonic() + RUN_TIMEOUT_S
            while not stopped_with_lock(scheduler, metadata):
                assert time.monotonic() < deadline, "never seen in such a transaction"
                scheduler.resume()
                # At random moments, so as not to run in step with its loop.
                time.sleep(random.uniform(0, 0.1))
            scheduler.kill()
            awaited(lambda: is_alive(scheduler.pid), lambda alive: not alive)
            assert holds_lock(metadata), "Airflow's workers no longer keep the connection of a scheduler that is gone"

    def start_scheduler(self) -> None:
        """Start one where it was killed, for the stack to stop."""
        launched = self._launched()
        pid = processes.spawn(
            ["airflow", *DAEMONS["scheduler"]],
            environment=self.environment,
            log=self.stack.log("scheduler"),
            account=Account(os.geteuid(), os.getegid()),
            folder=self.stack.folder,
        )
        # What the one before has left is still found by its session.
        launched["sessions"] |= {"before": launched["sessions"]["scheduler"], "scheduler": processes.session_of(pid)}
        launched["pids"]["scheduler"] = pid
        self._launched_file.write_text(json.dumps(launched))

    @property
    def _launched_file(self) -> Path:
        return self.stack.home / "processes.json"

    def _launched(self) -> dict[str, dict[str, Any]]:
        return dict(json.loads(self._launched_file.read_text()))

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What a query on the market database gives."""
        with psycopg.connect(self.database_url, options="-c TimeZone=UTC") as connection:
            return connection.execute(statement).fetchall()  # type: ignore[call-overload, no-any-return]

    def command(self, *arguments: str) -> str:
        """What `airflow <arguments>` prints, run beside the stack as a user would."""
        line = ["airflow", *arguments]
        done = subprocess.run(line, env=self.environment, capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode == 0, done.stderr
        return done.stdout


def stopped_with_lock(scheduler: psutil.Process, metadata: psycopg.Connection) -> bool:
    """Stop the scheduler where it is; whether it is in a transaction that holds the lock of all schedulers."""
    scheduler.suspend()
    awaited(scheduler.status, lambda status: status == psutil.STATUS_STOPPED)
    return holds_lock(metadata)


def holds_lock(metadata: psycopg.Connection) -> bool:
    """Whether some transaction that is idle holds an advisory lock, which schedulers alone take."""
    holding = "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND datname = %s"
    idle = " AND state = 'idle in transaction'"
    return metadata.execute(holding + idle, [metadata.info.dbname]).fetchone() is not None


def awaited(ask: Callable[[], Any], enough: Callable[[Any], bool], timeout_s: float = RUN_TIMEOUT_S) -> Any:
    """The first answer that is enough."""
    unfinished = retry_if_result(lambda answer: not enough(answer))
    return Retrying(retry=unfinished, wait=wait_fixed(0.5), stop=stop_after_delay(timeout_s))(ask)


@contextmanager
def running_airflow(state: Path) -> Iterator[Airflow]:
    """Start everything, migrate the market database, and discard it all at the end."""
    stack = AirflowStack(state)
    services = embedded.start(state)
    assert services.database.url
    try:
        with running(now="2026-10-15T12:34:56Z") as exchange:
            address = ExchangeAddress.of_simulator(exchange.url)
            stack.start(services, address)
            with AirflowClient(stack.url, stack.password) as client:
                client.ensure_pools(pools())
                awaited(client.dags, DAGS.issubset)
                variables = environment(stack.home, stack.memory, services, address)
                airflow = Airflow(client, services.database.url, exchange, variables, stack)
                for dag in ("load_history", "migrate_database"):
                    client.pause(dag, paused=False)
                assert airflow.run("migrate_database", {})[1] == "success"
                yield airflow
    finally:
        stack.stop()
        embedded.discard(state)
