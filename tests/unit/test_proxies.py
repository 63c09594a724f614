"""What passes for a proxy's address is one that both HTTP clients take, to the letter."""

from __future__ import annotations

import httpx
import pytest
from aiohttp.helpers import strip_auth_from_url
from yarl import URL

from perpflow.proxies import is_proxy

TAKEN = [
    *("http://h", "https://h/", "HTTP://H.example:3128", "http://a_b-c.internal.:65535", "http://h:"),
    *("http://10.0.0.1:3128", "http://[::1]:3128", "http://[2001:db8::1]", "http://[fe80::1%eth0]:1"),
    *("http://me@h:1", "http://me:@h:1", "http://me:a:b@h:1", "http://me:p@q@h:1", "http://me:%40%2F%3F%23@h:1"),
    *("http://me:%C3%A9@h:1", "http://me:p;&=+$,!*'()~|^`{}<>\"@h:1", "http://" + "h" * 63),
]


@pytest.mark.parametrize("address", TAKEN)
def test_an_address_that_both_clients_take_is_taken(address: str) -> None:
    assert is_proxy(address)
    for_archive = httpx.Proxy(address)
    for_rest, login = strip_auth_from_url(URL(address))
    assert for_archive.url.host.removesuffix(".") == (for_rest.host or "").removesuffix(".")
    assert for_archive.url.port == (None if for_rest.is_default_port() else for_rest.port)
    assert for_archive.raw_auth is None or login is not None
    if login is not None:
        login.encode()


@pytest.mark.parametrize("host", ["999.999.999.999", "[v1.x]", "[1.2.3.4]", "h\\x", "ho st", "h%zz", "[::1"])
def test_a_host_that_a_client_does_not_take_is_not_taken(host: str) -> None:
    assert not is_proxy(f"http://me:p@{host}:1")


@pytest.mark.parametrize("login", ["me:€", "me:%E2%82%AC", "a%3Ab:p", "me:\n", "me:[", "me:#"])
def test_a_login_that_a_client_cannot_send_is_not_taken(login: str) -> None:
    assert not is_proxy(f"http://{login}@h:1")
