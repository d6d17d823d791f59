"""Existing endpoints: only endpoints that we created are deleted."""

import signal
from collections.abc import Iterator

import pytest

from mayfly.models.endpoint import EndpointRef, EndpointSpec, Phase, Replicas
from mayfly.together.connection import Connection
from mayfly.together.control_plane import ControlPlane
from mayfly.together.factory import connect
from tests.support.machine import MODEL, Machine
from tests.support.wait import wait_until
from together_emulator import Emulator, FaultRule


@pytest.fixture
def plane(emulator: Emulator) -> Iterator[ControlPlane]:
    """The control plane, as a colleague uses it."""
    connection = Connection.from_env(
        {"TOGETHER_API_KEY": emulator.key, "TOGETHER_BASE_URL": emulator.url}
    )
    with connect("v2", connection) as plane:
        yield plane


@pytest.fixture
def theirs(plane: ControlPlane) -> EndpointRef:
    """An endpoint that a colleague has made, and that runs."""
    offer = plane.offers(MODEL)[0]
    spec = EndpointSpec(
        name="production-chat",
        model=MODEL,
        hardware=offer.hardware,
        price_usd_per_h=offer.price_usd_per_h,
        model_ref=offer.model_ref,
        config_ref=offer.config_ref,
    )
    ref = plane.create(spec)
    wait_until(lambda: plane.observe(ref).phase is Phase.READY, "start")
    return ref


def test_existing_running_endpoint_is_used_and_left_running(
    machine: Machine, plane: ControlPlane, theirs: EndpointRef
) -> None:
    run = machine.run("--endpoint", theirs.name)

    assert run.wait() == 0, run.text
    machine.assert_complete()
    assert plane.observe(theirs).phase is Phase.READY
    assert machine.leases() == ()
    assert "production-chat (existing, 1xnvidia-h100-80gb at $5.49/h a replica)" in run.text
    assert "kept, as it was found; it bills until it is stopped" in run.text
    assert "the endpoint was running already: it bills with and without this run" in run.text
    report = machine.report()
    minutes = report["cost"]["replica_minutes"]
    assert minutes > 0
    assert report["cost"]["usd"] == pytest.approx(minutes * 5.49 / 60, abs=1e-3)


def test_existing_stopped_endpoint_is_started_and_stopped_again(
    machine: Machine, plane: ControlPlane, theirs: EndpointRef
) -> None:
    plane.scale(theirs, Replicas(minimum=0, maximum=0))
    wait_until(lambda: plane.observe(theirs).phase is Phase.STOPPED, "stopped process")

    run = machine.run("--endpoint", theirs.name)

    assert run.wait() == 0, run.text
    machine.assert_complete()
    assert plane.observe(theirs).phase is Phase.STOPPED


def test_existing_endpoint_that_others_delete_is_not_replaced(
    machine: Machine, plane: ControlPlane, theirs: EndpointRef
) -> None:
    machine.emulator.use_faults(FaultRule(action="delay", path="^/v1/chat/", delay_s=0.3))
    run = machine.run("--endpoint", theirs.name, timeouts={"observe_every_s": 0.2})
    wait_until(lambda: machine.answered() >= 4, "answered rows")

    machine.emulator.vanish(theirs.name)

    assert run.wait() == 1, run.text
    assert "was lost during the batch: gone: does not exist; this run did not create it" in run.text
    (endpoint,) = machine.report()["endpoints"]
    assert endpoint["ended"] == "deleted, but not by this run"
    assert plane.list_endpoints("") == []
    assert machine.leases() == ()


def test_interrupted_run_leaves_an_existing_endpoint_running(
    machine: Machine, plane: ControlPlane, theirs: EndpointRef
) -> None:
    machine.emulator.use_faults(FaultRule(action="delay", path="^/v1/chat/", delay_s=0.3))
    run = machine.run("--endpoint", theirs.name)
    wait_until(lambda: machine.answered() >= 4, "answered rows")

    run.signal(signal.SIGINT)

    assert run.wait() == 130, run.text
    assert "SIGINT: stopping; leaving the existing endpoint as it was found" in run.text
    assert plane.observe(theirs).phase is Phase.READY


def test_existing_running_endpoint_is_stopped_with_teardown_stop(
    machine: Machine, plane: ControlPlane, theirs: EndpointRef
) -> None:
    run = machine.run("--endpoint", theirs.name, "--teardown", "stop")

    assert run.wait() == 0, run.text
    assert plane.observe(theirs).phase is Phase.STOPPED


@pytest.mark.parametrize(("asked", "billing"), [("stop", 0), ("keep", 1)])
def test_own_endpoint_is_left_as_teardown_option_says(
    machine: Machine, asked: str, billing: int
) -> None:
    run = machine.run("--teardown", asked)

    assert run.wait() == 0, run.text
    assert machine.emulator.has_endpoints
    assert machine.emulator.billing == billing
    assert machine.leases() == ()
