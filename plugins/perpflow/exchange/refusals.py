"""What the exchange's refusals mean: an HTTP answer to one of Perpflow's errors. Pure.

Source: general information and error codes of the USD-M futures API; the HTML and 202 answers are its web application
firewall's. The archive answers the same way, without the JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from perpflow.errors import (
    AccessDenied,
    ExchangeUnavailable,
    IpBanned,
    PerpflowError,
    RateLimited,
    RequestRejected,
    UnknownSymbol,
)
from perpflow.exchange.weight_budget import LONGEST_PENALTY_S
from perpflow.windows import Window, from_ms

# Without Retry-After: a whole window of the request-weight limit; bans begin at two minutes.
DEFAULT_RETRY_AFTER_S = 60.0
SHORTEST_BAN_S = 120.0
#: -1000 unknown, -1001 disconnected, -1006 and -1007 backend timeouts, -1008 overload, -1016 shutting down.
TRANSIENT_CODES = frozenset({"-1000", "-1001", "-1006", "-1007", "-1008", "-1016"})
TOO_MANY_REQUESTS = "-1003"
INVALID_SYMBOL = "-1121"
_BANNED_UNTIL = re.compile(r"banned until (\d{13})")
_PROXY_HINT = "Run from another address, or set exchange.proxy in collection.yaml."


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. `headers` have lower-case names; `parsed` is the JSON, None where the body is none."""

    status: int
    headers: Mapping[str, str]
    body: str
    parsed: object = None
    what: str = ""

    @property
    def code(self) -> str | None:
        """The exchange's error code as text, None where the answer carries no error."""
        if not isinstance(self.parsed, dict) or "code" not in self.parsed:
            return None
        code = str(self.parsed["code"])
        return None if code == "200" or (code == "0" and self.status < 400) else code

    @property
    def used_weight(self) -> int | None:
        """The address's request weight of this minute, None where the header is absent."""
        text = self.headers.get("x-mbx-used-weight-1m", "")
        return int(text) if re.fullmatch(r"-?\d{1,18}", text) else None

    @property
    def retry_after_s(self) -> float | None:
        """Seconds from Retry-After, three days at most; None where it is absent, a date, or 0, which stops nobody."""
        text = self.headers.get("retry-after", "")
        return min(float(text), LONGEST_PENALTY_S) or None if text.isdecimal() else None

    def __str__(self) -> str:
        return f"{self.what} answered HTTP {self.status}: {' '.join(self.body[:200].split()) or '(empty)'}"


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom a request was about, for the error's sake."""

    symbol: str | None = None
    window: Window | None = None


NOBODY = Asked()


def error_for(answer: Answer, now: datetime, asked: Asked = NOBODY) -> PerpflowError | None:
    """The error that the answer stands for, or None where it is an answer. `now` is the exchange's clock."""
    about = {"symbol": asked.symbol, "window": asked.window}
    if answer.status == 418:
        until = _banned_until(answer, now)
        # Retry-After is preferred to the ban's end, because it needs no clock.
        stated = answer.retry_after_s
        left = min(max((until - now).total_seconds(), SHORTEST_BAN_S), LONGEST_PENALTY_S)
        wait = left if stated is None else stated
        return IpBanned(f"{answer}.", banned_until=until, retry_after_s=wait, **about, hint="Wait until the ban ends.")
    if answer.status == 429 or answer.code == TOO_MANY_REQUESTS:
        wait = DEFAULT_RETRY_AFTER_S if answer.retry_after_s is None else answer.retry_after_s
        return RateLimited(f"{answer}.", retry_after_s=wait, **about, hint="Lower the share of the weight budget.")
    denied = _denial(answer)
    if denied:
        return AccessDenied(f"{answer}.", symbol=asked.symbol, window=asked.window, hint=f"{denied} {_PROXY_HINT}")
    return _refusal(answer, asked)


def _denial(answer: Answer) -> str | None:
    if answer.status == 451:
        return "The exchange does not serve this country."
    if answer.status in {202, 403} or "x-amzn-waf-action" in answer.headers:
        return "The exchange's firewall does not let this address in."
    return None


def _refusal(answer: Answer, asked: Asked) -> PerpflowError | None:
    symbol, window = asked.symbol, asked.window
    if answer.status == 408 or answer.status >= 500 or answer.code in TRANSIENT_CODES:
        return ExchangeUnavailable(f"{answer}.", symbol=symbol, window=window, hint="Try again later.")
    if answer.code == INVALID_SYMBOL:
        hint = "Check the symbol; if it was delisted, only the archive has it."
        return UnknownSymbol(f"{answer}.", symbol=symbol, window=window, hint=hint)
    if answer.status >= 300 or answer.code is not None:
        hint = "The request is wrong: check its window and parameters against the exchange's documentation."
        return RequestRejected(f"{answer}.", symbol=symbol, window=window, hint=hint)
    return None


def _banned_until(answer: Answer, now: datetime) -> datetime:
    found = _BANNED_UNTIL.search(answer.body)
    if found:
        return from_ms(int(found.group(1)))
    return now + timedelta(seconds=SHORTEST_BAN_S if answer.retry_after_s is None else answer.retry_after_s)
