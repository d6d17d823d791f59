"""Export a run's steps as OpenTelemetry spans, and its figures as metrics, by OTLP over HTTP.

Optional (`pip install mayfly[otel]`), and enabled where a variable of OpenTelemetry names an
endpoint; the SDK reads those variables (headers, certificates, timeouts) itself.

Source: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context

from mayfly.reporting.metrics import metrics_of
from mayfly.reporting.progress import Progress, RunEvent, Snapshot
from mayfly.reporting.telemetry_signals import Signal

EVERY_MS = 10_000
"""Export interval of metrics, unless OTEL_METRIC_EXPORT_INTERVAL sets it."""

TIMEOUT_S = 5.0
"""Time limit of one export, retries included: it must not delay the end of a run."""

_LOGGER = "opentelemetry"


class Telemetry:
    """Sends a run's spans and metrics to an OpenTelemetry collector.

    It uses its own providers instead of the global ones, because Prefect has its own spans.
    """

    def __init__(
        self,
        progress: Progress,
        signals: Mapping[Signal, str],
        attributes: Mapping[str, str],
        *,
        started_at: float,
    ) -> None:
        """Start the span of the run.

        Args:
            signals: What to send, each with the variable that names its endpoint.
            attributes: Attributes of all spans and metrics.
            started_at: Start of the run, Unix time in seconds.
        """
        self._progress, self._started_ns = progress, round(started_at * 1e9)
        self._complaints = _Complaints(progress.log, signals)
        logging.getLogger(_LOGGER).addHandler(self._complaints)
        resource = Resource.create({"service.name": "mayfly", **attributes})
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        readers = []
        if "traces" in signals:
            exporter = OTLPSpanExporter(timeout=TIMEOUT_S)
            self._tracers.add_span_processor(BatchSpanProcessor(exporter))
        if "metrics" in signals:
            interval_ms = None if "OTEL_METRIC_EXPORT_INTERVAL" in os.environ else EVERY_MS
            readers.append(
                PeriodicExportingMetricReader(
                    OTLPMetricExporter(timeout=TIMEOUT_S), export_interval_millis=interval_ms
                )
            )
        self._meters = MeterProvider(
            metric_readers=readers, resource=resource, shutdown_on_exit=False
        )
        self._tracer = self._tracers.get_tracer("mayfly")
        self._root = self._tracer.start_span("mayfly run", start_time=self._started_ns)
        self._seen = 0
        self._step: tuple[RunEvent, Span] | None = None
        self._register()

    def update(self, progress: Progress) -> None:
        """Start and end the spans of steps that began or ended since the last call."""
        events = progress.events[self._seen :]
        self._seen += len(events)
        for event in events:
            at_ns = self._started_ns + round(event.at_s * 1e9)
            if event.kind == "phase":
                self._end_step(at_ns)
                span = self._tracer.start_span(
                    event.fields["phase"], set_span_in_context(self._root), start_time=at_ns
                )
                self._step = event, span
            else:
                fields = {name: value for name, value in event.fields.items() if value is not None}
                self._root.add_event(event.text, fields, timestamp=at_ns)

    def close(self, progress: Progress) -> None:
        """End all spans and flush."""
        self.update(progress)
        now = progress.snapshot()
        end_ns = self._started_ns + round(now.elapsed_s * 1e9)
        self._end_step(end_ns)
        self._root.set_attributes(_attributes(now))
        if progress.error is None:
            self._root.set_status(Status(StatusCode.OK))
        else:
            self._root.set_status(Status(StatusCode.ERROR, str(progress.error)))
        self._root.end(end_time=end_ns)
        # Both flush.
        self._tracers.shutdown()
        self._meters.shutdown(timeout_millis=TIMEOUT_S * 1000)
        logging.getLogger(_LOGGER).removeHandler(self._complaints)

    def _end_step(self, at_ns: int) -> None:
        if self._step is not None:
            self._step[1].end(end_time=at_ns)
            self._step = None

    def _register(self) -> None:
        meter = self._meters.get_meter("mayfly")
        for metric in metrics_of(Snapshot()):
            create = (
                meter.create_observable_counter
                if metric.kind == "counter"
                else meter.create_observable_gauge
            )
            create(metric.name, callbacks=[self._reader(metric.name)], description=metric.text)

    def _reader(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_options: CallbackOptions) -> Iterable[Observation]:
            found = next(m for m in metrics_of(self._progress.snapshot()) if m.name == name)
            return [Observation(value, dict(labels)) for labels, value in found.values.items()]

        return read


class _Complaints(logging.Handler):
    """Forwards to the run's messages the first warning about each endpoint."""

    def __init__(self, log: Callable[[str], None], signals: Mapping[Signal, str]) -> None:
        super().__init__(logging.WARNING)
        self._log, self._signals = log, signals
        self._reported: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        signal: Signal = "metrics" if "metric" in record.name else "traces"
        variable = self._signals.get(signal)
        if variable is None or variable in self._reported:
            return
        self._reported.add(variable)
        text = " ".join(record.getMessage().split())[:300]
        self._log(
            f"{signal} cannot be sent to {variable}: {text} (OTEL_{signal.upper()}_EXPORTER=none "
            "turns them off)"
        )


def _attributes(now: Snapshot) -> dict[str, str | int | float]:
    return {
        "mayfly.rows.total": now.rows,
        "mayfly.rows.done": now.tally.done,
        "mayfly.rows.failed": now.tally.failed,
        "mayfly.tokens.prompt": now.tally.prompt_tokens,
        "mayfly.tokens.completion": now.tally.completion_tokens,
        "mayfly.cost_usd": round(now.spent_usd, 4),
        "mayfly.hardware": now.hardware,
    }
