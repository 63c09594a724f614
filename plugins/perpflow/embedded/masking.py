"""Servers' addresses as people may see them: without passwords."""

from functools import cache
from urllib.parse import parse_qsl, urlencode, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

MASK = "***"
UNREADABLE = "(not shown: it can't be read as an address, and may hold a password)"


def masked(url: str | None) -> str:
    """A server's address to show to people: without its passwords, and nothing of one that can't be read."""
    if url is None:
        return "-"
    try:
        return _masked_url(url) if "://" in url.partition("=")[0] else _masked_conninfo(url)
    except (ValueError, ProgrammingError):
        return UNREADABLE


def _masked_url(url: str) -> str:
    parts = urlsplit(url)
    scheme, netloc, path, query, fragment = parts
    account, at, host = netloc.rpartition("@")
    # A password's own / ? or # ends what looks like the host before its @ has come, and then it stands for the port.
    if "@" in path + query + fragment or ("," not in host and parts.port == 0):
        raise ValueError("no address of a server")
    user, colon, _ = account.partition(":")
    shown = f"{scheme}://{user}{colon and colon + MASK}{at}{host}{path}"
    told = [
        (name, MASK if name in _secrets() else value) for name, value in parse_qsl(query, strict_parsing=bool(query))
    ]
    return f"{shown}?{urlencode(told, safe='*/:')}" if told else shown


def _masked_conninfo(text: str) -> str:
    told = conninfo_to_dict(text)
    shown = {name: MASK if name in _secrets() else str(value) for name, value in told.items()}
    return make_conninfo(**shown) if MASK in shown.values() else text


@cache
def _secrets() -> frozenset[str]:
    """Parameters that are shown as asterisks: those that libpq says are, and redis-py's."""
    libpq = {option.keyword.decode() for option in Conninfo.get_defaults() if option.dispchar == b"*"}
    return frozenset(libpq | {"password", "ssl_password"})
