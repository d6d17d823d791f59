"""The shipped limits of a run that makes no progress, on the real clock: none is shortened."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.machine import Launcher, Machine, Process, quick_emulator
from tests.support.odd_machine import OddMachine
from tests.support.wait import wait_until
from together_emulator import FaultRule

SLOW = FaultRule(action="delay", path="^/v1/chat/", delay_s=0.2)
HANG_S = 420.0
"""How long a test waits for the end of billing: the longer limit is five minutes."""

FILES = 20


@contextmanager
def machine_on(launcher: Launcher, folder: Path) -> Iterator[Machine]:
    """Set up a machine with input files, at an emulator whose time is real time.

    The emulated inactivity timeout of 30 minutes must not end the endpoint first.
    """
    with quick_emulator(speed=1.0) as emulator:
        machine = Machine(emulator, launcher, folder, rows=10 * FILES)
        rows = pq.read_table(machine.input)
        machine.input.unlink()
        machine.input.mkdir()
        for part in range(FILES):
            pq.write_table(rows.slice(10 * part, 10), machine.input / f"{part:02}.parquet")
        emulator.use_faults(SLOW)
        try:
            yield machine
        finally:
            machine.switch_off()


def run_until_stalled(machine: Machine, disk: OddMachine) -> Process:
    """Start a run, hang a disk below it, and wait until its endpoint is deleted."""
    machine.env |= disk.environment
    run = machine.run("--shard-rows", "40")
    wait_until(lambda: machine.answered() >= 8, "answered rows")
    disk.hang()
    machine.await_gone(timeout_s=HANG_S)
    disk.come_back()
    assert run.wait() == 1, run.text
    assert "Traceback" not in run.text
    return run


@pytest.mark.soak
def test_run_without_progress_ends_after_the_shipped_limits(
    odd_launcher: Launcher, tmp_path: Path
) -> None:
    """Both limits in one test: they are waited for at the same time."""
    with ExitStack() as stack:
        folders = tmp_path / "output-hangs", tmp_path / "input-hangs"
        writes, reads = (
            stack.enter_context(machine_on(odd_launcher, folder)) for folder in folders
        )
        with ThreadPoolExecutor(2) as pool:
            hung_write = pool.submit(
                run_until_stalled, writes, OddMachine(writes.folder, writes.output)
            )
            hung_read = pool.submit(run_until_stalled, reads, OddMachine(reads.folder, reads.input))

        assert "has accepted no answers for 2 min" in hung_write.result().text
        assert "no row could be read, rendered or written for 5 min" in hung_read.result().text
        for machine in (writes, reads):
            machine.emulator.use_faults()
            machine.concurrency = 64
            again = machine.run("--shard-rows", "40")
            assert again.wait() == 0, again.text
            machine.assert_complete()
            assert machine.answered() == machine.rows, "a row was sent twice"
            assert machine.leases() == ()


@pytest.mark.soak
def test_row_that_alone_is_refused_fails_and_is_sent_again(
    launcher: Launcher, tmp_path: Path
) -> None:
    with machine_on(launcher, tmp_path) as machine:
        refused = FaultRule(action="status", path="^/v1/chat/", body="Question 3 ", status=429)
        machine.emulator.use_faults(refused, SLOW)

        run = machine.run()

        assert run.wait(HANG_S) == 3, run.text
        assert not machine.emulator.has_endpoints
        rows = pq.read_table(machine.output).to_pylist()
        errors = {row["n"]: row["error"] for row in rows if row["error"]}
        assert [*errors] == [3]
        assert "HTTP 429" in errors[3]
        assert "while other rows were answered" in errors[3]
        answered = machine.answered()

        machine.emulator.use_faults()
        again = machine.run("--retry-failed")

        assert again.wait() == 0, again.text
        assert machine.answered() == answered + 1 == machine.rows


@pytest.mark.soak
def test_create_that_is_never_taken_ends_the_run_within_minutes(
    launcher: Launcher, tmp_path: Path
) -> None:
    with machine_on(launcher, tmp_path) as machine:
        away = FaultRule(
            action="status", method="POST", path="/endpoints$", status=503, message="away"
        )
        machine.emulator.use_faults(away)

        run = machine.run()

        # Two minutes of the create, and then three quarters of one in which it may take effect.
        assert run.wait(HANG_S) == 1, run.text
        assert "away" in run.text
        assert "Traceback" not in run.text
        (endpoint,) = machine.report()["endpoints"]
        assert endpoint["ended"] == "never created (confirmed: 404)"
        assert machine.leases() == ()
        assert machine.answered() == 0
