"""The adaptive limit against fixed ones: `python -m benchmarks.limit`.

`benchmarks.slow_server` never answers 429: it processes a fixed number of requests at once (the
knee), and the others wait. Each fixed limit and `--concurrency auto`, which starts from 64, answer
the same number of rows, alternating; the least disturbed round of each counts. `auto again` starts
where `auto` has settled, like the second run of a model and hardware. Shares are relative to the
best fixed limit, over the whole run with its search, whose length is given in round trips.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.dataset import write_input
from benchmarks.figures import keep, table
from benchmarks.rounds import Case, once
from benchmarks.servers import counts, slow_server

MEAN_OF_MEDIAN = 1.13
"""Mean over median of the server's log-normal latency."""

AUTO, AGAIN = "auto", "auto again"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each run, at the knee")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--median-s", type=float, default=0.1, help="of a request alone")
    parser.add_argument("--knees", type=int, nargs="*", default=[8, 64, 512])
    options = parser.parse_args()
    lines, figures = [], {}
    with tempfile.TemporaryDirectory(prefix="mayfly-limit-") as name:
        folder = Path(name)
        for knee in options.knees:
            mean_s = MEAN_OF_MEDIAN * options.median_s
            rows = int(knee / mean_s * options.seconds)
            path = write_input(folder / f"input-{knee}.parquet", rows)
            numbers = {"half": knee // 2, "knee": knee, "double": 2 * knee, AUTO: 0, AGAIN: 0}
            rounds: dict[str, list[dict[str, Any]]] = {label: [] for label in numbers}
            for _ in range(options.rounds):
                for label, number in numbers.items():
                    rounds[label].append(_run(label, number, knee, path, rows, folder, options))
            whole = _best(rounds, "rows_per_s")
            best = max(rate for label, rate in whole.items() if label not in (AUTO, AGAIN))
            shares = [whole[AUTO] / best, whole[AGAIN] / best]
            trips = options.seconds / mean_s
            lines.append([knee, rows, round(trips, 1), *whole.values(), *shares])
            figures[f"knee {knee}"] = {
                "round_trips": trips,
                "auto_of_best_fixed": shares[0],
                "auto_again_of_best_fixed": shares[1],
                **rounds,
            }
    columns = ["knee", "rows", "round trips", "fixed: half", "fixed: knee", "fixed: double"]
    columns += [AUTO, AGAIN, "auto of best", "again of best"]
    table("Rows a second, the whole run, search included", columns, lines)
    keep("limit", figures)


def _run(
    label: str,
    number: int,
    knee: int,
    path: Path,
    rows: int,
    folder: Path,
    options: argparse.Namespace,
) -> dict[str, Any]:
    settled = folder / f"settled-{knee}"
    if label == AUTO:
        settled.unlink(missing_ok=True)
    with slow_server("--median-s", str(options.median_s), "--slots", str(knee)) as url:
        common = ["--url", url, "--input", str(path), "--in-flight", str(number)]
        if label in (AUTO, AGAIN):
            common += ["--settled", str(settled)]
        result = once(Case(label, ["mayfly", *common], rows), folder)
        return {**result, "most_held": counts(url)["most_held"]}


def _best(rounds: dict[str, list[dict[str, Any]]], name: str) -> dict[str, float]:
    return {label: max(float(one[name]) for one in found) for label, found in rounds.items()}


if __name__ == "__main__":
    main()
