"""Steps and figures of a run reach an OpenTelemetry collector; its absence ends nothing."""

from pathlib import Path

import pytest

from mayfly.models.job import Job
from mayfly.models.rows import Tally
from mayfly.reporting.exporters import exporters_for, wants_telemetry
from mayfly.reporting.progress import Progress, Step
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
        JOB, progress, run="r1", started_at=1000.0, file=file, telemetry=True
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
    assert spans.keys() == {"mayfly run", "looking", "waiting", "inferring", "done"}
    for name in ("looking", "waiting", "inferring"):
        assert spans[name].parent_span_id == root.span_id
        assert spans[name].end_time_unix_nano >= spans[name].start_time_unix_nano
    assert root.start_time_unix_nano == 1000 * 10**9
    assert root.status.code == 1
    assert any("READY" in event.name for event in root.events)
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


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_telemetry_is_on_where_the_standard_variables_name_a_collector(
    environ: dict[str, str], wanted: bool
) -> None:
    assert wants_telemetry(environ) is wanted
