"""Whether the exchange answers: `GET /fapi/v1/time`, by an asynchronous client that is there at once.

For Airflow's triggerer, in whose event loop all triggers run: importing ccxt, as `rest` does, would hold them all up.
"""

from __future__ import annotations

from datetime import UTC, datetime

import httpx

from perpflow.errors import ExchangeUnavailable
from perpflow.exchange.causes import HINT, PROXY_HINT, cause_of, proxy_of
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.refusals import Answer, error_for


async def require_answer(base_url: str, limiter: Limiter, *, proxy: str | None = None, timeout_s: float = 10.0) -> None:
    """Ask once.

    Raises:
        IpBanned, RateLimited, CircuitOpen: nobody on this address may ask now; they say until when.
        ExchangeUnavailable: it does not answer, or not with data.
        AccessDenied, RequestRejected: it never will, as things are.
    """
    url = f"{base_url.rstrip('/')}/fapi/v1/time"
    async with (
        limiter.request("time", "weight", 1),
        httpx.AsyncClient(timeout=timeout_s, proxy=proxy, follow_redirects=False) as client,
    ):
        try:
            response = await client.get(url)
        except httpx.TransportError as error:
            through = proxy_of(url, proxy)
            what = f"{url}: {cause_of(error)}{f', through the proxy {through}' if through else ''}."
            raise ExchangeUnavailable(what, hint=PROXY_HINT if through else HINT) from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        refusal = error_for(Answer(response.status_code, headers, response.text, what=url), datetime.now(UTC))
        if refusal is not None:
            raise refusal
