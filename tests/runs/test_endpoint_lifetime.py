"""A run that outlasts the expiry in its endpoint's name; a relative MAYFLY_HOME."""

import signal

from tests.support.machine import Machine
from tests.support.wait import wait_until
from together_emulator import FaultRule

SLOW = FaultRule(action="delay", path="^/v1/chat/", delay_s=0.3)


def test_run_longer_than_endpoint_lifetime_moves_and_repeats_no_row(
    stage: Machine,
) -> None:
    stage.emulator.use_faults(SLOW)
    stage.concurrency = 1

    # Seven seconds of answering, and five of a name that are not the last ten minutes.
    run = stage.run(timeouts={"lifetime_s": 605, "observe_every_s": 0.2})

    assert run.wait() == 0, run.text
    stage.assert_complete()
    assert stage.answered() == stage.rows
    report = stage.report()
    assert len(report["endpoints"]) >= 2
    assert len({endpoint["name"] for endpoint in report["endpoints"]}) == len(report["endpoints"])
    assert all("its lifetime is nearly over" in move for move in report["moves"])
    assert all(endpoint["teardown"]["not_found_read_back"] for endpoint in report["endpoints"])
    assert not stage.emulator.has_endpoints
    assert stage.leases() == ()


def test_relative_home_holds_the_lease_for_guardian_and_sweep(
    stage: Machine,
) -> None:
    stage.emulator.use_faults(SLOW)
    stage.env["MAYFLY_HOME"] = "home"
    here = str(stage.folder)

    def killed(*, whole: bool) -> None:
        run = stage.run(folder=here)
        before = stage.answered()
        wait_until(lambda: stage.answered() >= before + 2, "answered rows")
        assert len(stage.leases()) == 1
        if whole:
            run.kill_all()
        else:
            run.signal(signal.SIGKILL)
            run.wait()

    killed(whole=False)
    stage.await_gone()
    wait_until(lambda: not stage.leases(), "closed lease by the guardian")
    killed(whole=True)
    swept = stage.command("sweep", "--json", folder=here)

    assert swept.wait() == 0, swept.text
    assert not stage.emulator.has_endpoints
    assert stage.leases() == ()
    assert [proof["line"] for proof in stage.proofs()] == ["sweep", "guardian"]
