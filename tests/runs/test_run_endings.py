"""Every way to end a run: endpoint deleted, answers kept, the right exit code.

Each test is one way to end, with a real process and real signals.
"""

import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.support.machine import Machine, Process
from tests.support.wait import wait_until
from together_emulator import Emulator, FaultRule

CHAT = "^/v1/chat/"
SLOW = FaultRule(action="delay", path=CHAT, delay_s=0.1)
"""Rows take a tenth of a second each, so that there is a midst of the run."""


@pytest.fixture
def midway(machine: Machine) -> Iterator[tuple[Machine, Process]]:
    """A run midway through its rows."""
    machine.emulator.use_faults(SLOW)
    machine.concurrency = 2
    run = machine.run()
    wait_until(lambda: machine.answered() >= 6, "answered rows")
    yield machine, run
    if run.alive:
        run.kill_all()


def assert_resumable(machine: Machine) -> None:
    """The same command finishes the dataset and repeats no answered row."""
    assert not machine.emulator.has_endpoints
    assert machine.leases() == ()
    machine.emulator.use_faults()
    again = machine.run()
    assert again.wait() == 0, again.text
    machine.assert_complete()
    assert machine.answered() <= machine.rows + 2 * machine.concurrency
    assert not machine.emulator.has_endpoints


def test_ctrl_c_ends_run_with_exit_130(midway: tuple[Machine, Process]) -> None:
    machine, run = midway

    run.signal(signal.SIGINT, group=True)

    assert run.wait() == 130, run.text
    assert machine.report()["endpoints"][0]["teardown"]["line"] == "finally"
    assert_resumable(machine)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_ends_run_with_exit_143(
    midway: tuple[Machine, Process], number: signal.Signals
) -> None:
    machine, run = midway

    run.signal(number)

    assert run.wait() == 143, run.text
    assert_resumable(machine)


def test_killed_process_group_is_torn_down_by_the_guardian(
    midway: tuple[Machine, Process],
) -> None:
    machine, run = midway

    run.signal(signal.SIGKILL, group=True)

    assert run.wait() == -signal.SIGKILL
    machine.await_gone()
    wait_until(lambda: not machine.leases(), "closed lease")
    (proof,) = machine.proofs()
    assert proof["line"] == "guardian"
    assert proof["not_found_read_back"]
    assert proof["replica_minutes"] >= 1
    assert proof["usd"] > 0
    assert_resumable(machine)
    assert [kept["line"] for kept in machine.report()["earlier_teardowns"]] == ["guardian"]


def test_killed_guardian_is_replaced(machine: Machine) -> None:
    machine.emulator.use_faults(FaultRule(action="delay", path=CHAT, delay_s=0.5))
    machine.concurrency = 1
    run = machine.run(timeouts={"heartbeat_s": 0.5})
    wait_until(lambda: machine.answered() >= 2, "answered rows")
    (first,) = run.guardians()

    first.kill()
    wait_until(lambda: [g.pid for g in run.guardians()] not in ([], [first.pid]), "a new guardian")
    run.signal(signal.SIGKILL)

    run.wait()
    machine.await_gone()


def test_fatal_response_ends_run_and_endpoint(machine: Machine) -> None:
    machine.emulator.use_faults(FaultRule(action="status", path=CHAT, status=401))

    run = machine.run()

    assert run.wait() == 1, run.text
    assert_resumable(machine)


@pytest.mark.parametrize("status", [403, 422])
def test_refused_create_leaves_nothing(machine: Machine, status: int) -> None:
    machine.emulator.use_faults(
        FaultRule(action="status", method="POST", path="/deployments$", status=status)
    )

    run = machine.run()

    assert run.wait() == 1, run.text
    assert_resumable(machine)


def test_failed_starts_move_to_other_hardware_and_leave_nothing(machine: Machine) -> None:
    machine.emulator.use_faults(
        FaultRule(action="fail_start", method="POST", path="/deployments$", first=1)
    )

    run = machine.run()

    assert run.wait() == 0, run.text
    first, second = machine.report()["endpoints"]
    assert first["hardware"] != second["hardware"]
    assert not machine.emulator.has_endpoints


def test_full_disk_ends_run_and_endpoint(machine: Machine) -> None:
    machine.rows = 600
    machine.__post_init__()
    machine.concurrency = 16

    run = machine.run(file_bytes=40_000)

    assert run.wait() == 1, run.text
    assert_resumable(machine)


def test_endpoint_deleted_from_outside_is_replaced(midway: tuple[Machine, Process]) -> None:
    machine, run = midway

    machine.emulator.vanish()

    assert run.wait() == 0, run.text
    machine.assert_complete()
    assert len(machine.report()["endpoints"]) == 2
    assert not machine.emulator.has_endpoints


def test_endpoint_stopped_from_outside_is_replaced(midway: tuple[Machine, Process]) -> None:
    machine, run = midway

    stop_everything(machine.emulator)

    assert run.wait() == 0, run.text
    machine.assert_complete()
    assert not machine.emulator.has_endpoints


def test_flow_over_its_timeout_is_torn_down(machine: Machine) -> None:
    # The timeout passes midway through the rows: they take far longer, and the start far less.
    machine.emulator.use_faults(FaultRule(action="delay", path=CHAT, delay_s=2))
    machine.concurrency = 1

    run = machine.script(timeout_seconds=8)

    assert run.wait() == 1, run.text
    assert "exceeded timeout" in run.text
    assert_resumable(machine)


def test_flow_timeout_does_not_interrupt_teardown(machine: Machine) -> None:
    # The rows are done at once, and the stop takes longer than the flow may.
    machine.emulator.use_faults(
        FaultRule(action="delay", method="PATCH", path="/deployments/", delay_s=6)
    )

    run = machine.script(timeout_seconds=5)

    run.wait()
    assert not machine.emulator.has_endpoints
    assert machine.leases() == ()


def test_second_ctrl_c_does_not_interrupt_teardown(midway: tuple[Machine, Process]) -> None:
    machine, run = midway
    machine.emulator.use_faults(
        FaultRule(action="delay", method="PATCH", path="/deployments/", delay_s=3)
    )

    run.signal(signal.SIGINT)
    wait_until(lambda: machine.management()[-1][0] == "PATCH", "the stop request")
    run.signal(signal.SIGINT)

    assert run.wait() == 130, run.text
    assert "being torn down" in run.text
    assert_resumable(machine)


def test_failed_teardown_reports_cost_and_remedy(
    machine: Machine,
) -> None:
    machine.emulator.use_faults(
        FaultRule(action="status", method="PATCH", path="/deployments/", status=500)
    )

    run = machine.run(timeouts={"teardown_s": 3, "hook_s": 1})

    assert run.wait() == 4, run.text
    (lease,) = machine.leases()
    output = " ".join(run.text.split())
    assert f"endpoint {lease.name} may still bill since" in output
    assert "at $5.49/h" in output
    assert f"mayfly endpoints delete {lease.name}" in output
    # And the guardian continues where the run had to give up.
    machine.emulator.use_faults()
    machine.await_gone()


def test_next_run_starts_while_guardian_tears_down(
    midway: tuple[Machine, Process],
) -> None:
    machine, run = midway
    machine.emulator.use_faults(
        FaultRule(action="hang_before", method="PATCH", path="/deployments/", first=1)
    )
    run.signal(signal.SIGKILL)
    run.wait()
    wait_until(
        lambda: machine.emulator.calls()[-1].fault == "hang_before", "deletion by the guardian"
    )

    again = machine.run()

    assert again.wait() == 0, again.text
    machine.assert_complete()
    assert not machine.emulator.has_endpoints


def test_unwritable_home_is_refused_before_create(machine: Machine) -> None:
    machine.home.write_text("a file")

    run = machine.run()

    assert run.wait() in (1, 2), run.text
    assert "MAYFLY_HOME" in run.text
    assert not any(method == "POST" for method, _ in machine.management())


def stop_everything(emulator: Emulator) -> None:
    """Stop all deployments from outside of the run."""
    headers = {"authorization": f"Bearer {emulator.key}"}
    with httpx.Client(base_url=emulator.url, headers=headers) as http:
        project = f"/v2/projects/{emulator.project_id}"
        for endpoint in http.get(f"{project}/endpoints").json()["data"]:
            for deployment in endpoint["deployments"]:
                path = f"{project}/endpoints/{endpoint['id']}/deployments/{deployment['id']}"
                body = {"autoscaling": {"minReplicas": 0, "maxReplicas": 0}}
                assert http.patch(path, json=body).status_code == 200
