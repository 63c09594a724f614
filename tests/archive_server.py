"""An archive that holds one object, for what the simulated one never serves."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

from perpflow.exchange.archive import ArchiveObject


def zip_of(*members: bytes) -> bytes:
    """A zip with these CSV files in it."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as packed:
        for number, member in enumerate(members):
            packed.writestr(f"{number}.csv", member)
    return zipped.getvalue()


def _listing(path: str, held: dict[str, bytes]) -> bytes:
    (prefix,) = parse_qs(urlsplit(path).query)["prefix"]
    keys = [key.removeprefix("/") for key in held if key.startswith(f"/{prefix}")]
    contents = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
    return f"<ListBucketResult>{contents}</ListBucketResult>".encode()


@contextmanager
def serving(wanted: ArchiveObject, zipped: bytes) -> Iterator[str]:
    """The address of an archive that holds one object, its checksum right."""
    checksum = f"{hashlib.sha256(zipped).hexdigest()}  {wanted.key.rpartition('/')[2]}\n".encode()
    held = {f"/{wanted.key}": zipped, f"/{wanted.key}.CHECKSUM": checksum}

    class Serve(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = _listing(self.path, held) if self.path.startswith("/?") else held.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Serve) as server, ThreadPoolExecutor(1) as threads:
        threads.submit(server.serve_forever, poll_interval=0.01)
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
