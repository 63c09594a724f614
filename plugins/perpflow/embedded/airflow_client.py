"""Airflow's REST API, as far as the demo and `make up` need it: pools, DAGs, runs, task states and logs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import httpx

from perpflow.embedded.airflow_settings import LOGIN

TIMEOUT_S = 30
# The API's own maximum; a run of the demo has a few hundred task instances.
PAGE = 100


@dataclass(frozen=True)
class TaskState:
    """One task instance of a run."""

    task: str
    map_index: int
    label: str | None
    state: str | None
    tries: int

    @property
    def name(self) -> str:
        """Its task's name with what it was mapped over."""
        return f"{self.task} [{self.label or self.map_index}]" if self.map_index >= 0 else self.task


class AirflowClient:
    """A logged-in session with the API server at `url`."""

    def __init__(self, url: str, password: str) -> None:
        login = {"username": LOGIN, "password": password}
        answer = httpx.post(f"{url}/auth/token", json=login, timeout=TIMEOUT_S, trust_env=False)
        headers = {"Authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        answer = self._http.request(method, f"/api/v2/{path}", **arguments)
        return dict(answer.raise_for_status().json())

    def _pages(self, path: str, items: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            page = self._call("GET", path, params=parameters | {"limit": PAGE, "offset": offset})
            yield from page[items]
            offset += PAGE
            if offset >= page["total_entries"]:
                return

    def ensure_pools(self, pools: dict[str, int]) -> None:
        """Make the pools, and give those that exist the slots that are asked for."""
        entities = [{"name": name, "slots": slots} for name, slots in pools.items()]
        create = {"action": "create", "action_on_existence": "overwrite", "entities": entities}
        made = self._call("PATCH", "pools", json={"actions": [create]})
        if errors := (made.get("create") or {}).get("errors"):
            raise RuntimeError(f"pools could not be made: {errors}")

    def dags(self) -> set[str]:
        """The DAGs that the DAG processor has read so far."""
        return {dag["dag_id"] for dag in self._pages("dags", "dags", exclude_stale=True)}

    def import_errors(self) -> list[str]:
        """What is wrong with DAG files, as the UI shows it."""
        errors = self._pages("importErrors", "import_errors")
        return [f"{error['filename']}: {error['stack_trace']}" for error in errors]

    def pause(self, dag: str, *, paused: bool) -> None:
        """Pause a DAG, or let it run."""
        self._call("PATCH", f"dags/{dag}", json={"is_paused": paused})

    def trigger(self, dag: str, conf: dict[str, Any]) -> str:
        """Start a run; returns its id."""
        run = self._call("POST", f"dags/{dag}/dagRuns", json={"logical_date": None, "conf": conf})
        return str(run["dag_run_id"])

    def updated_assets(self) -> set[str]:
        """The URIs of all assets that any run has updated."""
        return {event["uri"] for event in self._pages("assets/events", "asset_events")}

    def run_states(self, dag: str) -> dict[str, str]:
        """The state of every run of a DAG, by run id."""
        return {run["dag_run_id"]: run["state"] for run in self._pages(f"dags/{dag}/dagRuns", "dag_runs")}

    def task_states(self, dag: str, run: str, **filters: Any) -> list[TaskState]:
        """The task instances of a run."""
        found = self._pages(f"dags/{dag}/dagRuns/{run}/taskInstances", "task_instances", **filters)
        return [
            TaskState(t["task_id"], t["map_index"], t["rendered_map_index"], t["state"], t["try_number"]) for t in found
        ]

    def returned(self, dag: str, run: str, task: str, key: str = "return_value") -> Any:
        """What a task has returned, or left under another key; None until it has."""
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/{key}"
        answer = self._http.get(path)
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()["value"]

    def log_tail(self, dag: str, run: str, task: TaskState, lines: int) -> list[str]:
        """The last lines of a task's last attempt."""
        path = f"dags/{dag}/dagRuns/{run}/taskInstances/{task.task}/logs/{max(task.tries, 1)}"
        parameters = {"map_index": task.map_index, "full_content": True}
        content = self._call("GET", path, params=parameters, headers={"Accept": "application/json"})["content"]
        return [line for entry in content for line in _log_lines(entry)][-lines:]


def _log_lines(entry: Any) -> Iterator[str]:
    """An entry of a structured log as text: its event, and the error that it carries; without the marks of groups."""
    if not isinstance(entry, dict):
        yield str(entry)
        return
    yield from (line for line in str(entry.get("event", "")).splitlines() if not line.startswith("::"))
    for error in entry.get("error_detail") or ():
        yield f"{error.get('exc_type')}: {error.get('exc_value')}"
