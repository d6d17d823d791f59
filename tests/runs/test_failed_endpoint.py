"""An endpoint that fails during the batch is deleted, and the run continues on another."""

import signal

import httpx

from tests.support.machine import Machine
from tests.support.wait import wait_until
from together_emulator import FaultRule

SLOW = FaultRule(action="delay", path="^/v1/chat/", delay_s=0.1)


def test_endpoint_that_fails_midway_is_replaced(machine: Machine) -> None:
    machine.emulator.use_faults(SLOW)
    machine.concurrency = 2
    run = machine.run(timeouts={"observe_every_s": 0.2})
    wait_until(lambda: machine.answered() >= 4, "answered rows")
    assert [lease.unseen for lease in machine.leases()] == [False]

    report_failed_once(machine)

    assert run.wait() == 0, run.text
    machine.assert_complete()
    first, second = machine.report()["endpoints"]
    assert "FAILED" in machine.report()["moves"][0]
    assert first["name"] != second["name"]
    assert first["teardown"]["not_found_read_back"]
    assert not machine.emulator.has_endpoints
    assert machine.leases() == ()


def test_endpoint_that_the_api_shows_late_is_waited_for(machine: Machine) -> None:
    unseen = FaultRule(action="status", method="GET", path="/endpoints/[^/]+$", status=404, first=3)
    machine.emulator.use_faults(unseen)

    run = machine.run()

    assert run.wait() == 0, run.text
    machine.assert_complete()
    assert len(machine.report()["endpoints"]) == 1
    assert not machine.emulator.has_endpoints
    assert machine.leases() == ()


def test_endpoint_of_a_run_killed_before_the_api_shows_it_is_ended(machine: Machine) -> None:
    unseen = FaultRule(action="status", method="GET", path="/endpoints/[^/]+$", status=404, first=8)
    machine.emulator.use_faults(unseen)
    run = machine.run()
    wait_until(
        lambda: any(lease.ref.deployment_ids and lease.unseen for lease in machine.leases()),
        "an endpoint that is not shown yet",
    )

    run.signal(signal.SIGKILL)

    machine.await_gone()
    wait_until(lambda: machine.leases() == (), "end of the lease")
    assert not machine.emulator.has_endpoints


def report_failed_once(machine: Machine) -> None:
    """Let the next observation of the deployment be FAILED, as the API reports it."""
    emulator, (lease,) = machine.emulator, machine.leases()
    path = f"/v2/projects/{emulator.project_id}/endpoints/{lease.ref.endpoint_id}/deployments"
    headers = {"authorization": f"Bearer {emulator.key}"}
    with httpx.Client(base_url=emulator.url, headers=headers) as http:
        answer = http.get(path).json()
    for deployment in answer["data"]:
        deployment["status"]["state"] = "DEPLOYMENT_STATE_FAILED"
    emulator.use_faults(
        FaultRule(action="status", method="GET", path=f"{path}$", status=200, json=answer, first=1),
        SLOW,
    )


def test_endpoint_whose_create_is_rejected_was_never_created(machine: Machine) -> None:
    machine.emulator.use_faults(
        FaultRule(action="status", method="POST", path="/endpoints$", status=403, message="no")
    )

    run = machine.run()

    assert run.wait() == 1, run.text
    assert "the endpoint was never created (confirmed: 404)" in run.text
    assert "deleted (confirmed" not in run.text
    (endpoint,) = machine.report()["endpoints"]
    assert endpoint["ended"] == "never created (confirmed: 404)"
    assert endpoint["teardown"]["not_found_read_back"]
    assert not endpoint["teardown"]["existed"]
    assert machine.leases() == ()


def test_endpoint_without_a_deployment_was_deleted(machine: Machine) -> None:
    machine.emulator.use_faults(
        FaultRule(action="status", method="POST", path="/deployments$", status=403, message="no")
    )

    run = machine.run()

    assert run.wait() == 1, run.text
    (endpoint,) = machine.report()["endpoints"]
    assert endpoint["ended"] == "deleted (confirmed: 404)"
    assert endpoint["teardown"]["existed"]


def test_create_is_retried_longer_than_other_steps(machine: Machine) -> None:
    # A step is tried six times.
    busy = FaultRule(action="status", method="POST", path="/endpoints$", status=429, first=6)
    machine.emulator.use_faults(busy)

    run = machine.run()

    assert run.wait() == 0, run.text
    assert "HTTP 429: injected fault; retrying in" in run.text
    machine.assert_complete()
    (endpoint,) = machine.report()["endpoints"]
    assert endpoint["ended"] == "deleted (confirmed: 404)"
    assert not machine.emulator.has_endpoints
