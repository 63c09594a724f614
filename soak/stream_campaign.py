"""Campaign 4: the live stream hands over every 30 s, while it, its servers, its drains and the exchange fail.

Streams are real processes. When the troubles are over a last one runs on alone, whose memory is measured; then all is
drained, and the exchange's log of liquidations is held against table and ledger.

What a kill of the only stream costs is a start of Python, one to two seconds; a reset of a sound connection, a tenth of
a second. In ten minutes so many of them come that they take less than the hundredth that nobody may be subscribed
outside outages; in two minutes the same few take about a twentieth, so there a tenth is allowed. An outage counts with
the pause of about its length that follows it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random

import redis

from perpflow.store.database import session
from perpflow.store.received import ENTRIES_KEY
from soak import checks, stream_checks
from soak.checks import Check
from soak.house import House
from soak.live_watcher import LiveWatcher
from soak.stream_checks import Struck
from soak.stream_processes import (
    RECLAIM_AFTER_S,
    Drainer,
    Supervisor,
    drain,
    resident_after_imports,
    supervised,
)
from soak.stream_troubles import StreamTroubles
from soak.tally import Tally
from soak.workers import Worker
from tests.loading import rows

#: Twenty times what is usual, so that a hole of a tenth of a second is seen.
LIQUIDATIONS_PER_S = 10.0
LIVE_WITHIN_S = 30.0
DRAINED_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Form:
    """How long troubles last, what goes wrong how often, and the least time subscribed.

    `least` names what must have happened as often beyond the deck; `calm_minutes` of the exchange's clock follow whole.
    """

    troubled_s: float
    calm_minutes: int
    deck: dict[str, int]
    least: dict[str, int]
    subscribed: float


FULL = Form(
    430.0,
    1,
    {
        "redis": 4, "postmaster": 3, "postgres session": 2, "only stream": 2, "stream": 3, "drop": 3, "outage": 1,
        "burst": 2, "ws_cut": 2, "ws_garbage": 2, "ws_duplicate": 2, "ws_out_of_order": 2, "ws_silence": 1,
        "ws_half_open": 1,
    },
    {"hand-over": 10, "drain": 20},
    0.99,
)  # fmt: skip
SHORT = Form(
    65.0,
    1,
    {"redis": 1, "postmaster": 1, "only stream": 1, "drop": 1, "outage": 1, "burst": 1, "ws_cut": 1, "ws_garbage": 1},
    {"hand-over": 1, "drain": 3},
    0.95,
)


class StreamCampaign:
    """One campaign in one house.

    Args:
        seed: draws what goes wrong when.
    """

    def __init__(self, house: House, tally: Tally, seed: int, form: Form) -> None:
        self.house = house
        self.tally = tally
        self._seed = seed
        self._form = form

    def run(self) -> list[Check]:
        """Stream, hand over and kill; then let it run, drain, and judge."""
        exchange = self.house.exchange
        exchange.control("POST", "clock", {"frozen": False})
        exchange.set_streams(liquidations_per_s=LIQUIDATIONS_PER_S)
        supervisor = Supervisor(self.house, self.tally, self._dice("supervisor"))
        drainer = Drainer(self.house, self.tally, self._dice("drains"))
        watcher = LiveWatcher(self.house, self.tally, self._dice("watcher"))
        with watcher, drainer, supervised(supervisor):
            began = self._live_since()
            troubles = self._trouble(supervisor)
            supervisor.is_steady = True
            time.sleep(self._calm_s())
            last = supervisor.processes()[-1]
            ended = time.time()
        left, resident = self._drain_the_rest(), resident_after_imports()
        evidence = stream_checks.gathered(exchange, self.house.database_url, (began, ended), supervisor.kills, troubles)
        return [
            *stream_checks.of_liquidations(evidence, self._form.calm_minutes),
            stream_checks.subscribed_nearly_always(evidence, self._form.subscribed),
            *stream_checks.of_processes(self.tally, [*supervisor.faults, *drainer.faults], self._least()),
            stream_checks.values_never_go_back(watcher.told.seen + watcher.standing.seen, watcher.faults),
            stream_checks.memory_is_flat(last, resident),
            stream_checks.nothing_waits(self.house.database_url, left),
            checks.sessions_have_ended(self.house.database_url),
        ]

    def _trouble(self, supervisor: Supervisor) -> list[Struck]:
        """Let all go wrong that is in the deck; when something was the matter with the exchange."""
        until = time.monotonic() + self._form.troubled_s
        dice = self._dice("troubles")
        with StreamTroubles(self.house, self.tally, dice, supervisor, self._form.deck, until) as troubles:
            troubles.done.wait(2 * self._form.troubled_s)
        return troubles.struck

    def _calm_s(self) -> float:
        """Until so many minutes have passed whole, which something claimed just before and just after them."""
        now_ms = self.house.exchange.streams()["stream_now"]
        first = -(-(now_ms + stream_checks.BEAT_MS) // stream_checks.MINUTE_MS) * stream_checks.MINUTE_MS
        until_ms = first + self._form.calm_minutes * stream_checks.MINUTE_MS + 2 * stream_checks.BEAT_MS
        return float(until_ms - now_ms) / 1000 if self._form.calm_minutes else 0.0

    def _dice(self, what: str) -> Random:
        return Random(f"{self._seed} {what}")

    def _least(self) -> dict[str, int]:
        return {**self._form.deck, **self._form.least}

    def _live_since(self) -> float:
        """Wait for the first subscription; the real second of it.

        Raises:
            TimeoutError: there is none.
        """
        deadline = time.monotonic() + LIVE_WITHIN_S
        while time.monotonic() < deadline:
            report = self.house.exchange.streams()
            if spans := report["listened"].get(stream_checks.STREAM):
                return float(report["unix"] - report["now_s"] + spans[0][0])
            time.sleep(0.1)
        raise TimeoutError(f"no stream has subscribed in {LIVE_WITHIN_S:.0f} s")

    def _drain_the_rest(self) -> int:
        """Drain until nothing waits or the time is up; how many entries are left in Redis."""
        self.house.restart()
        deadline = time.monotonic() + DRAINED_WITHIN_S
        while (left := self._waiting()) and time.monotonic() < deadline:
            Worker("drain", drain, self.house.deployment, RECLAIM_AFTER_S, self.house.worker_log).outcome()
            time.sleep(1.0)
        return left

    def _waiting(self) -> int:
        with session(self.house.database_url) as connection:
            kept = rows(connection, "SELECT count(*) FROM staging.received")[0][0]
        with redis.Redis.from_url(self.house.deployment.redis_url or "") as client:
            return int(client.xlen(ENTRIES_KEY)) + int(kept)
