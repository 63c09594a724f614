"""What the soak's command does not take."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from soak.__main__ import main


@pytest.mark.parametrize("minutes", ["0", "-5", "0.5", "nan"])
def test_minutes_in_which_nothing_can_be_killed_are_bad_usage(minutes: str) -> None:
    app = typer.Typer()
    app.command()(main)
    # No campaign of that name: what is wrong with the minutes must be said before it, and nothing may start.
    done = CliRunner().invoke(app, ["--minutes", minutes, "nothing"])
    assert done.exit_code == 2
    assert "minutes" in done.stderr
