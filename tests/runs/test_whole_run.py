"""A run from end to end, in a process of its own."""

from tests.support.machine import Machine


def test_run_answers_every_row_and_leaves_nothing(machine: Machine) -> None:
    run = machine.run()

    assert run.wait() == 0, run.text
    machine.assert_complete()
    assert not machine.emulator.has_endpoints
    assert machine.leases() == ()
