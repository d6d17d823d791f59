"""Steps and figures of a run reach an OpenTelemetry collector; its absence ends nothing."""

import os
from pathlib import Path

import pytest

from mayfly.models.job import Job
from mayfly.models.rows import Tally
from mayfly.reporting.exporters import exporters_for
from mayfly.reporting.progress import Progress, Step
from mayfly.reporting.telemetry_signals import Signal, telemetry_signals
from tests.support.otlp_collector import OtlpCollector

JOB = Job(input="in.parquet", model="Qwen/Q", output="out", tags={"team": "search"})


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def run_steps(file: Path, *, fails: bool = False) -> Progress:
    """Go through the steps of a run, with exporters as a run has them."""
    progress = Progress()
    progress.begin()
    telemetry, *_ = exporters_for(
        JOB,
        progress,
        run="r1",
        started_at=1000.0,
        file=file,
        telemetry=telemetry_signals(os.environ),
    )[1:]
    telemetry.update(progress)
    progress.enter(Step.WAITING)
    progress.update(endpoint="e", state="READY", ready_replicas=2)
    progress.enter(Step.INFERRING)
    progress.update(
        tally=Tally(done=5, failed=1, completion_tokens=70), retries={"timeout": 2}, spent_usd=0.5
    )
    telemetry.update(progress)
    if fails:
        progress.error = RuntimeError("lost")
    progress.enter(Step.DONE)
    telemetry.close(progress)
    return progress


def test_steps_are_spans_of_the_run_and_figures_are_metrics(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with OtlpCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        run_steps(tmp_path / "metrics.prom")

    spans = {span.name: span for span in collector.spans}
    root = spans["mayfly run"]
    assert spans.keys() == {"mayfly run", "previewing", "waiting", "inferring", "done"}
    for name in ("previewing", "waiting", "inferring"):
        assert spans[name].parent_span_id == root.span_id
        assert spans[name].end_time_unix_nano >= spans[name].start_time_unix_nano
    assert root.start_time_unix_nano == 1000 * 10**9
    assert root.status.code == 1
    assert any("READY" in event.name for event in root.events)
    names = [attribute.key for attribute in root.attributes]
    # Receivers that nest names by their dots cannot keep `a` beside `a.b`.
    assert not [one for one in names for other in names if other.startswith(f"{one}.")]
    assert collector.resources["service.name"] == "mayfly"
    assert collector.resources["mayfly.tag.team"] == "search"
    assert collector.metrics["mayfly.rows.done", ()] == 5
    assert collector.metrics["mayfly.replicas.ready", ()] == 2
    assert collector.metrics["mayfly.cost_usd", ()] == 0.5
    assert collector.metrics["mayfly.retries", (("reason", "timeout"),)] == 2
    assert collector.metrics["mayfly.tokens", (("type", "completion"),)] == 70


def test_failure_of_a_run_is_the_status_of_its_span(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with OtlpCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        run_steps(tmp_path / "metrics.prom", fails=True)

    (root,) = [span for span in collector.spans if span.name == "mayfly run"]
    assert (root.status.code, root.status.message) == (2, "lost")


def test_unreachable_collector_is_reported_once_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")

    progress = run_steps(tmp_path / "metrics.prom")

    notes = [event.text for event in progress.events if event.kind == "note"]
    assert len(notes) == 1
    assert "cannot be sent to OTEL_EXPORTER_OTLP_ENDPOINT" in notes[0]


def test_each_unreachable_endpoint_is_reported_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:9/v1/metrics")

    progress = run_steps(tmp_path / "metrics.prom")

    notes = sorted(event.text for event in progress.events if event.kind == "note")
    assert [note.split(":")[0] for note in notes] == [
        "metrics cannot be sent to OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "traces cannot be sent to OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    ]


def test_signal_without_an_endpoint_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with OtlpCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{collector.url}/v1/metrics")
        progress = run_steps(tmp_path / "metrics.prom")

    assert collector.metrics["mayfly.rows.done", ()] == 5
    assert collector.spans == []
    assert [event.text for event in progress.events if event.kind == "note"] == []


GENERAL = "OTEL_EXPORTER_OTLP_ENDPOINT"
OF_TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, {}),
        ({GENERAL: "http://c:4318"}, {"traces": GENERAL, "metrics": GENERAL}),
        ({OF_TRACES: "http://c:4318/v1/traces"}, {"traces": OF_TRACES}),
        (
            {GENERAL: "http://c:4318", OF_TRACES: "http://d/v1/traces"},
            {"traces": OF_TRACES, "metrics": GENERAL},
        ),
        ({GENERAL: "http://c:4318", "OTEL_METRICS_EXPORTER": "none"}, {"traces": GENERAL}),
        ({GENERAL: " "}, {}),
        ({GENERAL: "http://c:4318", "OTEL_SDK_DISABLED": "true"}, {}),
    ],
)
def test_signals_are_sent_where_the_standard_variables_name_an_endpoint(
    environ: dict[str, str], wanted: dict[Signal, str]
) -> None:
    assert telemetry_signals(environ) == wanted
