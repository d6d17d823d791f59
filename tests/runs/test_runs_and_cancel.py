"""`mayfly runs` and `mayfly cancel`: runs on this machine, and ending them from elsewhere."""

import json
import signal
from typing import Any

from tests.support.machine import Machine
from tests.support.wait import wait_until
from together_emulator import FaultRule

SLOW = FaultRule(action="delay", delay_s=3.0, path="^/v1/chat/")


def runs(stage: Machine) -> list[dict[str, Any]]:
    """Return what `mayfly runs --json` prints."""
    process = stage.command("runs", "--json")
    assert process.wait() == 0, process.text
    found: list[dict[str, Any]] = json.loads(process.text)
    return found


def test_cancel_running_run_tears_down_and_resumes(stage: Machine) -> None:
    stage.emulator.use_faults(SLOW)
    run = stage.run()
    wait_until(lambda: stage.answered() >= 2, "answered rows")
    assert [each["state"] for each in runs(stage)] == ["running"]

    cancel = stage.command("cancel", str(stage.output))

    assert cancel.wait() == 0, cancel.text
    assert run.wait() == 143
    assert "rows done, it has no endpoint any more" in cancel.text
    assert not stage.emulator.has_endpoints
    assert [each["state"] for each in runs(stage)] == ["ended"]
    stage.emulator.use_faults()
    again = stage.run()
    assert again.wait() == 0, again.text
    stage.assert_complete()


def test_runs_after_sigkill_says_crashed(stage: Machine) -> None:
    stage.emulator.use_faults(SLOW)
    run = stage.run()
    wait_until(lambda: stage.answered() >= 1, "an answered row")

    run.signal(signal.SIGKILL)
    run.wait()

    assert [each["state"] for each in runs(stage)] == ["crashed"]
    stage.await_gone()


def test_cancel_folder_without_run_is_refused(stage: Machine) -> None:
    cancel = stage.command("cancel", str(stage.output))

    assert cancel.wait() == 2
    assert "no run is active in" in cancel.text
