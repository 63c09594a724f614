"""What the figures of the live stream mean: where green ends and red begins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from perpflow.health.finding import Finding, Level
from perpflow.health.stream import (
    MISSED_FOR,
    MOST_IN_MEMORY,
    backlog_finding,
    ended_finding,
    forgotten_finding,
    listening_finding,
    mute_finding,
    running_finding,
)
from perpflow.listening_summary import summarise
from perpflow.monitoring import HealthSettings
from perpflow.store.lease import Holder
from perpflow.store.received import MOST_ENTRIES, Backlog
from perpflow.store.stream_measures import LastMeasures, StreamMeasures
from perpflow.windows import Window

NOW = datetime(2026, 10, 15, 12, 34, 56, tzinfo=UTC)
HOLDER = Holder("host:42", 7, NOW - timedelta(minutes=5))
SOUND = StreamMeasures(
    holder="host:42",
    at=1,
    began_at=0,
    frames_per_s={"mark_price": 3.0, "last_price": 1234.5},
    lag_ms=(35.0, 60.0),
    write_ms=(2.0, 9.0),
    connections=2,
    reconnects=0,
    stalls=0,
    dropped=0,
    waiting=0,
    liquidations=12,
    liquidations_waiting=0,
)
NOTHING = Backlog(0, timedelta(0))
LIMITS = HealthSettings()


def found(counts: dict[str, int] | None = None, **changes: Any) -> Finding:
    return running_finding(HOLDER, msgspec.structs.replace(SOUND, **changes), counts or {}, LIMITS)


def test_a_sound_stream_is_green_with_its_figures() -> None:
    said = found()
    assert (said.level, said.advice) == (Level.GREEN, "")
    for part in (
        "host:42 streams since 2026-10-15 12:29:56 UTC",
        "mark_price 3.0/s, last_price 1,234.5/s",
        "lag 35 ms (95 %: 60)",
        "write 2 ms (95 %: 9)",
        "2 connections",
    ):
        assert part in said.cause


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({"write_ms": (900.0, 1000.0)}, Level.GREEN, ""),
        ({"write_ms": (2.0, 1001.0)}, Level.YELLOW, "writing takes 1,001 ms"),
        ({"lag_ms": (5.0, 10_000.0)}, Level.GREEN, ""),
        ({"lag_ms": (5.0, 11_000.0)}, Level.YELLOW, "values are 11 s late"),
        ({"lag_ms": None, "write_ms": None}, Level.YELLOW, "nothing was written lately"),
        ({"liquidations_waiting": MOST_IN_MEMORY}, Level.GREEN, ""),
        ({"liquidations_waiting": MOST_IN_MEMORY + 1}, Level.YELLOW, "21 liquidations are in its memory alone"),
        ({"waiting": 900, "reconnects": 3, "stalls": 1, "dropped": 4, "last_error": "cut"}, Level.GREEN, "error: cut"),
        ({"connections": 0, "last_error": "refused"}, Level.RED, "no connection to the exchange"),
    ],
)
def test_what_a_stream_measures_has_limits(changes: dict[str, Any], level: Level, said: str) -> None:
    finding = found(**changes)
    assert finding.level is level
    assert said in finding.cause
    assert bool(finding.advice) is bool(level)


@pytest.mark.parametrize(
    ("counter", "said"),
    [
        ("stream.dropped", "3 frames were dropped in the last hour"),
        ("stream.breaks", "connections broke 3 times in the last hour, 0 of them by silence"),
        ("stream.stalls", "connections broke 3 times in the last hour, 3 of them by silence"),
    ],
)
def test_what_happened_in_the_last_hour_is_yellow(counter: str, said: str) -> None:
    finding = found({counter: 3})
    assert finding.level is Level.YELLOW
    assert said in finding.cause


def test_several_problems_are_all_told_each_with_what_to_do() -> None:
    finding = found({"stream.dropped": 1}, write_ms=(1.0, 5000.0))
    assert "writing takes 5,000 ms; 1 frames were dropped" in finding.cause
    assert "load" in finding.advice
    assert "ticker" in finding.advice


@pytest.mark.parametrize(
    ("held_s", "level"),
    [(5, Level.GREEN), (60, Level.GREEN), (61, Level.YELLOW), (300, Level.YELLOW), (301, Level.RED)],
)
def test_a_stream_that_says_nothing_of_itself_is_yellow_once_it_should_and_red_after_five_minutes(
    held_s: int, level: Level
) -> None:
    silent = timedelta(seconds=held_s)
    assert mute_finding(Holder("a", 1, NOW - silent), silent, LIMITS).level is level
    assert mute_finding(Holder("a", 1, None), None, LIMITS).level is Level.YELLOW


def test_a_stream_that_has_ended_is_red_with_its_last_error_and_what_to_do() -> None:
    measures = msgspec.structs.replace(SOUND, last_error="451")
    said = ended_finding(LastMeasures(measures, timedelta(minutes=5)))
    assert said.level is Level.RED
    assert said.cause == "none runs; host:42 wrote until 5 min ago; its last error: 451"
    assert "stream_market" in said.advice
    assert "python -m perpflow stream" in said.advice


@pytest.mark.parametrize(
    ("ago", "level"), [(timedelta(hours=1), Level.RED), (MISSED_FOR, Level.YELLOW), (timedelta(days=90), Level.YELLOW)]
)
def test_a_stream_that_only_the_ledger_knows_of_is_missed_for_a_week(ago: timedelta, level: Level) -> None:
    said = forgotten_finding(NOW - ago, NOW)
    assert said.level is level
    assert said.advice


@pytest.mark.parametrize(
    ("entries", "waits", "level"),
    [
        (0, timedelta(0), Level.GREEN),
        (MOST_ENTRIES // 4, timedelta(minutes=30), Level.GREEN),
        (MOST_ENTRIES // 4 + 1, timedelta(0), Level.YELLOW),
        (MOST_ENTRIES // 2, timedelta(0), Level.YELLOW),
        (MOST_ENTRIES // 2 + 1, timedelta(0), Level.RED),
        (1, timedelta(minutes=31), Level.YELLOW),
        (1, timedelta(hours=7), Level.RED),
    ],
)
def test_what_waits_is_an_alarm_long_before_there_is_no_room(entries: int, waits: timedelta, level: Level) -> None:
    said = backlog_finding(Backlog(entries, waits), NOTHING, LIMITS)
    assert said.level is level
    assert f"{entries:,} entries wait in Redis" in said.cause
    assert ("python -m perpflow drain" in said.advice) is bool(level)


def test_what_waits_in_the_database_counts_by_its_age() -> None:
    said = backlog_finding(NOTHING, Backlog(1_000_000, timedelta(minutes=31)), LIMITS)
    assert said.level is Level.YELLOW
    assert "1,000,000 in the database, the oldest for 31 min" in said.cause


def test_liquidations_that_were_lost_are_red() -> None:
    said = backlog_finding(NOTHING, NOTHING, LIMITS, lost=3)
    assert said.level is Level.RED
    assert said.cause.startswith("3 were lost in the last hour")


def listened(*edges: int) -> Finding:
    """Of half an hour; edges in minutes."""

    def window(start: int, end: int) -> Window:
        return Window(NOW.replace(second=0) + timedelta(minutes=start), NOW.replace(second=0) + timedelta(minutes=end))

    heard = [Window(w.start, w.end + timedelta(seconds=2)) for w in map(window, edges[::2], edges[1::2])]
    return listening_finding(summarise(heard, window(0, 30)))


def test_minutes_without_a_listener_are_yellow_and_named() -> None:
    assert listened(0, 30).level is Level.GREEN
    assert listened(0, 30).cause == "all of 30 minutes (2026-10-15 12:34 to 13:04) were listened to"
    said = listened(0, 10, 12, 30)
    assert said.level is Level.YELLOW
    assert "28 of 30 minutes (2026-10-15 12:34 to 13:04) were listened to, not 2026-10-15 12:44 to 12:46" in said.cause
    assert "in 4 stretches" in listened(0, 1, 2, 3, 4, 5, 6, 7).cause


def test_where_nobody_has_ever_listened_somebody_should() -> None:
    said = listening_finding(None)
    assert said.level is Level.YELLOW
    assert "stream_market" in said.advice
    assert listening_finding(summarise([], Window(NOW, NOW))).level is Level.GREEN
