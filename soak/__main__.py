"""`python -m soak [--seed N] [--kills N] [--minutes N] [--short] [CAMPAIGN ...]`: exit 0 only if everything held."""

from __future__ import annotations

import math
import secrets
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Annotated

import typer
from rich.console import Console

from perpflow.windows import Window
from soak import report
from soak.airflow_campaign import AirflowCampaign, RunHangs
from soak.checks import Check, check
from soak.house import House, discard, opened
from soak.market import AUGUST, AUTUMN, JUNE, drawn
from soak.politeness_campaign import PolitenessCampaign
from soak.stream_campaign import FULL, SHORT, StreamCampaign
from soak.tally import Tally
from soak.worker_campaign import StepFailed, WorkerCampaign
from soak.workers import preloaded
from tests.loading import utc

SYMBOLS = ("SOL/USDT", "BTC/USDT", "ALICE/USDT")
SPANS = (JUNE, AUGUST, AUTUMN)
#: Two days of each kind, and today.
SHORT_SPANS = (Window(utc("2026-06-15"), utc("2026-06-18")), Window(utc("2026-10-11"), AUTUMN.end))
AIRFLOW_SPAN = Window(utc("2026-09-17"), AUTUMN.end)
SHORT_AIRFLOW_SPAN = Window(utc("2026-10-07"), AUTUMN.end)
KILLS, SHORT_KILLS = 200, 40
#: After their part of these minutes campaigns kill no more; what is at work still ends. A quiet machine needs half.
MINUTES, SHORT_MINUTES = 40, 9
#: Longer than a window of five minutes, and than one of one minute.
POLITE_S, SHORT_POLITE_S = 390.0, 90.0


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    seed: int
    kills: int
    minutes: float
    short: bool

    def kills_of(self, campaign: str) -> int:
        """A campaign's quota: what dies in Airflow comes back in half a minute, elsewhere at once."""
        return max(self.kills // 6, 1) if campaign == "airflow" else self.kills

    def command(self, campaign: str) -> str:
        """What makes the same choices again."""
        options = (
            f"--seed {self.seed} --kills {self.kills} --minutes {self.minutes:g}{' --short' if self.short else ''}"
        )
        return f'make soak ARGS="{campaign} {options}"'


def workers(options: Options, house: House, tally: Tally, until: float) -> list[Check]:
    """Campaign 1: processes that stage, check and publish."""
    spans = SHORT_SPANS if options.short else SPANS
    market = drawn(Random(f"{options.seed} market"), SYMBOLS, spans)
    return WorkerCampaign(house, market, tally, options.seed, until).run()


def airflow(options: Options, house: House, tally: Tally, until: float) -> list[Check]:
    """Campaign 2: a real Airflow."""
    span = SHORT_AIRFLOW_SPAN if options.short else AIRFLOW_SPAN
    market = drawn(Random(f"{options.seed} market"), SYMBOLS, (span,))
    return AirflowCampaign(house, market, tally, options.seed, until).run()


def politeness(options: Options, house: House, tally: Tally, until: float) -> list[Check]:
    """Campaign 3: six processes at the exchange's limits."""
    return PolitenessCampaign(house, tally, SHORT_POLITE_S if options.short else POLITE_S).run()


def stream(options: Options, house: House, tally: Tally, until: float) -> list[Check]:
    """Campaign 4: streams that hand over to each other."""
    return StreamCampaign(house, tally, options.seed, SHORT if options.short else FULL).run()


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign; `part` of the minutes it may kill in."""

    title: str
    run: Callable[[Options, House, Tally, float], list[Check]]
    part: float


CAMPAIGNS = {
    "workers": Campaign("Worker processes, killed at random points", workers, 0.5),
    "airflow": Campaign("Airflow, its tasks and scheduler killed", airflow, 0.5),
    "politeness": Campaign("Six processes that want more than there is", politeness, 0.0),
    "stream": Campaign("Streams that hand over, killed with their servers and drains", stream, 0.0),
}


class Soak:
    """Runs campaigns one after another and says what came of them."""

    def __init__(self, options: Options, console: Console) -> None:
        self.options = options
        self.console = console

    def run(self, name: str) -> bool:
        """One campaign in a house of its own; whether everything held. What failed is kept."""
        campaign, tally = CAMPAIGNS[name], Tally(self.options.kills_of(name))
        began = time.monotonic()
        with opened(name, self.options.seed) as house, report.progress(self.console, tally):
            self.console.print(f"{campaign.title}: seed {self.options.seed}, logs in {house.logs}", soft_wrap=True)
            try:
                checks = campaign.run(self.options, house, tally, began + 60 * self.options.minutes * campaign.part)
            except (StepFailed, RunHangs, TimeoutError) as failure:
                checks = [check("every step and run gets to its end", [str(failure)])]
        checks.append(check("no server is left running", map(str, house.left_running())))
        report.show(self.console, campaign.title, tally, checks, time.monotonic() - began)
        held = all(each.holds for each in checks)
        if held:
            discard(house)
        else:
            self.console.print(f"Logs and data: {house.state}\nTo repeat: {self.options.command(name)}", soft_wrap=True)
        return held


def main(
    campaigns: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(CAMPAIGNS)}; all by default.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Draws loads, kills and faults; random by default.")] = None,
    kills: Annotated[int | None, typer.Option(min=1, help=f"At least so many: {KILLS}, short {SHORT_KILLS}.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=1, help=f"Then no more: {MINUTES}, short {SHORT_MINUTES}.")
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="The form that CI runs.")] = False,
) -> None:
    """Kill everything again and again, then compare whole tables with the truth."""
    if minutes is not None and math.isnan(minutes):
        raise typer.BadParameter("--minutes nan: no number")
    unknown = [name for name in campaigns or () if name not in CAMPAIGNS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: there are {', '.join(CAMPAIGNS)}")
    options = Options(
        secrets.randbelow(1_000_000) if seed is None else seed,
        kills or (SHORT_KILLS if short else KILLS),
        minutes or (SHORT_MINUTES if short else MINUTES),
        short,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console()
    with preloaded():
        held = [Soak(options, console).run(name) for name in campaigns or CAMPAIGNS]
    console.print("[bold green]Everything held.[/]" if all(held) else "[bold red]Not everything held.[/]")
    raise typer.Exit(0 if all(held) else 1)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    typer.run(main)
