"""Whether a text is the address of an HTTP proxy that aiohttp, for REST, and httpx, for the archive, both take.

Judged without either: importing them would slow the parsing of each DAG file.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import SplitResult, unquote, urlsplit

#: What follows the login: a name or IPv4 address, or an IPv6 address in brackets; perhaps a port.
_HOST_AND_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<name>[\w.-]+))(?::\d*)?", re.ASCII)

#: One label of a host name, RFC 1123; names of containers have underscores too.
_LABEL = re.compile(r"\w(?:[\w-]{0,61}\w)?", re.ASCII)

#: RFC 1035.
_LONGEST_NAME = 253


def is_proxy(text: str) -> bool:
    """Whether it is `http://user:password@host:3128`, or `https`, with or without login and port."""
    # A backslash, a query and a fragment mean different hosts to different readers, who then fail at the first request.
    if not text.isascii() or not text.isprintable() or re.search(r"[ \\?#]", text):
        return False
    try:
        address = urlsplit(text)
        reachable = address.port != 0
    except ValueError:
        return False
    places = address.scheme in ("http", "https") and address.path in ("", "/")
    return reachable and places and _is_login(address) and _is_host(address.netloc.rpartition("@")[2])


def _is_login(address: SplitResult) -> bool:
    """Whether user and password can be sent: by basic authentication (RFC 7617), which aiohttp encodes as Latin-1."""
    user, password = unquote(address.username or ""), unquote(address.password or "")
    return ":" not in user and all(ord(character) < 256 for character in user + password)


def _is_host(text: str) -> bool:
    found = _HOST_AND_PORT.fullmatch(text)
    if found is None:
        return False
    if found["v6"] is None:
        return _is_name_or_ipv4(found["name"])
    try:
        IPv6Address(found["v6"])
    except AddressValueError:
        return False
    return True


def _is_name_or_ipv4(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    if not labels[-1].isdigit():
        return len(text) <= _LONGEST_NAME and all(map(_LABEL.fullmatch, labels))
    # No name ends in a number: what does is an address to everybody who resolves it.
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True
