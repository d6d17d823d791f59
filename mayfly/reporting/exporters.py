"""The metric exporters of a run: a file always, OpenTelemetry if configured."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mayfly.models.job import Job
    from mayfly.reporting.metrics import Exporter
    from mayfly.reporting.progress import Progress

_ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
)


def wants_telemetry(environ: Mapping[str, str]) -> bool:
    """Return whether the environment names an OTLP endpoint and does not disable the SDK."""
    is_off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not is_off and any(environ.get(name, "").strip() for name in _ENDPOINTS)


def exporters_for(
    job: "Job", progress: "Progress", *, run: str, started_at: float, file: Path, telemetry: bool
) -> "list[Exporter]":
    """Return the exporters of a run.

    Args:
        file: Path of the metrics file.
        telemetry: Whether to export by OpenTelemetry too.
    """
    # Only a run needs it, and every command asks `wants_telemetry`.
    from mayfly.reporting.prometheus_file import PrometheusFile, labels_of  # noqa: PLC0415

    exporters: list[Exporter] = [
        PrometheusFile(file, labels_of(run=run, model=job.model, tags=job.tags))
    ]
    if not telemetry:
        return exporters
    try:
        from mayfly.reporting.telemetry import Telemetry  # noqa: PLC0415 - an optional dependency
    except ImportError:
        progress.log(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed, so no metrics "
            "are sent; install it with: pip install 'mayfly[otel]'"
        )
        return exporters
    attributes = {
        "mayfly.run": run,
        "mayfly.model": job.model,
        **{f"mayfly.tag.{key}": value for key, value in job.tags.items()},
    }
    return [*exporters, Telemetry(progress, attributes, started_at=started_at)]
