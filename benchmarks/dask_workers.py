"""One Dask worker against two on a template-bound job: `python -m benchmarks.dask_workers`.

nginx sends a fixed body at once, and the template takes much more CPU than anything else. Beside
rows per second it measures CPU per row of the run and of the workers, because on a machine with few
cores the run, nginx and other programs share them with the workers: a run takes a second worker's
rows in full as long as its own CPU per row is less than half of a worker's.
"""

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
from distributed import LocalCluster

from benchmarks.dataset import write_input
from benchmarks.figures import keep, table
from benchmarks.servers import nginx
from mayfly.inference.engine import EngineSettings, Target
from mayfly.inference.request_builder import Renderer
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.shards import plan_shards
from mayfly.shards.runner import Batch, complete
from mayfly.storage.open_input import open_dataset
from mayfly.storage.parts import warm_up
from mayfly.storage.run_paths import RunPaths
from mayfly.together.connection import Connection
from mayfly.workers.dask_cluster import DaskCluster
from mayfly.workers.dask_fleet import DaskFleet
from mayfly.workers.pool import WorkerPool
from mayfly.workers.process import LocalFleet
from mayfly.workers.protocol import Assignment

SLOW = (
    "{% for n in range(40) %}{% for word in prompt.split() %}"
    "{{ word | capitalize }} {% endfor %}{% endfor %}"
)
"""A template that takes some milliseconds of CPU for each row."""


def once(url: str, path: Path, folder: Path, workers: int) -> dict[str, float]:
    """Send the input once with so many workers."""
    dataset = open_dataset(str(path))
    paths = RunPaths(folder / f"out-{os.urandom(6).hex()}")
    paths.journals.mkdir(parents=True)
    prompt = PromptSpec(template=SLOW)
    batch = Batch(
        dataset=dataset,
        renderer=Renderer(prompt, Sampling(), dataset.columns),
        paths=paths,
        model="model",
        fingerprint="f" * 64,
    )
    connection = Connection(
        base_url=url,
        inference_url=f"{url}/v1",
        provider="loopback",
        project="",
        namespace="default",
        api_key="none",
        key_is_secret=False,
    )
    assignment = Assignment(
        prompt=prompt,
        sampling=Sampling(),
        columns=dataset.columns,
        dataset=dataset,
        settings=EngineSettings(concurrency=64),
        target=Target(url=f"{url}/v1/chat/completions", headers={}),
    )
    shards = plan_shards(dataset.row_groups, shard_rows=512)
    with (
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as local,
        DaskCluster(local.scheduler_address, dataset, connection=connection, log=print) as cluster,
        WorkerPool(
            assignment,
            fleet=DaskFleet(cluster, LocalFleet(1, paths.workers_log), shards=len(shards)),
            log=print,
        ) as pool,
        ThreadPoolExecutor(2 * workers) as threads,
    ):
        pool.warm(1)
        time.sleep(5)
        here, there = _cpu_s()
        began = time.perf_counter()
        list(threads.map(lambda s: complete(batch, s, pool, partial(pool.send, batch, s)), shards))
        wall_s = time.perf_counter() - began
        here_after, there_after = _cpu_s()
    rows = dataset.rows
    return {
        "rows_per_s": rows / wall_s,
        "run_ms_per_row": 1e3 * (here_after - here) / rows,
        "workers_ms_per_row": 1e3 * (there_after - there) / rows,
        "cores_of_workers": (there_after - there) / wall_s,
    }


def _cpu_s() -> tuple[float, float]:
    """Return CPU of the run with the scheduler, and of the workers, in seconds."""
    here = psutil.Process()
    found = [sum(here.cpu_times()[:2])]
    workers = [one for one in here.children(recursive=True) if "nginx" not in one.name()]
    found.append(sum(sum(one.cpu_times()[:2]) for one in workers))
    return found[0], found[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    warm_up()
    results: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(prefix="mayfly-dask-") as name:
        folder = Path(name)
        path = write_input(folder / "input.parquet", options.rows, group_rows=512)
        with nginx(folder / "nginx") as url:
            for _ in range(options.rounds):
                for workers, found in results.items():
                    found.append(once(url, path, folder, workers))
    best = {n: max(found, key=lambda one: one["rows_per_s"]) for n, found in results.items()}
    columns = ["workers", "rows/s", "run, CPU ms a row", "workers", "cores the workers had"]
    table("a slow template", columns, [[str(n), *one.values()] for n, one in best.items()])
    ratio = best[2]["rows_per_s"] / best[1]["rows_per_s"]
    share = best[2]["workers_ms_per_row"] / best[2]["run_ms_per_row"]
    load = os.getloadavg()[0]
    print(f"two workers / one: {ratio:.2f}; load {load:.1f}")
    print(f"workers that one run keeps busy: {share:.1f}")
    keep("dask_workers", {str(n): one for n, one in best.items()} | {"ratio": {"two": ratio}})


if __name__ == "__main__":
    main()
