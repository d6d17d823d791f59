"""What a whole run's report says of retries, tags, surroundings and earlier runs."""

from pathlib import Path

from mayfly.storage.history_store import read_history
from tests.support.plain_run import carry_out, emulated, job_of
from together_emulator.state.faults import FaultRule


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
