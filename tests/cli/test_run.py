"""`mayfly run` as a process: events, cost, the output lock."""

import json
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from tests.cli.test_refusals import lock
from tests.support.shell import MODEL, Shell

ASKED = ["questions.parquet", "--model", MODEL, "--prompt", "{{ question }}", "--output", "out"]


def started_by(shell: Shell) -> list[psutil.Process]:
    """Return the processes that commands of a shell have left running."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MAYFLY_HOME") == shell.env["MAYFLY_HOME"]:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_run_prints_json_events_and_its_true_cost(shell: Shell) -> None:
    """One run for all tests of this file, since a run is expensive."""
    minutes_before = shell.emulator.ledger().minutes

    # No Prefect is configured: the run brings its own server.
    ended = shell("run", *ASKED, "--yes", "--json", env={"PREFECT_API_URL": None})

    # The stream: nothing but events on standard output, nothing at all beside it.
    assert ended.code == 0, ended.err
    # A slow machine says what it waits for.
    assert not [line for line in ended.err.splitlines() if not line.endswith(" ...")]
    events = ended.lines
    assert {"plan", "note", "phase", "endpoint", "progress", "summary"} == {
        event["event"] for event in events
    }
    # A machine under load says what it waits for before there is a plan.
    plan = events[0]
    assert plan["event"] == "plan"
    assert plan["hardware"] == "1xnvidia-h100-80gb"
    phases = [event["phase"] for event in events if event["event"] == "phase"]
    assert phases == [
        "looking", "planning", "creating", "waiting", "inferring", "tearing_down", "reporting",
        "done",
    ]  # fmt: skip
    states = [event["state"] for event in events if event["event"] == "endpoint"]
    assert states[0] == ""
    assert "READY" in states
    assert states[-1] == "DELETED"
    times = [event["at_s"] for event in events if "at_s" in event and event["event"] != "progress"]
    assert times == sorted(times)
    last = [event for event in events if event["event"] == "progress"][-1]
    assert last["rows"] == {"total": 40, "done": 40, "failed": 0}

    # The end: answers, report, no endpoint, and no process.
    summary = events[-1]
    assert summary["event"] == "summary"
    assert summary["exit_code"] == 0
    assert summary["rows"]["done"] == 40
    assert pq.read_table(shell.folder / "out").num_rows == 40
    report = json.loads((shell.folder / "out/_mayfly/report.json").read_text())
    assert report["latency"]["count"] == 40
    assert len(report["samples"]) > 0
    assert {len(column) for column in report["series"].values()} == {len(report["series"]["at_s"])}
    assert report["endpoints"][0]["teardown"]["not_found_read_back"] is True
    assert (shell.folder / "out/_mayfly/report.html").stat().st_size > 10_000
    assert not (shell.folder / "out/_mayfly/pulse.json").exists()
    assert shell.emulator.has_endpoints is False
    assert started_by(shell) == []

    # The bill: the report's is the server's, but for a minute that one began a moment earlier.
    billed = shell.emulator.ledger().minutes - minutes_before
    assert abs(report["cost"]["replica_minutes"] - billed) <= 1
    price = report["endpoints"][0]["price_usd_per_h"]
    assert report["cost"]["usd"] == round(report["cost"]["replica_minutes"] * price / 60, 4)

    # Afterwards the folder has the whole record, and belongs to this job.
    status = shell("status", "out", "--json").json
    assert status["rows"] == {"total": 40, "done": 40, "failed": 0, "remaining": 0}
    assert (status["outcome"], status["open_leases"], status["now"]) == ("complete", [], None)
    assert "40 of 40 done" in shell("status", "out").out
    creations = shell.creations
    other = shell("run", *ASKED, "--yes", "--max-tokens", "7")
    assert (other.code, other.err.count("\n")) == (2, 1)
    assert "belongs to another job: --max-tokens was unset, is 7" in other.err
    assert shell.creations == creations


def test_locked_output_folder_is_refused_with_its_owner(shell: Shell) -> None:
    (shell.folder / "out" / "_mayfly").mkdir(parents=True)
    lock(shell.folder / "out")

    ended = shell("run", *ASKED, "--yes")

    assert (ended.code, shell.creations) == (2, 0)
    assert ended.err.count("\n") == 1
    assert "in use by process 1 on elsewhere" in ended.err
    assert [path.name for path in Path(shell.folder / "out").iterdir()] == ["_mayfly"]
