"""The metric exporters of a run: a file always, OpenTelemetry if configured."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mayfly.reporting.telemetry_signals import Signal

if TYPE_CHECKING:
    from mayfly.models.job import Job
    from mayfly.reporting.metrics import Exporter
    from mayfly.reporting.progress import Progress


def exporters_for(
    job: "Job",
    progress: "Progress",
    *,
    run: str,
    started_at: float,
    file: Path,
    telemetry: Mapping[Signal, str],
) -> "list[Exporter]":
    """Return the exporters of a run.

    Args:
        file: Path of the metrics file.
        telemetry: The signals to send by OpenTelemetry too (`telemetry_signals`).
    """
    # Only a run needs it.
    from mayfly.reporting.prometheus_file import PrometheusFile, labels_of  # noqa: PLC0415

    exporters: list[Exporter] = [
        PrometheusFile(file, labels_of(run=run, model=job.model, tags=job.tags))
    ]
    if not telemetry:
        return exporters
    try:
        from mayfly.reporting.telemetry import Telemetry  # noqa: PLC0415 - an optional dependency
    except ImportError:
        variables = " and ".join(dict.fromkeys(telemetry.values()))
        progress.log(
            f"{variables} is set, but OpenTelemetry is not installed, so nothing is sent; install "
            "it with: pip install 'mayfly[otel]'"
        )
        return exporters
    attributes = {
        "mayfly.run": run,
        "mayfly.model": job.model,
        **{f"mayfly.tag.{key}": value for key, value in job.tags.items()},
    }
    return [*exporters, Telemetry(progress, telemetry, attributes, started_at=started_at)]
