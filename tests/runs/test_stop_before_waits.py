"""The stop is sent before any wait: a hung template, disk or worker bills nothing.

In this process where a lock stands for the disk; as real processes where something really hangs.
"""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.models.errors import RunStalled, TerminalError
from mayfly.models.shards import Shard
from mayfly.runs.handle import RunHandle
from mayfly.runs.run import Run, begin
from mayfly.shards.runner import Turns
from tests.support.held import held_elsewhere
from tests.support.machine import Machine
from tests.support.plain_run import emulated, job_of, plan_of, tear_down
from tests.support.wait import wait_until
from together_emulator import FaultRule

QUICK = {"speed": 60.0, "start_factor": 0.02, "drain_s": 1.0}
ENDLESS = (
    "{% if 720 <= n < 750 %}{% for a in range(99999) %}{% for b in range(99999) %}{% for c in "
    "range(99999) %}{% endfor %}{% endfor %}{% endfor %}{% endif %}{{ prompt }}"
)
"""These rows are not among those that the plan renders. Each takes the seconds that a row may take;
together they take longer than the test."""

SLOW = FaultRule(action="delay", path="^/v1/chat/", delay_s=0.05)


def blocked_writer(run: Run) -> AbstractContextManager[None]:
    """Let no part be written while the block lasts: another thread holds the turn."""
    return held(run.output.batch("", CircuitBreaker()).writing)


def held(turns: Turns) -> AbstractContextManager[None]:
    """Hold the turn while the block lasts."""
    return held_elsewhere(turns.of(Shard(index=-1, first_row=0, rows=1)))


@contextmanager
def rented(folder: Path, **times_s: float) -> Iterator[tuple[Run, ThreadPoolExecutor]]:
    """A run with an endpoint that is READY."""
    with emulated(folder / "home", **QUICK) as (emulator, environment):
        del emulator
        emulated_s = {name: seconds * QUICK["speed"] for name, seconds in times_s.items()}
        times = replace(environment.timeouts, **emulated_s)
        handle = RunHandle(environment=replace(environment, timeouts=times))
        with begin(job_of(folder, rows=30), handle) as run, ThreadPoolExecutor(4) as pool:
            placement = plan_of(run).placement
            assert placement is not None
            run.provisioner.provision(placement.chosen)
            run.provisioner.session.await_ready(run.monitor.check_while_waiting)
            yield run, pool


def answer_and_settle(run: Run, pool: ThreadPoolExecutor) -> None:
    run.inference.answer_all(lambda shard: pool.submit(run.inference.answer, shard))
    tear_down(run)
    run.inference.settle()


def test_endpoint_is_deleted_before_the_last_part_is_written(tmp_path: Path) -> None:
    with rented(tmp_path, settle_s=30) as (run, pool):
        with blocked_writer(run):
            run.inference.answer_all(lambda shard: pool.submit(run.inference.answer, shard))
            tear_down(run)

            assert run.provisioner.session.proof is not None
            assert run.provisioner.session.proof.not_found_read_back
            assert run.output.shards_left()
            assert not list(run.output.paths.folder.glob("part-*.parquet"))

        run.inference.settle()

        assert run.output.shards_left() == []
        assert run.write_report("complete")["rows"]["remaining"] == 0


def test_part_that_is_never_written_ends_run_and_keeps_answers(tmp_path: Path) -> None:
    with (
        pytest.raises(TerminalError, match=r"shard 0 did not end within .* the answers received"),
        rented(tmp_path, settle_s=0.5) as (run, pool),
        blocked_writer(run),
    ):
        answer_and_settle(run, pool)

    assert run.output.total.done == 30


def test_rows_that_cannot_be_read_end_the_run_before_it_bills_for_nothing(tmp_path: Path) -> None:
    with rented(tmp_path, idle_s=0.5) as (run, pool):
        with (
            held(run.output.reading),
            pytest.raises(RunStalled, match=r"no row could be read, .* though rows are left"),
        ):
            run.inference.answer_all(lambda shard: pool.submit(run.inference.answer, shard))
        tear_down(run)

        assert run.provisioner.session.proof is not None
        assert run.provisioner.session.proof.not_found_read_back


def test_endless_template_does_not_delay_teardown(machine: Machine) -> None:
    machine.rows, machine.concurrency = 1000, 32
    machine.__post_init__()
    run = machine.run("--prompt", ENDLESS, timeouts={"abandon_s": 1})
    wait_until(lambda: machine.answered() >= 300, "answered rows")
    wait_until(lambda: _is_still(machine), "no further answers")

    run.signal(signal.SIGTERM)

    assert machine.await_gone() < 20
    assert run.wait() == 143, run.text
    assert machine.leases() == ()


def test_hung_workers_do_not_delay_teardown(machine: Machine) -> None:
    machine.rows = 400
    machine.__post_init__()
    machine.emulator.use_faults(SLOW)
    run = machine.run("--runner", "processes", "--shard-rows", "50", timeouts={"abandon_s": 1})
    wait_until(lambda: machine.answered() >= 20, "answered rows")
    workers = run.workers()
    for worker in workers:
        worker.suspend()

    run.signal(signal.SIGTERM)

    assert machine.await_gone() < 20
    assert run.wait() == 143, run.text
    assert machine.leases() == ()
    wait_until(lambda: not [w for w in workers if w.is_running()], "the end of the stopped workers")


def _is_still(machine: Machine) -> bool:
    before = machine.answered()
    time.sleep(0.5)
    return machine.answered() == before
