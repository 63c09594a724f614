"""Start a simulator as a process of its own, for tests and the demo: `with running(seed=1) as exchange`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

_ROOT = Path(__file__).resolve().parent.parent
_STOP_S = 10


@dataclass(frozen=True, slots=True)
class Handle:
    """A running simulator: its URL, its starting time, its seed, its process, and its controls."""

    url: str
    now: datetime
    seed: int
    pid: int = 0

    def cpu_s(self) -> float:
        """Seconds of processor time that it has taken so far (Linux)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def control(self, method: str, path: str, content: object = None) -> Any:
        """A call of the control interface; the decoded JSON. `urllib.error.HTTPError` when it refuses."""
        body = None if content is None else json.dumps(content).encode()
        request = Request(f"{self.url}/_simulator/{path}", body, method=method)  # noqa: S310 - loopback only
        with urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)

    def add_fault(self, kind: str, **details: object) -> int:
        """Switch a fault on, e.g. `add_fault("status", code=503, match="/klines", times=2)`; its id."""
        return int(self.control("POST", "faults", {"kind": kind, **details})["id"])

    def remove_fault(self, number: int) -> None:
        """Switch one fault off."""
        self.control("DELETE", f"faults/{number}")

    def clear_faults(self) -> None:
        """Switch all faults off."""
        self.control("DELETE", "faults")

    def faults(self) -> list[dict[str, Any]]:
        """All faults with how often each struck."""
        return list(self.control("GET", "faults"))

    def requests(self) -> dict[str, Any]:
        """What was asked for since the start or the last `clear_requests`.

        `paths`, `rows` and `weights` (requests, data rows served, weight counted, by path), `total` (requests),
        `windows` (per limit `peak`, `limit` and `total`), `violations` (refused requests), `violations_by_limit`,
        `bans` (how many), `asked_while_banned` (requests that a running ban refused) and `ban_log`: per ban its
        `seconds`, `remaining_s`, `refused`, and `asked_after_s`, the seconds after its begin of each refused request.
        """
        return dict(self.control("GET", "requests"))

    def clear_requests(self) -> None:
        """Reset counters and peaks, lift bans."""
        self.control("DELETE", "requests")

    def set_now(self, now: datetime | str) -> None:
        """Move the exchange's clock (naive means UTC)."""
        self.control("POST", "clock", {"now": now if isinstance(now, str) else now.isoformat()})

    def ban(self, seconds: float) -> None:
        """Ban this address: every REST request gets 418 for so many real seconds."""
        self.control("POST", "ban", {"seconds": seconds})

    def set_limits(self, **limits: int) -> None:
        """Other limits: `weight` (per minute), `statistics` and `funding` (per five minutes).

        `announced`: what exchangeInfo says of the weight, which else stays what the exchange's says.
        """
        self.control("POST", "limits", limits)

    @property
    def stream_url(self) -> str:
        """Where WebSocket clients connect: put `/market/stream?streams=...` or the like behind it."""
        return self.url.replace("http", "ws", 1)

    def streams(self) -> dict[str, Any]:
        """What clients of streams did, and what they were sent; seconds count from the simulator's start (`now_s`).

        `connections`: per connection `path`, `subscriptions`, `opened_s`, `closed_s`, `reason`, `frames_sent`,
        `messages_received`, `stalled`. `listened`: per stream that flows, `[from, until]` of every interval with at
        least one listener. `open`, `total`, `rate_violations`, `bursts` (`sent`, `over`), `unix` and `stream_now`.
        """
        return dict(self.control("GET", "streams"))

    def clear_streams(self) -> None:
        """Forget ended connections and past intervals, stop bursts."""
        self.control("DELETE", "streams")

    def set_streams(self, **settings: float) -> dict[str, float]:
        """Other rules: `lifetime_s`, `ping_s`, `pong_timeout_s`, `messages_per_s`, `streams` (per connection), and
        `liquidations_per_s`, the mean rate; all as they are then."""
        return dict(self.control("POST", "streams", settings))

    def drop_streams(self, match: str = "", *, reset: bool = True) -> int:
        """End all stream connections whose path and `streams=a/b` hold `match`, by a TCP reset or close; how many."""
        return int(self.control("POST", "streams/drop", {"match": match, "reset": reset})["dropped"])

    def burst(self, kind: str, per_s: float, seconds: float, symbols: Sequence[str] = ()) -> None:
        """Send so many messages a second of `aggTrade`, `markPrice` or `forceOrder`, spread over what is heard."""
        self.control(
            "POST", "streams/burst", {"kind": kind, "per_s": per_s, "seconds": seconds, "symbols": list(symbols)}
        )

    def liquidations(self, after: int = 0) -> list[dict[str, Any]]:
        """Every liquidation that the exchange told, listened to or not, after the one of that `id`.

        The event as documented (`e`, `E`, `o`), `emitted_s` (as in `streams()`), `emitted_unix`, `connections` (the
        ids of those to which it was sent) and `sent_to`, their number.
        """
        return list(self.control("GET", f"liquidations?after={after}")["liquidations"])

    def clear_liquidations(self) -> None:
        """Empty that log; ids go on."""
        self.control("DELETE", "liquidations")


def command(
    *, seed: int, now: datetime | str | None, frozen: bool, faults: Sequence[object], recorded: Path | None,
    quirks: bool, port: int, symbols: int = 0,
) -> list[str]:  # fmt: skip
    """The command line of `running`."""
    line = [sys.executable, "-m", "simulator", "--port", str(port), "--seed", str(seed)]
    if now is not None:
        line += ["--now", now if isinstance(now, str) else now.isoformat()]
    line += ["--frozen"] if frozen else []
    line += ["--symbols", str(symbols)] if symbols else []
    line += [] if quirks else ["--no-quirks"]
    line += ["--recorded", str(recorded)] if recorded else []
    for fault in faults:
        line += ["--fault", fault if isinstance(fault, str) else json.dumps(fault)]
    return line


@contextmanager
def running(
    *, seed: int = 7, now: datetime | str | None = None, frozen: bool = True, faults: Sequence[object] = (),
    recorded: Path | None = None, quirks: bool = True, port: int = 0, symbols: int = 0,
) -> Iterator[Handle]:  # fmt: skip
    """A simulator in a process of its own, terminated on exit. `now` None: 2026-10-15T12:34:56Z.

    `symbols`: contracts are invented until so many perpetuals stay listed; 0 for none.

    RuntimeError when it does not come up; its error output goes to this process's.
    """
    line = command(
        seed=seed, now=now, frozen=frozen, faults=faults, recorded=recorded, quirks=quirks, port=port, symbols=symbols
    )
    with subprocess.Popen(line, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            if not first:
                raise RuntimeError(f"the simulator did not start (exit {process.wait()}): {line}")
            said = json.loads(first)
            yield Handle(said["url"], datetime.fromisoformat(said["now"]), said["seed"], process.pid)
        finally:
            process.terminate()
            process.wait(_STOP_S)
