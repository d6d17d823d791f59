"""`--runner processes` keeps every promise that a run in one process keeps.

Real processes, real signals; rows that a worker leaves are answered by others or the next run.
"""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.machine import Launcher, Machine, Process
from tests.support.wait import wait_until
from together_emulator import Emulator, FaultRule, ManualClock

CHAT = "^/v1/chat/"
SLOW = FaultRule(action="delay", path=CHAT, delay_s=1.0)
"""So slow that a run does not end before a test has done to it what it means to."""

PROCESSES = ("--runner", "processes", "--shard-rows", "6")


@pytest.fixture
def midway(machine: Machine) -> Iterator[tuple[Machine, Process]]:
    """A run midway through its rows, in two processes that have both begun."""
    machine.emulator.use_faults(SLOW)
    machine.rows = 48
    machine.__post_init__()
    run = machine.run(*PROCESSES)
    wait_until(lambda: machine.answered() >= 8 and begun(machine) >= 2, "answered rows")
    yield machine, run
    if run.alive:
        run.kill_all()


def begun(machine: Machine) -> int:
    return len(list((machine.output / "_mayfly" / "journal").glob("*.jsonl")))


def output_of(run: Process) -> str:
    return " ".join(run.text.split())


def gone(processes: list[psutil.Process]) -> bool:
    return not any(
        process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes
    )


def assert_resumable(machine: Machine) -> None:
    """The next run, in one process, finishes and repeats no answered row."""
    machine.emulator.use_faults()
    again = machine.run("--shard-rows", "6")
    assert again.wait() == 0, again.text
    machine.assert_complete()
    assert machine.answered() <= machine.rows + 2 * machine.concurrency
    assert not machine.emulator.has_endpoints


def test_killed_worker_and_vanished_endpoint_are_replaced(
    midway: tuple[Machine, Process],
) -> None:
    machine, run = midway

    run.workers()[0].kill()
    wait_until(lambda: "another worker continues its shards" in output_of(run), "message")
    machine.emulator.vanish()
    machine.emulator.use_faults()

    assert run.wait() == 0, run.text
    assert "killed by SIGKILL" in output_of(run)
    machine.assert_complete()
    assert len(machine.report()["endpoints"]) == 2
    assert not machine.emulator.has_endpoints
    assert machine.answered() <= machine.rows + 2 * machine.concurrency
    # What the dead worker had done counts, and counts once.
    (past,) = (machine.home / "history.jsonl").read_bytes().splitlines()
    assert orjson.loads(past)["rows"] == machine.rows


def test_workers_of_killed_run_die_and_send_nothing(
    midway: tuple[Machine, Process],
) -> None:
    machine, run = midway
    workers = run.workers()

    run.signal(signal.SIGKILL)
    run.wait()

    wait_until(lambda: gone(workers), "end of the workers", timeout_s=10)
    machine.await_gone()
    assert_resumable(machine)


def test_ctrl_c_for_the_process_group_is_exit_130_without_traceback(
    midway: tuple[Machine, Process],
) -> None:
    machine, run = midway
    workers = run.workers()

    run.signal(signal.SIGINT, group=True)

    assert run.wait() == 130, run.text
    assert "Traceback" not in run.text
    assert not (machine.output / "_mayfly" / "workers.log").exists()
    assert gone(workers)
    assert machine.report()["endpoints"][0]["teardown"]["line"] == "finally"
    assert not machine.emulator.has_endpoints
    assert machine.leases() == ()


def test_deadline_stops_all_workers_with_exit_5(machine: Machine) -> None:
    machine.emulator.use_faults(FaultRule(action="delay", path=CHAT, delay_s=0.5))
    machine.rows, machine.concurrency = 400, 2
    machine.__post_init__()

    run = machine.run(*PROCESSES, "--deadline", "8s")

    assert run.wait() == 5, run.text
    assert not machine.emulator.has_endpoints
    # With how many it has got so far: that depends on how soon it could begin.
    assert machine.report()["rows"]["done"] == machine.answered() < machine.rows


def test_duplicates_are_sent_once_and_failed_rows_again_on_request(
    machine: Machine,
) -> None:
    kinds = [(7 * row) % 30 for row in range(120)]
    prompts = [f"Question {kind} of all" for kind in kinds]
    pq.write_table(pa.table({"n": range(120), "prompt": prompts}), machine.input)
    schema = machine.folder / "schema.json"
    schema.write_text('{"type": "object", "properties": {"sure": {"type": "boolean"}}}')
    machine.emulator.use_faults(
        FaultRule(action="status", path=CHAT, body="Question 9 of", status=422, message="no")
    )
    options = ("--runner", "processes", "--shard-rows", "15", "--dedupe", "--temperature", "0")

    run = machine.run(*options, "--schema", str(schema))

    assert run.wait() == 3, run.text
    table = pq.read_table(machine.output)
    assert table["n"].to_pylist() == list(range(120))
    assert sum(table["attempts"].to_pylist()) == 30
    assert table["response"].null_count == 4
    assert table["parsed"].null_count == 4

    machine.emulator.use_faults()
    again = machine.run(*options, "--schema", str(schema), "--retry-failed")

    assert again.wait() == 0, again.text
    assert pq.read_table(machine.output)["response"].null_count == 0


def test_workers_together_fill_the_limit_and_never_exceed_it(
    launcher: Launcher, tmp_path: Path
) -> None:
    clock = ManualClock(holds_answers=True)
    with Emulator(clock=clock, start_factor=0.0, schedule_s=1.0, drain_s=1.0) as emulator:
        # One process soon has no more rows: the other one has to get all slots.
        machine = Machine(emulator, launcher, tmp_path / "machine", rows=46, concurrency=6)
        run = machine.run("--runner", "processes", "--shard-rows", "36")

        def waits(count: int) -> bool:
            assert clock.sleepers <= 6
            assert run.alive, run.text
            return clock.sleepers == count

        while not clock.sleepers:
            assert run.alive, run.text
            clock.advance(1.0)
            time.sleep(0.01)
        arguments = [argument for worker in run.workers() for argument in worker.cmdline()]
        while left := machine.rows - machine.answered():
            wait_until(lambda: waits(min(6, left)), f"full limit with {left} rows left")
            clock.advance(600.0)
            wait_until(lambda: machine.answered() == machine.rows - max(0, left - 6), "answers")
        while run.alive:
            clock.advance(1.0)
            time.sleep(0.01)

        assert run.wait() == 0, run.text
        machine.assert_complete()
        assert machine.answered() == machine.rows
        assert not emulator.has_endpoints
        assert len([argument for argument in arguments if argument == "mayfly.workers"]) == 2
        assert emulator.key not in arguments
        assert not (machine.output / "_mayfly" / "workers.log").exists()
