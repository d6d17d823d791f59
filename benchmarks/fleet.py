"""Larger fleets against one run's journal, by simulation: `python -m benchmarks.fleet`.

First it measures the run's CPU per row in this process: receiving a block of answers, writing it to
the journal, and writing the part. Then it simulates queues: workers that can send 10,000 rows per
second each, one block at a time per shard as in `workers.answers.SentAnswers`, and one interpreter
that receives them. It prints where the run saturates, and how long blocks wait there.
"""

import argparse
import heapq
import pickle
import tempfile
import time
from multiprocessing import Pipe
from pathlib import Path
from statistics import median

from benchmarks.dataset import write_input
from benchmarks.figures import keep, table
from mayfly.models.rows import EMPTY_TALLY, Answer
from mayfly.models.shards import Shard
from mayfly.storage.journal import Journal, answer_line
from mayfly.storage.open_input import open_dataset
from mayfly.storage.parts import warm_up, write_part
from mayfly.storage.run_paths import RunPaths
from mayfly.workers.protocol import Block

ROWS = 16_384
PER_WORKER = 10_000
"""Rows a second that one process sends at most."""

SHARDS_AT_ONCE = 2
SLOTS = 64
"""Requests in flight of one shard: its blocks have no more rows."""

EXCHANGE_S = 1.4e-3
"""CPU of one exchange with a Dask worker in the run, as measured with distributed 2026.8."""


def cost_per_row(block_rows: int, folder: Path) -> tuple[float, float]:
    """Return CPU seconds of the run for a row: with its block, and in its part."""
    path = write_input(folder / "input.parquet", ROWS, group_rows=4096)
    dataset = open_dataset(str(path), limit=ROWS)
    shard = Shard(index=0, first_row=0, rows=ROWS)
    paths = RunPaths(folder / f"out-{block_rows}-{time.monotonic_ns()}")
    paths.journals.mkdir(parents=True)
    answers = [
        Answer(row, "An answer of some words. " * 8, None, "stop", 60, 50, 0, 1, 0.5)
        for row in range(ROWS)
    ]
    near, far = Pipe()
    with near, far, Journal(paths.journal(0), fingerprint="f" * 64, shard=shard) as journal:
        taking = 0.0
        for first in range(0, ROWS, block_rows):
            some = answers[first : first + block_rows]
            lines = b"".join(answer_line(answer, journal.seed) for answer in some)
            rows = [answer.row for answer in some]
            block = Block(0, lines, rows, EMPTY_TALLY, len(some))
            message = pickle.dumps(block)
            began = time.process_time()
            taken: Block = pickle.loads(message)  # noqa: S301 - made above
            journal.write_lines(taken.lines, taken.rows)
            far.send((0, taken.requests))
            taking += time.process_time() - began
            near.recv()
        began = time.process_time()
        write_part(paths.folder, shard, dataset, journal.answers, fingerprint="f" * 64)
        part = time.process_time() - began
    return taking / ROWS, part / ROWS


def simulate(
    workers: int, *, block_s: float, row_s: float, seconds: float = 2.0
) -> tuple[float, float]:
    """Return the rows per second that a run accepts from its workers, and a block's waiting time.

    Args:
        block_s, row_s: CPU of the run for a block, and for each row in it.
    """
    sources = workers * SHARDS_AT_ONCE
    rate = PER_WORKER / SHARDS_AT_ONCE
    # For each source: when its next block is sent, and since when rows have gathered for it.
    ready = [((1 + number / sources) / rate, number, 0.0) for number in range(sources)]
    heapq.heapify(ready)
    now, rows, waits = 0.0, 0, list[float]()
    while now < seconds:
        sent_at, number, since = heapq.heappop(ready)
        # No more gather than there are slots.
        block = max(1, min(SLOTS, int((sent_at - since) * rate)))
        now = max(now, sent_at) + block_s + block * row_s
        waits.append(now - sent_at)
        rows += block
        # The next block fills while this one is being sent.
        heapq.heappush(ready, (max(now, sent_at + 1 / rate), number, sent_at))
    return rows / now, median(waits)


def main() -> None:
    """Measure, simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    warm_up()
    with tempfile.TemporaryDirectory(prefix="mayfly-fleet-") as name:
        folder = Path(name)
        one = min(cost_per_row(1, folder)[0] for _ in range(options.rounds))
        rounds = [cost_per_row(SLOTS, folder) for _ in range(options.rounds)]
        many, part = min(each for each, _ in rounds), min(each for _, each in rounds)
    # Two points give two costs: per block, and per row in it.
    block_s = (one - many) * SLOTS / (SLOTS - 1)
    row_s = one - block_s + part
    costs = {
        "block_us": 1e6 * block_s,
        "row_us": 1e6 * (one - block_s),
        "part_us": 1e6 * part,
    }
    found = {}
    for carrier, extra_s in (("local", 0.0), ("dask", EXCHANGE_S)):
        for workers in (1, 2, 4, 10, 100):
            rate, wait_s = simulate(workers, block_s=block_s + extra_s, row_s=row_s)
            found[f"{carrier} {workers}"] = {
                "rows_per_s": rate,
                "wanted": workers * PER_WORKER,
                "block_wait_ms": 1e3 * wait_s,
            }
    columns = ["a block", "a row in it", "a row in its part"]
    table("CPU of the run, in microseconds", columns, [list(costs.values())])
    table(
        "workers of 10,000 rows/s",
        ["workers", "rows/s", "wanted", "a block waits, ms"],
        [[label, *values.values()] for label, values in found.items()],
    )
    keep("fleet", {"costs": costs, "fleets": found})


if __name__ == "__main__":
    main()
