"""An OpenTelemetry collector for tests: takes metrics over HTTP and keeps the sums of counters."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest


class Collector(ThreadingHTTPServer):
    """Listens on loopback; `sums` has each counter's value over all processes that report."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._lock = Lock()
        self._latest: dict[tuple[str, int], float] = {}

    @property
    def settings(self) -> dict[str, str]:
        """The environment that makes Airflow report to it."""
        return {
            "AIRFLOW__METRICS__OTEL_ON": "True",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server_address[1]}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }

    @property
    def sums(self) -> Counter[str]:
        """By metric; a process reports its running sum again and again, of which the last one counts."""
        with self._lock:
            found = Counter[str]()
            for (name, _), value in self._latest.items():
                found[name] += int(value)
            return found

    def take(self, message: bytes) -> None:
        """Keep the sums of an export."""
        request = ExportMetricsServiceRequest.FromString(message)
        metrics = [m for resource in request.resource_metrics for s in resource.scope_metrics for m in s.metrics]
        with self._lock:
            for metric in metrics:
                for point in metric.sum.data_points:
                    # A counter begins when its process first counts: that tells processes apart.
                    self._latest[metric.name, point.start_time_unix_nano] = point.as_int or point.as_double


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path.endswith("/v1/metrics"):
            self.server.take(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: tests read `sums`."""


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector in a thread, stopped at the end."""
    with Collector() as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
