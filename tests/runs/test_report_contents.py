"""Retries, tags, environment and earlier runs in the report of a whole run."""

from pathlib import Path

import pytest

from mayfly.models.errors import RunStopped
from mayfly.reporting.progress import Progress
from mayfly.runs.handle import RunHandle
from mayfly.runs.run import begin
from mayfly.storage.history_store import read_history
from tests.support.plain_run import carry_out, emulated, job_of
from together_emulator.state.faults import FaultRule


def test_report_of_a_run_that_was_stopped_says_why(tmp_path: Path) -> None:
    with emulated(tmp_path / "home", speed=60.0) as (_, environment):
        job = job_of(tmp_path, rows=20, limits={"max_cost_usd": 50.0})
        handle = RunHandle(environment=environment, progress=Progress(environment.clock))
        stopped = RunStopped("stopped at --max-error-rate: too many rows fail")

        with pytest.raises(RunStopped), begin(job, handle):
            raise stopped

    assert handle.progress.report is not None
    assert handle.progress.report["reason"] == str(stopped)
    assert str(stopped) in (tmp_path / "out/_mayfly/report.html").read_text()


def test_report_has_retries_by_status_and_earlier_runs_of_the_job(tmp_path: Path) -> None:
    full = FaultRule(
        action="status", method="POST", path="/chat/completions", nth=(3, 5), status=503
    )
    tags = {"team": "search"}
    with emulated(tmp_path / "home", speed=600.0, faults=[full]) as (_, environment):
        first, _ = carry_out(job_of(tmp_path, rows=20, tags=tags), environment)
        again, _ = carry_out(
            job_of(tmp_path, rows=20, tags=tags, output=str(tmp_path / "again")), environment
        )
        history = read_history(environment.folders)

    assert first["retries"] == {"HTTP 503 overloaded": 2}
    assert first["requests"] == 22
    assert first["earlier_runs"] == []
    assert first["environment"]["versions"]["mayfly"]
    assert [run["run"] for run in again["earlier_runs"]] == [first["run"]]
    assert [run["tags"] for run in history] == [tags, tags]
    page = (tmp_path / "again/_mayfly/report.html").read_text()
    assert "Earlier runs of this job" in page
    assert "team: search" in page


def test_report_has_the_time_to_first_token_that_the_api_measured(tmp_path: Path) -> None:
    with emulated(tmp_path / "home", speed=60.0) as (_, environment):
        report, _ = carry_out(job_of(tmp_path, rows=20), environment)

    (endpoint,) = report["endpoints"]
    assert 0 < endpoint["first_token"]["p50_s"] <= endpoint["first_token"]["p99_s"]
    assert endpoint["teardown"]["gone_at"] is not None
    assert "time to first token" in (tmp_path / "out/_mayfly/report.html").read_text()


@pytest.mark.parametrize(
    "fault",
    [
        FaultRule(action="status", path="/analytics", status=503),
        FaultRule(action="status", path="/analytics", status=200, json=[7]),
        FaultRule(action="hang_before", path="/analytics"),
    ],
    ids=["503", "odd", "hangs"],
)
def test_endpoint_is_deleted_though_the_api_has_no_latency(
    tmp_path: Path, fault: FaultRule
) -> None:
    with emulated(tmp_path / "home", speed=600.0, faults=[fault]) as (_, environment):
        report, _ = carry_out(job_of(tmp_path, rows=20), environment)

    (endpoint,) = report["endpoints"]
    assert endpoint["first_token"] == {"p50_s": None, "p90_s": None, "p99_s": None}
    assert endpoint["teardown"]["not_found_read_back"]
    assert "time to first token" not in (tmp_path / "out/_mayfly/report.html").read_text()
