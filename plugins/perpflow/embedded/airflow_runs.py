"""Start DAG runs through Airflow's REST API, follow them, and say what failed."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from perpflow.embedded.airflow_client import AirflowClient, TaskState

# The API server that we ask serves the tasks as well, on the same two cores.
POLL_S = 1
# The DAG processor reads the files within seconds of its start; on a slow machine that is busy starting, in a minute.
DAGS_TIMEOUT_S = 180
LOG_LINES_SHOWN = 15
DagRun = tuple[str, str]  # (DAG, run id)
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
    watch: Callable[[Sequence[DagRun]], None],
) -> None:
    """Run each DAG once, side by side, and wait for all of their runs, those of their schedule included.

    Args:
        confs: the form's values, by DAG.
        watch: called again and again with all runs since we began.

    Raises:
        RunFailed: a run is red or has not ended in time.
    """
    before = _states(client, confs).keys()
    for dag, conf in confs.items():
        client.pause(dag, paused=False)
        client.trigger(dag, conf)
    deadline = time.monotonic() + timeout_s
    while True:
        states = {run: state for run, state in _states(client, confs).items() if run not in before}
        watch(list(states))
        if all(state in FINAL for state in states.values()):
            break
        if time.monotonic() > deadline:
            late = [run for run, state in states.items() if state not in FINAL]
            raise RunFailed(f"{_list(late)} did not end in {timeout_s:.0f} s\n" + _unfinished(client, late))
        time.sleep(POLL_S)
    if red := [run for run, state in states.items() if state == "failed"]:
        raise RunFailed("\n".join(describe_failure(client, dag, run) for dag, run in red))


def await_runs(client: AirflowClient, dag: str, runs: Iterable[str], *, timeout_s: float) -> None:
    """Wait until these runs of a DAG have ended.

    Raises:
        RunFailed: one is red or has not ended in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        states = {run: client.run_states(dag)[run] for run in runs}
        if red := [run for run, state in states.items() if state == "failed"]:
            raise RunFailed("\n".join(describe_failure(client, dag, run) for run in red))
        late = [(dag, run) for run, state in states.items() if state not in FINAL]
        if not late:
            return
        if time.monotonic() > deadline:
            raise RunFailed(f"{_list(late)} did not end in {timeout_s:.0f} s\n" + _unfinished(client, late))
        time.sleep(POLL_S)


def _states(client: AirflowClient, dags: Iterable[str]) -> dict[DagRun, str]:
    return {(dag, run): state for dag in dags for run, state in client.run_states(dag).items()}


def _list(runs: list[DagRun]) -> str:
    return ", ".join(f"{dag} {run}" for dag, run in runs)


def _unfinished(client: AirflowClient, runs: list[DagRun]) -> str:
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
