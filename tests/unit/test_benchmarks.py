"""What ends a benchmark that is not our own mistake is said in a line."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import failing_in_a_line
from perpflow.errors import ExchangeUnavailable


def test_a_benchmark_that_a_busy_machine_ends_says_so_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, failing_in_a_line("planning"):
        raise ExchangeUnavailable("no answer\nwithin 30 s", hint="Try again later.")
    assert ended.value.code == 1
    assert capsys.readouterr().err == "failed: planning: ExchangeUnavailable: no answer within 30 s Try again later.\n"


def test_a_mistake_of_ours_stays_a_traceback() -> None:
    with pytest.raises(ZeroDivisionError), failing_in_a_line("planning"):
        raise ZeroDivisionError
