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


#: So many looks in a row must find it better before its end is told: what comes and goes is told once.
LOOKS_TO_END = 3


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody was told last of a finding: its level, since when it is so, and when that was told.

    `below`: how many looks in a row have found it better than that since, which is not told yet.
    """

    level: Level
    since: datetime
    at: datetime
    below: int = 0

    def to_json(self) -> list[Any]:
        """For where no table is."""
        return [str(self.level), self.since.isoformat(), self.at.isoformat(), self.below]

    @classmethod
    def from_json(cls, values: list[Any]) -> Told:
        """The reverse of `to_json`; what an earlier version wrote has no count."""
        level, since, at, *below = values
        return cls(LEVELS[level], datetime.fromisoformat(since), datetime.fromisoformat(at), *map(int, below))


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
        if level is self.was and self.told_as is Level.GREEN:
            how = f"{level!s} as before, and told no more: only what is worse is"
        elif level is self.was:
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


@dataclass(frozen=True, slots=True)
class Heard:
    """What a look means to a recipient: what it is to be told, and what is noted without a word, by title."""

    news: list[News]
    noted: dict[str, Told]


def heard(
    alert: AlertSettings,
    findings: list[Finding],
    memory: Memory,
    now: datetime,
    repeat_after: timedelta,
    *,
    is_whole: bool = True,
) -> Heard:
    """What the recipient has not been told of yet, or so long ago that it is told again.

    What could not be looked at is no news: the finding that it waits for is.

    Args:
        is_whole: these are all findings of a look; then what was told and is not among them is over.
    """
    told = {title: told for (recipient, title), told in memory.items() if recipient == alert.name}
    found = [(finding.title, finding) for finding in findings if finding.is_known]
    news, noted = [], {}
    for title, finding in found + (_gone(told, findings) if is_whole else []):
        level = finding.level if finding.level >= LEVELS[alert.level] else Level.GREEN
        before = told.get(title, Told(Level.GREEN, now, now))
        if level < before.level and before.below + 1 < LOOKS_TO_END:
            noted[title] = _later(replace(before, below=before.below + 1), before, before.at)
        elif level is not before.level:
            since = before.since if finding.level is before.level else now
            news.append(News(finding, title, level, before.level, since))
        elif level and now - before.at >= repeat_after:
            news.append(News(finding, title, level, level, before.since))
        elif before.below:
            noted[title] = _later(replace(before, below=0), before, before.at)
    return Heard(news, noted)


def _gone(told: Mapping[str, Told], findings: list[Finding]) -> list[tuple[str, Finding]]:
    """What was told and is not found any more; in the check's own words where all it finds is that all is well.

    Not while the check can't look.
    """
    titles = {finding.title for finding in findings}
    gone = []
    for title, before in told.items():
        check = title.partition(" ")[0]
        of_check = [finding for finding in findings if finding.check == check]
        if not before.level or title in titles or any(finding.blocks for finding in of_check):
            continue
        words = [finding.cause for finding in of_check if finding.level is Level.GREEN]
        cause = words[0] if len(words) == len(of_check) == 1 else "no longer found"
        gone.append((title, Finding(Level.GREEN, cause, check=check)))
    return gone


def remembered(alert: AlertSettings, news: list[News], memory: Memory, now: datetime) -> Memory:
    """What the recipient knows once it has been told: later than what it knew, whatever the clock has done."""
    return {
        (alert.name, item.title): _later(Told(item.told_as, item.since, now), memory.get((alert.name, item.title)), now)
        for item in news
    }


def _later(told: Told, before: Told | None, now: datetime) -> Told:
    """The same, noted later than what was known: of two places the later counts."""
    return replace(told, at=max(now, before.at + timedelta(microseconds=1)) if before else now)


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
