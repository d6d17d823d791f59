"""A system without pidfds, /proc and fdatasync, like macOS: whole jobs, and killed runs."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crash_matrix import AtRows, left_of, play
from tests.support.machine import Launcher, Machine, quick_emulator
from tests.support.wait import wait_until

PORTABLE = {"MAYFLY_SYSTEM": "portable"}


@pytest.fixture(scope="module")
def launcher(launcher: Launcher) -> Iterator[Launcher]:
    """A fork server that has none of what only Linux has; so has what it starts."""
    portable = Launcher({**launcher.env, **PORTABLE})
    yield portable
    portable.close()


@pytest.fixture
def machine(launcher: Launcher, tmp_path: Path) -> Iterator[Machine]:
    with quick_emulator() as emulator:
        yield Machine(emulator, launcher, tmp_path / "machine", rows=120)


def test_portable_job_runs_in_one_process_and_in_several(
    launcher: Launcher, tmp_path: Path
) -> None:
    with quick_emulator() as emulator:
        for runner in ("local", "processes"):
            machine = Machine(emulator, launcher, tmp_path / runner, rows=40)
            run = machine.run("--runner", runner, "--shard-rows", "10")

            assert run.wait() == 0, run.text
            machine.assert_complete()
            assert left_of(machine, "after the run") == []
            owner = machine.report()["endpoints"][0]
            assert owner["teardown"]["not_found_read_back"]


@pytest.mark.parametrize("line", ["guardian", "sweep"])
def test_portable_killed_run_leaves_nothing_and_loses_nothing(machine: Machine, line: str) -> None:
    outcome = play(machine, AtRows(0.5), line=line)  # type: ignore[arg-type]

    assert outcome.reached
    assert outcome.leaks == []


def test_guardian_detects_death_without_a_pidfd(machine: Machine) -> None:
    run = machine.run()
    wait_until(lambda: machine.answered() >= 4, "answered rows")

    run.signal(signal.SIGKILL)
    run.wait()

    machine.await_gone()
    wait_until(lambda: not machine.leases(), "closed lease")
    (proof,) = machine.proofs()
    assert proof["line"] == "guardian"
