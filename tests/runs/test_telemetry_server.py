"""The metrics of a run in somebody else's receiver of OpenTelemetry."""

from pathlib import Path

import pytest

from tests.support.machine import Machine
from tests.support.victoria_metrics import victoria_metrics
from tests.support.wait import wait_until


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_metrics_of_a_run_are_those_of_its_report_in_victoria_metrics(
    machine: Machine, tmp_path: Path, compression: str
) -> None:
    with victoria_metrics(tmp_path / "metrics") as server:
        machine.env |= {
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": server.otlp_url,
            "OTEL_EXPORTER_OTLP_COMPRESSION": compression,
        }
        run = machine.run("--tag", "team=search")
        assert run.wait() == 0, run.text
        one = '{"service.name"="mayfly","mayfly.tag.team"="search",step="",type=~"|completion"}'
        series = wait_until(lambda: server.series(one), "metrics")

    report = machine.report()
    assert series["mayfly.rows.done"] == report["rows"]["done"] == machine.rows
    assert series["mayfly.rows.failed"] == 0
    assert series["mayfly.tokens"] == report["tokens"]["completion"] > 0
    assert series["mayfly.cost_usd"] == pytest.approx(report["cost"]["usd"], abs=1e-3)
    assert series["mayfly.run.active"] == 0
    assert "cannot be sent" not in run.text
