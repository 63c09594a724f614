"""What a person wrote that cannot be taken ends a command with exit 2 and one message, before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from perpflow.__main__ import app


@pytest.fixture(autouse=True)
def _no_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERPFLOW_HOME", str(tmp_path / "state"))
    for name in (
        "PERPFLOW_DATABASE_URL",
        "PERPFLOW_REDIS_URL",
        "PERPFLOW_REST_URL",
        "PERPFLOW_ARCHIVE_URL",
        "PERPFLOW_COLLECTION",
    ):
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--day", "soon"), "'soon' is no day"), (("--day", "2026-01-01", "--json"), "--day prints tables")],
)
def test_a_day_that_cannot_be_shown_is_refused_before_anything_is_audited(
    arguments: tuple[str, ...], said: str
) -> None:
    code, told = ended("audit", *arguments)
    assert code == 2
    assert told.startswith(said)


@pytest.mark.parametrize("text", ["", ",", " "])
def test_an_option_without_a_symbol_does_not_mean_all_that_is_configured(text: str) -> None:
    code, said = ended("backfill", "--symbols", text)
    assert code == 2
    assert said.startswith(f"--symbols {text!r}: names no symbol. Write SOL/USDT, or all")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nonsense", "it is neither a postgresql:// URL nor a list of key=value"),
        ("http://keeper:secret@foo/bar", "it begins with http://, not postgresql://"),
        ("postgresql+psycopg2://keeper:secret@foo/bar", "it begins with postgresql+psycopg2://, not postgresql://"),
        (
            "postgresql://keeper:secret%zz@foo/bar",
            "libpq can't read it; special characters in user and password",
        ),
        ("keeper:secret://foo", "it is neither a postgresql:// URL nor a list of key=value"),
        ("postgresql://keeper:p@secret@foo/bar", "libpq can't read it; special characters in user and password"),
        ("postgresql://keeper:12/secret@foo/bar", "libpq can't read it; special characters in user and password"),
    ],
)
def test_a_database_address_that_is_none_is_bad_usage_and_its_password_stays_secret(
    monkeypatch: pytest.MonkeyPatch, url: str, problem: str
) -> None:
    monkeypatch.setenv("PERPFLOW_DATABASE_URL", url)
    code, said = ended("migrate")
    assert code == 2
    assert said.startswith(f"the market database's address is not valid: {problem}")
    assert "PERPFLOW_DATABASE_URL" in said
    assert "secret" not in said


def test_files_that_were_issued_again_have_no_start() -> None:
    code, said = ended("repair", "--reissued", "--start", "2026-10-01")
    assert code == 2
    assert "Leave out --start, or --reissued." in said


def test_a_memory_of_the_services_that_is_cut_short_is_one_message(tmp_path: Path) -> None:
    memory = tmp_path / "state" / "services.json"
    memory.parent.mkdir()
    memory.write_text('{"database_port": 54')
    for command in (("migrate",), ("services", "status")):
        code, said = ended(*command)
        assert code == 1
        assert f"services: {memory} is damaged" in said
        assert "remove it" in said


@pytest.mark.parametrize(
    "text",
    [
        '{"database_port": "abc"}',
        '{"database_port": -1}',
        '{"redis_port": 70000}',
        '{"database_password": null}',
        '{"redis_password": ["secret"]}',
        '{"redis_password": "se/cret@"}',
        '{"database_port": true}',
    ],
)
def test_a_memory_of_the_services_with_a_wrong_value_is_one_message(tmp_path: Path, text: str) -> None:
    memory = tmp_path / "state" / "services.json"
    memory.parent.mkdir()
    memory.write_text(text)
    for command in (("migrate",), ("health",), ("services", "status")):
        code, said = ended(*command)
        assert code == 1
        assert f"services: {memory} is damaged" in said
        assert "secret" not in said


def test_a_memory_of_the_services_that_is_a_folder_is_one_message(tmp_path: Path) -> None:
    memory = tmp_path / "state" / "services.json"
    memory.mkdir(parents=True)
    for command in (("migrate",), ("services", "status"), ("services", "start")):
        code, said = ended(*command)
        assert code == 1
        assert f"services: {memory} can't be used: Is a directory" in said


def test_a_home_that_is_a_file_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.write_text("")
    monkeypatch.setenv("PERPFLOW_HOME", str(home))
    for command in (("migrate",), ("services", "status"), ("services", "start"), ("services", "stop")):
        code, said = ended(*command)
        assert code == 1
        assert f"services: {home}" in said
        assert "let PERPFLOW_HOME name a folder" in said


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e12", "86401"])
def test_a_pause_that_nobody_can_wait_for_is_bad_usage(seconds: str) -> None:
    code, said = ended("health", "--continuous", seconds)
    assert code == 2
    assert "--continuous" in said


def test_what_is_wrong_with_an_instant_is_a_sentence_with_one_end() -> None:
    code, said = ended("backfill", "--start", "2026-10-20T00:00:00+99:00")
    assert code == 2
    assert "start = '2026-10-20T00:00:00+99:00': " in said
    assert ".." not in said


def test_all_symbols_and_one_of_them_is_bad_usage() -> None:
    code, said = ended("backfill", "--symbols", "all,SOL/USDT")
    assert code == 2
    assert "all stands alone" in said


@pytest.mark.parametrize("variable", ["PERPFLOW_REST_URL", "PERPFLOW_ARCHIVE_URL", "PERPFLOW_STREAM_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://[::1",
        "//x",
        "nonsense",
        "ftp://x",
        "http://",
        "http://a..b",
        "http://a b",
        "http://x?y",
        f"http://{'x' * 64}",
    ],
)
def test_an_address_of_the_exchange_that_is_none_is_bad_usage(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    monkeypatch.setenv("PERPFLOW_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")
    monkeypatch.setenv(variable, url)
    code, said = ended("health")
    assert code == 2
    schemes = "ws or wss" if variable == "PERPFLOW_STREAM_URL" else "http or https"
    assert said.startswith(f"{variable} = {url!r}: not an address of {schemes}.")


@pytest.mark.parametrize("url", ["http://keeper:secret@127.0.0.1:1", "http://keeper:secret@[::1", "keeper:secret@x"])
def test_an_address_of_the_exchange_with_a_password_is_bad_usage_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("PERPFLOW_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")
    monkeypatch.setenv("PERPFLOW_REST_URL", url)
    code, said = ended("health")
    assert code == 2
    assert said.startswith("PERPFLOW_REST_URL holds a user or a password")
    assert "secret" not in said


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("PERPFLOW_DATABASE_URL", "host=127.0.0.1 port=1 user=keeper password=secret dbname=x"),
        ("PERPFLOW_DATABASE_URL", "postgresql://127.0.0.1:1/x?user=keeper&password=secret"),
        ("PERPFLOW_DATABASE_URL", "postgresql://keeper:p@secret@127.0.0.1:1/x"),
        ("PERPFLOW_DATABASE_URL", "postgresql://keeper:12/secret@127.0.0.1:1/x"),
        ("PERPFLOW_REDIS_URL", "redis://127.0.0.1:1/0?password=secret"),
        ("PERPFLOW_REDIS_URL", "unix:///nowhere/redis.sock?password=secret"),
        ("PERPFLOW_REDIS_URL", "redis://:secret/x@127.0.0.1:1/0"),
        ("PERPFLOW_REDIS_URL", "redis://127.0.0.1:secret/0"),
    ],
)
def test_no_form_of_an_address_shows_its_password(monkeypatch: pytest.MonkeyPatch, variable: str, url: str) -> None:
    monkeypatch.setenv(variable, url)
    done = CliRunner().invoke(app, ["services", "status"])
    assert done.exit_code == 0
    assert f"{variable} names a server that does not answer" in done.output
    assert "secret" not in done.output
