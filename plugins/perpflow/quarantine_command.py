"""`python -m perpflow quarantine list|show|release|reject`: see what the gate withheld, and decide about it."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, redirect_stdout
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from perpflow import reviewing
from perpflow.batches import Plan
from perpflow.errors import BadConfiguration
from perpflow.quarantine_tables import ROW_WIDTH, WIDTH, plain, row_lines, row_tables, waiting_lines, waiting_tables
from perpflow.reviewing import Decision, Judgement, Selection
from perpflow.settings import Deployment
from perpflow.terminal import wide_console
from perpflow.windows import parse_instant

#: Of a bigint.
LARGEST_ID = 2**63 - 1
Ids = Annotated[list[int] | None, typer.Argument(help="Numbers of rows, as `list` shows them.", min=1, max=LARGEST_ID)]
Datasets = Annotated[str | None, typer.Option(help="Comma-separated datasets; left out: all.")]
Symbols = Annotated[str | None, typer.Option(help="`SOL/USDT,BTC/USDT`; left out: all.")]
Expectation = Annotated[str | None, typer.Option(help="What rows fail, by its name; left out: anything.")]
Since = Annotated[str | None, typer.Option(help="UTC date or instant from which on rows were withheld.")]
Note = Annotated[str, typer.Option(help="Why; it stays with the rows.")]
Rivals = Annotated[
    bool,
    typer.Option(
        "--reject-rivals",
        help="Reject what the same source gave otherwise for the same key, and replace what of it is published.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON.")]

NAME = "quarantine"


class Commands:
    """The commands, on a deployment that is asked for when one runs.

    Args:
        exit_codes: turns errors into messages and exit codes.
        deployment: where everything is.
        load: takes the batches of a plan their way through the gate; the text says why there are none.
    """

    def __init__(
        self,
        exit_codes: Callable[[], AbstractContextManager[None]],
        deployment: Callable[[], Deployment],
        load: Callable[[Deployment, Plan, str], None],
    ) -> None:
        self._exit_codes, self._deployment, self._load = exit_codes, deployment, load
        self.app = typer.Typer(no_args_is_help=True, help="What the gate has withheld: see it, release it, reject it.")
        self.app.command("list")(self.show_waiting)
        self.app.command("show")(self.show_row)
        self.app.command("release")(self.release)
        self.app.command("reject")(self.reject)

    def show_waiting(
        self,
        datasets: Datasets = None,
        symbols: Symbols = None,
        expectation: Expectation = None,
        since: Since = None,
        most: Annotated[int, typer.Option(min=1, max=100_000, help="How many rows to show.")] = 50,
        superseded: Annotated[
            bool, typer.Option("--superseded", help="What needs no decision: the source has given another row since.")
        ] = False,
        as_json: AsJson = False,
    ) -> None:
        """Show what waits for a decision, by what it fails."""
        with self._exit_codes():
            chosen = selection(None, datasets, symbols, expectation, since)
            found = reviewing.waiting(self._deployment(), chosen, most, superseded=superseded)
            _print(lambda: waiting_tables(found, most), lambda: waiting_lines(found, most), found, WIDTH, as_json)

    def show_row(
        self,
        number: Annotated[int, typer.Argument(help="A row's number, as `list` shows it.", min=1, max=LARGEST_ID)],
        as_json: AsJson = False,
    ) -> None:
        """Show a row whole: what it fails, others of the same key, and the published rows before and after."""
        with self._exit_codes():
            shown = reviewing.show(self._deployment(), number)
            _print(lambda: row_tables(shown), lambda: row_lines(shown), shown, ROW_WIDTH, as_json)

    def release(
        self,
        note: Note,
        ids: Ids = None,
        datasets: Datasets = None,
        symbols: Symbols = None,
        expectation: Expectation = None,
        since: Since = None,
        reject_rivals: Rivals = False,
        as_json: AsJson = False,
    ) -> None:
        """Publish rows after all: they pass what they failed, now and when they are read again, and nothing else."""
        with self._exit_codes():
            chosen = selection(ids, datasets, symbols, expectation, since)
            self._decide(chosen, "released", note, as_json=as_json, reject_rivals=reject_rivals)

    def reject(
        self,
        note: Note,
        ids: Ids = None,
        datasets: Datasets = None,
        symbols: Symbols = None,
        expectation: Expectation = None,
        since: Since = None,
        as_json: AsJson = False,
    ) -> None:
        """Never publish rows: they stay in the quarantine, and the holes that they leave stay explained."""
        with self._exit_codes():
            chosen = selection(ids, datasets, symbols, expectation, since)
            self._decide(chosen, "rejected", note, as_json=as_json)

    def _decide(
        self, chosen: Selection, decision: Decision, note: str, *, as_json: bool, reject_rivals: bool = False
    ) -> None:
        review = f"{NAME}|manual__{datetime.now(UTC).isoformat()}"
        deployment = self._deployment()
        decided = reviewing.decide(deployment, chosen, Judgement(decision, note, _person(), review, reject_rivals))
        _announce(decision, decided, as_json=as_json)
        if decided.reviews:
            plan = reviewing.plan(deployment, review, decided.reviews)
            # What is for programs stands alone in the output.
            with redirect_stdout(sys.stderr if as_json else sys.stdout):
                self._load(deployment, plan, "what was released is published")


def selection(
    ids: list[int] | None, datasets: str | None, symbols: str | None, expectation: str | None, since: str | None
) -> Selection:
    """What options choose; one that is given and names nothing, as an empty variable of a script, must not mean all.

    Raises:
        BadConfiguration: an option names nothing, a dataset is unknown, or `since` is no instant.
    """
    given = {"--datasets": datasets, "--symbols": symbols, "--expectation": expectation, "--since": since}
    for option, text in given.items():
        if text is not None and not text.strip(" ,"):
            raise BadConfiguration(f"{option} {text!r}: names nothing.", hint="Leave the option out to mean all.")
    return Selection(tuple(ids or ()), _names(datasets), _names(symbols), expectation, _instant(since))


def _names(text: str | None) -> tuple[str, ...]:
    names = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    return () if names == ("all",) else names


def _instant(text: str | None) -> datetime | None:
    try:
        return parse_instant(text) if text else None
    except ValueError as error:
        raise BadConfiguration(
            f"--since {text!r}: {error}.", hint="Write 2026-04-18 or 2026-04-18T12:00:00Z."
        ) from error


def _person() -> str:
    """Who runs the command; in a container there may be a number and no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def _announce(decision: Decision, decided: reviewing.Decided, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"decision": decision, **asdict(decided)}))
        return
    also = f", and {decided.rivals_rejected} entries of the same keys rejected" if decided.rivals_rejected else ""
    also += f"; to replace {decided.replaces} published rows" if decided.replaces else ""
    typer.echo(f"{decision}: {decided.marked} entries of the quarantine{also}")


def _print(
    tables: Callable[[], RenderableType], lines: Callable[[], Iterator[str]], found: Any, width: int, as_json: bool
) -> None:
    """Tables on a terminal, plain lines elsewhere, or JSON."""
    if as_json:
        sys.stdout.write(json.dumps(plain(asdict(found))) + "\n")
    elif sys.stdout.isatty():
        wide_console(width).print(tables())
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines())
