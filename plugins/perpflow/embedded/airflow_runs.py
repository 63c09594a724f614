"""Start DAG runs through Airflow's REST API, follow them, and say what failed."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from perpflow.embedded.airflow_client import AirflowClient, TaskState

POLL_S = 0.5
# The DAG processor reads the files within seconds of its start; on a slow machine that is busy starting, in a minute.
DAGS_TIMEOUT_S = 180
LOG_LINES_SHOWN = 15
FINAL = frozenset({"success", "failed"})


class RunFailed(RuntimeError):
    """A run is red, or did not end: names the tasks and shows the end of their logs."""


def await_dags(client: AirflowClient, wanted: set[str]) -> None:
    """Wait until the DAG processor has read these DAGs.

    Raises:
        RunFailed: a DAG file can't be imported, or a DAG does not appear.
    """
    deadline = time.monotonic() + DAGS_TIMEOUT_S
    while missing := wanted - client.dags():
        if errors := client.import_errors():
            raise RunFailed("DAG files can't be imported:\n" + "\n".join(errors))
        if time.monotonic() > deadline:
            raise RunFailed(f"the DAG processor has not read {', '.join(sorted(missing))} in {DAGS_TIMEOUT_S} s")
        time.sleep(POLL_S)


def run_all(
    client: AirflowClient,
    confs: Mapping[str, dict[str, Any]],
    *,
    timeout_s: float,
    watch: Callable[[dict[str, str]], None],
) -> None:
    """Run each DAG once, side by side, and wait for all of their runs, those of their schedule included.

    Args:
        confs: the form's values, by DAG.
        watch: called again and again with the run ids that we started, by DAG.

    Raises:
        RunFailed: a run is red or has not ended in time.
    """
    for dag in confs:
        client.pause(dag, paused=False)
    runs = {dag: client.trigger(dag, conf) for dag, conf in confs.items()}
    deadline = time.monotonic() + timeout_s
    while open_runs := _open_runs(client, runs):
        if time.monotonic() > deadline:
            raise RunFailed(f"{_list(open_runs)} did not end in {timeout_s:.0f} s\n" + _unfinished(client, open_runs))
        watch(runs)
        time.sleep(POLL_S)
    watch(runs)
    red = [(dag, run) for dag in runs for run, state in client.run_states(dag).items() if state != "success"]
    if red:
        raise RunFailed("\n".join(describe_failure(client, dag, run) for dag, run in red))


def _open_runs(client: AirflowClient, runs: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(dag, run) for dag in runs for run, state in client.run_states(dag).items() if state not in FINAL]


def _list(runs: list[tuple[str, str]]) -> str:
    return ", ".join(f"{dag} {run}" for dag, run in runs)


def _unfinished(client: AirflowClient, runs: list[tuple[str, str]]) -> str:
    return "\n".join(
        f"  {dag} {task.name}: {task.state}" for dag, run in runs for task in client.task_states(dag, run)
        if task.state != "success"
    )  # fmt: skip


def describe_failure(client: AirflowClient, dag: str, run: str) -> str:
    """A red run: which tasks failed, and the last lines of their logs."""
    tasks = client.task_states(dag, run)
    failed = [task for task in tasks if task.state == "failed"]
    others = [f"  {task.name}: {task.state}" for task in tasks if task.state not in {"success", "failed"}]
    return "\n".join([f"{dag} {run} failed:", *(_failed_task(client, dag, run, task) for task in failed), *others])


def _failed_task(client: AirflowClient, dag: str, run: str, task: TaskState) -> str:
    tail = client.log_tail(dag, run, task, LOG_LINES_SHOWN)
    return "\n".join([f"  {task.name} failed; its log ends:", *(f"    {line}" for line in tail)])
