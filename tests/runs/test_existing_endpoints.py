"""Existing endpoints: only endpoints that we created are deleted."""

from collections.abc import Iterator

import pytest

from mayfly.models.endpoint import EndpointRef, EndpointSpec, Phase, Replicas
from mayfly.together.connection import Connection
from mayfly.together.control_plane import ControlPlane
from mayfly.together.factory import connect
from tests.support.machine import MODEL, Machine
from tests.support.wait import wait_until
from together_emulator import Emulator


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
    assert "bills until it is stopped" in run.text


def test_existing_stopped_endpoint_is_started_and_stopped_again(
    machine: Machine, plane: ControlPlane, theirs: EndpointRef
) -> None:
    plane.scale(theirs, Replicas(minimum=0, maximum=0))
    wait_until(lambda: plane.observe(theirs).phase is Phase.STOPPED, "stopped process")

    run = machine.run("--endpoint", theirs.name)

    assert run.wait() == 0, run.text
    machine.assert_complete()
    assert plane.observe(theirs).phase is Phase.STOPPED


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
