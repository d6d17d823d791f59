"""One Dask worker against two on a template-bound job: `python -m benchmarks.dask_workers`.

nginx sends a fixed body at once, and the template takes much more CPU than anything else. The
scheduler and the workers are processes of their own. Beside rows per second it measures the CPU of
the run and of the workers: on a machine with few cores the run, nginx and other programs share them
with the workers. With a core for each, two workers are faster than one by twice the ratio of what
they take for a row, as long as the run takes less than half of that.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psutil

from benchmarks.batches import cpu_s, prepared
from benchmarks.dataset import write_input
from benchmarks.figures import keep, table
from benchmarks.servers import free_port, nginx
from mayfly.storage.parts import warm_up
from mayfly.together.connection import Connection
from mayfly.workers.dask_cluster import DaskCluster
from mayfly.workers.dask_fleet import DaskFleet
from mayfly.workers.pool import WorkerPool
from mayfly.workers.process import LocalFleet

SLOW = (
    "{% for n in range(40) %}{% for word in prompt.split() %}"
    "{{ word | capitalize }} {% endfor %}{% endfor %}"
)
"""A template that takes some milliseconds of CPU for each row."""


@contextmanager
def cluster_of(workers: int, folder: Path) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Run a scheduler and workers as processes; yield its address and the workers."""
    address = f"tcp://127.0.0.1:{free_port()}"
    commands = [["scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2]]]
    commands += [["worker", address, "--host", "127.0.0.1", "--no-nanny"]] * workers
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                _process([sys.executable, "-m", "dask", *command, "--no-dashboard"], folder)
            )
            for command in commands
        ]
        yield address, started[1:]


@contextmanager
def _process(command: list[str], folder: Path) -> Iterator[psutil.Process]:
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.kill()


def once(url: str, path: Path, folder: Path, workers: int) -> dict[str, float]:
    """Send the input once with so many workers."""
    connection = Connection(
        base_url=url,
        inference_url=f"{url}/v1",
        provider="loopback",
        project="",
        namespace="default",
        api_key="none",
        key_is_secret=False,
    )
    run = [psutil.Process()]
    with (
        prepared(url, path, folder, template=SLOW, in_flight=64, shard_rows=512) as case,
        cluster_of(workers, folder) as (address, processes),
    ):
        fleet_of = partial(DaskFleet, local=LocalFleet(1, case.paths.workers_log), shards=64)
        time.sleep(10)  # All workers have joined.
        with (
            DaskCluster(address, case.dataset, connection=connection, log=print) as cluster,
            WorkerPool(case.assignment, fleet=fleet_of(cluster), log=print) as pool,
            ThreadPoolExecutor(2 * workers) as threads,
        ):
            pool.warm(1)
            time.sleep(5)
            assert pool.size == workers, pool.size  # noqa: S101
            here, there, began = cpu_s(run), _with_children(processes), time.perf_counter()
            rows = sum(threads.map(partial(case.answer, pool), case.shards))
            wall_s = time.perf_counter() - began
            here, there = cpu_s(run) - here, _with_children(processes) - there
    return {
        "rows_per_s": rows / wall_s,
        "run_ms_per_row": 1e3 * here / rows,
        "run_ms_per_s": 1e3 * here / wall_s,
        "workers_ms_per_row": 1e3 * there / rows,
        "cores_of_workers": there / wall_s,
    }


def _with_children(workers: list[psutil.Process]) -> float:
    """Return CPU of workers, which render such a template in a process of its own."""
    return cpu_s([*workers, *(child for one in workers for child in one.children(recursive=True))])


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
    columns = [
        "workers",
        "rows/s",
        "run, CPU ms a row",
        "a second",
        "workers, a row",
        "cores the workers had",
    ]
    table("a slow template", columns, [[str(n), *one.values()] for n, one in best.items()])
    ratio = best[2]["rows_per_s"] / best[1]["rows_per_s"]
    share = best[2]["workers_ms_per_row"] / best[2]["run_ms_per_row"]
    load = os.getloadavg()[0]
    by_cpu = 2 * best[1]["workers_ms_per_row"] / best[2]["workers_ms_per_row"]
    print(f"two workers / one: {ratio:.2f}, by CPU {by_cpu:.2f}; load {load:.1f}")
    print(f"workers that one run keeps busy: {share:.1f}")
    keep(
        "dask_workers",
        {str(n): one for n, one in best.items()} | {"ratio": {"two": ratio, "by_cpu": by_cpu}},
    )


if __name__ == "__main__":
    main()
