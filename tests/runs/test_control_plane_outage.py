"""An API that goes away during a teardown and comes back: the teardown continues until done."""

import signal
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.machine import Forwarder, Machine
from tests.support.wait import wait_until
from together_emulator import FaultRule

SLOW = FaultRule(action="delay", path="^/v1/chat/", delay_s=0.1)
HELD = FaultRule(action="hang_before", method="PATCH", path="/deployments/", first=1)
"""The first call that a teardown makes to change something is held until the way is cut."""

AWAY = "refuses connections"


@pytest.fixture
def way(machine: Machine) -> Iterator[Forwarder]:
    """The way of everything on the machine to the API; it can be cut."""
    forwarder = Forwarder(urlsplit(machine.emulator.url).port or 0)
    machine.env["TOGETHER_BASE_URL"] = f"http://127.0.0.1:{forwarder.port}"
    yield forwarder
    forwarder.cut()


def cut_at_the_stop(machine: Machine, way: Forwarder) -> None:
    """Let the API die of the teardown's stop."""
    held = HELD.action
    wait_until(
        lambda: any(call.fault == held for call in machine.emulator.calls()),
        "the stop request",
    )
    way.cut()


def test_teardown_of_the_run_survives_a_restart_of_the_api(
    machine: Machine, way: Forwarder
) -> None:
    machine.emulator.use_faults(HELD)
    run = machine.run()
    cut_at_the_stop(machine, way)
    wait_until(lambda: AWAY in run.text, "a call of the teardown to the stopped API")
    assert machine.emulator.billing == 1
    assert run.alive

    way.resume()

    assert run.wait() == 0, run.text
    machine.assert_complete()
    assert not machine.emulator.has_endpoints
    assert machine.leases() == ()
    (endpoint,) = machine.report()["endpoints"]
    assert endpoint["teardown"]["line"] == "finally"
    assert endpoint["teardown"]["not_found_read_back"]


def test_teardown_of_the_guardian_survives_a_restart_of_the_api(
    machine: Machine, way: Forwarder
) -> None:
    machine.emulator.use_faults(SLOW, HELD)
    run = machine.run()
    wait_until(lambda: machine.answered() >= 4, "answered rows")
    run.signal(signal.SIGKILL)
    run.wait()
    cut_at_the_stop(machine, way)
    log = machine.home / "leases" / "guardian.log"
    wait_until(lambda: AWAY in log.read_text(), "a call of the guardian to the stopped API")
    assert machine.emulator.billing == 1

    way.resume()

    machine.await_gone()
    wait_until(lambda: not machine.leases(), "closed lease")
    assert [proof["line"] for proof in machine.proofs()] == ["guardian"]
