"""Read from OpenTelemetry's standard variables what a run sends, and where."""

from collections.abc import Mapping
from typing import Literal, get_args

Signal = Literal["traces", "metrics"]

_SIGNALS: tuple[Signal, ...] = get_args(Signal)


def telemetry_signals(environ: Mapping[str, str]) -> dict[Signal, str]:
    """Return the signals of OpenTelemetry to send, each with the variable that names its endpoint.

    The SDK would send a signal without a variable to port 4318 of this machine.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return {}
    found: dict[Signal, str] = {}
    for signal in _SIGNALS:
        if environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip().lower() == "none":
            continue
        for name in (
            f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ):
            if environ.get(name, "").strip():
                found[signal] = name
                break
    return found
