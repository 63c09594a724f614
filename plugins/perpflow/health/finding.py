"""What a check found: a level, the cause, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Self

from perpflow.errors import PerpflowError
from perpflow.monitoring import Above, Below


class Level(IntEnum):
    """How bad it is: red needs somebody now, yellow when there is time."""

    GREEN = 0
    YELLOW = 1
    RED = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    `blocks`: checks that need this one cannot tell anything. `check` is the check's name, given by the examination;
    `subject` tells its findings apart where it has several. `is_known`: whether it could be looked at.
    """

    level: Level
    cause: str
    advice: str = ""
    subject: str = ""
    blocks: bool = False
    is_known: bool = True
    check: str = ""

    @property
    def title(self) -> str:
        """What was looked at."""
        return f"{self.check} {self.subject}".rstrip()

    def to_json(self) -> dict[str, str]:
        """For monitors."""
        return {"check": self.title, "level": str(self.level), "cause": self.cause, "advice": self.advice}

    @classmethod
    def of_error(cls, error: PerpflowError) -> Self:
        """A red one with the error's own words."""
        advice = error.hint or ""
        return cls(Level.RED, str(error).removesuffix(advice).rstrip(" ."), advice, blocks=True)


def worst(findings: list[Finding]) -> Level:
    """The level of the whole."""
    return max((finding.level for finding in findings), default=Level.GREEN)


def above(figure: float, limits: Above) -> Level:
    """Yellow or red beyond the limits."""
    if limits.red is not None and figure > limits.red:
        return Level.RED
    return Level.YELLOW if limits.yellow is not None and figure > limits.yellow else Level.GREEN


def below(figure: float, limits: Below) -> Level:
    """Yellow or red short of the limits."""
    if figure < limits.red:
        return Level.RED
    return Level.YELLOW if figure < limits.yellow else Level.GREEN


def span(length: timedelta) -> str:
    """`0.3 s`, `77 s`, `5 min`, `3.2 h`, `12 days`: as exact as anybody needs."""
    seconds = length.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
