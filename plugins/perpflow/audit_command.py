"""`python -m perpflow audit`: look at what was published since, and say how far every series is verified and what a
day's quality report has; `audit accept`: take a finding as it is."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from perpflow import auditing
from perpflow.auditing import Audited, State
from perpflow.batches import LoadRequest
from perpflow.errors import BadConfiguration
from perpflow.reports.day import day_asked
from perpflow.settings import Deployment
from perpflow.store.verification import OpenFindings, Verified
from perpflow.terminal import new_table, wide_console

#: What the tables need.
WIDTH = 136


class Commands:
    """The commands, on a deployment that is asked for when one runs.

    Args:
        exit_codes: turns errors into messages and exit codes.
        deployment: where everything is.
        recorded: what datasets and symbols mean, of what the ledger has, and the exit code so far.
    """

    def __init__(
        self,
        exit_codes: Callable[[], AbstractContextManager[None]],
        deployment: Callable[[], Deployment],
        recorded: Callable[[str, str | None], tuple[LoadRequest, int]],
    ) -> None:
        self._exit_codes, self._deployment, self._recorded = exit_codes, deployment, recorded
        self.app = typer.Typer(epilog="A finding that is so and stays so: `audit accept NUMBER --note WHY`.")
        self.app.callback(invoke_without_command=True)(self.audit)
        self.app.command("accept")(self.accept)

    def audit(
        self,
        context: typer.Context,
        symbols: Annotated[
            str | None, typer.Option(help="`SOL/USDT,BTC/USDT`; left out: all that the ledger has.")
        ] = None,
        datasets: Annotated[str, typer.Option(help="Comma-separated datasets, or `all`.")] = "all",
        day: Annotated[
            str | None,
            typer.Option(
                help="UTC day whose quality report is printed as tables, too; left out: today, where neither"
                " symbols nor datasets are named."
            ),
        ] = None,
        again: Annotated[bool, typer.Option("--again", help="Also what was audited since it was published.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    ) -> None:
        """Audit what was published, and say how far each series is verified. Exit 1 if a critical finding is open."""
        if context.invoked_subcommand:
            return
        with self._exit_codes():
            shown_day = _day(day, as_json=as_json)
            request, code = self._recorded(datasets, symbols)
            deployment = self._deployment()
            done = auditing.audit(deployment, request.datasets, request.symbols, again=again)
            state = auditing.state(deployment, request.datasets, request.symbols)
            code = max(code, show(done, state, as_json=as_json))
            if not as_json and (day or (symbols is None and datasets == "all")):
                _show_report(deployment, shown_day)
            raise typer.Exit(code)

    def accept(
        self,
        ids: Annotated[list[int], typer.Argument(help="Numbers of findings, as `audit` shows them.", min=1)],
        note: Annotated[str, typer.Option(help="Why it is so and stays so; it stays with the finding.")],
        by: Annotated[str | None, typer.Option(help="Who says so; left out: whoever runs this.")] = None,
    ) -> None:
        """Take findings as they are: they dispute nothing, until an audit finds something else there."""
        with self._exit_codes():
            accepted = auditing.accept(self._deployment(), tuple(ids), person=by or _person(), note=note)
            typer.echo(f"{accepted} findings accepted.")


def show(done: Audited, state: State, *, as_json: bool) -> int:
    """Print what was found and how far series are verified; returns an exit code: 1 where anything is disputed."""
    if as_json:
        sys.stdout.write(json.dumps(plain(done, state)) + "\n")
    else:
        console = wide_console(WIDTH)
        console.print(table(state.series) if state.series else "Nothing was published yet.")
        console.print(findings_table(state.findings) if state.findings else "No finding is open.")
        console.print(f"{done.found:,} new findings, {done.resolved:,} resolved.")
        for dataset in done.left:
            console.print(f"{dataset}: changed again and again meanwhile; the next run looks at what is left.")
    return 1 if state.is_disputed else 0


def _day(text: str | None, *, as_json: bool) -> date:
    """The day whose report is printed; left out: today.

    Raises:
        BadConfiguration: that is no day, or nothing is printed of one.
    """
    if text and as_json:
        raise BadConfiguration("--day prints tables, and --json none.", hint="Leave one of the two out.")
    now = datetime.now(UTC)
    return day_asked(text or f"{now:%Y-%m-%d}", now)


def _show_report(deployment: Deployment, day: date) -> None:
    """Print the tables of a day's quality report.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    from perpflow.reports import tables
    from perpflow.reports.writing import gather

    wide_console(tables.WIDTH).print(tables.render(gather(deployment, day)))


def plain(done: Audited, state: State) -> dict[str, Any]:
    """As JSON has it: instants as ISO text, UTC."""
    return {
        "found": done.found,
        "resolved": done.resolved,
        "left": list(done.left),
        "series": [plain_series(series) for series in state.series],
        "findings": [_plain_finding(finding) for finding in state.findings],
    }


def plain_series(series: Verified) -> dict[str, Any]:
    """A series with its instants as ISO text."""
    instants = {name: getattr(series, name).isoformat() for name in ("verified_from", "verified_until")}
    return {"dataset": series.dataset, "symbol": series.symbol, "series": series.series, **instants}


def _plain_finding(finding: OpenFindings) -> dict[str, Any]:
    names = (
        "id",
        "audit",
        "dataset",
        "severity",
        "accepted",
        "accepted_by",
        "note",
        "findings",
        "symbol",
        "series",
        "column",
        "detail",
    )
    instants = {name: _iso(getattr(finding, name)) for name in ("time", "until")}
    return {**{name: getattr(finding, name) for name in names}, **instants}


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def table(found: Iterable[Verified]) -> Table:
    """One line for each series."""
    made = new_table("Verified (times are UTC)")
    for name in ("dataset", "symbol", "series", "verified from", "until", "of what is there until"):
        made.add_column(name, no_wrap=True)
    shown = ("", "")
    for series in found:
        subject = (series.dataset, series.symbol)
        if series.dataset != shown[0]:
            made.add_section()
        is_whole = series.verified_until == series.covered_until
        colour = "green" if is_whole else "yellow"
        made.add_row(
            *(name if name not in shown else "" for name in subject),
            series.series,
            _minute(series.verified_from),
            f"[{colour}]{_minute(series.verified_until)}[/]",
            _minute(series.covered_until),
        )
        shown = subject
    return made


def findings_table(found: Iterable[OpenFindings]) -> Table:
    """One line for each audit, dataset and severity, accepted ones by themselves, with the first as a sample."""
    made = new_table("Open findings")
    for name in ("audit", "dataset", "severity"):
        made.add_column(name, no_wrap=True)
    made.add_column("findings", justify="right", no_wrap=True)
    made.add_column("number", justify="right", no_wrap=True)
    made.add_column("the first of them")
    for finding in found:
        colour = "bold red" if finding.severity == "critical" else "yellow"
        made.add_row(
            finding.audit,
            finding.dataset,
            f"[{colour}]{'accepted' if finding.accepted else finding.severity}[/]",
            f"{finding.findings:,}",
            str(finding.id),
            escape(finding.sample),
        )
    return made


def _person() -> str:
    """Who runs the command; in a container there may be a number and no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def _minute(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"
