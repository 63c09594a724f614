"""Imports go one way, each outside library has one door, SQL stands in files: read from the source itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "plugins" / "perpflow"
SOURCES = sorted(PACKAGE.rglob("*.py"))

#: A module may import from its own layer and from those below it. Folders stand for all their modules; what is not
#: named here stands on top, so that nothing below may import it.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"cancelling", "contracts", "counters", "include", "issue", "proxies", "quoting", "seldom", "windows"}),
    frozenset({"datasets", "errors", "specs"}),
    frozenset({"frames", "monitoring", "parsing", "sections", "settings", "yaml_file"}),
    frozenset({"batches"}),
    frozenset({"store", "exchange"}),
    frozenset({"quality"}),
    frozenset(
        {
            "aligning",
            "alignment",
            "auditing",
            "costing",
            "draining",
            "estimating",
            "evidence",
            "fetching",
            "lives",
            "never_loaded",
        }
        | {"planning", "proof", "reconciling", "reissues", "releasing", "rotation", "sessions", "settling", "symbols"}
    ),
    frozenset({"publishing"}),
    frozenset({"pipeline"}),
)


def part_of(path: Path) -> str:
    """The module or folder directly in the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            # `from perpflow import windows` imports a module; `from perpflow.windows import Window` a name of one.
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "perpflow" else []
            yield from names or [node.module]


def own_parts(path: Path) -> set[str]:
    """The package's parts that a file imports, its own left out."""
    names = {name.split(".")[1] for name in imported(path) if name.startswith("perpflow.")}
    return names - {part_of(path)}


def depth(part: str) -> int:
    return next((n for n, layer in enumerate(LAYERS) if part in layer), len(LAYERS))


def importers(library: str) -> set[str]:
    """The project's files that import a library, the tests left out."""
    files = [
        *SOURCES,
        *(ROOT / "dags").glob("*.py"),
        *(ROOT / "simulator").glob("*.py"),
        *(ROOT / "plugins").glob("*.py"),
    ]
    return {str(path.relative_to(ROOT)) for path in files if library in {n.split(".")[0] for n in imported(path)}}


def test_the_layers_name_what_is_there() -> None:
    assert frozenset().union(*LAYERS) - {part_of(path) for path in SOURCES} == set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_its_own_layer_and_below_only(path: Path) -> None:
    assert {other for other in own_parts(path) if depth(other) > depth(part_of(path))} == set()


def test_the_exchange_knows_nothing_of_the_store_and_the_store_nothing_of_the_exchange() -> None:
    for part, other in (("store", "exchange"), ("exchange", "store")):
        assert [path.name for path in (PACKAGE / part).glob("*.py") if other in own_parts(path)] == []


def test_the_package_does_not_know_the_simulator_the_tests_or_the_dags() -> None:
    outside = {name.split(".")[0] for path in SOURCES for name in imported(path)}
    assert outside & {"simulator", "tests", "dags", "benchmarks"} == set()


def test_one_file_imports_ccxt() -> None:
    assert importers("ccxt") == {"plugins/perpflow/exchange/rest.py"}


def test_great_expectations_is_the_gates_own_business() -> None:
    assert {str(Path(name).parent) for name in importers("great_expectations")} == {"plugins/perpflow/quality"}


def test_airflow_is_imported_by_what_wraps_the_core_only() -> None:
    allowed = ("plugins/perpflow/orchestration/", "plugins/perpflow_plugin.py", "dags/")
    found = importers("airflow")
    assert found != set()
    assert {name for name in found if not name.startswith(allowed)} == set()


SQL = re.compile(
    r"\b(SELECT\s.+\sFROM|INSERT\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM|CREATE\s+(TABLE|VIEW|INDEX|SCHEMA)|ALTER\s+TABLE"
    r"|TRUNCATE\s+\w|COPY\s+\S+\s+(FROM|TO)\b)",
    re.DOTALL,
)


def texts(path: Path) -> Iterator[str]:
    """String literals that are no docstrings."""
    tree = ast.parse(path.read_text())
    scopes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documented = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, scopes)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in documented:
            yield node.value


#: embedded/ makes databases and their owner, before there is one that queries could run in.
@pytest.mark.parametrize(
    "path", [p for p in SOURCES if part_of(p) != "embedded"], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_no_sql_stands_in_python(path: Path) -> None:
    assert [text for text in texts(path) if SQL.search(text)] == []


def test_sql_in_python_would_be_found() -> None:
    for text in (
        "SELECT a\nFROM b",
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "CREATE TABLE t ()",
    ):
        assert SQL.search(text)
    assert not SQL.search("Select one from the list, then update it.")


def queries_named(path: Path) -> Iterator[str]:
    """The names given to `query(...)` as literals."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "query":
            leaves = [leaf for leaf in ast.walk(node.args[0]) if isinstance(leaf, ast.Constant)]
            yield from (leaf.value for leaf in leaves if isinstance(leaf.value, str))


def test_every_query_file_is_described_and_used_and_every_query_used_is_there() -> None:
    files = {path.stem: path.read_text() for path in (ROOT / "include" / "sql" / "queries").glob("*.sql")}
    text = "\n".join(path.read_text() for path in SOURCES)
    assert [name for name in files if f'"{name}"' not in text] == []
    assert {name for path in SOURCES for name in queries_named(path)} - files.keys() == set()
    fragments = {
        "publish_differs",
        "publish_prefer_staged",
        "publish_same_key",
        "publish_unite",
        "publish_yield_to_better",
        "reconcile_value",
    }
    assert [name for name, sql in files.items() if not sql.startswith("-- ") and name not in fragments] == []
