"""`mayfly status --watch` follows a run to its end."""

import signal

import orjson

from tests.support.machine import Machine
from tests.support.wait import wait_until
from together_emulator import FaultRule


def test_status_watch_follows_run_until_it_ends(stage: Machine) -> None:
    stage.emulator.use_faults(FaultRule(action="delay", path="^/v1/chat/", delay_s=0.3))
    run = stage.run()
    wait_until(lambda: stage.answered() >= 4, "answered rows")

    machines = stage.command("status", str(stage.output), "--watch", "--json")
    people = stage.command("status", str(stage.output), "--watch")

    assert (run.wait(), machines.wait(), people.wait()) == (0, 0, 0)
    snapshots = [orjson.loads(line) for line in machines.text.splitlines()]
    done = [snapshot["rows"]["done"] for snapshot in snapshots]
    assert snapshots[0]["outcome"] == "running"
    assert snapshots[0]["open_leases"]
    assert done == sorted(done)
    assert (done[-1], snapshots[-1]["outcome"]) == (stage.rows, "complete")
    assert snapshots[-1]["open_leases"] == []
    assert f"{stage.rows} of {stage.rows} rows" in people.text.splitlines()[-1]


def test_status_watch_ended_by_ctrl_c_leaves_run_alone(stage: Machine) -> None:
    stage.emulator.use_faults(FaultRule(action="delay", path="^/v1/chat/", delay_s=0.3))
    run = stage.run()
    wait_until(lambda: stage.answered() >= 4, "answered rows")
    watch = stage.command("status", str(stage.output), "--watch", "--json")
    wait_until(lambda: watch.text.count("\n") >= 1, "a status line")

    watch.signal(signal.SIGINT, group=True)

    assert watch.wait() == 0, watch.text
    assert run.wait() == 0, run.text
    stage.assert_complete()
