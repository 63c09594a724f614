"""The checks of the stream's campaign hold where all is well, and each finds what it is about. No servers here."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perpflow.store.latest import LastPrice, Latest
from soak import stream_checks
from soak.live_watcher import Newest
from soak.stream_checks import MB, Evidence, Struck, row_of
from soak.stream_processes import StreamKill, StreamProcess
from soak.tally import Tally

#: The exchange's clock and its seconds since the start, when the real clock shows 1,000 s.
NOON_MS, NOON_S, NOON = 1_792_065_600_000, 400.0, 1_000.0


def told(number: int, second: float, connections: tuple[int, ...] = (1,), symbol: str = "SOLUSDT") -> dict[str, Any]:
    """A liquidation of the exchange's log, so many seconds before noon."""
    event_ms = int(NOON_MS - 1000 * second)
    order = {
        "s": symbol, "S": "SELL", "o": "LIMIT", "f": "IOC", "q": f"{number}", "p": "1.5", "ap": "1.6", "X": "FILLED",
        "l": f"{number}", "z": f"{number}", "T": event_ms - 1000,
    }  # fmt: skip
    return {
        "id": number, "E": event_ms, "o": order, "emitted_unix": NOON - second, "connections": list(connections),
        "sent_to": len(connections),
    }  # fmt: skip


def connection(number: int, closed: float | None = None) -> dict[str, Any]:
    return {"id": number, "reason": None, "closed_s": None if closed is None else NOON_S - closed}


LOG = [told(1, 200), told(2, 150), told(3, 100), told(4, 50, connections=())]


@pytest.fixture
def evidence() -> Evidence:
    """Five minutes; nobody listened from 70 to 40 seconds before their end, when the exchange told one liquidation."""
    report = {
        "unix": NOON,
        "now_s": NOON_S,
        "stream_now": NOON_MS,
        "connections": [connection(1, closed=70.0), connection(2)],
        "listened": {stream_checks.STREAM: [[NOON_S - 300, NOON_S - 70], [NOON_S - 40, None]]},
    }
    listening = [(NOON_MS - 299_000.0, NOON_MS - 71_000.0), (NOON_MS - 39_000.0, NOON_MS - 1_000.0)]
    table = [row_of(entry) for entry in LOG[:3]]
    struck = [Struck("ws_silence", NOON - 70, NOON - 40)]
    return Evidence(LOG, report, table, listening, (NOON - 300, NOON), [], struck)


def broken(evidence: Evidence) -> list[int]:
    """Which of the five checks do not hold, by their place."""
    return [n for n, found in enumerate(stream_checks.of_liquidations(evidence, least_untouched=1)) if not found.holds]


CLAIMED, SENT, INVENTED, SUPPORTED, MINUTES = range(5)


def test_all_holds_where_all_is_well(evidence: Evidence) -> None:
    assert broken(evidence) == []
    assert stream_checks.subscribed_nearly_always(evidence, 0.99).holds


def test_a_liquidation_that_is_lacking_is_found(evidence: Evidence) -> None:
    assert broken(replace(evidence, table=evidence.table[1:])) == [CLAIMED, SENT]


def test_a_wrong_value_is_lacking_and_invented(evidence: Evidence) -> None:
    (symbol, *others), *rest = evidence.table
    assert broken(replace(evidence, table=[("BTC/USDT", *others), *rest])) == [CLAIMED, SENT, INVENTED]
    assert symbol == "SOL/USDT"


def test_a_row_that_is_there_twice_is_found(evidence: Evidence) -> None:
    assert broken(replace(evidence, table=[*evidence.table, evidence.table[0]])) == [CLAIMED]


def test_a_claim_of_a_time_in_which_nobody_was_subscribed_is_found(evidence: Evidence) -> None:
    whole = [(NOON_MS - 299_000.0, NOON_MS - 1_000.0)]
    assert broken(replace(evidence, listening=whole)) == [CLAIMED, SUPPORTED, MINUTES]


def test_an_untouched_minute_that_is_not_claimed_is_found(evidence: Evidence) -> None:
    holed = [(NOON_MS - 299_000.0, NOON_MS - 155_000.0), (NOON_MS - 145_000.0, NOON_MS - 71_000.0)]
    assert broken(replace(evidence, listening=holed)) == [MINUTES]
    killed = [StreamKill(NOON - 150, pid=1, alone=True)]
    assert broken(replace(evidence, listening=holed, kills=killed)) == []


def test_a_campaign_that_left_no_minute_in_peace_has_shown_nothing(evidence: Evidence) -> None:
    assert broken(replace(evidence, struck=[Struck("drop", NOON - 300, NOON)])) == [MINUTES]


def test_what_a_killed_stream_took_with_it_is_excused_where_nobody_else_had_it(evidence: Evidence) -> None:
    lost = told(5, 70.4, connections=(1,))
    without = replace(evidence, log=[*LOG, lost], listening=[(NOON_MS - 299_000.0, NOON_MS - 75_000.0)])
    killed = [StreamKill(NOON - 70.05, pid=1, alone=True)]
    assert broken(without) == [SENT]
    assert broken(replace(without, kills=killed)) == []
    earlier = told(5, 72.0, connections=(1,))
    assert broken(replace(without, kills=killed, log=[*LOG, earlier])) == [SENT]
    both = told(5, 70.4, connections=(1, 2))
    assert broken(replace(without, kills=killed, log=[*LOG, both])) == [SENT]
    # What is claimed must be there, whoever was killed.
    assert broken(replace(without, kills=killed, listening=evidence.listening, log=[*LOG, told(5, 71.5)])) == [
        CLAIMED,
        SENT,
    ]


def test_contracts_with_an_end_are_not_asked_for(evidence: Evidence) -> None:
    assert broken(replace(evidence, log=[*LOG, told(5, 120, symbol="BTCUSDT_261225")])) == []


def test_time_without_a_subscription_counts_outside_outages(evidence: Evidence) -> None:
    assert not stream_checks.subscribed_nearly_always(replace(evidence, struck=[]), 0.99).holds
    found = stream_checks.subscribed_nearly_always(replace(evidence, struck=[]), 0.9)
    assert found.holds
    assert found.subject.startswith("subscribed 90.00% of 300 s outside outages (1 gaps: 30.0 s)")


def test_processes_that_ended_badly_or_troubles_that_did_not_come_are_named() -> None:
    tally = Tally(1)
    tally.count(tally.done, "hand-over", 2)
    ended, often = stream_checks.of_processes(tally, ["stream 7 ended with exit 1"], {"hand-over": 2, "redis": 1})
    assert ended.faults == ("stream 7 ended with exit 1",)
    assert often.faults == ("redis: 0 of 1",)


def running_stream(growth_mb_per_min: float) -> StreamProcess:
    """One that has lived for a hundred seconds."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        memory = [(float(at), int(MB * (150 + growth_mb_per_min * at / 60))) for at in range(100)]
        return StreamProcess(process, Path("none"), began=0.0, memory=memory)


@pytest.mark.parametrize(("growth", "holds"), [(0.2, True), (3.0, False)])
def test_memory_that_grows_is_found(growth: float, holds: bool) -> None:
    found = stream_checks.memory_is_flat(running_stream(growth), resident=100 * MB)
    assert found.holds is holds
    assert found.subject.startswith(f"memory {growth:+.2f} MB a minute over the last 79 s")


# --- the watcher


def price(at: int) -> Latest:
    return Latest("SOL/USDT", price=LastPrice(at, at, 1.0))


def test_a_value_that_goes_back_is_found() -> None:
    newest = Newest("here")
    for at in (10, 10, 20):
        newest.see(price(at), 1.0)
    assert newest.faults == []
    newest.see(price(15), 1.1)
    assert newest.faults == ["here: SOL/USDT price goes back 5 ms to 15"]
    assert stream_checks.values_never_go_back(newest.seen, newest.faults).faults == tuple(newest.faults)
    assert not stream_checks.values_never_go_back(0, []).holds


def test_a_redis_that_was_killed_may_forget_its_last_second_and_no_more() -> None:
    newest = Newest("here")
    for now in range(10):
        newest.see(price(1000 * now), float(now))
    newest.forget(broken_at=9.2)
    newest.see(price(8000), 9.5)
    assert newest.faults == []
    newest.forget(broken_at=9.6)
    newest.see(price(6000), 9.9)
    assert newest.faults == ["here: SOL/USDT price goes back 1000 ms to 6000"]
