"""The command line: `python -m perpflow`, installed as `perpflow`. Exit 0 done, 1 failed, 2 bad usage.

The same use cases as the DAGs', run in this process. Without PERPFLOW_DATABASE_URL the embedded services are used.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from perpflow.audit_command import Commands as AuditCommands
from perpflow.batches import Batch, LoadRequest, Plan
from perpflow.datasets import DATASETS
from perpflow.embedded.commands import app as services
from perpflow.embedded.errors import ServiceError
from perpflow.errors import BadConfiguration, IpBanned, PerpflowError
from perpflow.quarantine_command import Commands as QuarantineCommands
from perpflow.store.received import RECLAIM_AFTER_S

if TYPE_CHECKING:
    from perpflow.settings import Deployment

T = TypeVar("T")

# Bans begin at two minutes and grow; a person would rather be told of the longer ones.
LONGEST_BAN_S = 900.0
MOST_BANS = 3
# Who looks more seldom than once a day starts the command by cron.
LONGEST_PAUSE_S = 86_400.0
LONGEST_STREAM_S = 365 * 86_400.0

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Binance USD-M futures data, complete and verified."
)
app.add_typer(services, name="services")

DatasetsOption = Annotated[str, typer.Option(help="Comma-separated datasets, or `all`.")]
SymbolsOption = Annotated[
    str | None, typer.Option(help="`SOL/USDT,BTC/USDT`, or `all`; left out: those of collection.yaml.")
]
StartOption = Annotated[str | None, typer.Option(help="UTC date or instant; left out: collection.yaml's.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Only say what it would take: files, requests, bytes, time.")
]


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn an error of ours into its message and exit code: 2 for what the caller wrote, 1 for what went wrong."""
    try:
        yield
    except BadConfiguration as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    except (PerpflowError, ServiceError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


def _deployment(*, only_running: bool = True) -> Deployment:
    """The environment's deployment; the embedded services where none are named and they run, or ever ran."""
    from perpflow import embedded
    from perpflow.settings import deployment_from_environment

    status = embedded.status()
    services = (status.database, status.redis)
    database, redis = (service.url if service.running or not only_running else None for service in services)
    return deployment_from_environment(database, redis)


def _deployment_of_stream() -> Deployment:
    """The same for what goes on where one of the two services is away: what waits in it is not nothing."""
    from perpflow import embedded

    status = embedded.status()
    return _deployment(only_running=not (status.database.running or status.redis.running))


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def _symbols(text: str | None) -> tuple[str, ...] | None:
    """The symbols of an option; one that names none, as an empty variable of a script, must not mean all of them.

    Raises:
        BadConfiguration: it names none.
    """
    names = _names(text)
    if names == ():
        raise BadConfiguration(
            f"--symbols {text!r}: names no symbol.", hint="Write SOL/USDT, or all, or leave the option out."
        )
    return names


@app.command()
def migrate() -> None:
    """Bring the market database's schema up to date."""
    with _exit_codes():
        from perpflow import pipeline

        applied = pipeline.migrate(_deployment())
        typer.echo("\n".join(f"applied {name}" for name in applied) or "nothing to apply")


@app.command()
def backfill(
    datasets: DatasetsOption = "all",
    symbols: SymbolsOption = None,
    start: Annotated[str | None, typer.Option(help="UTC date or instant, inclusive.")] = None,
    end: Annotated[str | None, typer.Option(help="UTC date or instant, exclusive; left out: now.")] = None,
    again: Annotated[bool, typer.Option(help="Load also what the ledger holds already.")] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Load a range of history: what the ledger lacks of it, from archive and REST, through the gate."""
    with _exit_codes():
        from perpflow import pipeline

        form = {
            "symbols": _symbols(symbols),
            "datasets": tuple(DATASETS) if datasets == "all" else _names(datasets),
            "start": start,
            "end": end,
            "again": again,
            "symbols_per_task": 1,
        }
        request = LoadRequest.from_form(_run_name("backfill"), form)
        deployment = _deployment()
        plan = _after_bans(lambda: pipeline.plan(deployment, request))
        if dry_run:
            _only_announce(deployment, plan)
        _load(deployment, plan)


@app.command()
def ingest(datasets: DatasetsOption = "all") -> None:
    """Bring datasets up to the minute, from where the ledger ends."""
    with _exit_codes():
        from perpflow import pipeline

        names = tuple(DATASETS) if datasets == "all" else _names(datasets) or ()
        LoadRequest(names, None, None, None, "")  # refuses unknown datasets before anything is asked
        deployment = _deployment()
        for name in names:
            plan = partial(pipeline.plan_increment, deployment, name, _run_name(f"ingest_{name}"))
            _load(deployment, _after_bans(partial(plan, deployment.collection.symbols_per_task)))


@app.command()
def repair(
    datasets: DatasetsOption = "all",
    symbols: Annotated[str | None, typer.Option(help="`SOL/USDT,BTC/USDT`; left out: all that the ledger has.")] = None,
    start: StartOption = None,
    reissued: Annotated[
        bool, typer.Option("--reissued", help="Instead of holes: archive files issued again since they were read.")
    ] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Fill every hole that the ledger knows of: first what REST will have forgotten in a month, then the archive's."""
    with _exit_codes():
        from perpflow import pipeline

        request = _request("repair", datasets, symbols, start)
        if reissued and start is not None:
            raise BadConfiguration(
                "--start is of holes; files that were issued again are read whole, and all of them.",
                hint="Leave out --start, or --reissued.",
            )
        deployment = _deployment()
        make = pipeline.plan_reissued if reissued else partial(pipeline.plan_repair, estimates=True)
        nothing = "no file was issued again" if reissued else "the ledger has no hole that is not explained"
        plan = _after_bans(lambda: make(deployment, request))
        if dry_run:
            _only_announce(deployment, plan)
        _load(deployment, plan, nothing)


def _request(command: str, datasets: str, symbols: str | None, start: str | None) -> LoadRequest:
    """What options ask for; no symbols are all that the ledger has."""
    form = {
        "symbols": None if symbols == "all" else _symbols(symbols),
        "datasets": tuple(DATASETS) if datasets == "all" else _names(datasets),
        "start": start,
        "end": None,
        "again": False,
        "symbols_per_task": 1,
    }
    return LoadRequest.from_form(_run_name(command), form)


def _recognised(deployment: Deployment, request: LoadRequest) -> tuple[LoadRequest, int]:
    """The request without symbols that there never were, which are named; and the exit code that this makes.

    Raises:
        Exit: nothing is left of it.
    """
    from perpflow import pipeline

    request, unknown = _after_bans(lambda: pipeline.recognised(deployment, request))
    for reason in unknown:
        typer.echo(f"rejected {reason}", err=True)
    if request.symbols == ():
        raise typer.Exit(1)
    return request, 1 if unknown else 0


def _after_bans(call: Callable[[], T]) -> T:
    """The call's result; where the exchange has banned this address meanwhile, that of another one after its end.

    Raises:
        IpBanned: it lasts longer than a command should wait, or comes back again and again.
    """
    from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

    def remaining_s(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return error.retry_after_s + 1 if isinstance(error, IpBanned) else 0.0

    def announce(state: RetryCallState) -> None:
        typer.echo(f"The exchange has banned this address; going on in {state.upcoming_sleep:.0f} s.", err=True)

    retrying = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, IpBanned) and error.retry_after_s <= LONGEST_BAN_S),
        wait=remaining_s,
        stop=stop_after_attempt(MOST_BANS + 1),
        before_sleep=announce,
        reraise=True,
    )
    return retrying(call)


def _run_name(command: str) -> str:
    return f"{command}|manual__{datetime.now(UTC).isoformat()}"


def _load(deployment: Deployment, plan: Plan, nothing: str = "the ledger is full") -> None:
    """Take each batch its whole way, one after another; a batch that fails does not stop the others.

    Args:
        nothing: why there is nothing to do, where there is no batch.
    """
    from rich.progress import track

    from perpflow import pipeline, reporting
    from perpflow.estimating import remaining

    def load(batch: Batch) -> dict[str, dict[str, int]]:
        pipeline.stage(deployment, batch)
        pipeline.check(deployment, batch)
        return pipeline.publish(deployment, batch)

    _announce(deployment, plan)
    began, of = time.monotonic(), len(plan.batches)
    is_terminal = sys.stderr.isatty()
    for number, batch in enumerate(track(plan.batches, "Loading", disable=not is_terminal), 1):
        try:
            published = _after_bans(partial(load, batch))
        except PerpflowError as error:
            typer.echo(f"{batch.label}: {error}", err=True)
            continue
        for name, counts in published.items():
            facts = " ".join(f"{key}={value}" for key, value in counts.items())
            typer.echo(f"{batch.label}: {name} {facts}")
        # On a terminal the bar says it.
        if number < of and not is_terminal:
            typer.echo(remaining(number, of, time.monotonic() - began))
    reporting.report(deployment, plan)
    typer.echo(f"{len(plan.batches)} batches, all published" if plan.batches else f"nothing to load: {nothing}")


def _announce(deployment: Deployment, plan: Plan) -> None:
    """Say what was noticed in planning, and what the plan will take, before anything starts."""
    from perpflow.estimating import by_command, described

    for note in plan.notes:
        typer.echo(note)
    if plan.estimate is not None:
        for line in described(plan.estimate, deployment.collection, by_command(deployment.collection)):
            typer.echo(line)


def _only_announce(deployment: Deployment, plan: Plan) -> NoReturn:
    """Say what a plan will take, and that is all.

    Raises:
        Exit: in any case, with 1 where symbols were refused.
    """
    _announce(deployment, plan)
    if plan.estimate is None:
        typer.echo(f"plan: {len(plan.batches)} batches")
    for reason in plan.rejected:
        typer.echo(f"rejected {reason}", err=True)
    raise typer.Exit(1 if plan.rejected else 0)


def _number(value: float | None) -> float | None:
    """An option's value; `nan` is neither below a minimum nor above a maximum."""
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is no number.")
    return value


@app.command()
def coverage(
    symbols: Annotated[str | None, typer.Option(help="`SOL/USDT,BTC/USDT`; left out: all that the ledger has.")] = None,
    datasets: DatasetsOption = "all",
    start: StartOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list with an object for each series.")] = False,
) -> None:
    """Say of every series what is there and why the rest is not. Exit 1 if anything is missing without a reason."""
    with _exit_codes():
        from perpflow.coverage_command import show

        request = _request("coverage", datasets, symbols, start)
        deployment = _deployment()
        request, code = _recognised(deployment, request)
        raise typer.Exit(max(code, show(deployment, request, as_json=as_json)))


@app.command()
def corrections(
    symbols: Annotated[str | None, typer.Option(help="`SOL/USDT,BTC/USDT`; left out: all.")] = None,
    datasets: DatasetsOption = "all",
    start: Annotated[str | None, typer.Option(help="UTC date or instant of the rows; left out: all.")] = None,
    most: Annotated[int, typer.Option(min=1, max=100_000, help="How many rows to show, the latest ones.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list with an object for each row.")] = False,
) -> None:
    """Show which values archive or REST have changed since they first gave them, old and new."""
    with _exit_codes():
        from perpflow.corrections_command import show

        request, deployment = _request("corrections", datasets, symbols, start), _deployment()
        request, code = _recognised(deployment, request)
        show(deployment, request, most=most, as_json=as_json)
        raise typer.Exit(code)


@app.command()
def reconcile(
    symbols: SymbolsOption = None,
    datasets: DatasetsOption = "all",
    days: Annotated[int, typer.Option(min=1, max=29, help="How many whole days back.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list with an object for each column.")] = False,
) -> None:
    """Ask archive and REST for the same days and compare them. Exit 1 if values differ beyond their tolerance."""
    with _exit_codes():
        from perpflow import reconciling
        from perpflow.reconcile_command import show

        request = _request("reconcile", datasets, symbols, None)
        if symbols == "all":
            request = replace(request, symbols=("all",))
        deployment = _deployment()
        request, code = _recognised(deployment, request)
        found = _after_bans(lambda: reconciling.reconcile(deployment, request, days))
        show(found, as_json=as_json)
        reconciling.complain(found)
        raise typer.Exit(code)


@app.command()
def report(
    day: Annotated[str | None, typer.Option(help="UTC day; left out: the last one that is over.")] = None,
    output: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write this file alone; its folder must be there.")
    ] = None,
    data_docs: Annotated[
        bool, typer.Option("--data-docs", help="Render the day's failed expectations by Great Expectations as well.")
    ] = False,
) -> None:
    """Write a day's quality report, one HTML page that needs nothing else, and say where it is."""
    with _exit_codes():
        from perpflow.reports.report_command import write

        write(_deployment(), day, output, with_data_docs=data_docs)


def _recorded(datasets: str, symbols: str | None) -> tuple[LoadRequest, int]:
    """What of the ledger is meant, and the exit code so far."""
    return _recognised(_deployment(), _request("audit", datasets, symbols, None))


app.add_typer(AuditCommands(_exit_codes, _deployment, _recorded).app, name="audit")


@app.command()
def health(
    continuous: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=LONGEST_PAUSE_S,
            callback=_number,
            metavar="SECONDS",
            help="Look again every so many seconds, until Ctrl-C.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each look.")] = False,
) -> None:
    """Say how services, exchange, limits and data are, and what to do. Exit 1 if anything is red, for monitors."""
    with _exit_codes():
        from perpflow.health.watch import watch

        # What the log would warn of is what this command says itself.
        logging.disable(logging.WARNING)
        try:
            code = watch(_deployment(only_running=False), every_s=continuous, as_json=as_json)
        finally:
            logging.disable(logging.NOTSET)
        raise typer.Exit(code)


@app.command()
def stream(
    seconds: Annotated[
        float | None,
        typer.Option(min=1, max=LONGEST_STREAM_S, callback=_number, help="End after so long; left out: never."),
    ] = None,
) -> None:
    """Stream live prices and liquidations into Redis, until a later stream takes over, Ctrl-C or SIGTERM."""
    with _exit_codes():
        import asyncio

        from perpflow.streaming import stream as run
        from perpflow.streaming import this_process

        ended = asyncio.run(run(_deployment_of_stream(), this_process(), seconds))
        typer.echo(
            f"{ended.how} after {ended.seconds:.0f} s: {ended.frames:,} frames, {ended.values:,} values written, "
            f"{ended.liquidations - ended.lost:,} frames of liquidations kept"
        )
        if ended.lost:
            typer.echo(
                f"{ended.lost:,} frames of liquidations are lost: neither Redis nor the database took them", err=True
            )
        if not ended.frames:
            typer.echo("nothing has come: the log says why", err=True)
        if ended.lost or not ended.frames:
            raise typer.Exit(1)


@app.command()
def drain(
    reclaim_after: Annotated[
        float, typer.Option(min=0, max=LONGEST_PAUSE_S, callback=_number, help="Seconds after which a drain is dead.")
    ] = RECLAIM_AFTER_S,
) -> None:
    """Take the liquidations that the stream has received through the gate into their table."""
    with _exit_codes():
        from perpflow import pipeline

        deployment = _deployment_of_stream()
        plan = pipeline.plan_drain(deployment, _run_name("drain"), reclaim_after)
        _load(deployment, plan, "no liquidation waits that is not another drain's")


@app.command()
def latest(
    symbol: Annotated[str, typer.Argument(help="A symbol such as SOL/USDT; several with commas.")],
    watch: Annotated[bool, typer.Option("--watch", help="Renew the table until Ctrl-C.")] = False,
) -> None:
    """Show the latest live values."""
    with _exit_codes():
        from perpflow.latest_table import show

        symbols = _names(symbol)
        if not symbols:
            raise BadConfiguration(f"{symbol!r} names no symbol.", hint="Write SOL/USDT; several with commas.")
        raise typer.Exit(show(symbols, _deployment(only_running=False).redis_url, again=watch))


app.add_typer(QuarantineCommands(_exit_codes, _deployment, _load).app, name="quarantine")

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    app()
