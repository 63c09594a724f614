"""Whether the exchange answers: `GET /fapi/v1/time`, by an asynchronous client that is there at once.

For Airflow's triggerer, in whose event loop all triggers run: importing ccxt, as `rest` does, would hold them all up.
"""

from __future__ import annotations

from datetime import UTC, datetime

import httpx

from perpflow.exchange.causes import unreached
from perpflow.exchange.limiter import Limiter
from perpflow.exchange.refusals import NOBODY, Answer, Asked, error_for


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
            raise unreached(url, error, url, proxy) from error
        accepted(response)


def accepted(response: httpx.Response, asked: Asked = NOBODY) -> httpx.Response:
    """The response, unless it is a refusal.

    Raises:
        Transient, Permanent: what the exchange has answered instead, as `refusals.error_for`.
    """
    headers = {name.lower(): value for name, value in response.headers.items()}
    # A zip is not text: only refusals are read as such.
    body = "" if response.is_success and response.status_code != httpx.codes.ACCEPTED else response.text
    error = error_for(Answer(response.status_code, headers, body, what=str(response.url)), datetime.now(UTC), asked)
    if error is not None:
        raise error
    return response
