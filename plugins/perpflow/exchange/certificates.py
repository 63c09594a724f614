"""Whom connections over TLS believe: httpx's choice of certificates, which the environment may change, read once."""

from __future__ import annotations

import ssl
from functools import cache

import httpx


@cache
def ssl_context() -> ssl.SSLContext:
    """One for all sessions of a process: reading the certificates takes 30 ms, and every staging task opens two."""
    return httpx.create_ssl_context()
