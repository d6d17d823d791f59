"""A run from end to end, in a process of its own."""

from tests.support.machine import Machine


def test_run_answers_every_row_and_leaves_nothing(stage: Machine) -> None:
    run = stage.run()

    assert run.wait() == 0, run.text
    stage.assert_complete()
    assert not stage.emulator.has_endpoints
    assert stage.leases() == ()
