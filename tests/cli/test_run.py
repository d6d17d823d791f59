"""`mayfly run` as a process: events, cost, the output lock."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import write_questions
from tests.support.shell import ASKED, Ended, Shell, lock, started_by
from together_emulator import Emulator


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended.

    Attributes:
        billed_min: Replica-minutes that the emulator billed for it.
        processes: Those that it left.
        endpoints: Whether it left any.
    """

    shell: Shell
    ended: Ended
    billed_min: float
    processes: list[psutil.Process]
    endpoints: bool

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind, in order."""
        return [event for event in self.ended.lines if event["event"] == kind]

    @property
    def report(self) -> dict[str, Any]:
        """The report beside its answers."""
        path = self.shell.folder / "out" / "_mayfly" / "report.json"
        report: dict[str, Any] = json.loads(path.read_text())
        return report


@pytest.fixture(scope="module")
def finished(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """One run with `--json` for all tests that only read what it left; a run is expensive."""
    shell = Shell(emulator, tmp_path_factory.mktemp("run"))
    write_questions(shell.folder)
    before = emulator.ledger().minutes
    # No Prefect is configured: the run starts its own server.
    ended = shell("run", *ASKED, "--yes", "--json", env={"PREFECT_API_URL": None})
    billed = emulator.ledger().minutes - before
    return FinishedRun(shell, ended, billed, started_by(shell), emulator.has_endpoints)


def test_run_exits_with_0_and_leaves_no_endpoint_and_no_process(finished: FinishedRun) -> None:
    assert finished.ended.code == 0, finished.ended.err
    assert not finished.endpoints
    assert finished.processes == []


def test_run_with_json_writes_nothing_but_events_and_waits(finished: FinishedRun) -> None:
    # A slow machine says what it waits for.
    assert not [line for line in finished.ended.err.splitlines() if not line.endswith(" ...")]
    kinds = {event["event"] for event in finished.ended.lines}
    assert kinds == {"plan", "note", "phase", "endpoint", "progress", "summary"}


def test_run_events_follow_its_life_in_order(finished: FinishedRun) -> None:
    events = finished.ended.lines
    states = [event["state"] for event in finished.events("endpoint")]
    times = [event["at_s"] for event in events if "at_s" in event and event["event"] != "progress"]

    # A machine under load says what it waits for before there is a plan.
    assert (events[0]["event"], events[-1]["event"]) == ("plan", "summary")
    assert [event["phase"] for event in finished.events("phase")] == [
        "previewing", "planning", "creating", "waiting", "inferring", "tearing_down", "reporting",
        "done",
    ]  # fmt: skip
    assert (states[0], states[-1]) == ("", "DELETED")
    assert "READY" in states
    assert times == sorted(times)


def test_run_events_have_hardware_rows_and_exit_code(finished: FinishedRun) -> None:
    (plan,), (summary,) = finished.events("plan"), finished.events("summary")

    assert plan["hardware"] == "1xnvidia-h100-80gb"
    assert finished.events("progress")[-1]["rows"] == {"total": 40, "done": 40, "failed": 0}
    assert (summary["exit_code"], summary["rows"]["done"]) == (0, 40)


def test_run_output_has_every_row_and_both_reports(finished: FinishedRun) -> None:
    output, report = finished.shell.folder / "out", finished.report

    assert pq.read_table(output).num_rows == report["latency"]["count"] == 40
    assert report["samples"]
    assert {len(column) for column in report["series"].values()} == {len(report["series"]["at_s"])}
    assert report["endpoints"][0]["teardown"]["not_found_read_back"] is True
    assert (output / "_mayfly/report.html").stat().st_size > 10_000
    assert not (output / "_mayfly/heartbeat.json").exists()


def test_run_cost_is_the_bill_of_the_server(finished: FinishedRun) -> None:
    report = finished.report
    price, minutes = report["endpoints"][0]["price_usd_per_h"], report["cost"]["replica_minutes"]

    # But for a minute that one of them began a moment earlier.
    assert abs(minutes - finished.billed_min) <= 1
    assert report["cost"]["usd"] == round(minutes * price / 60, 4)


def test_status_of_a_finished_run_is_complete(finished: FinishedRun) -> None:
    status = finished.shell("status", "out", "--json").json

    assert status["rows"] == {"total": 40, "done": 40, "failed": 0, "remaining": 0}
    assert (status["outcome"], status["open_leases"], status["now"]) == ("complete", [], None)
    assert "40 of 40 done" in finished.shell("status", "out").out


def test_run_of_another_job_in_a_finished_folder_is_refused(finished: FinishedRun) -> None:
    shell, before = finished.shell, finished.shell.creations

    refused = shell("run", *ASKED, "--yes", "--max-tokens", "7")

    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "belongs to another job: --max-tokens was unset, is 7" in refused.err
    assert shell.creations == before


def test_locked_output_folder_is_refused_with_its_owner(shell: Shell) -> None:
    (shell.folder / "out" / "_mayfly").mkdir(parents=True)
    lock(shell.folder / "out")

    ended = shell("run", *ASKED, "--yes")

    assert (ended.code, shell.creations) == (2, 0)
    assert ended.err.count("\n") == 1
    assert "in use by process 1 on elsewhere" in ended.err
    assert [path.name for path in Path(shell.folder / "out").iterdir()] == ["_mayfly"]
