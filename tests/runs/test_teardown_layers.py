"""Five teardown layers, each with the layers before it disabled."""

import signal
from pathlib import Path

from tests.support.machine import Launcher, Machine, quick_emulator
from tests.support.wait import wait_until
from together_emulator import FaultRule

SLOW = FaultRule(action="delay", path="^/v1/chat/", delay_s=0.2)


def test_first_layer_is_the_finally_of_the_flow(machine: Machine) -> None:
    machine.emulator.use_faults(FaultRule(action="status", path="^/v1/chat/", status=402))

    run = machine.run()

    assert run.wait() == 1, run.text
    (endpoint,) = machine.report()["endpoints"]
    assert endpoint["teardown"]["line"] == "finally"
    assert endpoint["teardown"]["not_found_read_back"]
    assert endpoint["teardown"]["stopped_at"] <= endpoint["teardown"]["gone_at"]
    assert not machine.emulator.has_endpoints


def test_second_layer_is_the_prefect_hook(machine: Machine) -> None:
    # A teardown that gives up at once: the finally falls over.
    run = machine.run(timeouts={"teardown_s": 0})

    assert run.wait() == 1, run.text
    (proof,) = machine.proofs()
    assert proof["line"] == "hook"
    assert not machine.emulator.has_endpoints
    assert machine.leases() == ()


def test_third_layer_is_the_guardian(machine: Machine) -> None:
    machine.emulator.use_faults(SLOW)
    run = machine.run()
    wait_until(lambda: machine.answered() >= 2, "answered rows")

    run.signal(signal.SIGKILL)

    run.wait()
    machine.await_gone()
    wait_until(lambda: not machine.leases(), "closed lease")
    (proof,) = machine.proofs()
    assert proof["line"] == "guardian"


def test_fourth_layer_is_the_sweep(machine: Machine) -> None:
    machine.emulator.use_faults(SLOW)
    run = machine.run()
    wait_until(lambda: machine.answered() >= 2, "answered rows")
    run.kill_all()
    assert machine.emulator.billing == 1
    status = machine.command("status", str(machine.output))
    assert status.wait() == 0, status.text
    assert machine.leases()[0].name in status.text

    machine.sweep()

    assert not machine.emulator.has_endpoints
    (proof,) = machine.proofs()
    assert proof["line"] == "sweep"
    assert proof["usd"] > 0


def test_fifth_layer_is_the_inactive_timeout_of_the_platform(
    launcher: Launcher, tmp_path: Path
) -> None:
    # Half an hour without a request takes three seconds here.
    with quick_emulator(speed=600.0, start_factor=0.1) as emulator:
        machine = Machine(emulator, launcher, tmp_path / "machine")
        emulator.use_faults(SLOW)
        run = machine.run()
        wait_until(lambda: machine.answered() >= 2, "answered rows")

        run.kill_all()

        wait_until(lambda: emulator.billing == 0, "end of billing")
        assert emulator.has_endpoints
        machine.sweep()
        assert not emulator.has_endpoints
