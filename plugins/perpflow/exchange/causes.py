"""Why a request came to nothing, in words: what ccxt and httpx wrap up in errors of theirs that say only where it went.

The words never hold a proxy's password.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError

from perpflow.errors import ExchangeUnavailable
from perpflow.exchange.refusals import NOBODY, Asked

HINT = "Check the network, or try again later."
PROXY_HINT = "Check the network and the proxy (exchange.proxy in collection.yaml, or the environment's)."


def cause_of(error: BaseException) -> str:
    """What happened, by the innermost error that says something; where it was, if another host than the one asked."""
    chain = list(_chain(error))
    where = next((e for e in chain if isinstance(e, aiohttp.ClientConnectorError)), None)
    is_late = any(isinstance(e, TimeoutError | httpx.TimeoutException) for e in chain)
    what = "timed out" if is_late else _innermost(chain)
    return what if where is None else f"{where.host}:{where.port}: {what}"


def unreached(
    what: str, error: BaseException, url: str, proxy: str | None, asked: Asked = NOBODY
) -> ExchangeUnavailable:
    """The error for a request to `url` that came to nothing: `what` was asked, why not, and through which proxy."""
    through = proxy_of(url, proxy)
    return ExchangeUnavailable(
        f"{what}: {cause_of(error)}{f', through the proxy {through}' if through else ''}.",
        symbol=asked.symbol,
        window=asked.window,
        hint=PROXY_HINT if through else HINT,
    )


def proxy_of(url: str, configured: str | None) -> str | None:
    """The proxy that requests to `url` go through, the environment's where none is configured; without its password."""
    target = urlsplit(url)
    if configured is None and proxy_bypass(target.netloc):
        return None
    proxy = configured or getproxies().get(target.scheme)
    return _without_account(proxy) if proxy else None


def _without_account(proxy: str) -> str:
    scheme, separator, rest = proxy.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and what each came from, shown in a traceback or not; of several attempts to connect the last."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.exceptions[-1] if isinstance(found, BaseExceptionGroup) else found.__cause__ or found.__context__


def _innermost(chain: list[BaseException]) -> str:
    if any(isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError) for error in chain):
        # Not that address: it may be the proxy's.
        return "a redirect or the proxy has an address that is none of HTTP"
    return next(filter(None, map(_words, reversed(chain))), type(chain[0]).__name__)


def _words(error: BaseException) -> str:
    if isinstance(error, aiohttp.TooManyRedirects):
        return f"redirected {len(error.history)} times"
    if isinstance(error, aiohttp.ClientResponseError):
        # Its own words hold the address that was asked, which may be a proxy's.
        return f"HTTP {error.status} {error.message}".rstrip()
    if isinstance(error, HttpProcessingError):
        return error.message.rstrip(".")
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | socket.gaierror) and error.errno:
        # asyncio says "Connect call failed" of whatever the system calls by its name.
        return os.strerror(error.errno)
    # The system's and the resolver's errors have a number before their words.
    words = error.args[1] if len(error.args) == 2 and isinstance(error.args[0], int) else error
    return " ".join(str(words).split()).rstrip(".")
