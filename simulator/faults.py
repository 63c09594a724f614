"""Faults that tests switch on: how each one changes an answer, how requests are matched, how often it strikes.

A fault is JSON (`{"kind": "status", "code": 503, "match": "/fapi/v1/klines", "times": 2}`) or short text
(`status,code=503,match=/fapi/v1/klines,times=2`). `match` is a part of path and query in which `*` stands for
anything; `times` absent or null means until removed. With `probability` it strikes that share of what matches, in an
order that seed and number of the fault decide. The kinds, and what they take besides:

- `status`: `code`, and `body` and `headers` instead of what the exchange sends with that code; `waf403`, `waf202`
- `latency`: `ms`; `reset`: no byte of an answer; `reset_body`, `truncated_body`: half of it, then a reset or an end
- `malformed_json`; `envelope`: the "000002" error; `weight_header`: `value` of X-MBX-USED-WEIGHT-1M, absent: no header
- `truncated_zip`, `bad_checksum`, `not_found`: objects of the archive
- `late_archive`: `hours` that zips (`match` is part of their keys) are published later than usual
- `corrupt_rows`: see `simulator.corruption`
- `ws_silence`, `ws_half_open`, `ws_garbage` (`content`), `ws_cut`, `ws_duplicate`, `ws_out_of_order`: what happens to
  events on streams; path and query are the connection's path and `stream=<name>`; see `simulator.stream_faults`

`status`, `waf403`, `waf202`, `reset` and `latency` strike the handshake of a stream's connection as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import count
from random import Random

from simulator.corruption import CorruptedFeed, Corruption, parse_corruption
from simulator.delays import Delay, Delays
from simulator.listing import no_such_key
from simulator.messages import Reply, Request, funding_limit_reply, json_reply, matches

_RESTRICTED = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in "
    "https://www.binance.com/en/terms. Please contact customer service if you believe you received this message in "
    "error."
)
_CHALLENGE = {"x-amzn-waf-action": "challenge"}
_WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"


@dataclass(slots=True)
class Fault:
    """One active fault; `spec` is the JSON as given."""

    id: int
    kind: str
    match: str
    times: int | None
    spec: dict[str, object] = field(default_factory=dict)
    probability: float = 1.0
    random: Random = field(default_factory=Random)
    struck: int = 0

    def strikes(self, request: Request) -> bool:
        """Whether it is still active, changes this kind of object, its pattern is in the request, and chance agrees."""
        if self.times is not None and self.struck >= self.times:
            return False
        if not request.path.endswith(_ONLY_FOR.get(self.kind, "")):
            return False
        return matches(self.match, request.target) and self.random.random() < self.probability

    def as_json(self) -> dict[str, object]:
        """What `GET /_simulator/faults` lists."""
        return {**self.spec, "id": self.id, "struck": self.struck}


def _status(fault: Fault, reply: Reply) -> Reply:
    """`code`, `body` (text goes out as HTML, anything else as JSON) and `headers` as given, or as the exchange does."""
    code = int(str(fault.spec["code"]))
    answer = _usual(code)
    if "body" in fault.spec:
        body = fault.spec["body"]
        answer = Reply(code, body.encode(), "text/html") if isinstance(body, str) else json_reply(body, code)
    headers = fault.spec.get("headers", {})
    assert isinstance(headers, dict)
    answer.headers.update({str(name): str(value) for name, value in headers.items()})
    return answer


def _usual(code: int) -> Reply:
    """What the exchange, or the firewall and the servers before it, send with a status."""
    if code == 451:
        return json_reply({"code": 0, "msg": _RESTRICTED}, code)
    if code == 403 or code >= 500:
        title = f"{code} {HTTPStatus(code).phrase}" if code in set(HTTPStatus) else str(code)
        page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
        return Reply(code, page.encode(), "text/html")
    return Reply(code, b"", "text/html", dict(_CHALLENGE) if code == 202 else {})


def _waf_block(fault: Fault, reply: Reply) -> Reply:
    """403 with an HTML page, as the web application firewall answers."""
    return _usual(403)


def _waf_challenge(fault: Fault, reply: Reply) -> Reply:
    """A 2xx that is no data."""
    return _usual(202)


def _envelope(fault: Fault, reply: Reply) -> Reply:
    """An error whose code is a text and that has no msg."""
    return funding_limit_reply()


def _weight_header(fault: Fault, reply: Reply) -> Reply:
    """The answer with another count of used weight, or with none."""
    headers = {name: value for name, value in reply.headers.items() if name != _WEIGHT_HEADER}
    if fault.spec.get("value") is not None:
        headers[_WEIGHT_HEADER] = str(fault.spec["value"])
    return replace(reply, headers=headers)


def _reset(fault: Fault, reply: Reply) -> Reply:
    """The connection is reset before any byte of an answer."""
    return Reply(reply.status, b"", reset=True)


def _reset_body(fault: Fault, reply: Reply) -> Reply:
    """The connection is reset in the middle of the body."""
    return replace(_truncated_body(fault, reply), reset=True)


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
    "envelope": _envelope,
    "weight_header": _weight_header,
    "reset": _reset,
    "reset_body": _reset_body,
    "truncated_body": _truncated_body,
    "truncated_zip": _truncated_zip,
    "bad_checksum": _bad_checksum,
    "not_found": _not_found,
}
_ONLY_FOR = {"truncated_zip": ".zip", "bad_checksum": ".CHECKSUM"}
# What can happen to the handshake of a stream's connection, which has no body.
HANDSHAKE_KINDS = ("status", "waf403", "waf202", "reset")
STREAM_KINDS = ("ws_silence", "ws_half_open", "ws_garbage", "ws_cut", "ws_duplicate", "ws_out_of_order")
KINDS: tuple[str, ...] = (*_CHANGES, "latency", "late_archive", "corrupt_rows", *STREAM_KINDS)


def parse_fault(text: str) -> dict[str, object]:
    """A fault's JSON out of JSON text or of `kind,key=value,...`; ValueError when it is neither."""
    if text.lstrip().startswith("{"):
        spec = json.loads(text)
        assert isinstance(spec, dict)
        return spec
    kind, _, pairs = text.partition(",")
    return {"kind": kind, **parse_pairs(pairs)}


def parse_pairs(text: str) -> dict[str, str]:
    """`key=value,...` as a dictionary; ValueError when it is something else."""
    pairs = {}
    for pair in text.split(",") if text else ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{text!r}: {pair!r} is not key=value")
        pairs[name] = value
    return pairs


def _probability(spec: dict[str, object]) -> float:
    probability = float(str(spec.get("probability", 1)))
    if not 0 < probability <= 1:
        raise ValueError(f"probability must lie above 0 and not above 1, not {probability}")
    return probability


def _hours(spec: dict[str, object]) -> float:
    if not (hours := float(str(spec.get("hours", 0)))) > 0:
        raise ValueError("fault late_archive needs hours above 0")
    return hours


class Faults:
    """The active faults of a server, in the order in which they were added.

    `feed` takes the corruptions and `delays` the delays; None where files have no times of publication.
    """

    def __init__(self, feed: CorruptedFeed, seed: int, delays: Delays | None) -> None:
        self._feed, self._seed, self._delays = feed, seed, delays
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
        probability = _probability(spec)
        if kind == "corrupt_rows":
            self._feed.corruptions.append(self._corruption(number, spec, probability))
        if kind == "late_archive":
            self._delay(Delay(number, str(spec.get("match", "")), _hours(spec), probability, self._seed))
        random = Random(f"{self._seed}:{number}")
        limit = None if times is None else int(str(times))
        self._active[number] = Fault(number, kind, str(spec.get("match", "")), limit, spec, probability, random)
        return number

    def _delay(self, delay: Delay) -> None:
        if self._delays is None:
            raise ValueError("late_archive: recorded files have no time at which they are published")
        self._delays.add(delay)

    def _corruption(self, number: int, spec: dict[str, object], probability: float) -> Corruption:
        corruption = parse_corruption(number, spec, probability, self._seed)
        if corruption.symbol not in {contract.symbol for contract in self._feed.contracts}:
            raise ValueError(f"corrupt_rows: no symbol {corruption.symbol!r}")
        return corruption

    def remove(self, number: int | None = None) -> None:
        """Switch one fault off, or all."""
        gone = set(self._active) if number is None else {number}
        self._active = {key: fault for key, fault in self._active.items() if key not in gone}
        self._feed.corruptions[:] = [spoil for spoil in self._feed.corruptions if spoil.id not in gone]
        if self._delays is not None:
            self._delays.remove(gone)

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

    def change(self, request: Request, reply: Reply, kinds: Container[str] = _CHANGES) -> Reply:
        """The answer after the first fault (of these kinds) that strikes; the answer itself when none does."""
        for fault in self._active.values():
            if fault.kind in kinds and fault.strikes(request):
                fault.struck += 1
                return _CHANGES[fault.kind](fault, reply)
        return reply

    def spoiled(self, key: str) -> str:
        """Which faults give a CHECKSUM other bytes, so that it has another ETag until it is healed; "" for none."""
        request = Request(f"/{key}")
        kinds = (fault for fault in self._active.values() if fault.kind == "bad_checksum" and fault.probability == 1)
        return "".join(f" {fault.id}" for fault in kinds if fault.strikes(request))

    def touch_streams(self) -> bool:
        """Whether any fault of streams is on, so that thousands of events a second need not be asked about."""
        return any(fault.kind in STREAM_KINDS for fault in self._active.values())

    def on_event(self, request: Request) -> Fault | None:
        """The first fault that strikes an event about to be sent."""
        for fault in self._active.values():
            if fault.kind in STREAM_KINDS and fault.strikes(request):
                fault.struck += 1
                return fault
        return None
