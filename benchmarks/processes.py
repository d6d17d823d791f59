"""One process against several under one limit: `python -m benchmarks.processes`.

nginx answers a fixed body at once, so that the client is the bottleneck: what one core can send,
and what a second one adds. Only nginx is pinned; on two cores it shares one with a client. CPU is
that of this process and its workers, after all have started.
"""

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.batches import cpu_s, prepared
from benchmarks.dataset import write_input
from benchmarks.figures import keep, table
from benchmarks.servers import nginx
from mayfly.inference.engine import Engine
from mayfly.shards.runner import answer_rows
from mayfly.storage.parts import warm_up
from mayfly.workers.pool import WorkerPool
from mayfly.workers.process import LocalFleet

SLOW = "{% for word in prompt.split() %}{{ word | capitalize }} {% endfor %}"
"""A template that takes more work to render than to send."""


def once(url: str, path: Path, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Answer the input once; `processes` 0 is in this process."""
    with prepared(
        url,
        path,
        folder,
        template=options.template,
        in_flight=options.in_flight,
        rows=options.rows,
        workers=options.processes > 0,
    ) as case:
        settings, target = case.assignment.settings, case.assignment.target
        if not options.processes:
            with (
                Engine(target=target, settings=settings, read=case.batch.renderer.read) as engine,
                ThreadPoolExecutor(2) as threads,
            ):
                before, began = _cpu_s(), time.perf_counter()
                answer = partial(answer_rows, case.batch, engine=engine)
                done = sum(threads.map(lambda shard: answer(shard).done, case.shards))
                return _figures(options.rows, done, before, began)
        fleet = LocalFleet(options.processes, case.paths.workers_log)
        with (
            WorkerPool(case.assignment, fleet=fleet, log=print) as pool,
            ThreadPoolExecutor(2 * options.processes) as threads,
        ):
            # Wait until all have finished their imports and are idle.
            quiet_since, last = time.monotonic(), 0.0
            while time.monotonic() - quiet_since < 2:
                time.sleep(0.2)
                if (now_s := _cpu_s()) > last + 0.05:
                    quiet_since, last = time.monotonic(), now_s
            before, began = _cpu_s(), time.perf_counter()
            done = sum(threads.map(partial(case.answer, pool), case.shards))
            return _figures(options.rows, done, before, began)


def _cpu_s() -> float:
    here = psutil.Process()
    return cpu_s([here, *_workers(here)])


def _workers(here: psutil.Process) -> list[psutil.Process]:
    return [one for one in here.children() if "mayfly.workers" in " ".join(one.cmdline())]


def _figures(rows: int, done: int, before: float, began: float) -> dict[str, float]:
    assert done == rows, done  # noqa: S101
    wall_s = time.perf_counter() - began
    return {"rows_per_s": rows / wall_s, "cpu_ms_per_row": 1e3 * (_cpu_s() - before) / rows}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=128)
    options = parser.parse_args()
    warm_up()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mayfly-processes-") as name:
        folder = Path(name)
        path = write_input(folder / "input.parquet", options.rows, group_rows=4096)
        with nginx(folder / "nginx") as url:
            for title, template in (("a column", None), ("a slow template", SLOW)):
                results: dict[int, list[dict[str, float]]] = {0: [], 2: []}
                for _ in range(options.rounds):
                    for processes, found in results.items():
                        case = argparse.Namespace(
                            **vars(options), template=template, processes=processes
                        )
                        found.append(once(url, path, folder, case))
                figures[title] = _show(title, results)
    keep("processes", figures)


def _show(title: str, results: dict[int, list[dict[str, float]]]) -> dict[str, Any]:
    figures = {
        f"{processes} processes" if processes else "local": {
            "rows_per_s_best": max(one["rows_per_s"] for one in found),
            "rows_per_s_median": median(one["rows_per_s"] for one in found),
            "cpu_ms_per_row_min": min(one["cpu_ms_per_row"] for one in found),
            "cpu_ms_per_row_median": median(one["cpu_ms_per_row"] for one in found),
        }
        for processes, found in results.items()
    }
    columns = ["runner", "rows/s, best", "median", "CPU ms a row, min", "median"]
    table(title, columns, [[label, *values.values()] for label, values in figures.items()])
    return figures


if __name__ == "__main__":
    main()
