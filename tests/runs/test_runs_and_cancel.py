"""`mayfly runs` and `mayfly cancel`: runs on this machine, and ending them from elsewhere."""

import signal
from typing import Any

from tests.support.machine import Machine
from tests.support.wait import wait_until
from together_emulator import FaultRule

SLOW = FaultRule(action="delay", delay_s=3.0, path="^/v1/chat/")


def runs(machine: Machine) -> list[dict[str, Any]]:
    """Return what `mayfly runs --json` prints."""
    process = machine.command("runs", "--json")
    assert process.wait() == 0, process.text
    found: list[dict[str, Any]] = process.json
    return found


def test_cancel_running_run_tears_down_and_resumes(machine: Machine) -> None:
    machine.emulator.use_faults(SLOW)
    run = machine.run()
    wait_until(lambda: machine.answered() >= 2, "answered rows")
    assert [each["state"] for each in runs(machine)] == ["running"]

    cancel = machine.command("cancel", str(machine.output))

    assert cancel.wait() == 0, cancel.text
    assert run.wait() == 143
    assert "rows done, it has no endpoint any more" in cancel.text
    assert not machine.emulator.has_endpoints
    assert [each["state"] for each in runs(machine)] == ["ended"]
    machine.emulator.use_faults()
    again = machine.run()
    assert again.wait() == 0, again.text
    machine.assert_complete()


def test_runs_and_status_after_sigkill_say_crashed(machine: Machine) -> None:
    machine.emulator.use_faults(SLOW)
    run = machine.run()
    wait_until(lambda: machine.answered() >= 1, "an answered row")

    run.signal(signal.SIGKILL)
    run.wait()

    status = machine.command("status", str(machine.output), "--json")
    assert [each["state"] for each in runs(machine)] == ["crashed"]
    assert status.wait() == 0, status.text
    assert status.json["outcome"].startswith("crashed")
    machine.await_gone()


def test_cancel_folder_without_run_is_refused(machine: Machine) -> None:
    cancel = machine.command("cancel", str(machine.output))

    assert cancel.wait() == 2
    assert "no run is active in" in cancel.text
