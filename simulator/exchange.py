"""The exchange behind the server: one request in, one reply out; no sockets here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

from simulator import rest, statistics
from simulator.archive import SyntheticArchive
from simulator.clock import Clock
from simulator.corruption import CorruptedFeed
from simulator.faults import Faults
from simulator.feed import SyntheticFeed
from simulator.grid import to_ms
from simulator.limits import RateLimits, Rejection
from simulator.listing import Store, list_objects, no_such_key
from simulator.messages import Reply, Request, RestError, banned, json_reply, too_many_requests
from simulator.quirks import QUIRKS, Quirk
from simulator.recorded import RecordedArchive, RecordedFeed, recorded_now
from simulator.streams import Streams
from simulator.symbols import universe

DEFAULT_NOW = to_ms("2026-10-15T12:34:56")
_STATISTICS = "/futures/data/"


@dataclass
class Exchange:
    """State of one simulated exchange. Build it with `synthetic` or `recorded`."""

    seed: int
    clock: Clock
    feed: CorruptedFeed
    store: Store
    quirks: Sequence[Quirk] = ()
    limits: RateLimits = field(default_factory=RateLimits)
    requests: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    weights: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        delays = self.store.delays if isinstance(self.store, SyntheticArchive) else None
        self.faults = Faults(self.feed, self.seed, delays)
        if isinstance(self.store, SyntheticArchive):
            self.store.spoiled = self.faults.spoiled
        # Streams tell of the market itself: rows that are spoiled in files and on REST were right when they happened.
        self.streams = Streams(self.seed, self.clock, self.feed.feed, self.faults, self.limits)

    def handle(self, request: Request) -> Reply:
        """Answer a request: count it, refuse it if over a limit, serve it, apply faults."""
        self.requests[_prefix(request.path)] += 1
        if request.path.startswith("/data/"):
            reply = self._object(request)
        elif request.path == "/":
            reply = list_objects(self.store, dict(request.query), self.clock.now())
        else:
            reply = self._rest(request)
        reply = self.faults.change(request, reply)
        if reply.rows:
            self.rows[request.path] += reply.rows
        return reply

    def _object(self, request: Request) -> Reply:
        key = request.path.removeprefix("/")
        found = self.store.get(key, self.clock.now())
        if found is None:
            return no_such_key(key)
        headers = {"ETag": f'"{found.etag}"', "Last-Modified": formatdate(found.last_modified / 1000, usegmt=True)}
        if request.if_none_match == headers["ETag"]:
            return Reply(304, b"", headers=headers)
        return Reply(200, found.content, "application/zip" if key.endswith(".zip") else "binary/octet-stream", headers)

    def _rest(self, request: Request) -> Reply:
        known = self._endpoint(request)
        if known is None:
            return json_reply({"code": -5000, "msg": f"Path {request.path}, Method GET is invalid"}, 404)
        window, weight = known
        rejection = self.limits.charge(window, weight)
        if rejection is None or rejection.limit != "ban":
            self.weights[request.path] += weight
        if rejection:
            reply = self.refusal(rejection)
        else:
            try:
                reply = self._answer(request)
            except RestError as error:
                reply = error.reply()
        if request.path.startswith("/fapi/"):
            reply.headers["X-MBX-USED-WEIGHT-1M"] = str(self.limits.weight_used())
        return reply

    def _endpoint(self, request: Request) -> tuple[str, int] | None:
        """Which window a path counts against, and how much; None for a path that does not exist."""
        if request.path in rest.ENDPOINTS:
            _, window, weight = rest.ENDPOINTS[request.path]
            return window, weight(request.query)
        if request.path.removeprefix(_STATISTICS) in statistics.NAMES:
            return "statistics", 1
        return None

    def _answer(self, request: Request) -> Reply:
        now = self.clock.now()
        if request.path.startswith(_STATISTICS):
            name = request.path.removeprefix(_STATISTICS)
            return statistics.answer(self.feed, self.quirks, name, request.query, now)
        if request.path == rest.INFO:
            return rest.info(self.feed, request.query, now, self.limits.announced)
        return rest.ENDPOINTS[request.path][0](self.feed, request.query, now)

    def refusal(self, rejection: Rejection) -> Reply:
        """The answer to a request that a limit or a ban refuses."""
        if rejection.status == 418:
            return banned(self.clock.now() + round(rejection.wait * 1000), rejection.retry_after)
        limit: int = getattr(self.limits, rejection.limit).limit
        return too_many_requests(limit, rejection.limit, rejection.retry_after)

    def report(self) -> dict[str, object]:
        """Requests, rows served and weight counted per path (archive: path prefix), and what the limits report."""
        return {
            "paths": dict(self.requests), "total": self.requests.total(), "rows": dict(self.rows),
            "weights": dict(self.weights), **self.limits.report(),
        }  # fmt: skip

    def clear_report(self) -> None:
        """Reset counters, peaks and bans."""
        for counter in (self.requests, self.rows, self.weights):
            counter.clear()
        self.limits.clear()


def _prefix(path: str) -> str:
    """REST paths as they are, archive paths up to the dataset."""
    return "/".join(path.split("/")[:6]) if path.startswith("/data/") else path


def synthetic(seed: int, clock: Clock, *, quirky: bool = True, perpetuals: int = 0) -> Exchange:
    """An exchange with the synthetic market of a seed, and with invented contracts up to so many perpetuals."""
    quirks = QUIRKS if quirky else ()
    feed = CorruptedFeed(SyntheticFeed(seed, quirks, universe(perpetuals)))
    return Exchange(seed, clock, feed, SyntheticArchive(feed, seed, quirks), quirks)


def recorded(folder: Path, now: int | None = None, *, frozen: bool = False) -> Exchange:
    """An exchange that serves the recorded files below `folder`; the clock starts after the last recorded day."""
    feed = RecordedFeed(folder)
    clock = Clock(recorded_now(feed) if now is None else now, frozen=frozen)
    return Exchange(0, clock, CorruptedFeed(feed), RecordedArchive(folder))
