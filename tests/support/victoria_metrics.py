"""VictoriaMetrics on loopback: somebody else's receiver of OpenTelemetry metrics.

`.ci/victoria-metrics` installs it. Source: https://docs.victoriametrics.com/#sending-data-via-opentelemetry
"""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.wait import wait_until

PROGRAM = shutil.which("victoria-metrics")


@dataclass(frozen=True)
class VictoriaMetrics:
    """A server.

    Attributes:
        url: Where it listens.
    """

    url: str

    @property
    def otlp_url(self) -> str:
        """What OTEL_EXPORTER_OTLP_METRICS_ENDPOINT is set to."""
        return f"{self.url}/opentelemetry/v1/metrics"

    def series(self, selector: str) -> dict[str, float]:
        """Return the last value of each series, by its name; a selector must make those unique."""
        found = httpx.get(f"{self.url}/api/v1/export", params={"match[]": selector}, timeout=30)
        series = {}
        for line in found.text.splitlines():
            one = httpx.Response(200, text=line).json()
            series[one["metric"]["__name__"]] = float(one["values"][-1])
        return series


@contextmanager
def victoria_metrics(folder: Path) -> Iterator[VictoriaMetrics]:
    """Start a server that keeps its data in a folder; skip the test where it cannot run."""
    if PROGRAM is None:
        pytest.skip("needs victoria-metrics")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    server = VictoriaMetrics(f"http://{address}")
    options = [
        f"-storageDataPath={folder}",
        f"-httpListenAddr={address}",
        "-memory.allowedBytes=64MB",
    ]
    with subprocess.Popen(
        [PROGRAM, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: _responds(server), "VictoriaMetrics")
            if httpx.post(server.otlp_url, content=b"").status_code == 400:
                pytest.skip("this victoria-metrics takes no OpenTelemetry metrics")
            yield server
        finally:
            process.terminate()


def _responds(server: VictoriaMetrics) -> bool:
    try:
        return httpx.get(f"{server.url}/health").is_success
    except httpx.TransportError:
        return False
