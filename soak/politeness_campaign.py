"""Campaign 3: six processes want more than the exchange allows, and it must never have to refuse them.

The archive has nothing here, so that all comes from REST: months of one-minute candles, and the statistics of the last
thirty days again and again. Meanwhile something live asks every other second, and in the end the address is banned.
What is judged is the simulated exchange's own report, by sliding windows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import cycle
from statistics import median
from threading import Event
from typing import Any

from perpflow import pipeline
from perpflow.batches import LoadRequest
from perpflow.datasets import OHLCV
from perpflow.exchange.shared_budget import TRAVEL_S
from perpflow.exchange.weight_budget import LIMITS, Share
from perpflow.sessions import exchange_sessions
from perpflow.settings import Collection, DatasetSettings, Deployment, ExchangeSettings
from perpflow.windows import DAY, TIMEFRAMES, Window, months
from soak.checks import Check, check
from soak.house import House
from soak.market import NOW
from soak.tally import Tally
from soak.worker_campaign import StepFailed
from soak.workers import Worker
from tests.loading import EXCHANGE_SYMBOLS

PROCESSES = 6

# --- what must hold

#: Of what backfill may use of a budget: the configured share less the reserve for live work.
LEAST_USED = 0.9
#: 499 candles cost 2 units of weight; a month's last page is shorter.
LEAST_ROWS_PER_WEIGHT = 237
LONGEST_LIVE_WAIT_S = 2.0
#: What was on its way when the first met the ban arrives within this; nobody asks after it.
ON_ITS_WAY_S = 1.0

#: Budgets that the six want more of than there is. Years of a symbol's settlements are a handful of requests.
WANTED = ("weight", "statistics")
CANDLES = "/fapi/v1/klines"
SYMBOLS = ("SOL/USDT", "BTC/USDT", "ETH/USDT", "ALICE/USDT")
STATISTICS = ("open_interest", "long_short_ratio", "funding_rate")
REACH = timedelta(days=29)
#: As long as a window of weight: somebody may ask again while it lasts, and meets it.
BAN_S = 60.0
LIVE_EVERY_S = 2.0
#: Of request weight: a page of six candles.
LIVE_WEIGHT = 1
#: What failed is tried again almost at once: that the ban holds is not due to anybody's patience here.
AGAIN_AFTER_S = 0.5


def backfill(deployment: Deployment, request: LoadRequest) -> None:
    """All batches of a request, one after another, as the command line has them done."""
    for batch in pipeline.plan(deployment, request).batches:
        pipeline.stage(deployment, batch)
        pipeline.check(deployment, batch)
        pipeline.publish(deployment, batch)


def ask_live(deployment: Deployment, times: int) -> list[float]:
    """Ask for the newest candles, as `ingest_ohlcv` does; seconds from each question to its answer."""
    return asyncio.run(_ask_live(deployment, times))


async def _ask_live(deployment: Deployment, times: int) -> list[float]:
    waits = []
    async with exchange_sessions(deployment, live=True) as (rest, _):
        now = await rest.now()
        newest = Window(now - timedelta(minutes=30), now)
        for _number in range(times):
            began = time.monotonic()
            asked = rest.pages(OHLCV.rest[0], EXCHANGE_SYMBOLS["SOL/USDT"], "5m", newest, TIMEFRAMES["5m"], now)
            async for _page in asked:
                waits.append(time.monotonic() - began)
            await asyncio.sleep(LIVE_EVERY_S)
    return waits


class PolitenessCampaign:
    """One campaign in one house.

    Args:
        seconds: how long the six ask before the ban.
    """

    def __init__(self, house: House, tally: Tally, seconds: float) -> None:
        self.house = house
        self.tally = tally
        self._seconds = seconds
        self._over = Event()

    @property
    def deployment(self) -> Deployment:
        """The house's, with the exchange's settings as they are by default, and candles of one minute."""
        collection = Collection(exchange=ExchangeSettings(), datasets={"ohlcv": DatasetSettings(timeframes=("1m",))})
        return self.house.deployment.model_copy(update={"collection": collection})

    def run(self) -> list[Check]:
        """Ask for minutes, be banned, ask on; then judge."""
        exchange = self.house.exchange
        exchange.set_limits(**{name: most for name, (most, _) in LIMITS.items()})
        exchange.add_fault("not_found", match="/data/futures/")
        exchange.clear_requests()
        with ThreadPoolExecutor(PROCESSES) as threads:
            try:
                began = time.monotonic()
                asking = [threads.submit(self._ask_on, number) for number in range(PROCESSES)]
                waits, report = self._ask_live(), exchange.requests()
                lasted_s = time.monotonic() - began
                ban = self._ban()
            finally:
                self._over.set()
        for process in asking:
            process.result()
        judged = _judged(report, self.deployment.collection.exchange, lasted_s, LIVE_WEIGHT * len(waits))
        return [*judged, _live(waits), *ban]

    # --- processes

    def _requests(self, number: int) -> Iterator[LoadRequest]:
        """What one of the six loads, without end: every third one statistics, the others candles."""
        if number % 3 == 2:
            symbols = SYMBOLS[number // 3 :: 2]
            return cycle(_request(STATISTICS, symbol, Window(NOW - REACH, NOW)) for symbol in symbols)
        symbol = SYMBOLS[number - number // 3]
        year = Window(NOW - 360 * DAY, NOW - 30 * DAY)
        return cycle(_request(("ohlcv",), symbol, month) for month in months(year))

    def _ask_on(self, number: int) -> None:
        """One of the six: its requests one after another, what failed once more."""
        for request in self._requests(number):
            while not self._done(request):
                if self._over.wait(AGAIN_AFTER_S):
                    return

    def _done(self, request: LoadRequest) -> bool:
        """Have a process load a request; whether it got to its end."""
        worker = Worker("backfill", backfill, self.deployment, request, self.house.worker_log)
        while not worker.has_ended(AGAIN_AFTER_S):
            if self._over.is_set():
                worker.kill()
                return False
        outcome, _ = worker.outcome()
        if outcome.error is not None:
            self.tally.count_error("backfill", outcome.error)
            if not outcome.transient:
                raise StepFailed(f"backfill of {request}: {outcome.error}: {outcome.text}")
            return False
        self.tally.count(self.tally.done, "backfill")
        return True

    def _ask_live(self) -> list[float]:
        times = int(self._seconds / LIVE_EVERY_S)
        worker = Worker("live", ask_live, self.deployment, times, self.house.worker_log)
        outcome, _ = worker.outcome(within_s=3 * self._seconds)
        if outcome.error is not None:
            raise StepFailed(f"live: {outcome.error}: {outcome.text}")
        return list(outcome.value)

    def _ban(self) -> list[Check]:
        """Ban the address, and wait until they ask again or have had as long as the ban lasted to do so."""
        exchange = self.house.exchange
        exchange.ban(BAN_S)
        self._over.wait(BAN_S)
        report = before = exchange.requests()
        deadline = time.monotonic() + BAN_S
        while report["total"] == before["total"] and time.monotonic() < deadline:
            self._over.wait(AGAIN_AFTER_S)
            report = exchange.requests()
        return [
            _banned(report["ban_log"][-1]["asked_after_s"]),
            check("after the ban they go on", [] if report["total"] > before["total"] else ["nobody asks any more"]),
        ]


def _request(datasets: tuple[str, ...], symbol: str, window: Window) -> LoadRequest:
    return LoadRequest(datasets, (symbol,), window.start, window.end, "polite", again=True)


# --- judging


def _judged(report: dict[str, Any], settings: ExchangeSettings, lasted_s: float, live_weight: int) -> Iterator[Check]:
    """What the exchange's report says of the time before the ban, which lasted so long."""
    beyond = {name: times for name, times in report["violations_by_limit"].items() if times}
    yield check(f"none of {report['total']:,} requests went beyond a limit", map(str, beyond.items()))
    fraction = Share(settings.rate_share, settings.live_reserve).fraction
    for name, window in report["windows"].items():
        used = window["total"] - (live_weight if name == "weight" else 0)
        yield _use(name, window["peak"], used, window["limit"] * fraction, _whole_windows(name, lasted_s))
    rows, weight = report["rows"].get(CANDLES, 0), report["weights"].get(CANDLES, 1)
    few = [f"at least {LEAST_ROWS_PER_WEIGHT} are possible"] if rows / weight < LEAST_ROWS_PER_WEIGHT else []
    yield check(f"{rows / weight:.0f} candles per unit of weight ({rows:,} for {weight:,})", few)


def _whole_windows(name: str, lasted_s: float) -> int:
    """How many windows, one after another, have begun and ended; what one allows may be spent as soon as it begins."""
    _, length_s = LIMITS[name]  # type: ignore[index]
    return max(int(lasted_s // (length_s + TRAVEL_S)), 1)


def _use(name: str, peak: int, used: int, allowed: float, windows: int) -> Check:
    """That so many windows' allowance was used, and used in one of them; live requests count in the fullest alone."""
    little = name in WANTED and (peak < LEAST_USED * allowed or used < LEAST_USED * allowed * windows)
    fullest = f"{peak} in the fullest window, {peak / allowed:.0%} of the {allowed:.0f} for backfill"
    in_all = f"{used:,} by backfill in all, {used / allowed:.1f} windows' worth in {windows} whole ones"
    return check(
        f"{name}: {fullest}; {in_all}", [f"less than {LEAST_USED:.0%} although more was wanted"] if little else []
    )


def _banned(asked_after_s: list[float]) -> Check:
    """Whoever meets the ban first tells all: seconds from its begin to each request that it refused."""
    first, *others = sorted(asked_after_s) or [BAN_S]
    late = [f"asked {after - first:.1f} s after the first" for after in others if after - first > ON_ITS_WAY_S]
    met = f"1 meets it and {len(others)} were on their way" if asked_after_s else "nobody meets it"
    return check(f"a ban of {BAN_S:.0f} s stops all {PROCESSES}: {met}", late if asked_after_s else ["nothing shown"])


def _live(waits: list[float]) -> Check:
    subject = f"{len(waits)} live requests: {median(waits):.2f} s in the median, {max(waits):.2f} s at most"
    return check(subject, [f"{wait:.1f} s" for wait in waits if wait > LONGEST_LIVE_WAIT_S])
