"""Dask clusters that lose, pause and gain workers, and runs on them that are refused or ended."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

import mayfly
from tests.support.dask_cluster import DaskProcesses, pause
from tests.support.dask_job import WORKER_KEY, DaskJob, write_rows
from tests.support.machine import Launcher, Machine, Process, quick_emulator
from tests.support.object_stores import BUCKET, s3_server
from tests.support.wait import wait_until
from together_emulator import FaultRule

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

KEYED = {"TOGETHER_API_KEY": WORKER_KEY}
PAUSE_S = 20.0
SILENT_AFTER_S = 6.0
"""How long after the death of its run a worker may still send."""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[DaskProcesses]:
    with DaskProcesses(tmp_path / "cluster") as found:
        yield found


def end_machine(nanny: subprocess.Popen[bytes]) -> None:
    """Kill a nanny and its worker at once."""
    doomed = [psutil.Process(nanny.pid), *psutil.Process(nanny.pid).children(recursive=True)]
    for process in doomed:
        process.suspend()
    for process in doomed:
        process.kill()


def test_worker_paused_for_20_s_keeps_requests_within_the_limit(
    tmp_path: Path, processes: DaskProcesses
) -> None:
    first, _ = processes.living(2, KEYED)
    dataset = write_rows(tmp_path / "in.parquet", 12_000)
    job = DaskJob(tmp_path, processes.address, dataset, held_s=0.1)

    def pause_for_a_while() -> None:
        pause(first)
        time.sleep(PAUSE_S)
        first.send_signal(signal.SIGCONT)

    with job.pool() as pool:
        pausing = job.when(1000, pause_for_a_while)
        job.answer_all(pool)
        pausing.join()

    job.check(sent_twice=32)
    assert any("without a report" in message for message in job.messages)


def test_worker_killed_twice_and_then_its_machine_lose_no_row(
    tmp_path: Path, processes: DaskProcesses
) -> None:
    nanny = processes.add_worker(KEYED, nanny=True)
    processes.living(2, KEYED)
    dataset = write_rows(tmp_path / "in.parquet", 16_000)
    job = DaskJob(tmp_path, processes.address, dataset, held_s=0.05)

    def kill_worker_then_machine() -> None:
        psutil.Process(nanny.pid).children()[-1].kill()
        wait_until(lambda: len(job.cluster.addresses()) == 2, "a worker in its place")
        end_machine(nanny)

    with job.pool() as pool:
        killing = job.when(2000, kill_worker_then_machine)
        job.answer_all(pool)
        killing.join()

    job.check(sent_twice=64)
    assert any("was lost" in message for message in job.messages)


def test_worker_that_joins_midway_gets_rows(tmp_path: Path, processes: DaskProcesses) -> None:
    processes.living(1, KEYED)
    dataset = write_rows(tmp_path / "in.parquet", 20_000)
    job = DaskJob(tmp_path, processes.address, dataset, held_s=0.05)
    with job.pool() as pool:
        joining = job.when(500, partial(processes.add_worker, {"TOGETHER_API_KEY": "second"}))
        job.answer_all(pool)
        joining.join()

    job.check(sent_twice=0)
    assert job.keys() == {WORKER_KEY, "second"}


@contextmanager
def adaptive_cluster(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start a cluster without workers that starts up to 2; yield its address and its process."""
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.adaptive_cluster"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **KEYED, "TMPDIR": str(folder), "HOME": str(folder)},
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.wait(60)
        process.stdout.close()


def test_adaptive_cluster_from_0_workers_and_back_loses_no_row(tmp_path: Path) -> None:
    with adaptive_cluster(tmp_path / "cluster") as (address, process):
        dataset = write_rows(tmp_path / "in.parquet", 20_000)
        job = DaskJob(tmp_path, address, dataset, held_s=0.05, alone_s=5.0)

        def scale_to_0() -> None:
            assert process.stdin is not None
            process.stdin.write("zero\n")
            process.stdin.flush()

        with job.pool() as pool:
            wait_until(lambda: len(job.cluster.addresses()) == 2, "two workers")
            scaling = job.when(6000, scale_to_0)
            job.answer_all(pool)
            scaling.join()

    job.check(sent_twice=64)
    said = "\n".join(job.messages)
    assert f"--dask {address} has no workers; waiting up to 60 s" in said
    assert re.search(r"has no workers; waiting \d s for one", said)
    assert "has had no worker for 5 s; the run continues with processes of this machine" in said


# The command line.


def dask_run(machine: Machine, processes: DaskProcesses, *options: str) -> Process:
    """Start `mayfly run` on a cluster."""
    return machine.run("--runner", "dask", "--dask", processes.address, *options)


def creations(machine: Machine) -> list[str]:
    return [path for method, path in machine.management() if method == "POST"]


def check_refused(machine: Machine, run: Process, words: str) -> None:
    """Check that a run ended with one line before anything was created."""
    assert run.wait() == 2
    lines = [line for line in run.text.splitlines() if line.startswith("mayfly: ")]
    assert len(lines) == 1, run.text
    assert words in lines[0]
    assert "Traceback" not in run.text
    assert creations(machine) == []
    assert not machine.output.exists()


def test_unfit_worker_ends_the_run_with_one_line_before_create(
    launcher: Launcher, tmp_path: Path, processes: DaskProcesses
) -> None:
    other = tmp_path / "other" / "mayfly"
    shutil.copytree(Path(mayfly.__file__).parent, other, symlinks=True)
    for name in ("flows", "tasks"):
        (other / name).unlink()
    (other / "clock.py").write_text((other / "clock.py").read_text() + "# Another version.\n")
    with quick_emulator(key="the-key-of-the-project-5d") as emulator, s3_server() as store:
        machine = Machine(emulator, launcher, tmp_path / "machine", env={**store.env})
        right = {"TOGETHER_API_KEY": emulator.key, **store.env}
        processes.living(1, right)
        for words, environment in (
            ("has no key; set TOGETHER_API_KEY", {**store.env}),
            ("cannot use its API key", {**right, "TOGETHER_API_KEY": "another-key"}),
            ("has other files of mayfly", {**right, "PYTHONPATH": str(other.parent)}),
        ):
            odd = processes.add_worker(environment)
            processes.await_workers()
            check_refused(machine, dask_run(machine, processes), words)
            odd.kill()
            odd.wait()
        import fsspec  # noqa: PLC0415 - the test's own client

        files = fsspec.filesystem(
            "s3",
            key=store.env["AWS_ACCESS_KEY_ID"],
            secret=store.env["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=store.env["AWS_ENDPOINT_URL"],
        )
        files.put(str(machine.input), f"{BUCKET}/in.parquet")
        odd = processes.add_worker({**right, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
        processes.await_workers()
        remote = ("run", f"s3://{BUCKET}/in.parquet", "--model", machine.model, "--yes")
        cluster = ("--runner", "dask", "--dask", processes.address)
        refused = machine.command(*remote, "--output", str(machine.output), *cluster)
        check_refused(machine, refused, "cannot read the input (")
        odd.kill()
        odd.wait()

        output = f"s3://{BUCKET}/answers"
        whole = machine.command(*remote, "--output", output, *cluster)

        assert whole.wait() == 0, whole.text
        assert any(name.endswith(".parquet") for name in store.names("answers/"))
        assert machine.answered() == machine.rows


@contextmanager
def long_run(
    launcher: Launcher, tmp_path: Path, processes: DaskProcesses
) -> Iterator[tuple[Machine, Process]]:
    """Have a run on two workers under way that has answered some rows."""
    with quick_emulator() as emulator:
        emulator.use_faults(FaultRule(action="delay", path="^/v1/chat/", delay_s=0.2))
        processes.living(2, {"TOGETHER_API_KEY": emulator.key})
        machine = Machine(emulator, launcher, tmp_path / "machine", rows=4000, concurrency=8)
        run = dask_run(machine, processes)
        try:
            wait_until(lambda: machine.answered() > 40, "answers")
            yield machine, run
        finally:
            machine.switch_off()


def test_ctrl_c_ends_with_one_clean_line_and_no_endpoint(
    launcher: Launcher, tmp_path: Path, processes: DaskProcesses
) -> None:
    with long_run(launcher, tmp_path, processes) as (machine, run):
        run.signal(signal.SIGINT, group=True)

        assert run.wait() == 130
        machine.await_gone()
        last = run.text.rstrip().splitlines()
        assert "Traceback" not in run.text
        assert not [line for line in last if "distributed" in line.lower()], run.text
        assert [line for line in last if "interrupted" in line.lower()], run.text


def test_workers_of_killed_run_send_nothing_after_6_s(
    launcher: Launcher, tmp_path: Path, processes: DaskProcesses
) -> None:
    with long_run(launcher, tmp_path, processes) as (machine, run):
        killed_at = time.monotonic()
        run.signal(signal.SIGKILL)
        run.wait()
        threading.Event().wait(SILENT_AFTER_S - (time.monotonic() - killed_at))
        sent = chats(machine)
        threading.Event().wait(3)

        assert chats(machine) == sent
        assert all(worker.poll() is None for worker in processes.workers)
        machine.await_gone()


def chats(machine: Machine) -> int:
    """Return how many requests for rows have come."""
    return sum(call.path.startswith("/v1/chat/") for call in machine.emulator.calls())
