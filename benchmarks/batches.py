"""An input, its output folder and what workers need to send it, for benchmarks of worker pools."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from mayfly.inference.engine import EngineSettings, Target
from mayfly.inference.request_builder import Renderer
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.shards import SHARDS_FOR_WORKERS, Shard, plan_shards
from mayfly.shards.runner import Batch, complete
from mayfly.storage.dataset import Dataset
from mayfly.storage.open_input import open_dataset
from mayfly.storage.run_paths import RunPaths
from mayfly.workers.pool import WorkerPool
from mayfly.workers.protocol import Assignment


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An input that is ready to be sent to a server once."""

    dataset: Dataset
    paths: RunPaths
    shards: list[Shard]
    batch: Batch
    assignment: Assignment

    def answer(self, pool: WorkerPool, shard: Shard) -> int:
        """Answer a shard with a pool; return the number of its rows."""
        send = partial(pool.send, self.batch, shard)
        return complete(self.batch, shard, pool, send).done


@contextmanager
def prepared(
    url: str,
    path: Path,
    folder: Path,
    *,
    template: str | None,
    in_flight: int,
    rows: int | None = None,
    shard_rows: int | None = None,
    workers: bool = False,
) -> Iterator[Prepared]:
    """Open an input, with an output folder of its own.

    Args:
        url: Of the server.
        template: Of the prompt; None for the column.
        rows: Rows to send; all of them if None.
        shard_rows: Rows of a shard; as usual if None.
        workers: Whether the shards are for workers.
    """
    dataset = open_dataset(str(path), limit=rows)
    paths = RunPaths(folder / f"out-{os.urandom(6).hex()}")
    paths.journals.mkdir(parents=True)
    prompt, sampling = PromptSpec(template=template), Sampling()
    yield Prepared(
        dataset=dataset,
        paths=paths,
        shards=plan_shards(
            dataset.row_groups,
            shard_rows=shard_rows,
            at_least=SHARDS_FOR_WORKERS if workers else 1,
        ),
        batch=Batch(
            dataset=dataset,
            renderer=Renderer(prompt, sampling, dataset.columns),
            paths=paths,
            model="model",
            fingerprint="f" * 64,
        ),
        assignment=Assignment(
            prompt=prompt,
            sampling=sampling,
            columns=dataset.columns,
            dataset=dataset,
            settings=EngineSettings(concurrency=in_flight),
            target=Target(url=f"{url}/v1/chat/completions", headers={}),
        ),
    )
    dataset.close()


def cpu_s(processes: list[psutil.Process]) -> float:
    """Return the CPU that processes have used, in seconds."""
    return float(sum(sum(one.cpu_times()[:2]) for one in processes))
