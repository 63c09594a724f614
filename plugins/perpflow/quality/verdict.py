"""What the gate says about a batch; small enough to travel with the manifest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from perpflow.quality.suites import Rule, Severity

#: Failing rows that a finding quotes; the quarantine holds them all.
SAMPLE_ROWS = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """An expectation that the batch does not meet.

    `expectation` is the id that stands in the staged rows' `withheld`; `failing` counts the rows that fail it,
    `withheld` those marked for it (none for a warning), `rejected` those of them that a person has rejected for it;
    `sample` quotes the first of them; `reason` is the suite's why.
    """

    expectation: str
    rule: Rule
    severity: Severity
    columns: tuple[str, ...]
    failing: int
    withheld: int
    sample: tuple[str, ...]
    reason: str
    rejected: int = 0

    def __str__(self) -> str:
        rows = "; ".join(self.sample)
        return f"{self.severity}: {self.expectation}: {self.failing} rows, e.g. {rows}. {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """As the manifest keeps it and the quarantine's query reads it: `columns` is one text, `high, low`."""
        return {**asdict(self), "columns": ", ".join(self.columns), "sample": list(self.sample)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Finding:
        """The finding that `to_json` wrote."""
        columns = tuple(data["columns"].split(", ")) if data["columns"] else ()
        return cls(**{**data, "columns": columns, "sample": tuple(data["sample"])})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate found in a staged batch of `rows` rows. `passed`: it withholds none of them."""

    dataset: str
    passed: bool
    rows: int
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """For the manifest: plain JSON types."""
        findings = [finding.to_json() for finding in self.findings]
        return {"dataset": self.dataset, "passed": self.passed, "rows": self.rows, "findings": findings}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Verdict:
        """The verdict that `to_json` wrote."""
        return cls(**{**data, "findings": tuple(Finding.from_json(finding) for finding in data["findings"])})
