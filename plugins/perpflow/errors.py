"""Every error that Perpflow raises on purpose. Two roots decide what a task does with it.

PerpflowError
 ├─ Transient            retried with backoff, then left to the task's own retries
 │   ├─ ExchangeUnavailable   transport failure, 5xx, 408, malformed body
 │   │   ├─ CircuitOpen           the host has failed again and again; nothing was sent (carries retry_after_s)
 │   │   └─ StreamSilent          a subscription that stands and brings nothing
 │   ├─ StreamStopped         told to stop before a successor had come
 │   ├─ RateLimited           429 (carries retry_after_s)
 │   ├─ IpBanned              418 (carries banned_until and retry_after_s)
 │   ├─ ObjectDamaged         archive object whose bytes are no sound zip
 │   │   └─ ChecksumWrong         archive object that does not fit its checksum, or has none
 │   ├─ StoreUnavailable      TimescaleDB or Redis does not answer, or can't just now (deadlock, disk full ...)
 │   └─ BatchSuperseded       another attempt of the same batch is at work
 └─ Permanent            fails the task at once; trying again cannot help
     ├─ BadConfiguration      collection.yaml, environment or form input is not valid
     ├─ BadSuite              an expectation suite is missing or broken
     ├─ UnknownSymbol         the exchange does not list the symbol
     ├─ RequestRejected       the exchange answers 4xx to a well-formed request
     ├─ AccessDenied          451, or the exchange's web application firewall
     ├─ StructurallyBad       rows that do not have the dataset's shape at all
     ├─ AmbiguousLabels       rows of which nobody can tell at which end of their period they are labelled
     ├─ StateDamaged          a key in Redis holds what no process of ours writes
     ├─ SchemaMissing         the market database has not been migrated
     ├─ MigrationChanged      an applied migration file was edited
      ├─ ReviewRefused         a decision about quarantined rows that can't be taken as it was asked for
      │   └─ NothingToReview   no row that waits is meant
      ├─ BatchFaulty           a run in which batches failed or rows were withheld (raised by `report` only)
      └─ Unhealthy             checks are red, or somebody could not be told (raised by `check_health` only)

An error names dataset, symbol and window wherever it knows them, and ends with what to do.
"""

from __future__ import annotations

from datetime import datetime

from perpflow.issue import Issue
from perpflow.windows import Window


class PerpflowError(Exception):
    """Something went wrong that Perpflow foresees."""

    def __init__(
        self,
        message: str,
        *,
        dataset: str | None = None,
        symbol: str | None = None,
        window: Window | None = None,
        hint: str | None = None,
    ) -> None:
        self.dataset = dataset
        self.symbol = symbol
        self.window = window
        self.hint = hint
        subject = " ".join(str(part) for part in (dataset, symbol, window) if part is not None)
        text = f"{subject}: {message}" if subject else message
        super().__init__(f"{text} {hint}" if hint else text)


class Transient(PerpflowError):
    """It may work if tried again; not before `retry_after_s` seconds have passed, where that is known."""

    retry_after_s: float | None = None


class Permanent(PerpflowError):
    """Trying again cannot help; something has to change first."""


class ExchangeUnavailable(Transient):
    """The exchange did not answer, or not with data."""


class CircuitOpen(ExchangeUnavailable):
    """The host has failed again and again; nothing was sent, and one request tries it in `retry_after_s` seconds."""

    retry_after_s: float

    def __init__(self, message: str, *, retry_after_s: float, **context: object) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message, **context)  # type: ignore[arg-type]


class StreamSilent(ExchangeUnavailable):
    """A market stream is connected and subscribed, and nothing comes."""


class StreamStopped(Transient):
    """A stream was told to stop before a successor had come."""


class RateLimited(Transient):
    """The exchange said 429: nobody on this address may ask again before `retry_after_s` seconds have passed."""

    retry_after_s: float

    def __init__(self, message: str, *, retry_after_s: float, **context: object) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message, **context)  # type: ignore[arg-type]


class IpBanned(Transient):
    """The exchange said 418: this address is banned until `banned_until`, for another `retry_after_s` seconds."""

    retry_after_s: float

    def __init__(self, message: str, *, banned_until: datetime, retry_after_s: float, **context: object) -> None:
        self.banned_until = banned_until
        self.retry_after_s = retry_after_s
        super().__init__(message, **context)  # type: ignore[arg-type]


class ObjectDamaged(Transient):
    """The archive object can't be used as it came: the zip is cut short. `issue` says which bytes these were."""

    issue: Issue | None = None


class ChecksumWrong(ObjectDamaged):
    """The archive object's bytes do not fit its checksum."""


class StoreUnavailable(Transient):
    """The database or Redis does not answer, or reports that it can't just now."""


class BatchSuperseded(Transient):
    """The staged rows of this batch belong to another attempt."""


class BadConfiguration(Permanent):
    """A setting is not valid."""


class BadSuite(Permanent):
    """An expectation suite is missing or broken; the gate stays shut."""


class UnknownSymbol(Permanent):
    """The exchange does not list this symbol."""


class RequestRejected(Permanent):
    """The exchange refused the request."""


class AccessDenied(Permanent):
    """The exchange does not serve this address at all."""


class StructurallyBad(Permanent):
    """The rows do not have the shape that this dataset's source is documented to have; those of which `issue`."""

    issue: Issue | None = None


class AmbiguousLabels(Permanent):
    """The labels of an archive object may be the start or the end of its rows' periods."""


class StateDamaged(Permanent):
    """A key in Redis does not hold what processes write there."""

    def __init__(self, key: str, what: str) -> None:
        self.key = key
        super().__init__(
            f"Redis' key {key} holds {what}.",
            hint=f"Delete it with `redis-cli DEL {key}`: it is made anew, and what it said is forgotten.",
        )


class SchemaMissing(Permanent):
    """The market database lacks tables or columns of this version: it has not been migrated."""


class MigrationChanged(Permanent):
    """A migration that was applied has been edited since; migrations only go forward."""


class ReviewRefused(Permanent):
    """This decision about quarantined rows can't be taken; none of it was recorded, unless the message says so."""


class NothingToReview(ReviewRefused):
    """No row that waits for a decision is meant."""


class BatchFaulty(Permanent):
    """Batches of this run failed, or rows of it were withheld by the gate."""


class Unhealthy(Permanent):
    """Checks of health are red, or somebody who was to be told of something could not be."""
