"""An OpenTelemetry collector on loopback: takes OTLP over HTTP in protobuf and keeps what came.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class OtlpCollector:
    """Collects; use as a context manager.

    Attributes:
        spans: All that came, in order.
        metrics: The last value of each metric, by name and the attributes of its point.
        resources: Attributes of the last resource that sent anything.
    """

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self.resources: dict[str, str] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.headers["Content-Type"] == "application/x-protobuf"
                answer = collector.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, path: str, body: bytes) -> bytes:
        """Keep what one request holds; return the answer."""
        if path == "/v1/traces":
            traces = ExportTraceServiceRequest.FromString(body)
            for group in traces.resource_spans:
                self._note(group.resource)
                self.spans += [span for scope in group.scope_spans for span in scope.spans]
            return bytes(ExportTraceServiceResponse().SerializeToString())
        assert path == "/v1/metrics"
        metrics = ExportMetricsServiceRequest.FromString(body)
        for group in metrics.resource_metrics:
            self._note(group.resource)
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    for point in [*metric.sum.data_points, *metric.gauge.data_points]:
                        labels = tuple((a.key, a.value.string_value) for a in point.attributes)
                        value = point.as_double or float(point.as_int)
                        self.metrics[metric.name, labels] = value
        return bytes(ExportMetricsServiceResponse().SerializeToString())

    def _note(self, resource: Any) -> None:
        self.resources = {a.key: a.value.string_value for a in resource.attributes}
