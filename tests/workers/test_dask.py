"""Shards sent by workers of a real Dask cluster, on loopback; no folder is shared with them."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.inference.engine import EngineSettings, Target
from mayfly.inference.request_builder import Renderer
from mayfly.models.errors import BadRequest
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.shards import plan_shards
from mayfly.shards.runner import Batch, complete
from mayfly.storage.dataset import Dataset
from mayfly.storage.open_input import open_dataset
from mayfly.storage.run_paths import RunPaths
from mayfly.workers.dask_cluster import DaskCluster
from mayfly.workers.dask_fleet import DaskFleet
from mayfly.workers.pool import WorkerPool
from mayfly.workers.process import LocalFleet
from mayfly.workers.protocol import Assignment
from tests.support.dask_cluster import DaskProcesses, pause
from tests.support.scripted_server import Request, ScriptedServer, completion, http
from tests.support.wait import wait_until

WHOLE = bool(os.environ.get("CRASH_MATRIX_WHOLE"))
matrix = pytest.mark.skipif(not WHOLE, reason="takes long; CRASH_MATRIX_WHOLE=1 plays it too")

RUN_KEY = "the-key-of-the-run-0f3a"
WORKER_KEY = "the-key-of-the-workers-77b1"


class Job:
    """An input, a server that counts, and a pool of Dask workers on it."""

    def __init__(
        self, folder: Path, processes: DaskProcesses, *, rows: int, held_s: float, in_flight: int
    ) -> None:
        table = pa.table({"prompt": [f"row {row}" for row in range(rows)]})
        pq.write_table(table, folder / "input.parquet", row_group_size=2048)
        self.dataset = open_dataset(str(folder / "input.parquet"), limit=None)
        self.output, self.processes, self.rows = folder / "output", processes, rows
        self.messages: list[str] = []
        self.most = self._now = 0
        self._held_s, self._in_flight = held_s, in_flight

    async def _script(self, request: Request) -> bytes:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await asyncio.sleep(self._held_s)
        finally:
            self._now -= 1
        return http(completion(request.prompt))

    @contextmanager
    def pool(self) -> Iterator[WorkerPool]:
        """Have workers started in the cluster for as long as the block lasts."""
        paths = RunPaths(self.output)
        paths.journals.mkdir(parents=True)
        self.batch = Batch(
            dataset=self.dataset,
            renderer=Renderer(PromptSpec(), Sampling(), self.dataset.columns),
            paths=paths,
            model="model",
            fingerprint="f" * 64,
        )
        with (
            ScriptedServer(self._script) as self.server,
            DaskCluster(self.processes.address, self.dataset, log=self.messages.append) as cluster,
        ):
            assignment = Assignment(
                prompt=PromptSpec(),
                sampling=Sampling(),
                columns=self.dataset.columns,
                dataset=self.dataset,
                settings=EngineSettings(concurrency=self._in_flight),
                target=Target(url=self.server.url, headers={"Authorization": f"Bearer {RUN_KEY}"}),
            )
            self.shards = plan_shards(self.dataset.row_groups, shard_rows=1024)
            fleet = DaskFleet(
                cluster,
                LocalFleet(2, paths.workers_log),
                shards=len(self.shards),
                log=self.messages.append,
            )
            self.cluster = cluster
            with WorkerPool(assignment, fleet=fleet, log=self.messages.append) as pool:
                yield pool

    def answer_all(self, pool: WorkerPool) -> None:
        """Answer every shard, a few at a time, as a run does."""

        def answer(shard: Any) -> None:
            complete(self.batch, shard, pool, partial(pool.send, self.batch, shard))

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(answer, self.shards))

    def check(self, *, sent_twice: int) -> None:
        """Check that every row is answered once, in order, and few were sent twice."""
        table = pq.read_table(self.output)
        assert table["response"].to_pylist() == [f"row {row}" for row in range(self.rows)]
        sent = Counter(request.prompt for request in self.server.requests)
        assert sum(sent.values()) - self.rows <= sent_twice
        assert self.most <= self._in_flight

    def when(self, rows: int, act: Any) -> threading.Thread:
        """Do something once so many requests have come."""

        def wait() -> None:
            wait_until(lambda: len(self.server.requests) >= rows, f"{rows} requests")
            act()

        thread = threading.Thread(target=wait)
        thread.start()
        return thread


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[DaskProcesses]:
    with DaskProcesses(tmp_path / "cluster") as found:
        for _ in range(2):
            found.add_worker(TOGETHER_API_KEY=WORKER_KEY)
        found.await_workers()
        yield found


def test_killed_dask_worker_loses_and_repeats_no_row(
    tmp_path: Path, processes: DaskProcesses
) -> None:
    job = Job(tmp_path, processes, rows=20_000, held_s=0.0, in_flight=64)
    with job.pool() as pool:
        killing = job.when(8000, processes.workers[0].kill)
        job.answer_all(pool)
        killing.join()
        state = processes.state()

    job.check(sent_twice=64)
    assert any("was lost" in message for message in job.messages)
    # Every request has the key of a worker; the run's key has gone nowhere.
    heads = b"".join(request.head for request in job.server.requests[:100])
    assert heads.count(WORKER_KEY.encode()) == 100
    for key in (RUN_KEY, WORKER_KEY):
        assert key not in processes.logs()
        assert key not in state


def test_run_with_dead_scheduler_continues_in_local_processes(
    tmp_path: Path, processes: DaskProcesses
) -> None:
    job = Job(tmp_path, processes, rows=6000, held_s=0.02, in_flight=32)
    with job.pool() as pool:
        killing = job.when(2000, processes.scheduler.kill)
        job.answer_all(pool)
        killing.join()

    job.check(sent_twice=32)
    assert any("goes on in processes of this machine" in text for text in job.messages)
    assert job.server.requests[-1].head.count(RUN_KEY.encode()) == 1


@matrix
def test_paused_worker_keeps_requests_within_the_limit(
    tmp_path: Path, processes: DaskProcesses
) -> None:
    job = Job(tmp_path, processes, rows=6000, held_s=0.1, in_flight=32)
    with job.pool() as pool:
        pausing = job.when(1000, partial(pause, processes.workers[0]))
        resuming = job.when(4000, partial(processes.workers[0].send_signal, signal.SIGCONT))
        job.answer_all(pool)
        pausing.join()
        resuming.join()

    job.check(sent_twice=32)
    assert any("reported nothing" in message for message in job.messages)


@matrix
def test_worker_that_joins_midway_gets_rows(tmp_path: Path) -> None:
    with DaskProcesses(tmp_path / "cluster") as processes:
        processes.add_worker(TOGETHER_API_KEY="first")
        processes.await_workers()
        job = Job(tmp_path, processes, rows=20_000, held_s=0.05, in_flight=64)
        with job.pool() as pool:
            joining = job.when(500, partial(processes.add_worker, TOGETHER_API_KEY="second"))
            job.answer_all(pool)
            joining.join()

    job.check(sent_twice=0)
    assert any(b"Bearer second" in request.head for request in job.server.requests)


def _refusal(address: str, dataset: Dataset) -> str:
    with pytest.raises(BadRequest) as refused, DaskCluster(address, dataset, log=print):
        pass
    return str(refused.value)


def test_worker_without_key_is_refused_before_create(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "input.parquet")
    dataset = open_dataset(str(tmp_path / "input.parquet"), limit=None)
    with DaskProcesses(tmp_path / "cluster") as processes:
        processes.add_worker()
        processes.await_workers()

        said = _refusal(processes.address, dataset)

    assert re.search(r"worker tcp://\S+ has no key; set TOGETHER_API_KEY", said)


def test_unreachable_scheduler_is_refused_at_once_in_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "input.parquet")
    dataset = open_dataset(str(tmp_path / "input.parquet"), limit=None)
    began = time.monotonic()

    said = _refusal("tcp://127.0.0.1:9", dataset)

    assert said.startswith("--dask tcp://127.0.0.1:9: no Dask scheduler answers there")
    assert "\n" not in said
    assert time.monotonic() - began < 5
    assert "is not the address of a scheduler" in _refusal("127.0.0.1:8786", dataset)


@matrix
def test_workers_of_killed_run_send_nothing_after_6_s(
    tmp_path: Path, processes: DaskProcesses
) -> None:
    table = pa.table({"prompt": [f"row {row}" for row in range(20_000)]})
    pq.write_table(table, tmp_path / "input.parquet")

    async def script(request: Request) -> bytes:
        await asyncio.sleep(0.1)
        return http(completion(request.prompt))

    with ScriptedServer(script) as server:
        args = [str(tmp_path), processes.address, server.url]
        run = subprocess.Popen([sys.executable, "-m", "tests.support.dask_run", *args])
        wait_until(lambda: len(server.requests) > 200, "200 requests")
        run.kill()
        run.wait()
        time.sleep(6)
        sent = len(server.requests)
        time.sleep(3)

        assert len(server.requests) == sent
        assert server.open == 0
