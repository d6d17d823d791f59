"""A worker pool on a scripted server: real workers in threads instead of processes."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.backoff import Backoff
from mayfly.inference.engine import EngineSettings, Target
from mayfly.inference.request_builder import Renderer
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.rows import EMPTY_TALLY, Tally
from mayfly.models.shards import Shard, plan_shards
from mayfly.shards.runner import Batch, complete
from mayfly.storage.open_input import open_dataset
from mayfly.storage.run_paths import RunPaths
from mayfly.workers.carrier import Carrier
from mayfly.workers.pool import WorkerPool
from mayfly.workers.process import LocalFleet
from mayfly.workers.protocol import Assignment
from mayfly.workers.worker import ShardWorker
from tests.support.scripted_server import Request, Script, ScriptedServer, completion, http

Serve = Callable[["Connection[Any, Any]"], None]


class ThreadedWorker:
    """A carrier whose worker is a thread."""

    name = "worker thread"
    hang_s, outlives_s, outlives_hang_s = 30.0, 0.0, 0.0

    def __init__(self, serve: Serve) -> None:
        self.connection, far = Pipe()

        def live() -> None:
            with far, suppress(EOFError, OSError):
                serve(far)

        self._thread = threading.Thread(target=live)
        self._thread.start()

    def brief(self, assignment: Assignment) -> Assignment:
        """Return it unchanged."""
        return assignment

    def end(self, *, hung: bool = False) -> str:
        """Close the connection, which ends it."""
        self.connection.close()
        if not hung:
            self._thread.join()
        return "ended"


def work(connection: "Connection[Any, Any]") -> None:
    """Serve as a worker does."""
    ShardWorker(connection, connection.recv()).serve()


class PoolSetup:
    """An input of shards, a server, and a worker pool."""

    def __init__(
        self, pool: WorkerPool, server: ScriptedServer, shards: list[Shard], batch: Batch
    ) -> None:
        self.pool, self.server, self.shards, self.batch = pool, server, shards, batch

    def answer(self, shard: Shard) -> Tally:
        """Answer one shard."""
        send = partial(self.pool.send, self.batch, shard)
        return complete(self.batch, shard, self.pool, send)

    def answer_all(self) -> Tally:
        """Answer all shards at once."""
        with ThreadPoolExecutor(len(self.shards)) as threads:
            self.pool.hedge_after(calls=len(self.shards), replicas=1)
            tallies = threads.map(self.answer, self.shards)
            return sum(tallies, start=EMPTY_TALLY)


@contextmanager
def pool_on(
    folder: Path,
    script: Script,
    serve: Serve = work,
    *,
    rows: int = 200,
    prompt: Callable[[int], str] = "row {}".format,
    carried: bool = False,
    workers: int = 2,
    start: Callable[[], Carrier] | None = None,
    release_s: float = 10.0,
    **settings: Any,
) -> Iterator[PoolSetup]:
    """Have a pool of workers, a server and an input of four shards."""
    table = pa.table({"prompt": [prompt(row) for row in range(rows)]})
    pq.write_table(table, folder / "input.parquet")
    dataset = open_dataset(str(folder / "input.parquet"), limit=None)
    paths = RunPaths(folder / "output")
    paths.journals.mkdir(parents=True)
    chosen = EngineSettings(backoff=Backoff(base_s=0.01, cap_s=0.05), **settings)
    with ScriptedServer(script) as server:
        batch = Batch(
            dataset=dataset,
            renderer=Renderer(PromptSpec(), Sampling(), dataset.columns),
            paths=paths,
            model="model",
            fingerprint="f" * 64,
        )
        assignment = Assignment(
            prompt=PromptSpec(),
            sampling=Sampling(),
            columns=dataset.columns,
            dataset=None if carried else dataset,
            settings=chosen,
            target=Target(url=server.url, headers={}),
        )
        shards = plan_shards(dataset.row_groups, shard_rows=-(-rows // 4))
        fleet = LocalFleet(
            workers, paths.workers_log, start=start or (lambda: ThreadedWorker(serve))
        )
        with WorkerPool(
            assignment, fleet=fleet, log=lambda _text: None, release_s=release_s
        ) as pool:
            yield PoolSetup(pool, server, shards, batch)


def served(held_s: float = 0.0) -> tuple[Script, list[int]]:
    """Return a script that takes its time, and a list of how many it held at each request."""
    held: list[int] = []
    now = 0

    async def script(request: Request) -> bytes:
        nonlocal now
        now += 1
        held.append(now)
        await asyncio.sleep(held_s)
        now -= 1
        return http(completion(request.prompt))

    return script, held
