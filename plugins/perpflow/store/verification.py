"""The audits' part of the ledger: how far series are verified, what was found, and what is left to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from perpflow.store.database import Connection, from_multirange, query, to_multirange
from perpflow.windows import Window


@dataclass(frozen=True, slots=True)
class Verified:
    """A series from its first accounted instant on: how far it is verified, and how far it is accounted for; UTC."""

    dataset: str
    symbol: str
    series: str
    verified_from: datetime
    verified_until: datetime
    covered_until: datetime

    @property
    def key(self) -> tuple[str, str, str]:
        """Dataset, symbol, series."""
        return self.dataset, self.symbol, self.series


@dataclass(frozen=True, slots=True)
class OpenFindings:
    """What an audit has found of a dataset and nobody has mended yet: how many findings, and the first of them.

    Those that a person has accepted, as the note says, are warnings; they are counted by themselves.
    """

    id: int
    audit: str
    dataset: str
    severity: str
    accepted: bool
    findings: int
    symbol: str
    series: str
    time: datetime | None
    until: datetime | None
    column: str
    detail: dict[str, Any]
    accepted_by: str | None
    note: str | None

    @property
    def sample(self) -> str:
        """The first finding in a line: which series, when, which column, and what was compared."""
        when = "" if self.time is None else f" {self.time:%Y-%m-%d %H:%M}"
        facts = ", ".join(f"{name} {_short(value)}" for name, value in self.detail.items())
        accepted = f" (accepted by {self.accepted_by}: {self.note})" if self.accepted else ""
        return f"{self.symbol} {self.series}{when} {self.column}: {facts}{accepted}"


def verified(
    connection: Connection, datasets: tuple[str, ...] | None = None, symbols: tuple[str, ...] | None = None
) -> list[Verified]:
    """By dataset, symbol and series; all of them where a filter is None."""
    return [Verified(**row) for row in connection.execute(query("verification_read"), _filters(datasets, symbols))]


def verified_until(connection: Connection, dataset: str, symbol: str, series: str) -> datetime | None:
    """Until when one series is verified; None where nothing of it is."""
    parameters = {"dataset": dataset, "symbol": symbol, "series": series}
    row = connection.execute(query("verification_until"), parameters).fetchone()
    return row["verified_until"] if row else None


def open_findings(
    connection: Connection, datasets: tuple[str, ...], symbols: tuple[str, ...] | None = None
) -> list[OpenFindings]:
    """By audit, dataset, severity and whether they are accepted."""
    return [OpenFindings(**row) for row in connection.execute(query("findings_open"), _filters(datasets, symbols))]


def scope(
    connection: Connection, dataset: str, symbols: tuple[str, ...] | None = None, *, again: bool = False
) -> dict[str, list[Window]]:
    """What of a dataset no audit has looked at since it was published, and what is disputed, by symbol.

    With `again` all that the ledger accounts for.
    """
    parameters = {"dataset": dataset, "again": again, **_filters((dataset,), symbols)}
    return {
        row["symbol"]: from_multirange(row["windows"]) for row in connection.execute(query("audit_scope"), parameters)
    }


def series_of(
    connection: Connection, datasets: tuple[str, ...], symbols: tuple[str, ...] | None
) -> dict[str, list[tuple[str, str]]]:
    """(symbol, series) of which the ledger knows anything, by dataset."""
    found: dict[str, list[tuple[str, str]]] = {dataset: [] for dataset in datasets}
    for row in connection.execute(query("audit_series"), _filters(datasets, symbols)):
        found[row["dataset"]].append((row["symbol"], row["series"]))
    return found


def mark_audited(connection: Connection, dataset: str, looked_at: Mapping[str, list[Window]]) -> None:
    """Write into the ledger what has been looked at of its symbols; the caller holds their locks."""
    windows = [to_multirange(each) for each in looked_at.values()]
    parameters = {"dataset": dataset, "symbols": list(looked_at), "windows": windows}
    connection.execute(query("audit_mark"), parameters)


def dispute(connection: Connection, datasets: tuple[str, ...], symbols: tuple[str, ...]) -> None:
    """Write into the ledger what open critical findings are about; the caller holds the locks."""
    connection.execute(query("audit_dispute"), _filters(datasets, symbols))


def accept(connection: Connection, ids: tuple[int, ...], person: str, note: str) -> list[tuple[int, str, str]]:
    """Accept those of the findings that are open and critical; returns number, dataset and symbol of each."""
    parameters = {"ids": list(ids), "person": person, "note": note}
    rows = connection.execute(query("audit_accept"), parameters)
    return [(row["id"], row["dataset"], row["symbol"]) for row in rows]


def note_fallen(connection: Connection) -> None:
    """What was told and is verified no longer counts as told only as far as it still is."""
    connection.execute(query("verification_fallen"))


def untold(connection: Connection) -> list[Verified]:
    """The series that are verified until another instant than was told."""
    return [Verified(**row) for row in connection.execute(query("verification_untold"))]


def tell(connection: Connection, series: Sequence[Verified]) -> None:
    """Keep until when these were told to be verified."""
    parameters = {
        "datasets": [each.dataset for each in series],
        "symbols": [each.symbol for each in series],
        "series": [each.series for each in series],
        "until": [each.verified_until for each in series],
    }
    connection.execute(query("verification_tell"), parameters)


def _filters(datasets: tuple[str, ...] | None, symbols: tuple[str, ...] | None) -> dict[str, Any]:
    return {
        "datasets": None if datasets is None else list(datasets),
        "symbols": None if symbols is None else list(symbols),
    }


def _short(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)
