"""What is shown of findings: lines that change, JSON, exit codes."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from perpflow.health.finding import Finding, Level
from perpflow.health.watch import Changes, exit_code, line, table, to_json

GREEN = Finding(Level.GREEN, "answers", check="exchange")
YELLOW = Finding(Level.YELLOW, "nothing collected yet", "Run ingest.", "ohlcv", check="freshness")
RED = Finding(Level.RED, "does not answer", "Start it.", check="exchange")


@pytest.mark.parametrize(("findings", "code"), [([GREEN], 0), ([GREEN, YELLOW], 0), ([YELLOW, RED], 1), ([], 0)])
def test_red_alone_ends_with_one(findings: list[Finding], code: int) -> None:
    assert exit_code(findings) == code


def test_a_line_says_level_check_cause_and_what_to_do() -> None:
    assert line(YELLOW) == "yellow freshness ohlcv: nothing collected yet. Run ingest."
    assert line(GREEN) == "green  exchange: answers"


def test_of_what_is_looked_at_again_and_again_only_changes_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    changes = Changes()
    for findings in ([GREEN, YELLOW], [GREEN, YELLOW], [RED, YELLOW], [RED], [GREEN]):
        changes.show(findings)
    assert capsys.readouterr().out.splitlines() == [line(GREEN), line(YELLOW), line(RED), line(GREEN)]


def test_json_is_one_line_with_the_worst_level_on_top() -> None:
    said = to_json([GREEN, YELLOW], datetime(2026, 10, 15, tzinfo=UTC))
    assert "\n" not in said
    assert json.loads(said) == {
        "level": "yellow",
        "at": "2026-10-15T00:00:00+00:00",
        "checks": [
            {"check": "exchange", "level": "green", "cause": "answers", "advice": ""},
            {
                "check": "freshness ohlcv",
                "level": "yellow",
                "cause": "nothing collected yet",
                "advice": "Run ingest.",
            },
        ],
    }


def test_the_table_has_a_row_for_each_finding() -> None:
    assert table([GREEN, YELLOW, RED]).row_count == 3
