"""A verdict survives the manifest."""

from __future__ import annotations

import json

import pytest

from perpflow.quality.verdict import Finding, Verdict

FINDING = Finding(
    expectation="high_above_low",
    rule="row",
    severity="critical",
    columns=("high", "low"),
    failing=2,
    withheld=2,
    sample=("SOL/USDT 5m 2026-04-18 00:00:00+00 high=1 low=2",),
    reason="The high is the highest price.",
)


@pytest.mark.parametrize("findings", [(), (FINDING,)])
def test_a_verdict_goes_through_json_unchanged(findings: tuple[Finding, ...]) -> None:
    verdict = Verdict("ohlcv", not findings, 288, findings)
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


def test_columns_are_one_text_for_the_quarantine() -> None:
    assert FINDING.to_json()["columns"] == "high, low"


def test_a_finding_reads_as_a_sentence() -> None:
    assert "high_above_low: 2 rows, e.g. SOL/USDT 5m" in str(FINDING)
