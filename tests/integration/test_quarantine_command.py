"""`python -m perpflow quarantine` as a person and a program call it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from perpflow.__main__ import app
from perpflow.settings import Deployment
from perpflow.store.database import session
from simulator.process import Handle
from tests.loading import deployment_of, load, request, rows


@pytest.fixture(scope="module")
def deployment(database_url: str, exchange: Handle) -> Iterator[Deployment]:
    """Three days of candles, of which some are withheld."""
    made = deployment_of(database_url, exchange, datasets={"ohlcv": {"timeframes": ["5m"]}})
    for date, what in (("2026-10-09", "conflicting_duplicate"), ("2026-10-10", "high_below_low")):
        exchange.add_fault(
            "corrupt_rows", dataset="klines", symbol="SOLUSDT", interval="5m", date=date, what=what, count=1
        )
    load(made, request("run", "2026-10-09", "2026-10-12", datasets=("ohlcv",)))
    yield made
    exchange.clear_faults()


@pytest.fixture
def perpflow(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `perpflow quarantine ...`; returns exit code, output and what went to stderr."""
    monkeypatch.setenv("PERPFLOW_DATABASE_URL", deployment.database_url)
    monkeypatch.setenv("PERPFLOW_REST_URL", deployment.rest_url)
    monkeypatch.setenv("PERPFLOW_ARCHIVE_URL", deployment.archive_url)

    def run(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, ["quarantine", *arguments])
        return done.exit_code, done.stdout, done.stderr

    return run


def numbers(deployment: Deployment, where: str) -> list[str]:
    with session(deployment.database_url) as connection:
        found = rows(connection, f"SELECT id FROM quarantine WHERE {where} ORDER BY id")  # noqa: S608
    return [str(number) for (number,) in found]


def test_list_and_show_say_what_waits_to_people_and_programs(perpflow: Any) -> None:
    code, text, _ = perpflow("list")
    assert code == 0
    assert "ohlcv one_row_per_key: 2 rows of SOL/USDT" in text
    found = json.loads(perpflow("list", "--json", "--expectation", "one_row_per_key")[1])
    assert [group["rows"] for group in found["groups"]] == [2]
    one, other = (row["id"] for row in found["rows"])
    mistyped = perpflow("list", "--expectation", "one_row_per_keys")[1]
    assert re.match(r"nothing of that waits for a decision; \d+ other entries do\n", mistyped)
    code, text, _ = perpflow("show", str(one))
    assert code == 0
    assert f"row {other}, same key: 2026-10-09 06:00" in text
    assert "published before: 2026-10-09 05:55" in text
    shown = json.loads(perpflow("show", str(one), "--json")[1])
    assert [rival["id"] for rival in shown["rivals"]] == [other]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "999999"), 1, "999999: no such rows in the quarantine"),
        (("release", "999999", "--note", "x"), 1, "999999: no such rows in the quarantine"),
        (("release", "--note", "x"), 2, "no rows are chosen"),
        (("reject", "1", "--note", "  "), 2, "the note is empty"),
        (("reject", "1"), 2, "--note"),
        (("reject", "0", "--note", "x"), 2, "greater than or equal to 1"),
        (("show", f"{2**63}"), 2, "less than or equal to"),
        (("reject", "--datasets", "nonsense", "--note", "x"), 2, "Allowed: ohlcv"),
        (("reject", "--datasets", " ", "--note", "x"), 2, "names nothing"),
        (("reject", "--symbols", ",", "--note", "x"), 2, "names nothing"),
        (("list", "--since", "yesterday"), 2, "--since 'yesterday'"),
        (("reject", "--expectation", "none_such", "--note", "x"), 1, "nothing that waits for a decision matches"),
    ],
)
def test_bad_input_is_one_message_and_an_exit_code(
    perpflow: Any, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended, _, error = perpflow(*arguments)
    assert ended == code
    assert said in error
    assert "Traceback" not in error


def test_release_publishes_and_says_so_and_again_is_refused(perpflow: Any, deployment: Deployment) -> None:
    (number, *_) = numbers(deployment, "time >= '2026-10-10Z'")
    code, text, _ = perpflow("release", number, "--note", "checked on the chart")
    assert code == 0
    assert "released ohlcv 2026-10-10: ohlcv staged=1 inserted=1" in text
    code, _, error = perpflow("release", number, "--note", "once more")
    assert code == 1
    assert f"{number} was released by " in error
    assert "checked on the chart" in error


def test_json_of_a_release_stands_alone(perpflow: Any, deployment: Deployment) -> None:
    one, other = numbers(deployment, "expectation = 'one_row_per_key'")
    code, _, error = perpflow("release", one, "--note", "x")
    assert code == 1
    assert f"{other} has the same key as {one}" in error
    code, text, told = perpflow("release", one, "--note", "the later one", "--reject-rivals", "--json")
    assert code == 0
    found = json.loads(text)
    assert (found["decision"], found["marked"], found["rivals_rejected"]) == ("released", 1, 1)
    assert "inserted=1" in told
    assert perpflow("list")[1] == "nothing waits for a decision\n"
