"""Who listens to which stream now, and when anybody did: the base of a test's "share of time subscribed"."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from simulator.stream_connection import Connection
from simulator.stream_names import Stream


class Listening:
    """Connections by stream, and per stream the intervals (monotonic seconds) with at least one of them.

    It knows only streams that flow: a subscription on the wrong path is in the report of its connection alone.
    """

    def __init__(self, streams: dict[str, Stream]) -> None:
        self._streams = streams
        self._listeners: dict[str, list[Connection]] = {}
        self._intervals: dict[str, list[tuple[float, float]]] = {}
        self._since: dict[str, float] = {}

    def join(self, connection: Connection, name: str, now: float) -> None:
        """A connection has subscribed; without effect when nothing would flow."""
        stream = self._streams.get(name)
        if stream is not None and stream.flows_on(connection.category):
            self._listeners.setdefault(name, []).append(connection)
            self._since.setdefault(name, now)

    def leave(self, connection: Connection, name: str, now: float) -> None:
        """A connection has left the stream, or ended."""
        listeners = self._listeners.get(name, [])
        if connection in listeners:
            listeners.remove(connection)
            if not listeners:
                del self._listeners[name]
                self._intervals.setdefault(name, []).append((self._since.pop(name), now))

    def to(self, name: str) -> list[Connection]:
        """The connections that listen to a stream; a copy, since sending may end some."""
        return list(self._listeners.get(name, ()))

    def streams(self) -> Iterator[Stream]:
        """All streams that somebody listens to."""
        return map(self._streams.__getitem__, list(self._listeners))

    def clear(self, now: float) -> None:
        """Forget what was before now."""
        self._intervals.clear()
        self._since = dict.fromkeys(self._since, now)

    def report(self, began: float) -> dict[str, list[list[float | None]]]:
        """Per stream `[from, until]` in seconds since `began`; until None where somebody still listens."""
        spans: dict[str, list[list[float | None]]] = {}
        running = ((name, (since, None)) for name, since in self._since.items())
        past = ((name, span) for name, known in self._intervals.items() for span in known)
        for name, (since, until) in chain(past, running):
            ends = None if until is None else round(until - began, 3)
            spans.setdefault(name, []).append([round(since - began, 3), ends])
        return spans
