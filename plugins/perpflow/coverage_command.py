"""`python -m perpflow coverage`: what is there, over time, and why the rest is not."""

from __future__ import annotations

import json
import sys

from rich.text import Text

from perpflow.batches import LoadRequest
from perpflow.coverage_strip import plain, strips
from perpflow.coverage_summary import Hole, Reason, SeriesSummary, summarise
from perpflow.coverage_table import WIDTH, render
from perpflow.exchange_clock import exchange_now
from perpflow.never_loaded import NeverLoaded, described, never_loaded
from perpflow.settings import Deployment
from perpflow.store.database import session
from perpflow.symbols import known_contracts
from perpflow.terminal import wide_console


def show(deployment: Deployment, asked: LoadRequest, *, as_json: bool) -> int:
    """Print the coverage of what is asked for, from its start (None: collection.yaml's) to now; returns an exit code.

    Series that should be there and that the ledger does not know are named apart, with the command that loads them.

    Raises:
        BadConfiguration: the start has not passed yet.
        StoreUnavailable: the database does not answer.
    """
    now = exchange_now(deployment).now
    asked.require_past(deployment.collection, now)
    with session(deployment.database_url) as connection:
        collected = deployment.collection.collected(known_contracts(connection).values())
        summaries = [
            summary
            for name in asked.datasets
            for summary in summarise(
                connection,
                start=asked.start or deployment.collection.start_of(name),
                now=now,
                datasets=(name,),
                symbols=asked.symbols,
                is_collected=collected.__contains__,
            )
        ]
        known = {(summary.dataset, summary.symbol, summary.series) for summary in summaries}
        never = [
            one
            for one in never_loaded(connection, deployment.collection, asked)
            if (one.dataset, one.symbol, one.series) not in known
        ]
    if as_json:
        sys.stdout.write(json.dumps([plain(summary) for summary in (*summaries, *map(_nothing, never))]) + "\n")
    else:
        console = wide_console(WIDTH)
        if summaries:
            console.print(render(summaries), strips(summaries))
        for line in described(never, asked):
            console.print(Text(line, style="bold red"), soft_wrap=True)
    return 0 if all(summary.complete for summary in summaries) and not never else 1


def _nothing(one: NeverLoaded) -> SeriesSummary:
    hole = Hole(Reason.NEVER_LOADED, (), None)
    return SeriesSummary(one.dataset, one.symbol, one.series, None, None, None, 0, None, 0, 0, (hole,), None)
