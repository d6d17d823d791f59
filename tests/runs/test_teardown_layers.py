"""Five teardown layers, each with the layers before it disabled."""

import signal
from pathlib import Path

from tests.support.machine import Launcher, Machine, quick_emulator
from tests.support.wait import wait_until
from together_emulator import FaultRule

SLOW = FaultRule(action="delay", path="^/v1/chat/", delay_s=0.2)


def test_first_layer_is_the_finally_of_the_flow(stage: Machine) -> None:
    stage.emulator.use_faults(FaultRule(action="status", path="^/v1/chat/", status=402))

    run = stage.run()

    assert run.wait() == 1, run.text
    (endpoint,) = stage.report()["endpoints"]
    assert endpoint["teardown"]["line"] == "finally"
    assert endpoint["teardown"]["not_found_read_back"]
    assert endpoint["teardown"]["stopped_at"] <= endpoint["teardown"]["gone_at"]
    assert not stage.emulator.has_endpoints


def test_second_layer_is_the_prefect_hook(stage: Machine) -> None:
    # A teardown that gives up at once: the finally falls over.
    run = stage.run(timeouts={"teardown_s": 0})

    assert run.wait() == 1, run.text
    (proof,) = stage.proofs()
    assert proof["line"] == "hook"
    assert not stage.emulator.has_endpoints
    assert stage.leases() == ()


def test_third_layer_is_the_guardian(stage: Machine) -> None:
    stage.emulator.use_faults(SLOW)
    run = stage.run()
    wait_until(lambda: stage.answered() >= 2, "answered rows")

    run.signal(signal.SIGKILL)

    run.wait()
    stage.await_gone()
    wait_until(lambda: not stage.leases(), "closed lease")
    (proof,) = stage.proofs()
    assert proof["line"] == "guardian"


def test_fourth_layer_is_the_sweep(stage: Machine) -> None:
    stage.emulator.use_faults(SLOW)
    run = stage.run()
    wait_until(lambda: stage.answered() >= 2, "answered rows")
    run.kill_all()
    assert stage.emulator.billing == 1
    status = stage.command("status", str(stage.output))
    assert status.wait() == 0, status.text
    assert stage.leases()[0].name in status.text

    stage.sweep()

    assert not stage.emulator.has_endpoints
    (proof,) = stage.proofs()
    assert proof["line"] == "sweep"
    assert proof["usd"] > 0


def test_fifth_layer_is_the_inactive_timeout_of_the_platform(
    launcher: Launcher, tmp_path: Path
) -> None:
    # Half an hour without a request takes three seconds here.
    with quick_emulator(speed=600.0, start_factor=0.1) as emulator:
        stage = Machine(emulator, launcher, tmp_path / "machine")
        emulator.use_faults(SLOW)
        run = stage.run()
        wait_until(lambda: stage.answered() >= 2, "answered rows")

        run.kill_all()

        wait_until(lambda: emulator.billing == 0, "end of billing")
        assert emulator.has_endpoints
        stage.sweep()
        assert not emulator.has_endpoints
