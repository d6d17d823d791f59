"""A teardown that the user interrupts: the process ends and reports what it leaves."""

import signal

from tests.support.machine import Machine, Process
from tests.support.wait import wait_until
from together_emulator import FaultRule

SLOW = FaultRule(action="delay", path="^/v1/chat/", delay_s=0.1)
STUCK = FaultRule(action="hang_before", method="PATCH", path="/deployments/")
"""The stop is never answered, so that there is a teardown to break off."""


def break_off(machine: Machine, run: Process) -> None:
    """Press Ctrl-C three times, each after the message of the one before."""
    wait_until(lambda: machine.answered() >= 4, "answered rows")
    machine.emulator.use_faults(STUCK)
    run.signal(signal.SIGINT, group=True)
    wait_until(lambda: machine.emulator.calls()[-1].fault == "hang_before", "the stop request")
    run.signal(signal.SIGINT, group=True)
    wait_until(
        lambda: "Another signal aborts the teardown" in run.text,
        "message after the second Ctrl-C",
    )
    assert run.alive
    run.signal(signal.SIGINT, group=True)


def test_third_ctrl_c_ends_run_with_what_bills_and_how_to_end_it(machine: Machine) -> None:
    machine.emulator.use_faults(SLOW)
    run = machine.run()

    break_off(machine, run)

    assert run.wait() == 4, run.text
    (endpoint,) = machine.report()["endpoints"]
    output = " ".join(run.text.split())
    assert f"SIGINT: teardown aborted; endpoint {endpoint['name']} may still bill since 2" in output
    assert "at $5.49/h a replica" in output
    assert f"mayfly endpoints delete {endpoint['name']} --api v2" in output
    assert "may still bill" in machine.report()["outcome"]
    # The guardian has taken over: the lease is closed when the endpoint is deleted.
    machine.emulator.use_faults()
    machine.await_gone()
    wait_until(lambda: not machine.leases(), "closed lease")
    assert [proof["line"] for proof in machine.proofs()] == ["guardian"]


def test_command_printed_by_third_ctrl_c_deletes_the_endpoint(machine: Machine) -> None:
    machine.emulator.use_faults(SLOW)
    run = machine.run()
    wait_until(run.guardians, "guardian")
    (guardian,) = run.guardians()
    break_off(machine, run)
    assert run.wait() == 4, run.text
    guardian.kill()
    machine.emulator.use_faults()
    _, _, command = run.text.rpartition("end it with `mayfly ")

    by_hand = machine.command(*command.partition("`")[0].split())

    assert by_hand.wait() == 0, by_hand.text
    assert not machine.emulator.has_endpoints
    assert machine.leases() == ()
