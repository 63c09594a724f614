"""`python -m benchmarks [publish] [memory] [gate]`: measure, and print one table. Exit 2 on an unknown name."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import gating, memory, publishing
from benchmarks.measurement import Measurement, print_table, timed
from perpflow import embedded
from perpflow.store.database import session
from perpflow.store.migrations import migrate

BENCHMARKS: dict[str, Callable[[str], list[Measurement]]] = {
    "publish": publishing.measure,
    "memory": memory.measure,
    "gate": gating.measure,
}


@contextmanager
def market_database() -> Iterator[str]:
    """A migrated market database of its own, discarded afterwards; the URL."""
    state = Path(tempfile.mkdtemp(prefix="perpflow-bench-"))
    try:
        database = embedded.start(state).database
        assert database.url is not None
        if database.timescaledb is None:
            print("Plain PostgreSQL without TimescaleDB: these are not the figures of hypertables.", file=sys.stderr)
        with session(database.url) as connection:
            migrate(connection)
        yield database.url
    finally:
        embedded.discard(state)


def main(names: list[str]) -> int:
    """Run the named benchmarks, all of them where none is named."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    measured: list[Measurement] = []
    with timed() as watch, market_database() as database_url:
        for name in names or BENCHMARKS:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            measured += BENCHMARKS[name](database_url)
    print_table(measured, watch.seconds)
    return 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    sys.exit(main(sys.argv[1:]))
