"""What a client may ask on a stream connection: SUBSCRIBE and its kin, with the documented answers and errors."""

from __future__ import annotations

import json
from typing import Protocol

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_TOO_MANY = "Invalid request: too many parameters"
_VARIANTS = ", ".join(f"`{method}`" for method in METHODS)


class Subscriber(Protocol):
    """The connection that a request is about."""

    combined: bool

    def subscribe(self, names: list[str]) -> None:
        """Add streams."""

    def unsubscribe(self, names: list[str]) -> None:
        """Leave streams."""

    def subscribed(self) -> list[str]:
        """Names of all streams, in the order of subscription."""


class _Refused(Exception):
    """A request that is answered with a code and a message."""

    def __init__(self, code: int, msg: str) -> None:
        super().__init__(msg)
        self.code, self.msg = code, msg


def answer(subscriber: Subscriber, text: str) -> dict[str, object]:
    """Carry a request out; the acknowledgement, or the error."""
    try:
        request = _parsed(text)
        return {"result": _result(subscriber, request), "id": request["id"]}
    except _Refused as refused:
        return {"code": refused.code, "msg": refused.msg}


def _parsed(text: str) -> dict[str, object]:
    try:
        request = json.loads(text)
    except json.JSONDecodeError as error:
        raise _Refused(3, f"Invalid JSON: expected value at line {error.lineno} column {error.colno}") from error
    if not isinstance(request, dict) or "method" not in request:
        raise _Refused(2, f"Invalid request: missing field `method` at line 1 column {len(text)}")
    if request["method"] not in METHODS:
        unknown = f"Invalid request: unknown variant `{request['method']}`, expected one of {_VARIANTS}"
        raise _Refused(2, f"{unknown} at line 1 column {len(text)}")
    number = request.get("id")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise _Refused(2, "Invalid request: request ID must be an unsigned integer")
    return request


def _result(subscriber: Subscriber, request: dict[str, object]) -> object:
    method, params = request["method"], request.get("params", [])
    if not isinstance(params, list):
        raise _Refused(2, "Invalid request: params must be a list")
    if method == "LIST_SUBSCRIPTIONS":
        if params:
            raise _Refused(2, _TOO_MANY)
        return subscriber.subscribed()
    if method in ("SET_PROPERTY", "GET_PROPERTY"):
        return _property(subscriber, str(method), params)
    if not all(isinstance(name, str) for name in params):
        raise _Refused(2, "Invalid request: stream name must be a string")
    change = subscriber.subscribe if method == "SUBSCRIBE" else subscriber.unsubscribe
    change(params)
    return None


def _property(subscriber: Subscriber, method: str, params: list[object]) -> bool | None:
    if not params or not isinstance(params[0], str):
        raise _Refused(2, "Invalid request: property name must be a string")
    if len(params) > (2 if method == "SET_PROPERTY" else 1):
        raise _Refused(2, _TOO_MANY)
    if params[0] != "combined":
        raise _Refused(0, "Unknown property")
    if method == "GET_PROPERTY":
        return subscriber.combined
    if len(params) < 2 or not isinstance(params[1], bool):
        raise _Refused(1, "Invalid value type: expected Boolean")
    subscriber.combined = params[1]
    return None
