"""Slot utilisation of the endpoint until the last row: `python -m benchmarks.tail`.

`benchmarks.slow_server` works on 512 requests at once, each for a log-normal time (median 400 ms,
mean 451 ms); 512 are kept in flight. The ideal is all work divided by the slots: no slot ever
empty, from the client's first moment to its last. Measured is the whole phase: reading, sending,
journal and the last part file. Losses are attributed by the server's counters:

- start: until it is nearly full;
- between: slots empty while it is full, between an answer and the next request;
- tail: from when it is no longer full, above what that work takes with all slots;
- commit: from the last answer to the end.
"""

import argparse
import math
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.dataset import write_input
from benchmarks.figures import keep, table
from benchmarks.rounds import Case, once
from benchmarks.servers import counts, slow_server

SLOTS, MEDIAN_S, SIGMA = 512, 0.4, 0.49

PARTS = ["start", "between", "tail", "commit"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-aiohttp", action="store_true")
    parser.add_argument(
        "--by-row",
        action="store_true",
        help="a row's time is its own, and the length of its answer: asking again saves nothing",
    )
    options = parser.parse_args()
    clients = {"mayfly": ["mayfly", "--replicas", "2"], "aiohttp + uvloop, bare": ["aiohttp"]}
    if options.without_aiohttp:
        del clients["aiohttp + uvloop, bare"]
    found: dict[str, list[dict[str, Any]]] = {label: [] for label in clients}
    with tempfile.TemporaryDirectory(prefix="mayfly-tail-") as name:
        folder = Path(name)
        path = write_input(folder / "input.parquet", options.rows)
        for number in range(options.rounds):
            for label, arguments in clients.items():
                with slow_server(*_server(number, by_row=options.by_row)) as url:
                    common = ["--url", url, "--input", str(path), "--in-flight", str(SLOTS)]
                    case = Case(label, [*arguments, *common], options.rows)
                    found[label].append(_losses(once(case, folder), counts(url), options.rows))
    lines = []
    for label, rounds in found.items():
        rounds.sort(key=lambda one: one["share_of_ideal"])
        middle = rounds[len(rounds) // 2]
        shares = [one["share_of_ideal"] for one in rounds]
        cpu = median(one["cpu_ms_per_row"] for one in rounds)
        lost = [middle["lost_s"][part] for part in PARTS]
        again = middle["asked_twice"] / options.rows
        figures = [middle["ideal_s"], middle["wall_s"], max(shares), median(shares)]
        lines.append([label, *figures, *lost, f"{again:.2%}", cpu])
    columns = ["client", "ideal s", "actual s", "share, best", "median"]
    columns += [f"lost s: {part}" for part in PARTS]
    columns += ["rows asked twice", "CPU ms a row"]
    kind = "that is the row's own" if options.by_row else "by chance"
    table(f"{options.rows:,} rows, {SLOTS} in flight, log-normal latency {kind}", columns, lines)
    keep("tail-by-row" if options.by_row else "tail", found)


def _server(number: int, *, by_row: bool) -> list[str]:
    shape = ["--median-s", str(MEDIAN_S), "--sigma", str(SIGMA), "--slots", str(SLOTS)]
    return [*shape, "--seed", str(7 + number), *(["--by-row"] if by_row else [])]


def _losses(result: dict[str, Any], seen: dict[str, float], rows: int) -> dict[str, Any]:
    """Return the duration of a run, the ideal duration, and where the difference was lost."""
    ideal_s = rows * MEDIAN_S * math.exp(SIGMA**2 / 2) / SLOTS
    ended_at = result["began_at"] + result["wall_s"]
    lost_s = {
        "start": seen["full_at"] - result["began_at"] - seen["busy_until_full_s"] / SLOTS,
        "between": seen["full_until"] - seen["full_at"] - seen["busy_while_full_s"] / SLOTS,
        "tail": seen["last_at"] - seen["full_until"] - seen["busy_after_s"] / SLOTS,
        "commit": ended_at - seen["last_at"],
    }
    return {
        "ideal_s": ideal_s,
        "share_of_ideal": ideal_s / result["wall_s"],
        "lost_s": lost_s,
        "asked_twice": seen["received"] - rows,
        **result,
        "seen": seen,
    }


if __name__ == "__main__":
    main()
