"""A disk that hangs in the middle of a run: the endpoint ends first, and no answer is lost."""

from pathlib import Path

from tests.support.machine import Launcher, Machine, quick_emulator
from tests.support.odd_machine import OddMachine
from tests.support.wait import wait_until
from together_emulator import FaultRule

SLOW = FaultRule(action="delay", path="^/v1/chat/", delay_s=0.1)


def test_output_that_hangs_ends_the_endpoint_and_keeps_what_was_answered(
    odd_launcher: Launcher, tmp_path: Path
) -> None:
    with quick_emulator() as emulator:
        machine = Machine(emulator, odd_launcher, tmp_path / "machine", rows=60)
        odd = OddMachine(tmp_path, machine.output)
        machine.env |= odd.environment
        emulator.use_faults(SLOW)
        run = machine.run(timeouts={"write_hang_s": 1})
        wait_until(lambda: machine.answered() >= 8, "answered rows")
        odd.hang()

        machine.await_gone()
        assert run.alive
        odd.come_back()

        assert run.wait() == 1, run.text
        assert "has accepted no answers for" in run.text
        assert "Traceback" not in run.text
        again = machine.run()
        assert again.wait() == 0, again.text
        machine.assert_complete()
        # Not one of them was sent twice.
        assert machine.answered() == machine.rows
