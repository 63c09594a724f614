"""What a person wrote that cannot be taken ends a command with exit 2 and one message, before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from perpflow.__main__ import app


@pytest.fixture(autouse=True)
def _no_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERPFLOW_HOME", str(tmp_path / "state"))
    for name in ("PERPFLOW_DATABASE_URL", "PERPFLOW_REDIS_URL", "PERPFLOW_COLLECTION"):
        monkeypatch.delenv(name, raising=False)


def ended(*arguments: str) -> tuple[int, str]:
    """A command's exit code and what it said about it; anything but an exit is a traceback to a user."""
    done = CliRunner().invoke(app, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done.exit_code, done.stderr


def test_a_collection_that_is_a_folder_is_bad_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERPFLOW_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")
    monkeypatch.setenv("PERPFLOW_COLLECTION", str(tmp_path))
    code, said = ended("ingest")
    assert code == 2
    assert f"{tmp_path} cannot be read: Is a directory" in said


def test_a_start_that_is_no_date_is_bad_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = tmp_path / "collection.yaml"
    collection.write_text("start: 2026-02-30\n")
    monkeypatch.setenv("PERPFLOW_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")
    monkeypatch.setenv("PERPFLOW_COLLECTION", str(collection))
    code, said = ended("ingest")
    assert code == 2
    assert "collection.yaml: start = '2026-02-30': day is out of range for month" in said


@pytest.mark.parametrize("text", ["", ",", " "])
def test_an_option_without_a_symbol_does_not_mean_all_that_is_configured(text: str) -> None:
    code, said = ended("backfill", "--symbols", text)
    assert code == 2
    assert said.startswith(f"--symbols {text!r}: names no symbol. Write SOL/USDT, or all")
