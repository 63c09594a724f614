"""By what health is judged and who is told of it: the sections `health` and `alerts` of collection.yaml."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from perpflow.sections import Cron, Section, Switchless


class Above(Switchless):
    """A figure that is yellow above the one and red above the other; None: never."""

    yellow: float | None
    red: float | None

    @model_validator(mode="after")
    def _red_is_worse(self) -> Self:
        if self.yellow is not None and self.red is not None and self.yellow > self.red:
            raise ValueError(f"yellow ({self.yellow:g}) must not lie above red ({self.red:g})")
        return self


class Below(Switchless):
    """A figure that is yellow below the one and red below the other."""

    yellow: float
    red: float

    @model_validator(mode="after")
    def _red_is_worse(self) -> Self:
        if self.yellow < self.red:
            raise ValueError(f"yellow ({self.yellow:g}) must not lie below red ({self.red:g})")
        return self


class ErrorRate(Above):
    """Failed requests among all."""

    yellow: float = Field(0.05, ge=0, le=1)
    red: float = Field(0.2, ge=0, le=1)


class DiskFree(Below):
    """Free space in GB (10^9 bytes)."""

    yellow: float = Field(10, ge=0, le=1e6)
    red: float = Field(2, ge=0, le=1e6)


class DatabaseSize(Above):
    """What the market database takes, in GB."""

    yellow: float | None = Field(None, gt=0, le=1e6)
    red: float | None = Field(None, gt=0, le=1e6)


class StagingHours(Above):
    """For how long a batch has been begun and not published."""

    # A task may stage for three hours.
    yellow: float = Field(6, ge=3, le=1000)
    red: float = Field(48, ge=3, le=1000)


class AuditsHours(Above):
    """For how long what was published waits for its audits."""

    # It is audited within minutes; a first history takes its time.
    yellow: float = Field(3, gt=0, le=1000)
    red: float = Field(24, gt=0, le=1000)


class QuarantineDays(Above):
    """For how long a row waits for somebody to look at it."""

    yellow: float = Field(1, ge=0, le=3650)
    red: float = Field(14, ge=0, le=3650)


class StreamSilence(Above):
    """For how many seconds a stream that holds the lease has said nothing of itself."""

    # What is said lasts for a minute; a stream that is younger than that speaks.
    yellow: float = Field(60, ge=60, le=3600)
    red: float = Field(300, ge=60, le=3600)


class LiquidationsRoom(Above):
    """The part of the room in Redis that waiting liquidations fill."""

    yellow: float = Field(0.25, gt=0, le=1)
    red: float = Field(0.5, gt=0, le=1)


class LiquidationsMinutes(Above):
    """For how many minutes the oldest of them waits."""

    yellow: float = Field(30, ge=1, le=10_000)
    red: float = Field(360, ge=1, le=10_000)


class HealthSettings(Switchless):
    """When `check_health` looks, what is yellow and red to it and to the command `health`, how often it tells."""

    schedule: Cron = "*/5 * * * *"
    repeat_after_hours: float = Field(24, ge=0.1, le=720)
    # Runs end by their dagrun_timeout at the latest, after six hours; those of ingest_liquidations after one, and a run
    # that has ended is not late.
    ingest_deadline_minutes: float = Field(45, gt=0, le=360)
    missed_runs: int = Field(3, ge=1, le=100)
    forgotten_within_days: float = Field(3, gt=0, le=28)
    error_rate: ErrorRate = ErrorRate()
    fewest_requests: int = Field(20, ge=1, le=100_000)
    budget_spent: float = Field(0.95, gt=0, le=1)
    clock_error_s: float = Field(1, gt=0, le=3600)
    stream_silence_s: StreamSilence = StreamSilence()
    stream_lag_s: float = Field(10, gt=0, le=3600)
    stream_write_s: float = Field(1, gt=0, le=3600)
    liquidations_room: LiquidationsRoom = LiquidationsRoom()
    liquidations_minutes: LiquidationsMinutes = LiquidationsMinutes()
    quarantine_days: QuarantineDays = QuarantineDays()
    staging_hours: StagingHours = StagingHours()
    audits_hours: AuditsHours = AuditsHours()
    disk_free_gb: DiskFree = DiskFree()
    database_gb: DatabaseSize = DatabaseSize()

    @property
    def forgotten_within(self) -> timedelta:
        """A hole that REST forgets so soon is urgent."""
        return timedelta(days=self.forgotten_within_days)

    @property
    def repeat_after(self) -> timedelta:
        """What is still so is told again then."""
        return timedelta(hours=self.repeat_after_hours)


_MAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+")


class AlertSettings(Section):
    """Somebody to tell: by mail, by a webhook, or in Slack. Address and secrets are the Airflow connection's."""

    kind: Literal["smtp", "webhook", "slack"]
    connection: str = Field(pattern=r"^[\w.-]+$", max_length=200)
    level: Literal["yellow", "red"] = "red"
    to: tuple[str, ...] = ()

    @field_validator("to", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("to")
    @classmethod
    def _mail_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(_MAIL.fullmatch, value)):
            raise ValueError("not a mail address; write one such as me@example.com, or a list of such")
        return value

    @model_validator(mode="after")
    def _mail_alone_needs_an_address(self) -> Self:
        if self.kind == "smtp" and not self.to:
            raise ValueError("smtp needs to: the mail addresses to write to")
        if self.kind != "smtp" and self.to:
            raise ValueError(f"{self.kind} has no to: its connection says where it goes")
        return self

    @property
    def name(self) -> str:
        """Which one it is, in messages and in the table `alerts`; the level is no part of it."""
        return " ".join((self.kind, self.connection, *self.to))
