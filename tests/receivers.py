"""Who is told: an HTTP server that takes webhooks and an SMTP server that takes mail, both real and on loopback."""

from __future__ import annotations

import base64
import email
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, TCPServer, ThreadingTCPServer
from typing import Any


@dataclass
class Webhook:
    """What was posted, as JSON, with its headers; `status` is answered, after `before_answer` was called."""

    port: int = 0
    status: int = 200
    before_answer: Callable[[], object] = lambda: None
    posted: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def connection(self, **more: Any) -> str:
        """An Airflow connection to it, as its environment variable has it."""
        host = f"http://127.0.0.1:{self.port}/hook?key=secret"
        return json.dumps({"conn_type": "generic", "host": host, **more})

    @property
    def subjects(self) -> list[str]:
        """Of all that was posted."""
        return [said["subject"] for said in self.posted]


@contextmanager
def webhook() -> Iterator[Webhook]:
    """An HTTP server that takes what is posted."""
    kept = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            kept.headers.append(dict(self.headers))
            kept.paths.append(self.path)
            kept.before_answer()
            self.send_response(kept.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as kept.port:
        yield kept


@dataclass
class Mailbox:
    """What was sent by mail, and as whom its senders logged in."""

    port: int = 0
    mails: list[Message] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)

    def connection(self) -> str:
        """An Airflow connection to it, as its environment variable has it."""
        extra = {"from_email": "perpflow@example.com", "disable_tls": True, "disable_ssl": True}
        account = {"login": "me", "password": "s3cret"}
        return json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": self.port, "extra": extra, **account})


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    """An SMTP server (RFC 5321, with AUTH PLAIN) that keeps what it is given."""
    kept = Mailbox()

    class Handler(StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            self.say("220 here")
            while line := self.rfile.readline():
                verb, _, rest = line.decode().strip().partition(" ")
                if verb.upper() == "EHLO":
                    self.say("250-here\r\n250 AUTH PLAIN")
                elif verb.upper() == "AUTH":
                    _, login, password = base64.b64decode(rest.split()[1]).decode().split("\0")
                    kept.logins.append((login, password))
                    self.say("235 welcome")
                elif verb.upper() == "DATA":
                    self.say("354 go on")
                    kept.mails.append(email.message_from_bytes(b"".join(iter(self.rfile.readline, b".\r\n"))))
                    self.say("250 kept")
                elif verb.upper() == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 so be it")

    with _serving(ThreadingTCPServer(("127.0.0.1", 0), Handler)) as kept.port:
        yield kept


@contextmanager
def _serving(server: TCPServer) -> Iterator[int]:
    """The port it listens on, in a thread of its own."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
