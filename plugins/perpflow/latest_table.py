"""The latest live values as a table, once or renewed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress

from rich.console import Console
from rich.live import Live
from rich.table import Table

from perpflow import reader
from perpflow.errors import StoreUnavailable
from perpflow.store.latest import Latest
from perpflow.terminal import new_table

#: As often as a person can follow.
EVERY_S, PRINTED_EVERY_S = 0.25, 1.0
#: Older than this is not live.
STALE_S = 10.0


def show(symbols: tuple[str, ...], redis_url: str | None, *, again: bool) -> int:
    """Print a line for each symbol, or renew the table until Ctrl-C; returns 1 where nothing is live of one, else 0.

    Without a terminal each renewal is printed below the one before, once a second. While Redis is away the table stays
    as it is, and says so.

    Raises:
        BadConfiguration, StoreUnavailable, StateDamaged: as `reader.latest`, at first.
    """
    console = Console()
    found = _read(symbols, redis_url)
    if again:
        found = _watch(console, found, redis_url)
    else:
        console.print(table(found, now_ms()))
    missing = [symbol for symbol, latest in found.items() if latest is None]
    if missing:
        hint = "Does `python -m perpflow stream` run, or the DAG stream_market? Symbols are written as SOL/USDT."
        Console(stderr=True, soft_wrap=True).print(f"Nothing is live of {', '.join(missing)}. {hint}", highlight=False)
    return 1 if missing else 0


Found = dict[str, Latest | None]


def _read(symbols: Iterable[str], redis_url: str | None) -> Found:
    return {symbol: reader.latest(symbol, redis_url) for symbol in symbols}


def _watch(console: Console, found: Found, redis_url: str | None) -> Found:
    """Renew until Ctrl-C; returns what was seen last."""
    screen = Live(console=console, auto_refresh=False) if console.is_terminal else None
    trouble = ""
    with screen or nullcontext(), suppress(KeyboardInterrupt):
        while True:
            shown = table(found, now_ms(), trouble)
            if screen:
                screen.update(shown, refresh=True)
            else:
                console.print(shown)
            time.sleep(EVERY_S if screen else PRINTED_EVERY_S)
            try:
                found, trouble = _read(found, redis_url), ""
            except StoreUnavailable as error:
                trouble = str(error)
    return found


def now_ms() -> int:
    """This machine's clock, in ms UTC."""
    return time.time_ns() // 1_000_000


def table(found: Found, now: int, trouble: str = "") -> Table:
    """A row for each symbol; what was received longer than ten seconds before `now` (ms) is dim."""
    shown = new_table("Latest values")
    shown.caption = trouble or None
    shown.add_column("symbol", no_wrap=True)
    for name in ("price", "mark", "index", "funding", "open interest", "age"):
        shown.add_column(name, justify="right", no_wrap=True)
    for symbol, latest in found.items():
        shown.add_row(symbol, *_cells(latest, now), style="dim" if _age_s(latest, now) > STALE_S else "")
    return shown


def _cells(latest: Latest | None, now: int) -> Iterator[str]:
    if latest is None:
        yield from ("nothing live", *[""] * 5)
        return
    price, mark, interest = latest.price, latest.mark, latest.open_interest
    yield f"{price.price:,.8g}" if price else "-"
    yield f"{mark.mark_price:,.8g}" if mark else "-"
    yield f"{mark.index_price:,.8g}" if mark else "-"
    yield f"{mark.funding_rate:+.4%}" if mark and mark.funding_rate is not None else "-"
    yield f"{interest.open_interest:,.8g}" if interest else "-"
    yield f"{_age_s(latest, now):.1f} s"


def _age_s(latest: Latest | None, now: int) -> float:
    """Of the price, where there is one."""
    group = (latest.price or latest.mark or latest.open_interest) if latest else None
    return (now - group.received_at) / 1000 if group else float("inf")
