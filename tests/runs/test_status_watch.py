"""`mayfly status --watch` follows a run to its end."""

import signal

import orjson

from tests.support.machine import Machine
from tests.support.wait import wait_until
from together_emulator import FaultRule


def test_status_watch_follows_run_until_it_ends(machine: Machine) -> None:
    machine.emulator.use_faults(FaultRule(action="delay", path="^/v1/chat/", delay_s=0.3))
    run = machine.run()
    wait_until(lambda: machine.answered() >= 4, "answered rows")

    machines = machine.command("status", str(machine.output), "--watch", "--json")
    people = machine.command("status", str(machine.output), "--watch")

    assert (run.wait(), machines.wait(), people.wait()) == (0, 0, 0)
    snapshots = [orjson.loads(line) for line in machines.text.splitlines()]
    done = [snapshot["rows"]["done"] for snapshot in snapshots]
    assert snapshots[0]["outcome"] == "running"
    assert snapshots[0]["open_leases"]
    assert done == sorted(done)
    assert (done[-1], snapshots[-1]["outcome"]) == (machine.rows, "complete")
    assert snapshots[-1]["open_leases"] == []
    assert f"{machine.rows} of {machine.rows} rows" in people.text.splitlines()[-1]


def test_status_watch_ended_by_ctrl_c_leaves_run_alone(machine: Machine) -> None:
    machine.emulator.use_faults(FaultRule(action="delay", path="^/v1/chat/", delay_s=0.3))
    run = machine.run()
    wait_until(lambda: machine.answered() >= 4, "answered rows")
    watch = machine.command("status", str(machine.output), "--watch", "--json")
    wait_until(lambda: watch.text.count("\n") >= 1, "a status line")

    watch.signal(signal.SIGINT, group=True)

    assert watch.wait() == 0, watch.text
    assert run.wait() == 0, run.text
    machine.assert_complete()
