"""An input, a server that counts, and a pool of Dask workers that sends the one to the other."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.inference.engine import EngineSettings, Target
from mayfly.inference.request_builder import Renderer
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.shards import plan_shards
from mayfly.shards.runner import Batch, complete
from mayfly.storage.dataset import Dataset
from mayfly.storage.open_input import open_dataset
from mayfly.storage.run_paths import RunPaths
from mayfly.together.connection import Connection
from mayfly.workers.dask_cluster import DaskCluster
from mayfly.workers.dask_fleet import DaskFleet
from mayfly.workers.pool import WorkerPool
from mayfly.workers.process import LocalFleet
from mayfly.workers.protocol import Assignment
from tests.support.scripted_server import Request, ScriptedServer, completion, http
from tests.support.wait import wait_until

RUN_KEY = "the-key-of-the-run-0f3a"
WORKER_KEY = "the-key-of-the-workers-77b1"


def connection_to(url: str, key: str = RUN_KEY) -> Connection:
    """Return the connection of a run with a key of its own."""
    return Connection.from_env({"TOGETHER_BASE_URL": url, "TOGETHER_API_KEY": key})


def write_rows(path: Path, rows: int, *, more: str = "") -> Dataset:
    """Write an input of so many prompts; return it."""
    table = pa.table({"prompt": [f"row {row}{more}" for row in range(rows)]})
    pq.write_table(table, path, row_group_size=2048)
    return open_dataset(str(path), limit=None)


class DaskJob:
    """Rows that are sent by the workers of a cluster.

    Args:
        held_s: How long the server takes for an answer, in seconds.
        more: What each answer has after its prompt.

    Attributes:
        most: The most requests that the server ever had at once.
        messages: What was said to people.
    """

    def __init__(
        self,
        folder: Path,
        scheduler: str,
        dataset: Dataset,
        *,
        held_s: float = 0.0,
        in_flight: int = 32,
        more: str = "",
        alone_s: float = 30.0,
    ) -> None:
        self.dataset, self.scheduler, self.more = dataset, scheduler, more
        self.output = folder / "output"
        self.messages: list[str] = []
        self.most = self._now = 0
        self._held_s, self._in_flight, self._alone_s = held_s, in_flight, alone_s

    async def _script(self, request: Request) -> bytes:
        if not request.prompt:  # Asked for the key's project.
            return http(b"{}", 404)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await asyncio.sleep(self._held_s)
        finally:
            self._now -= 1
        return http(completion(request.prompt + self.more))

    @property
    def sent(self) -> list[Request]:
        """Requests for rows, in order."""
        return [request for request in self.server.requests if request.prompt]

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
        log = self.messages.append
        with ScriptedServer(self._script) as self.server:
            connection = connection_to(self.server.url.removesuffix("/v1/chat/completions"))
            with DaskCluster(
                self.scheduler, self.dataset, connection=connection, log=log
            ) as self.cluster:
                assignment = Assignment(
                    prompt=PromptSpec(),
                    sampling=Sampling(),
                    columns=self.dataset.columns,
                    dataset=self.dataset,
                    settings=EngineSettings(concurrency=self._in_flight),
                    target=Target(url=self.server.url, headers=connection.headers()),
                )
                self.shards = plan_shards(self.dataset.row_groups, shard_rows=1024)
                fleet = DaskFleet(
                    self.cluster,
                    LocalFleet(2, paths.workers_log),
                    shards=len(self.shards),
                    log=log,
                    alone_s=self._alone_s,
                )
                with WorkerPool(assignment, fleet=fleet, log=log) as pool:
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
        prompts = [f"{one}{self.more}" for one in table["prompt"].to_pylist()]
        assert len(prompts) == self.dataset.rows
        assert table["response"].to_pylist() == prompts
        sent = Counter(request.prompt for request in self.sent)
        assert sum(sent.values()) - self.dataset.rows <= sent_twice
        assert self.most <= self._in_flight

    def keys(self) -> set[str]:
        """Return the keys that rows were sent with."""
        heads = (request.head.decode().splitlines() for request in self.sent)
        lines = (line for head in heads for line in head if line.lower().startswith("authoriz"))
        return {line.rpartition(" ")[2] for line in lines}

    def when(self, rows: int, act: Callable[[], object]) -> threading.Thread:
        """Do something once so many requests have come."""

        def wait() -> None:
            wait_until(lambda: len(self.server.requests) >= rows, f"{rows} requests")
            act()

        thread = threading.Thread(target=wait)
        thread.start()
        return thread
