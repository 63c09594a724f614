"""`python -m benchmarks [NAME ...]`: measure those named, or all but the longest. Exit 2 on a wrong name."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg

from benchmarks import (
    archive_path,
    gating,
    increment,
    ledger_growth,
    live_stream,
    memory,
    planning,
    publishing,
    rest_path,
)
from benchmarks.measurement import Measurement, print_table, timed
from perpflow import embedded
from perpflow.embedded.errors import ServiceError
from perpflow.errors import PerpflowError
from perpflow.settings import Deployment
from perpflow.store.database import session
from perpflow.store.migrations import migrate

BENCHMARKS: dict[str, Callable[[Deployment], list[Measurement]]] = {
    "publish": publishing.measure,
    "memory": memory.measure,
    "gate": gating.measure,
    "archive": archive_path.measure,
    "rest": rest_path.measure,
    "stream": live_stream.measure,
    "planning": planning.measure,
    "ledger": ledger_growth.measure,
    "increment": increment.measure,
}
#: It takes a quarter of an hour, most of which is waiting.
BY_NAME_ONLY = frozenset({"increment"})


@contextmanager
def stores() -> Iterator[Deployment]:
    """A migrated market database and a Redis of their own, discarded afterwards; no exchange yet."""
    state = Path(tempfile.mkdtemp(prefix="perpflow-bench-"))
    try:
        services = embedded.start(state)
        database = services.database
        assert database.url is not None
        if database.timescaledb is None:
            print("Plain PostgreSQL without TimescaleDB: these are not the figures of hypertables.", file=sys.stderr)
        with session(database.url) as connection:
            migrate(connection)
        yield Deployment(database_url=database.url, redis_url=services.redis.url)
    finally:
        embedded.discard(state)


@contextmanager
def failing_in_a_line(name: str) -> Iterator[None]:
    """What a busy machine or a service does to a benchmark is a line and exit 1; our own mistakes are tracebacks."""
    try:
        yield
    except (PerpflowError, ServiceError, OSError, httpx.HTTPError, psycopg.Error) as problem:
        print(f"failed: {name}: {type(problem).__name__}: {' '.join(str(problem).split())}", file=sys.stderr)
        raise SystemExit(1) from problem


def main(names: list[str]) -> int:
    """Run the named benchmarks; where none is named, all that do not take a quarter of an hour each."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    measured: list[Measurement] = []
    with timed() as watch, stores() as deployment:
        for name in names or (name for name in BENCHMARKS if name not in BY_NAME_ONLY):
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            with failing_in_a_line(name):
                measured += BENCHMARKS[name](deployment)
    print_table(measured, watch.seconds)
    return 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    sys.exit(main(sys.argv[1:]))
