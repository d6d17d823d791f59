"""How full the endpoint is kept, to the end: `python -m benchmarks.tail`.

`benchmarks.slow_server` works on 512 requests at once, each for a log-normal time (median 400 ms,
mean 451 ms); 512 are kept in flight. The ideal is all work divided by the places. Measured is
the whole phase: reading, sending, journal and the last part file.
"""

import argparse
import math
import tempfile
from pathlib import Path

from benchmarks.dataset import write_input
from benchmarks.figures import keep, table
from benchmarks.rounds import Case, once
from benchmarks.servers import slow_server

PLACES, MEDIAN_S, SIGMA = 512, 0.4, 0.49


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--without-aiohttp", action="store_true")
    options = parser.parse_args()
    ideal_s = options.rows * MEDIAN_S * math.exp(SIGMA**2 / 2) / PLACES
    lines, figures = [], {}
    with tempfile.TemporaryDirectory(prefix="mayfly-tail-") as name:
        folder = Path(name)
        path = write_input(folder / "input.parquet", options.rows)
        clients = [
            ("mayfly", ["mayfly", "--replicas", "2"]),
            ("aiohttp + uvloop, bare", ["aiohttp"]),
        ]
        for label, arguments in clients[: 1 if options.without_aiohttp else 2]:
            with slow_server("--median-s", str(MEDIAN_S), "--sigma", str(SIGMA)) as url:
                common = ["--url", url, "--input", str(path), "--in-flight", str(PLACES)]
                result = once(Case(label, [*arguments, *common], options.rows), folder)
            share = ideal_s / result["wall_s"]
            lines.append([label, ideal_s, result["wall_s"], share, result["cpu_ms_per_row"]])
            figures[label] = {"ideal_s": ideal_s, "share_of_ideal": share, **result}
    columns = ["client", "ideal s", "actual s", "share of the ideal", "CPU ms a row"]
    table(f"{options.rows:,} rows, {PLACES} in flight, log-normal latency", columns, lines)
    keep("tail", figures)


if __name__ == "__main__":
    main()
