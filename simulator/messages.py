"""Requests and replies without any web framework, and the exchange's error bodies, word for word."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """A GET or HEAD: decoded path, decoded query, and the headers a cache sends."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    if_none_match: str = ""

    @property
    def target(self) -> str:
        """Path and query as one text, which fault patterns are matched against."""
        pairs = "&".join(f"{name}={value}" for name, value in self.query.items())
        return f"{self.path}?{pairs}" if pairs else self.path


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is a part of the text; `*` in it stands for anything."""
    return re.search(".*".join(map(re.escape, pattern.split("*"))), text) is not None


@dataclass(slots=True)
class Reply:
    """An answer; with `promised_length` the server promises so many bytes, sends the body and drops the connection.

    `reset` makes that a reset, and without a promised length one before any byte. `rows` counts the body's data rows.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    promised_length: int | None = None
    reset: bool = False
    rows: int = 0


class RestError(Exception):
    """An error that the exchange reports as `{"code": ..., "msg": ...}` with an HTTP status."""

    def __init__(self, code: int, msg: str, status: int = 400) -> None:
        super().__init__(f"{status} {code} {msg}")
        self.code, self.msg, self.status = code, msg, status

    def reply(self) -> Reply:
        """The error as the exchange sends it."""
        return json_reply({"code": self.code, "msg": self.msg}, self.status)


def json_reply(content: object, status: int = 200) -> Reply:
    """A JSON body without spaces, as the exchange writes it; the entries of a list are its rows."""
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return Reply(status, body, rows=len(content) if isinstance(content, list) else 0)


def invalid_symbol() -> RestError:
    """-1121: unknown or delisted symbol."""
    return RestError(-1121, "Invalid symbol.")


def invalid_interval() -> RestError:
    """-1120: not an interval of the klines endpoints."""
    return RestError(-1120, "Invalid interval.")


def missing_parameter(name: str) -> RestError:
    """-1102: a mandatory parameter is absent, empty or not a number."""
    return RestError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def invalid_data(name: str) -> RestError:
    """-1130 as `/fapi` words it, e.g. limit above 1500 on klines."""
    return RestError(-1130, f"Data sent for parameter '{name}' is not valid.")


def invalid_parameter(name: str) -> RestError:
    """-1130 as `/futures/data` words it, e.g. a startTime more than 30 days back."""
    return RestError(-1130, f"parameter '{name}' is invalid.")


def start_after_end() -> RestError:
    """-1023: startTime lies after endTime."""
    return RestError(-1023, "Start time is greater than end time.")


def funding_limit_reply() -> Reply:
    """The odd envelope of fundingRate with limit above 1000: code is a text, there is no msg (freqtrade#10531)."""
    content = {
        "status": "ERROR", "type": "VALID", "code": "000002",
        "errorData": {"limit": "limit can not greater than 1000"}, "data": None, "subData": None, "params": None,
    }  # fmt: skip
    return json_reply(content, 400)


def too_many_requests(limit: int, window: str, retry_after: int) -> Reply:
    """429 with -1003 and Retry-After (seconds)."""
    span = "5 minutes" if window != "weight" else "minute"
    msg = (
        f"Too many requests; current limit is {limit} requests per {span}. "
        "Please use the websocket for live updates to avoid polling the API."
    )
    reply = json_reply({"code": -1003, "msg": msg}, 429)
    reply.headers["Retry-After"] = str(retry_after)
    return reply


def banned(until_ms: int, retry_after: int) -> Reply:
    """418 with -1003, the end of the ban in the text (milliseconds UTC) and Retry-After (seconds)."""
    msg = (
        f"Way too much request weight used; IP banned until {until_ms}. "
        "Please use WebSocket Streams for live updates to avoid bans."
    )
    reply = json_reply({"code": -1003, "msg": msg}, 418)
    reply.headers["Retry-After"] = str(retry_after)
    return reply
