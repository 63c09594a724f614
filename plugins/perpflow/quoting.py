"""What an error may quote of collection.yaml, which may hold a proxy's password, perhaps under a misspelt key."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

LEFT_OUT = "..."

#: A key with one of these in it may have a password below it.
_SECRET_KEY = re.compile(r"prox|pass|pwd|secret|token|key|auth|cred", re.IGNORECASE)

#: An address: it may have a password before its @, and without its @ it may be the first half of one.
_ADDRESS = re.compile(r"@|://")


def quoted(value: Any, below: Iterable[str] = ()) -> str:
    """The value as Python writes it, where it is a plain one, or a list of such, that can be no password.

    Args:
        below: the steps of the key that it stands under.
    """
    if any(_SECRET_KEY.search(step) for step in below):
        return LEFT_OUT
    parts = value if isinstance(value, list | tuple) else [value]
    return repr(value) if all(map(_is_harmless, parts)) else LEFT_OUT


def named(step: str) -> str:
    """One step of a key, on one line; a forgotten space makes an address with its password part of the key."""
    if _ADDRESS.search(step):
        return LEFT_OUT
    return step if step.isprintable() else ascii(step)


def _is_harmless(value: Any) -> bool:
    plain = value is None or isinstance(value, bool | int | float | str)
    return plain and not (isinstance(value, str) and _ADDRESS.search(value))
