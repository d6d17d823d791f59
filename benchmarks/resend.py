"""Rows sent twice after SIGKILL: `python -m benchmarks.resend`.

A run is killed at a random time and started again, repeatedly, until all rows are answered.
`benchmarks.slow_server` counts the requests. Those not recorded when the run dies are sent again,
and must not be more than were in flight. At the end every row has an answer.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.clients import FINGERPRINT
from benchmarks.dataset import write_input
from benchmarks.figures import keep, table
from benchmarks.servers import counts, slow_server
from mayfly.models.shards import plan_shards
from mayfly.storage.journal import load_journal
from mayfly.storage.open_input import open_dataset
from mayfly.storage.run_paths import RunPaths

SHARD_ROWS = 1000


def on_record(path: Path, output: Path) -> int:
    """Return how many rows of an input are answered in a folder's parts and journals."""
    groups, paths = open_dataset(str(path)).row_groups, RunPaths(output)
    found = 0
    for shard in plan_shards(groups, shard_rows=SHARD_ROWS):
        if paths.part(shard.index).exists():
            found += shard.rows
        else:
            journal = paths.journal(shard.index)
            found += len(load_journal(journal, fingerprint=FINGERPRINT, shard=shard))
    return found


def killed_and_resumed(
    folder: Path, *, rows: int, in_flight: int, kills: int, median_s: float, seed: int = 7
) -> dict[str, Any]:
    """Kill a run repeatedly while it answers the rows; return what was sent."""
    dice = random.Random(seed)  # noqa: S311
    path, output = write_input(folder / "input.parquet", rows), folder / "output"
    with slow_server("--median-s", str(median_s), "--tell-rows-apart") as url:
        arguments = ["mayfly", "--url", url, "--input", str(path), "--output", str(output)]
        arguments += [
            "--rows",
            str(rows),
            "--in-flight",
            str(in_flight),
            "--shard-rows",
            str(SHARD_ROWS),
        ]
        # Hedged requests at the end would count as sent again.
        arguments += ["--replicas", "0"]
        command = [sys.executable, "-m", "benchmarks.clients", *arguments]
        lost: list[int] = []
        for _ in range(kills):
            before, known = counts(url)["received"], on_record(path, output)
            at = before + dice.randint(1, rows // kills)
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            while counts(url)["received"] < at and process.poll() is None:
                time.sleep(0.003)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            while counts(url)["held"]:  # The server still processes the dead run's requests.
                time.sleep(0.02)
            sent = counts(url)["received"] - before
            lost.append(sent - (on_record(path, output) - known))
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        seen = counts(url)
    answers = pq.read_table(output, columns=["id", "response"])
    return {
        "rows": rows,
        "in_flight": in_flight,
        "kills": kills,
        "requests": seen["received"],
        "sent_twice": seen["received"] - seen["rows"],
        "lost_by_each_kill": lost,
        "most_lost_by_one_kill": max(lost),
        "answered": answers.num_rows - answers["response"].null_count,
        "in_order": answers["id"].to_pylist() == list(range(rows)),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    figures, lines = {}, []
    for in_flight, median_s in ((64, 0.1), (256, 0.4)):
        with tempfile.TemporaryDirectory(prefix="mayfly-resend-") as name:
            found = killed_and_resumed(
                Path(name),
                rows=options.rows,
                in_flight=in_flight,
                kills=options.kills,
                median_s=median_s,
            )
        figures[f"{in_flight} in flight"] = found
        lines.append(
            [
                in_flight,
                *(found[name] for name in ("rows", "kills", "sent_twice", "most_lost_by_one_kill")),
                found["answered"],
            ]
        )
    columns = ["in flight", "rows", "kills", "sent twice", "most lost by one kill", "answered"]
    table("Killed by SIGKILL and started again", columns, lines)
    keep("resend", figures)


if __name__ == "__main__":
    main()
