"""A YAML file of keys and values, read strictly: no key counts twice, and dates stay text.

No error quotes the file, which may hold passwords: it says what is wrong, in which line and column.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from perpflow.errors import BadConfiguration
from perpflow.quoting import named

#: Where PyYAML goes on to quote the file: a password that begins with ! & or * is a tag, an anchor or an alias to it.
_QUOTING = re.compile(r"\b(tag|handle|anchor|alias) ['\"].*", re.DOTALL)


class _Loader(yaml.SafeLoader):
    """YAML without its timestamps: dates stay text, so that one the calendar lacks is refused with its key."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a key that is given twice. Later is too late: `<<` adds keys on purpose that are there already."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                name, mark = (key.tag, key.value), key.start_mark
                if name in lines:
                    problem = f"the key {named(key.value)} is given twice, first in line {lines[name]}"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
                lines[name] = mark.line + 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Say of a text that its tag does not fit, such as `!!int many`, where PyYAML just stumbles."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, ArithmeticError) as error:
            # A date's fault is worth telling; that of a number quotes it.
            why = f": {error}" if isinstance(error, ValueError) and not re.search(r"['\"]", str(error)) else ""
            problem = f"this is no {node.tag.rpartition(':')[2]}{why}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None


def read_mapping(path: Path) -> dict[Any, Any]:
    """What the file says; an empty one says nothing.

    Raises:
        BadConfiguration: the file is missing, not readable, not YAML, or holds something else than keys.
    """
    try:
        # A subclass of the safe loader, which makes plain values only.
        content = yaml.load(_text(path), _Loader)  # noqa: S506
    except (yaml.YAMLError, RecursionError) as error:
        # A cause is printed in the traceback that Airflow shows, and PyYAML's quotes the line.
        raise BadConfiguration(f"{path} is not valid YAML: {_problem(error)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BadConfiguration(f"{path} must hold keys such as `symbols:`, not {type(content).__name__}.")
    return content


def _problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "brackets or lists stand too deep in one another."
    if isinstance(error, yaml.reader.ReaderError):
        return f"the character {error.character:#06x} at position {error.position} is not allowed."
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        said = ": ".join(_QUOTING.sub(r"\1", text) for text in (error.context, error.problem) if text)
        return f"{said} (line {mark.line + 1}, column {mark.column + 1})."
    return f"{type(error).__name__}."


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadConfiguration(f"{path} does not exist.", hint="Set PERPFLOW_COLLECTION, or restore it.") from error
    except OSError as error:
        hint = "Let PERPFLOW_COLLECTION name a file that this user may read."
        raise BadConfiguration(f"{path} cannot be read: {error.strerror}.", hint=hint) from error
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x} at position {error.start}"
        raise BadConfiguration(f"{path} is not UTF-8 text: {found}.", hint="Save it as UTF-8.") from error
