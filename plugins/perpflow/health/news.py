"""What is news to somebody who is told of findings: once when it begins, again after a while, and when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from perpflow.health.finding import Finding, Level, worst
from perpflow.monitoring import AlertSettings

LEVELS = {str(level): level for level in Level}


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody was told last of a finding: its level, since when it is so, and when that was told."""

    level: Level
    since: datetime
    at: datetime

    def to_json(self) -> list[str]:
        """For where no table is."""
        return [str(self.level), self.since.isoformat(), self.at.isoformat()]

    @classmethod
    def from_json(cls, values: list[str]) -> Told:
        """The reverse of `to_json`."""
        level, since, at = values
        return cls(LEVELS[level], datetime.fromisoformat(since), datetime.fromisoformat(at))


#: By recipient and title of the finding. What is over stays in it as green: who knows less must not think it new.
Memory = dict[tuple[str, str], Told]


def merged(memories: list[Memory]) -> Memory:
    """Of each what was told last: one place may have been away while another took it."""
    whole: Memory = {}
    for memory in memories:
        for key, told in memory.items():
            if key not in whole or whole[key].at < told.at:
                whole[key] = told
    return whole


@dataclass(frozen=True, slots=True)
class News:
    """A finding that somebody is to be told of, what that one knew of it, and since when it is as it is.

    `told_as` is what is remembered: green also for what is yellow, where red alone is told of.
    """

    finding: Finding
    title: str
    told_as: Level
    was: Level
    since: datetime

    @property
    def line(self) -> str:
        """On one line."""
        level = self.finding.level
        if level is self.was:
            how = f"still {level!s} since {self.since:%Y-%m-%d %H:%M} UTC"
        elif self.was is Level.GREEN:
            how = str(level)
        else:
            how = f"{_again(level)} (was {self.was!s})"
        advice = f". {self.finding.advice}" if self.finding.advice and level else ""
        return f"{self.title}: {how}: {self.finding.cause}{advice}"

    def to_json(self) -> dict[str, str]:
        """For a webhook."""
        said = {
            "check": self.title,
            "level": str(self.finding.level),
            "was": str(self.was),
            "since": self.since.isoformat(),
        }
        return said | {"cause": self.finding.cause, "advice": self.finding.advice}


def _again(level: Level) -> str:
    return "green again" if level is Level.GREEN else str(level)


def news_for(
    alert: AlertSettings, findings: list[Finding], memory: Memory, now: datetime, repeat_after: timedelta
) -> list[News]:
    """What the recipient has not been told of yet, or so long ago that it is told again.

    What could not be looked at is no news: the finding that it waits for is.
    """
    told = {title: told for (recipient, title), told in memory.items() if recipient == alert.name}
    least, news = LEVELS[alert.level], []
    for finding in findings:
        if not finding.is_known:
            continue
        level = finding.level if finding.level >= least else Level.GREEN
        before = told.get(finding.title, Told(Level.GREEN, now, now))
        if level is not before.level:
            news.append(News(finding, finding.title, level, before.level, now))
        elif level and now - before.at >= repeat_after:
            news.append(News(finding, finding.title, level, level, before.since))
    return news + [
        News(finding, title, Level.GREEN, told[title].level, now) for title, finding in _gone(told, findings)
    ]


def _gone(told: Mapping[str, Told], findings: list[Finding]) -> list[tuple[str, Finding]]:
    """What was told and is not found any more, with what its check finds otherwise; not while that can't look."""
    titles, of_check = {finding.title for finding in findings}, {finding.check: finding for finding in findings}
    gone = []
    for title, before in told.items():
        check = title.partition(" ")[0]
        now = of_check.get(check, Finding(Level.GREEN, "not looked at any more", check=check))
        if before.level and title not in titles and not now.blocks:
            gone.append((title, replace(now, level=Level.GREEN)))
    return gone


def remembered(alert: AlertSettings, news: list[News], memory: Memory, now: datetime) -> Memory:
    """What the recipient knows once it has been told: later than what it knew, whatever the clock has done."""
    known = {}
    for item in news:
        before = memory.get((alert.name, item.title))
        at = max(now, before.at + timedelta(microseconds=1)) if before else now
        known[alert.name, item.title] = Told(item.told_as, item.since, at)
    return known


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent: a subject, a line for each piece of news, and the same for machines."""

    subject: str
    lines: tuple[str, ...]
    facts: Mapping[str, Any]

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)

    @property
    def payload(self) -> dict[str, Any]:
        """What a webhook gets; `text` is what chat servers show."""
        return {"subject": self.subject, "text": f"{self.subject}\n{self.text}", **self.facts}


def message_of(news: list[News], now: datetime) -> Message:
    """All news of a look at once: the worst first."""
    ordered = sorted(news, key=lambda item: -item.finding.level)
    parts = [
        f"{_again(level)}: {', '.join(item.title for item in items)}"
        for level, items in groupby(ordered, key=lambda item: item.finding.level)
    ]
    facts = {
        "level": str(worst([item.finding for item in news])),
        "at": now.isoformat(timespec="seconds"),
        "news": [item.to_json() for item in ordered],
    }
    return Message(f"Perpflow {'; '.join(parts)}", tuple(item.line for item in ordered), facts)
