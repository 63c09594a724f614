"""What is news: told once, again after a while, and when it is over; never because somebody could not look."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from perpflow.health.finding import Finding, Level
from perpflow.health.news import LOOKS_TO_END, Memory, News, Told, heard, merged, message_of, remembered
from perpflow.monitoring import AlertSettings

NOW = datetime(2026, 10, 15, 12, 34, 56, tzinfo=UTC)
DAY = timedelta(days=1)
ALL = AlertSettings(kind="webhook", connection="hook", level="yellow")
RED = ALL.model_copy(update={"level": "red"})


def found(level: Level, check: str = "archive", subject: str = "", **more: bool) -> Finding:
    return Finding(level, f"it is {level!s}", "Do it." if level else "", subject, check=check, **more)


class Recipient:
    """Somebody who is told of one look after another."""

    def __init__(self, alert: AlertSettings = ALL) -> None:
        self.alert, self.memory, self.now = alert, Memory(), NOW

    def hears(self, *findings: Finding, later: timedelta = timedelta(minutes=5)) -> list[str]:
        self.now += later
        found = heard(self.alert, list(findings), self.memory, self.now, DAY)
        self.memory |= {(self.alert.name, title): told for title, told in found.noted.items()}
        self.memory |= remembered(self.alert, found.news, self.memory, self.now)
        return [item.line for item in found.news]

    def hears_at_last(self, *findings: Finding) -> list[str]:
        """What a look says that finds something better: only after so many of them in a row."""
        for _ in range(LOOKS_TO_END - 1):
            assert self.hears(*findings) == []
        return self.hears(*findings)


def news_for(alert: AlertSettings, findings: list[Finding], memory: Memory) -> list[News]:
    return heard(alert, findings, memory, NOW, DAY).news


def test_what_is_red_is_told_once_again_after_a_day_and_when_it_is_over() -> None:
    one = Recipient()
    assert one.hears(found(Level.GREEN)) == []
    assert one.hears(found(Level.RED)) == ["archive: red: it is red. Do it."]
    assert one.hears(found(Level.RED)) == []
    assert one.hears(found(Level.RED), later=DAY - timedelta(minutes=6)) == []
    still = "archive: still red since 2026-10-15 12:44 UTC: it is red. Do it."
    assert one.hears(found(Level.RED)) == [still]
    assert one.hears(found(Level.RED)) == []
    assert one.hears(found(Level.RED), later=DAY) == [still]
    assert one.hears_at_last(found(Level.GREEN)) == ["archive: green again (was red): it is green"]
    assert one.hears(found(Level.GREEN), later=9 * DAY) == []
    assert one.hears(found(Level.RED)) == ["archive: red: it is red. Do it."]


def test_who_is_told_of_yellow_hears_of_each_change() -> None:
    one = Recipient()
    assert one.hears(found(Level.YELLOW)) == ["archive: yellow: it is yellow. Do it."]
    assert one.hears(found(Level.RED)) == ["archive: red (was yellow): it is red. Do it."]
    assert one.hears_at_last(found(Level.YELLOW)) == ["archive: yellow (was red): it is yellow. Do it."]
    assert one.hears_at_last(found(Level.GREEN)) == ["archive: green again (was yellow): it is green"]


def test_who_is_told_of_red_alone_hears_that_it_is_no_longer_and_what_it_is_instead() -> None:
    one = Recipient(RED)
    assert one.hears(found(Level.YELLOW)) == []
    assert one.hears(found(Level.RED)) == ["archive: red: it is red. Do it."]
    assert one.hears_at_last(found(Level.YELLOW)) == ["archive: yellow (was red): it is yellow. Do it."]
    assert one.hears(found(Level.YELLOW), later=2 * DAY) == []
    assert one.hears(found(Level.GREEN)) == []


def test_what_could_not_be_looked_at_is_no_news_and_ends_nothing() -> None:
    one = Recipient()
    unknown = found(Level.YELLOW, "freshness", blocks=True, is_known=False)
    assert one.hears(found(Level.RED, "freshness", "ohlcv")) != []
    assert one.hears(unknown, found(Level.RED, "database")) == ["database: red: it is red. Do it."]
    assert one.hears(unknown, found(Level.RED, "database"), later=2 * DAY)[0].startswith("database: still red")
    assert one.hears_at_last(found(Level.GREEN, "freshness", "ohlcv"), found(Level.GREEN, "database")) == [
        "freshness ohlcv: green again (was red): it is green",
        "database: green again (was red): it is green",
    ]


def test_a_check_that_fails_itself_ends_none_of_its_findings() -> None:
    one = Recipient()
    one.hears(found(Level.RED, "freshness", "ohlcv"))
    assert one.hears(found(Level.RED, "freshness", blocks=True)) == ["freshness: red: it is red. Do it."]
    said = one.hears_at_last(found(Level.RED, "freshness", "ohlcv"), found(Level.GREEN, "freshness", "mark_price"))
    assert said == ["freshness: green again (was red): no longer found"]


def test_what_a_check_no_longer_finds_is_over_and_never_in_the_words_of_another_subject() -> None:
    one = Recipient()
    one.hears(found(Level.RED, "bans", "a.example"))
    other = found(Level.YELLOW, "bans", "b.example")
    assert one.hears(other) == ["bans b.example: yellow: it is yellow. Do it."]
    assert one.hears(other) == []
    assert one.hears(other) == ["bans a.example: green again (was red): no longer found"]
    assert one.hears_at_last(found(Level.GREEN, "bans")) == ["bans b.example: green again (was yellow): it is green"]
    one.hears(found(Level.RED, "gone"))
    assert one.hears_at_last(found(Level.GREEN)) == ["gone: green again (was red): no longer found"]


@pytest.mark.parametrize("better", [Level.GREEN, Level.YELLOW])
def test_what_comes_and_goes_is_told_once_and_its_end_when_it_stays_away(better: Level) -> None:
    one, heard_of = Recipient(RED), []
    for look in range(12):
        heard_of += one.hears(found(Level.RED if look % LOOKS_TO_END == 0 else better, "errors"))
    assert heard_of == ["errors: red: it is red. Do it."]
    assert len(one.hears(found(better, "errors"))) == 1


def test_that_it_was_better_for_a_look_is_forgotten_once_it_is_not() -> None:
    one = Recipient()
    one.hears(found(Level.RED))
    one.hears(found(Level.GREEN))
    one.hears(found(Level.RED))
    assert len(one.hears_at_last(found(Level.GREEN))) == 1


def test_who_wants_to_hear_of_red_alone_from_now_on_hears_that_yellow_is_told_no_more() -> None:
    one = Recipient(ALL)
    yellow = found(Level.YELLOW, "quarantine")
    one.hears(yellow)
    one.alert = RED
    ended = "quarantine: yellow as before, and told no more: only what is worse is: it is yellow. Do it."
    assert one.hears_at_last(yellow) == [ended]
    assert one.hears(yellow, later=2 * DAY) == []


def test_a_part_of_a_look_ends_nothing_that_is_not_in_it() -> None:
    one = Recipient()
    one.hears(found(Level.RED, "archive"))
    late = found(Level.RED, "late", "ingest_ohlcv")
    for _ in range(LOOKS_TO_END):
        part = heard(ALL, [late], one.memory, one.now, DAY, is_whole=False)
        assert ([item.title for item in part.news], part.noted) == (["late ingest_ohlcv"], {})


def test_a_clock_that_goes_back_lets_nothing_be_told_again_and_again() -> None:
    one = Recipient()
    one.hears(found(Level.RED))
    before = dict(one.memory)
    assert one.hears(found(Level.GREEN), later=-DAY) == one.hears(found(Level.GREEN)) == []
    assert len(one.hears(found(Level.GREEN))) == 1
    assert merged([one.memory, before])[ALL.name, "archive"].level is Level.GREEN
    assert one.hears(found(Level.GREEN)) == []


def test_recipients_are_told_apart_from_one_another() -> None:
    memory = remembered(ALL, news_for(ALL, [found(Level.RED)], {}), {}, NOW)
    other = AlertSettings(kind="smtp", connection="hook", to=("a@b",))
    assert len(news_for(other, [found(Level.RED)], memory)) == 1


def test_of_two_memories_the_later_counts_for_each_finding() -> None:
    told = Told(Level.RED, NOW, NOW)
    over = replace(told, level=Level.GREEN, at=NOW + DAY)
    one: Memory = {("me", "a"): told, ("me", "b"): over}
    two: Memory = {("me", "a"): over, ("me", "b"): told, ("me", "c"): told}
    assert merged([one, two]) == merged([two, one]) == {("me", "a"): over, ("me", "b"): over, ("me", "c"): told}
    assert merged([]) == {}


@pytest.mark.parametrize("level", Level)
def test_what_was_told_is_the_same_after_it_was_written(level: Level) -> None:
    told = Told(level, NOW - DAY, NOW, below=2)
    assert Told.from_json(told.to_json()) == told
    # As it was written before looks were counted.
    assert Told.from_json(told.to_json()[:3]) == replace(told, below=0)


def test_one_message_holds_all_news_the_worst_first() -> None:
    memory: Memory = {(ALL.name, "redis"): Told(Level.RED, NOW - DAY, NOW - DAY, LOOKS_TO_END - 1)}
    findings = [found(Level.GREEN, "redis"), found(Level.YELLOW, "budget"), found(Level.RED), found(Level.RED, "disk")]
    said = message_of(news_for(ALL, findings, memory), NOW)
    assert said.subject == "Perpflow red: archive, disk; yellow: budget; green again: redis"
    assert said.lines[0] == "archive: red: it is red. Do it."
    assert [item["check"] for item in said.payload["news"]] == ["archive", "disk", "budget", "redis"]
    assert said.payload["level"] == "red"
    assert said.payload["text"].splitlines()[-1] == "redis: green again (was red): it is green"
    assert said.payload["news"][0] == {
        "check": "archive", "level": "red", "was": "green", "since": NOW.isoformat(), "cause": "it is red",
        "advice": "Do it.",
    }  # fmt: skip
