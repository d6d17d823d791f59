"""The adaptive limit against fixed ones: `python -m benchmarks.limit`.

`benchmarks.slow_server` never says 429: it works on so many requests at once (the knee), and the
others wait. Each fixed number and `--concurrency auto`, which expects 64, answer as many rows, in
turn; of each the least disturbed round counts. Shares are of the best fixed number: over the whole
run, search included, and from a tenth of the run on.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.dataset import write_input
from benchmarks.figures import keep, table
from benchmarks.rounds import Case, once
from benchmarks.servers import counts, served_between, slow_server

MEDIAN_S, MEAN_S = 0.1, 0.113

AUTO = "auto"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each run, at the knee")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--knees", type=int, nargs="*", default=[8, 64, 512])
    options = parser.parse_args()
    lines, figures = [], {}
    with tempfile.TemporaryDirectory(prefix="mayfly-limit-") as name:
        folder = Path(name)
        for knee in options.knees:
            rows = int(knee / MEAN_S * options.seconds)
            path = write_input(folder / f"input-{knee}.parquet", rows)
            numbers = {"half": knee // 2, "knee": knee, "double": 2 * knee, AUTO: 0}
            rounds: dict[str, list[dict[str, Any]]] = {label: [] for label in numbers}
            for _ in range(options.rounds):
                for label, number in numbers.items():
                    rounds[label].append(_run(label, number, knee, path, rows, folder))
            whole = _best(rounds, "rows_per_s")
            later = _best(rounds, "rows_per_s_from_a_tenth_on")
            shares = [
                rates[AUTO] / max(rate for label, rate in rates.items() if label != AUTO)
                for rates in (whole, later)
            ]
            lines.append([knee, rows, *whole.values(), *shares])
            figures[f"knee {knee}"] = {
                "auto_of_best_fixed": shares[0],
                "auto_of_best_fixed_from_a_tenth_on": shares[1],
                **rounds,
            }
    columns = ["knee", "rows", "fixed: half", "fixed: knee", "fixed: double", "auto"]
    columns += ["auto of best", "from a tenth on"]
    table("Rows a second, the whole run, search included", columns, lines)
    keep("limit", figures)


def _run(label: str, number: int, knee: int, path: Path, rows: int, folder: Path) -> dict[str, Any]:
    with slow_server("--median-s", str(MEDIAN_S), "--places", str(knee)) as url:
        common = ["--url", url, "--input", str(path), "--in-flight", str(number)]
        result = once(Case(label, ["mayfly", *common], rows), folder)
        end_at = result["began_at"] + result["wall_s"]
        tenth_at = result["began_at"] + 0.1 * result["wall_s"]
        later = served_between(url, tenth_at, end_at) / (end_at - tenth_at)
        return {
            **result,
            "rows_per_s_from_a_tenth_on": later,
            "most_held": counts(url)["most_held"],
        }


def _best(rounds: dict[str, list[dict[str, Any]]], name: str) -> dict[str, float]:
    return {label: max(float(one[name]) for one in found) for label, found in rounds.items()}


if __name__ == "__main__":
    main()
