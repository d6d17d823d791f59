"""A run on a Dask cluster to be killed: `python -m tests.support.dask_run FOLDER SCHEDULER URL`."""

import sys
from functools import partial
from pathlib import Path

from mayfly.inference.engine import EngineSettings, Target
from mayfly.inference.request_builder import Renderer
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.shards import plan_shards
from mayfly.shards.runner import Batch, complete
from mayfly.storage.open_input import open_dataset
from mayfly.storage.run_paths import RunPaths
from mayfly.workers.dask_cluster import DaskCluster
from mayfly.workers.dask_fleet import DaskFleet
from mayfly.workers.pool import WorkerPool
from mayfly.workers.process import LocalFleet
from mayfly.workers.protocol import Assignment


def main(folder: Path, scheduler: str, url: str) -> None:
    """Answer `folder/input.parquet` on the cluster, into `folder/output`."""
    dataset = open_dataset(str(folder / "input.parquet"), limit=None)
    paths = RunPaths(folder / "output")
    paths.journals.mkdir(parents=True)
    prompt, sampling = PromptSpec(), Sampling()
    batch = Batch(
        dataset=dataset,
        renderer=Renderer(prompt, sampling, dataset.columns),
        paths=paths,
        model="model",
        fingerprint="f" * 64,
    )
    assignment = Assignment(
        prompt=prompt,
        sampling=sampling,
        columns=dataset.columns,
        settings=EngineSettings(concurrency=16),
        target=Target(url=url, headers={}),
    )
    shards = plan_shards(dataset.row_groups)
    with DaskCluster(scheduler, dataset, log=print) as cluster:
        fleet = DaskFleet(cluster, LocalFleet(1, paths.workers_log), shards=len(shards))
        with WorkerPool(assignment, fleet=fleet, log=print) as pool:
            for shard in shards:
                complete(batch, shard, pool, partial(pool.send, batch, shard))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
