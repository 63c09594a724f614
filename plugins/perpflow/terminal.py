"""Tables on a terminal: how wide they are, and one style for all.

By itself, because every command prints some, and what most tables are about costs a second to import.
"""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def wide_console(least: int) -> Console:
    """Where tables are printed: as wide as the terminal, and at least as wide as they need."""
    return Console(width=max(least, Console().width))


def new_table(title: str) -> Table:
    """An empty table in the style of all tables here."""
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
