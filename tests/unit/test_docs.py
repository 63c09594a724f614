"""The documents say what is true: commands, targets, links, settings and the dataset table agree with the code."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import psycopg
import pytest
import typer.main
import yaml

from benchmarks.measurement import Measurement
from perpflow import coverage_table, dataset_table, errors
from perpflow.__main__ import app
from perpflow.datasets import DATASETS, TABLES
from perpflow.embedded.airflow_settings import pools
from perpflow.health.examination import CHECKS
from perpflow.settings import Collection, ExchangeSettings, StreamSettings, load_collection

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
README = (ROOT / "README.md").read_text()
SQL = re.findall(r"^```sql\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def text(document: str) -> str:
    return (ROOT / document).read_text()


def between(marker: str) -> str:
    """What stands between two markers of the README."""
    found = re.search(rf"<!-- {marker}[^>]*-->\n(.*?)<!-- /{marker} -->", README, re.DOTALL)
    assert found is not None, f"the README has no place {marker}"
    return found.group(1)


def printed(marker: str) -> str:
    """The output that is quoted, in a fence, at a place of the README."""
    quoted = re.findall(r"^```\w*\n(.*?)^```", between(marker), re.MULTILINE | re.DOTALL)
    assert quoted, f"the README quotes no output at {marker}"
    return "\n".join(quoted)


def _literal(argument: ast.expr) -> str:
    return str(argument.value) if isinstance(argument, ast.Constant) else ""


def targets() -> list[tuple[str, str]]:
    """What the benchmarks say a figure should be: (what is measured, target); what is made up at run time is empty."""
    calls = [
        node.args
        for path in sorted((ROOT / "benchmarks").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Measurement"
    ]
    with_target = [(args[0], args[2]) for args in calls if len(args) == len(fields(Measurement))]
    return [(_literal(subject), _literal(target)) for subject, target in with_target]


def test_the_demo_s_output_is_quoted_with_every_dataset_and_nothing_unexplained() -> None:
    output = printed("demo-output")
    assert coverage_table.table([]).title in output
    quoted = [name for name in DATASETS if re.search(rf"^ *{name} ", output, re.MULTILINE)]
    # One that was added since it was quoted is the next quotation's.
    assert {*re.findall(r"load_history: .*, (\d+) datasets", output)} == {str(len(quoted))}
    assert "UNEXPLAINED" not in output


def test_the_benchmarks_output_is_quoted_with_every_target() -> None:
    lines = printed("bench-output").splitlines()
    assert targets()
    for subject, target in targets():
        assert any(subject in line and target in line for line in lines), f"{subject}: {target}"


def test_the_dataset_table_is_the_generated_one() -> None:
    assert between("datasets") == dataset_table.markdown() + "\n"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", text("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z][\w-]*)", text(document), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_exists(document: str) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, sub in re.findall(r"python -m perpflow ([a-z]+)(?: ([a-z]+))?", text(document)):
        assert name in commands
        of_group = getattr(commands[name], "commands", None)
        assert of_group is None or sub in of_group or (not sub and commands[name].invoke_without_command)


def test_every_option_of_a_command_exists() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, options in re.findall(r"^python -m perpflow ([a-z]+) (--.*)$", README, re.MULTILINE):
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[\w-]+", options)) <= known


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_module_that_is_started_exists(document: str) -> None:
    for module in re.findall(r"python -m ([\w.]+)", text(document)):
        path = module.replace(".", "/")
        places = [base / place for base in (ROOT, ROOT / "plugins") for place in (f"{path}.py", f"{path}/__main__.py")]
        assert any(place.exists() for place in places), module


@pytest.mark.parametrize("document", DOCUMENTS)
def test_internal_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text(document)):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_folders_and_files_exist(document: str) -> None:
    for path in re.findall(r"`((?:tests|include|plugins|dags)/[\w./]*)`", text(document)):
        assert (ROOT / path).exists(), path


def test_the_checks_of_health_are_those_that_there_are() -> None:
    section = README.partition("## Health and alerts")[2].partition("### Metrics")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [check.name for check in CHECKS]


def test_the_thresholds_that_are_named_are_there_with_their_defaults() -> None:
    health = load_collection().health
    assert set(re.findall(r"`health\.(\w+)`", README)) <= set(type(health).model_fields)
    for name, value in re.findall(r"`health\.(\w+)` \(([\d.]+)\)", README):
        assert getattr(health, name) == float(value)


def test_the_alerts_that_are_shown_are_valid() -> None:
    (shown,) = (
        block for block in re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL) if "alerts:" in block
    )
    assert [alert.kind for alert in Collection.model_validate(yaml.safe_load(shown)).alerts] == [
        "smtp",
        "webhook",
        "slack",
    ]


def test_the_dags_that_are_named_for_a_dataset_are_there() -> None:
    named = set(re.findall(r"`(?:ingest|history)_(\w+)`", README))
    assert named
    assert named <= set(TABLES)


def test_named_errors_and_settings_exist() -> None:
    troubles = README.partition("## When something is wrong")[2]
    for name in re.findall(r"`([A-Z]\w+[a-z]\w*)`", troubles):
        assert hasattr(errors, name), name
    named = set(re.findall(r"`exchange\.(\w+)`", README))
    assert named
    assert named <= set(ExchangeSettings.model_fields)


def test_the_keys_of_the_stream_are_those_that_there_are() -> None:
    section = README.partition("### Live prices")[2].partition("\n### ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(StreamSettings.model_fields)


def test_the_pools_let_no_more_tasks_load_than_share_the_limits() -> None:
    named = re.search(
        r"`perpflow_rest` \((\d+)\), `perpflow_archive` \((\d+)\) and `perpflow_stream` \((\d+)\)", README
    )
    assert named is not None
    assert list(map(int, named.groups())) == list(pools().values())
    exchange = load_collection().exchange
    assert pools()["perpflow_rest"] + pools()["perpflow_archive"] == exchange.processes


@pytest.mark.parametrize("statement", SQL)
def test_every_query_runs(database_url: str, statement: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute(statement).fetchall() == []
