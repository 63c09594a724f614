"""Airflow without Docker: scheduler (LocalExecutor), DAG processor, API server and triggerer as processes of ours.

    stack = AirflowStack(state_folder)
    stack.start(services, ExchangeAddress())      # returns when all of them are healthy
    stack.url, stack.password
    stack.stop()

All of them, and every task they start, work in one folder that nobody else works in (`<state>/airflow/processes`): that
is how they are found again, whoever started them, and how a stop can prove that nothing is left.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from perpflow.embedded import processes
from perpflow.embedded.accounts import Account
from perpflow.embedded.airflow_settings import (
    LOGIN,
    ExchangeAddress,
    environment,
    metadata_url,
    recall,
    remember,
    write_private,
)
from perpflow.embedded.errors import ServiceError
from perpflow.embedded.state import Services, StateFolder

# A cold start takes 20-40 s on two cores; a slow laptop with a cold disk takes minutes, a dead process is seen at once.
HEALTHY_TIMEOUT_S = 300
POLL_S = 0.25
MIGRATE_TIMEOUT_S = 600
# The scheduler would wait for running tasks without limit; what they were doing is done again by the next run.
SCHEDULER_GRACE_S = 20
TERMINATE_S = 8
KILL_S = 10

#: Name and arguments of each process. The scheduler comes first: it has the most to import.
DAEMONS = {
    # Task logs are read from the disk; a log server's fixed port would be one more to clash.
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "api-server": ["api-server"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}


class AirflowStack:
    """Airflow's processes of one state folder.

    Args:
        triggerer: whether to start one; only deferrable tasks need it.
    """

    def __init__(self, state_dir: Path, *, triggerer: bool = True) -> None:
        self.daemons = {name: arguments for name, arguments in DAEMONS.items() if triggerer or name != "triggerer"}
        self.state = StateFolder(state_dir.resolve())
        self.home = self.state.root / "airflow"
        #: The folder that all processes work in; see above.
        self.folder = self.home / "processes"
        self._memory_file = self.home / "airflow.json"
        self._pids_file = self.home / "processes.json"
        self.memory = recall(self._memory_file)

    @property
    def url(self) -> str:
        """Where UI and REST API are."""
        return self.memory.url

    @property
    def password(self) -> str:
        """The password of the login `admin`."""
        return self.memory.password

    def pids(self) -> list[int]:
        """Every process of ours that lives: daemons, workers, tasks."""
        return processes.processes_in(self.folder, self._recalled().get("sessions", {}).values())

    @property
    def running(self) -> bool:
        """Whether all daemons live."""
        started = self._started()
        return bool(started) and all(processes.works_in(pid, self.folder) for pid in started.values())

    def start(self, services: Services, exchange: ExchangeAddress, *, port: int | None = None) -> None:
        """Start all processes and wait until they are healthy; a stack that runs is stopped first.

        Args:
            port: where to listen; the remembered or a free one by default.

        Raises:
            ServiceError: a process ended or did not become healthy in time; everything is stopped again.
        """
        self.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.memory.port = port if port is not None else processes.choose_port(self.memory.port)
        remember(self._memory_file, self.memory)
        # Airflow takes the password from here; without the file it would make one up and print it into its log.
        write_private(self.home / "passwords.json", {LOGIN: self.memory.password})
        variables = environment(self.home, self.memory, services, exchange)
        self._migrate(variables, metadata_url(services))
        try:
            self._launch(variables)
            self._await_health()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything; nothing to do is fine. Tasks that don't end in time are killed.

        Raises:
            ServiceError: a process survived even that.
        """
        scheduler = self._started().get("scheduler")
        if scheduler is not None and processes.works_in(scheduler, self.folder):
            processes.end([scheduler], signal.SIGTERM, timeout_s=SCHEDULER_GRACE_S)
        processes.end(self.pids(), signal.SIGTERM, timeout_s=TERMINATE_S)
        processes.end(self.pids(), signal.SIGKILL, timeout_s=KILL_S)
        if left := self.pids():
            raise ServiceError("Airflow", f"processes {left} can't be ended", advice="end them by hand: kill -9")
        self._pids_file.unlink(missing_ok=True)

    def log(self, daemon: str) -> Path:
        """A daemon's log."""
        return self.state.log(f"airflow-{daemon}")

    def _started(self) -> dict[str, int]:
        return self._recalled().get("pids", {})

    def _recalled(self) -> dict[str, dict[str, int]]:
        """The daemons' process numbers and sessions by name; nothing where none were started."""
        try:
            return dict(json.loads(self._pids_file.read_text()))
        except FileNotFoundError:
            return {}

    def _migrate(self, variables: Mapping[str, str], database: str) -> None:
        """Bring the metadata to this Airflow's schema; the command takes 8 s, so only when something changed."""
        from importlib.metadata import version

        done = {"airflow": version("apache-airflow"), "database": database}
        mark = self.home / "migrated.json"
        if mark.exists() and json.loads(mark.read_text()) == done:
            return
        with processes.open_log(self.log("migration")) as output:
            ended = subprocess.run(
                ["airflow", "db", "migrate"],  # noqa: S607  found by the PATH that we set
                env=dict(variables), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder,
                check=False, timeout=MIGRATE_TIMEOUT_S,
            )  # fmt: skip
        if ended.returncode != 0:
            raise ServiceError(
                "Airflow", "its database could not be migrated", advice="see the log", log=self.log("migration")
            )
        write_private(mark, done)

    def forget_metadata(self) -> None:
        """The metadata was thrown away: the next start makes it anew. Logs of runs that nobody knows go as well."""
        (self.home / "migrated.json").unlink(missing_ok=True)
        shutil.rmtree(self.home / "logs", ignore_errors=True)

    def _launch(self, variables: Mapping[str, str]) -> None:
        account = Account(os.geteuid(), os.getegid())
        pids: dict[str, int] = {}
        for name, arguments in self.daemons.items():
            log = self.log(name)
            log.unlink(missing_ok=True)
            pids[name] = processes.spawn(
                ["airflow", *arguments], environment=variables, log=log, account=account, folder=self.folder
            )
        sessions = {name: session for name, pid in pids.items() if (session := processes.session_of(pid))}
        write_private(self._pids_file, {"pids": pids, "sessions": sessions})

    def _await_health(self) -> None:
        deadline = time.monotonic() + HEALTHY_TIMEOUT_S
        with httpx.Client(base_url=self.url, trust_env=False, timeout=5) as client:
            while time.monotonic() < deadline:
                self._refuse_dead()
                ill = [part for part in unhealthy(client) if part != "triggerer" or "triggerer" in self.daemons]
                if not ill:
                    return
                time.sleep(POLL_S)
        culprit = next((name for name in self.daemons if name.replace("-", "_") in ill), "api-server")
        raise self._failure(culprit, f"is not healthy after {HEALTHY_TIMEOUT_S} s ({', '.join(ill)})")

    def _refuse_dead(self) -> None:
        for name, pid in self._started().items():
            if not processes.is_alive(pid):
                raise self._failure(name, "ended while starting")

    def _failure(self, daemon: str, problem: str) -> ServiceError:
        return ServiceError(f"Airflow's {daemon}", problem, advice="see the log; a start may be repeated",
                            log=self.log(daemon))  # fmt: skip


def unhealthy(client: httpx.Client) -> list[str]:
    """What does not report itself healthy yet; the API server where it doesn't answer."""
    try:
        answer = client.get("/api/v2/monitor/health")
        answer.raise_for_status()
    except httpx.HTTPError:
        return ["api_server"]
    parts = answer.json()
    return [name for name in ("metadatabase", "scheduler", "dag_processor", "triggerer")
            if (parts.get(name) or {}).get("status") != "healthy"]  # fmt: skip
