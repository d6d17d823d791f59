"""A run that outlasts the expiry in its endpoint's name; a relative MAYFLY_HOME."""

import signal

from tests.support.machine import Machine
from tests.support.wait import wait_until
from together_emulator import FaultRule

SLOW = FaultRule(action="delay", path="^/v1/chat/", delay_s=0.3)


def test_run_longer_than_endpoint_lifetime_moves_and_repeats_no_row(
    machine: Machine,
) -> None:
    machine.emulator.use_faults(SLOW)
    machine.concurrency = 1

    # Seven seconds of answering, and five of a name that are not the last ten minutes.
    run = machine.run(timeouts={"lifetime_s": 605, "observe_every_s": 0.2})

    assert run.wait() == 0, run.text
    machine.assert_complete()
    assert machine.answered() == machine.rows
    report = machine.report()
    assert len(report["endpoints"]) >= 2
    assert len({endpoint["name"] for endpoint in report["endpoints"]}) == len(report["endpoints"])
    assert all("its lifetime is nearly over" in move for move in report["moves"])
    assert all(endpoint["teardown"]["not_found_read_back"] for endpoint in report["endpoints"])
    assert not machine.emulator.has_endpoints
    assert machine.leases() == ()


def test_relative_home_holds_the_lease_for_guardian_and_sweep(
    machine: Machine,
) -> None:
    machine.emulator.use_faults(SLOW)
    machine.env["MAYFLY_HOME"] = "home"
    here = str(machine.folder)

    def killed(*, whole: bool) -> None:
        run = machine.run(folder=here)
        before = machine.answered()
        wait_until(lambda: machine.answered() >= before + 2, "answered rows")
        assert len(machine.leases()) == 1
        if whole:
            run.kill_all()
        else:
            run.signal(signal.SIGKILL)
            run.wait()

    killed(whole=False)
    machine.await_gone()
    wait_until(lambda: not machine.leases(), "closed lease by the guardian")
    killed(whole=True)
    swept = machine.command("sweep", "--json", folder=here)

    assert swept.wait() == 0, swept.text
    assert not machine.emulator.has_endpoints
    assert machine.leases() == ()
    assert [proof["line"] for proof in machine.proofs()] == ["sweep", "guardian"]
