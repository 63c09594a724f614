"""`perpflow services start|stop|status`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from perpflow import embedded
from perpflow.embedded.state import Database, Redis, Services

app = typer.Typer(no_args_is_help=True, help="TimescaleDB and Redis on this machine, without Docker or root.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts, passwords included.")]


@app.command()
def start(as_json: AsJson = False) -> None:
    """Start what isn't running; the servers stay up until `stop`."""
    _report(embedded.start, as_json, expect_running=True)


@app.command()
def stop(as_json: AsJson = False) -> None:
    """Stop both servers cleanly; the data stays."""
    _report(embedded.stop, as_json)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say where the services are and how they are."""
    _report(embedded.status, as_json)


def _report(act: Callable[[Path | None], Services], as_json: bool, *, expect_running: bool = False) -> None:
    from perpflow.embedded.errors import ServiceError

    try:
        services = act(None)
    except (ServiceError, OSError) as problem:
        typer.echo(f"{type(problem).__name__}: {problem}" if isinstance(problem, OSError) else str(problem), err=True)
        raise typer.Exit(1) from problem
    for warning in services.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    if as_json:
        typer.echo(services.as_json())
    else:
        _print_table(services)
    if expect_running and not services.running:
        typer.echo("Not everything answers.", err=True)
        raise typer.Exit(1)


def _print_table(services: Services) -> None:
    from rich.console import Console
    from rich.table import Table

    from perpflow.embedded.masking import masked

    table = Table("service", "state", "version")
    table.add_column("address", overflow="fold")
    database, airflow, redis = services.database, services.airflow_database, services.redis
    table.add_row("database", _state(database), _database_version(database), masked(database.url))
    table.add_row("airflow database", "running" if airflow.running else "not running", "", masked(airflow.url))
    table.add_row("redis", _state(redis), redis.version or "-", masked(redis.url))
    Console().print(table)


def _state(service: Database | Redis) -> str:
    running = "running" if service.running else "not running"
    if service.external:
        return "external, reachable" if service.running else "external, not reachable"
    return running


def _database_version(database: Database) -> str:
    if database.version is None:
        return "-"
    extension = f"TimescaleDB {database.timescaledb}" if database.timescaledb else "no TimescaleDB"
    return f"PostgreSQL {database.version}, {extension}"
