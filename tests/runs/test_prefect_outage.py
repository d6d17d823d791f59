"""A run continues without its Prefect server, and obeys a cancel from it."""

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.machine import Forwarder, Launcher, Machine
from tests.support.wait import wait_until
from together_emulator import FaultRule

SLOW = FaultRule(action="delay", path="^/v1/chat/", delay_s=0.2)


@pytest.fixture(scope="module")
def way(prefect_api_url: str) -> Iterator[Forwarder]:
    """A way to the Prefect server that can be cut."""
    forwarder = Forwarder(urlsplit(prefect_api_url).port or 0)
    yield forwarder
    forwarder.cut()


@pytest.fixture(scope="module")
def launcher(way: Forwarder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """A fork server whose commands reach Prefect by that way."""
    launcher = Launcher(
        {
            **os.environ,
            "PREFECT_API_URL": f"http://127.0.0.1:{way.port}/api",
            "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")),
            "DO_NOT_TRACK": "1",
            # As the command line sets it, but for a server that is imported already.
            "PREFECT_CLIENT_MAX_RETRIES": "3",
        }
    )
    yield launcher
    launcher.close()


def test_prefect_server_lost_midway_changes_no_answer_or_exit_code(
    machine: Machine, way: Forwarder
) -> None:
    machine.emulator.use_faults(SLOW)
    run = machine.run()
    wait_until(lambda: machine.answered() >= 4, "answered rows")

    way.cut()

    assert run.wait() == 0, run.text
    way.resume()
    machine.assert_complete()
    assert not machine.emulator.has_endpoints
    assert machine.report()["outcome"] == "complete"


def test_prefect_server_lost_at_teardown_changes_nothing(machine: Machine, way: Forwarder) -> None:
    machine.emulator.use_faults(
        FaultRule(action="status", path="^/v1/chat/", status=401, nth=(9,)), SLOW
    )
    run = machine.run()
    wait_until(lambda: machine.answered() >= 3, "answered rows")

    way.cut()

    assert run.wait() == 1, run.text
    way.resume()
    assert not machine.emulator.has_endpoints
    assert machine.leases() == ()


def test_cancel_of_an_ad_hoc_run_tears_it_down(machine: Machine, prefect_api_url: str) -> None:
    machine.emulator.use_faults(SLOW)
    machine.concurrency = 1
    run = machine.run(timeouts={"cancel_poll_s": 0.2})
    wait_until(lambda: machine.answered() >= 2, "answered rows")
    (lease,) = machine.leases()

    with httpx.Client(base_url=prefect_api_url, timeout=30) as prefect:
        body = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": True}
        answer = prefect.post(f"flow_runs/{lease.run}/set_state", json=body)
        assert answer.status_code == 201

        assert run.wait() == 130, run.text
        state = prefect.get(f"flow_runs/{lease.run}").json()["state"]["type"]

    assert state == "CANCELLED"
    assert not machine.emulator.has_endpoints
    assert machine.leases() == ()
