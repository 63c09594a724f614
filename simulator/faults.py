"""Faults that tests switch on: how each one changes an answer, how requests are matched, how often it strikes.

A fault is JSON (`{"kind": "status", "code": 503, "match": "/fapi/v1/klines", "times": 2}`) or short text
(`status,code=503,match=/fapi/v1/klines,times=2`). `match` is a part of path and query in which `*` stands for
anything; `times` absent or null means until removed. `corrupt_rows` lives in `simulator.corruption`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from simulator.corruption import CorruptedFeed, Corruption, parse_corruption
from simulator.listing import no_such_key
from simulator.messages import Reply, Request, json_reply

_WAF_PAGE = b"<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1></body></html>"


@dataclass(slots=True)
class Fault:
    """One active fault; `spec` is the JSON as given."""

    id: int
    kind: str
    match: str
    times: int | None
    spec: dict[str, object] = field(default_factory=dict)
    struck: int = 0

    def strikes(self, request: Request) -> bool:
        """Whether it is still active, changes this kind of object, and its pattern is in the request."""
        if self.times is not None and self.struck >= self.times:
            return False
        if not request.path.endswith(_ONLY_FOR.get(self.kind, "")):
            return False
        return re.search(".*".join(map(re.escape, self.match.split("*"))), request.target) is not None

    def as_json(self) -> dict[str, object]:
        """What `GET /_simulator/faults` lists."""
        return {**self.spec, "id": self.id, "struck": self.struck}


def _status(fault: Fault, reply: Reply) -> Reply:
    """`code`, `body` (text goes out as HTML, anything else as JSON) and `headers` as given."""
    code, body = int(str(fault.spec["code"])), fault.spec.get("body", "")
    answer = Reply(code, body.encode(), "text/html") if isinstance(body, str) else json_reply(body, code)
    headers = fault.spec.get("headers", {})
    assert isinstance(headers, dict)
    answer.headers.update({str(name): str(value) for name, value in headers.items()})
    return answer


def _waf_block(fault: Fault, reply: Reply) -> Reply:
    """403 with an HTML page, as the web application firewall answers."""
    return Reply(403, _WAF_PAGE, "text/html")


def _waf_challenge(fault: Fault, reply: Reply) -> Reply:
    """A 2xx that is no data."""
    return Reply(202, b"", "text/html", {"x-amzn-waf-action": "challenge"})


def _malformed_json(fault: Fault, reply: Reply) -> Reply:
    """A complete answer whose JSON breaks off."""
    return Reply(reply.status, reply.body[: max(1, len(reply.body) * 2 // 3)] + b'"', reply.content_type, reply.headers)


def _truncated_body(fault: Fault, reply: Reply) -> Reply:
    """The declared length is longer than what arrives; then the connection breaks."""
    cut = reply.body[: len(reply.body) // 2]
    return Reply(reply.status, cut, reply.content_type, reply.headers, promised_length=len(reply.body) or 100)


def _truncated_zip(fault: Fault, reply: Reply) -> Reply:
    """A zip cut short but sent as if whole; its CHECKSUM names the whole."""
    return Reply(reply.status, reply.body[: len(reply.body) // 2], reply.content_type, reply.headers)


def _bad_checksum(fault: Fault, reply: Reply) -> Reply:
    """A CHECKSUM that names another hash."""
    return Reply(reply.status, b"0" * 64 + reply.body[64:], reply.content_type, reply.headers)


def _not_found(fault: Fault, reply: Reply) -> Reply:
    """A missing object."""
    return no_such_key("")


_CHANGES: dict[str, Callable[[Fault, Reply], Reply]] = {
    "status": _status,
    "waf403": _waf_block,
    "waf202": _waf_challenge,
    "malformed_json": _malformed_json,
    "truncated_body": _truncated_body,
    "truncated_zip": _truncated_zip,
    "bad_checksum": _bad_checksum,
    "not_found": _not_found,
}
_ONLY_FOR = {"truncated_zip": ".zip", "bad_checksum": ".CHECKSUM"}
KINDS: tuple[str, ...] = (*_CHANGES, "latency", "corrupt_rows")


def parse_fault(text: str) -> dict[str, object]:
    """A fault's JSON out of JSON text or of `kind,key=value,...`; ValueError when it is neither."""
    if text.lstrip().startswith("{"):
        spec = json.loads(text)
        assert isinstance(spec, dict)
        return spec
    kind, *pairs = text.split(",")
    spec = {"kind": kind}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"fault {text!r}: {pair!r} is not key=value")
        spec[name] = value
    return spec


class Faults:
    """The active faults of a server, in the order in which they were added."""

    def __init__(self, feed: CorruptedFeed) -> None:
        self._feed = feed
        self._numbers = count(1)
        self._active: dict[int, Fault] = {}

    def add(self, spec: dict[str, object]) -> int:
        """Switch a fault on; its id. ValueError when kind or details make no sense."""
        kind = str(spec.get("kind"))
        if kind not in KINDS:
            raise ValueError(f"no fault kind {kind!r}; there is {', '.join(KINDS)}")
        if kind == "status" and not str(spec.get("code", "")).isdigit():
            raise ValueError("fault status needs a code")
        number, times = next(self._numbers), spec.get("times")
        if kind == "corrupt_rows":
            self._feed.corruptions.append(self._corruption(number, spec))
        fault = Fault(number, kind, str(spec.get("match", "")), None if times is None else int(str(times)), spec)
        self._active[number] = fault
        return number

    def _corruption(self, number: int, spec: dict[str, object]) -> Corruption:
        corruption = parse_corruption(number, spec)
        if corruption.symbol not in {contract.symbol for contract in self._feed.contracts}:
            raise ValueError(f"corrupt_rows: no symbol {corruption.symbol!r}")
        return corruption

    def remove(self, number: int | None = None) -> None:
        """Switch one fault off, or all."""
        gone = set(self._active) if number is None else {number}
        self._active = {key: fault for key, fault in self._active.items() if key not in gone}
        self._feed.corruptions = [spoil for spoil in self._feed.corruptions if spoil.id not in gone]

    def list(self) -> list[dict[str, object]]:
        """All faults, spent ones included, with how often each struck."""
        return [fault.as_json() for fault in self._active.values()]

    def latency_s(self, request: Request) -> float:
        """Seconds to hold the answer back; all matching latencies (`ms`) add up."""
        total = 0.0
        for fault in self._active.values():
            if fault.kind == "latency" and fault.strikes(request):
                fault.struck += 1
                total += float(str(fault.spec.get("ms", 1000))) / 1000
        return total

    def change(self, request: Request, reply: Reply) -> Reply:
        """The answer after the first fault that strikes; the answer itself when none does."""
        for fault in self._active.values():
            if fault.kind in _CHANGES and fault.strikes(request):
                fault.struck += 1
                return _CHANGES[fault.kind](fault, reply)
        return reply
