"""A run that is stopped for minutes (SIGSTOP, a suspended machine) and continues."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import Launcher, Machine, quick_emulator
from tests.support.wait import wait_until
from together_emulator import FaultRule

SLOW = FaultRule(action="delay", path="^/v1/chat/", delay_s=0.3)

TIMES = {"silence_s": 12}
"""Heartbeats come every five seconds."""


@pytest.fixture
def stopped(launcher: Launcher, tmp_path: Path) -> Iterator[Machine]:
    """A machine on which a slow run can be stopped."""
    with quick_emulator() as emulator:
        machine = Machine(emulator, launcher, tmp_path / "machine", rows=120)
        emulator.use_faults(SLOW)
        yield machine
        machine.switch_off()


@pytest.mark.soak
@pytest.mark.parametrize("runner", ["local", "processes"])
def test_stopped_run_loses_its_endpoint_and_goes_on_with_another(
    stopped: Machine, runner: str
) -> None:
    run = stopped.run("--runner", runner, timeouts=TIMES)
    wait_until(lambda: stopped.answered() >= 8, "answered rows")
    run.signal(signal.SIGSTOP)

    stopped.await_gone()
    assert run.alive
    stopped.emulator.use_faults()
    run.signal(signal.SIGCONT)

    assert run.wait(180) == 0, run.text
    assert "Traceback" not in run.text
    stopped.await_gone()
    stopped.assert_complete()
    assert stopped.leases() == ()
    creates = [path for method, path in stopped.management() if method == "POST"]
    assert sum(path.endswith("/endpoints") for path in creates) == 2, creates
    # What was in flight when it was stopped may have to be sent again, and nothing else.
    assert stopped.answered() <= stopped.rows + stopped.concurrency
