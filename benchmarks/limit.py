"""The adaptive limit against fixed ones: `python -m benchmarks.limit`.

`benchmarks.slow_server` never says 429: it works on so many requests at once (the knee), and the
others wait. Each fixed number and `--concurrency auto`, which begins at 64, answer as many rows.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.dataset import write_input
from benchmarks.figures import keep, table
from benchmarks.rounds import Case, once
from benchmarks.servers import counts, slow_server

MEDIAN_S, MEAN_S = 0.1, 0.113


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run, at the knee")
    parser.add_argument("--knees", type=int, nargs="*", default=[8, 64, 512])
    options = parser.parse_args()
    lines, figures = [], {}
    with tempfile.TemporaryDirectory(prefix="mayfly-limit-") as name:
        folder = Path(name)
        for knee in options.knees:
            rows = int(knee / MEAN_S * options.seconds)
            path = write_input(folder / f"input-{knee}.parquet", rows)
            found: dict[str, dict[str, Any]] = {}
            for label, number in (
                ("half", knee // 2),
                ("knee", knee),
                ("double", 2 * knee),
                ("auto", 0),
            ):
                with slow_server("--median-s", str(MEDIAN_S), "--places", str(knee)) as url:
                    common = ["--url", url, "--input", str(path), "--in-flight", str(number)]
                    found[label] = once(Case(label, ["mayfly", *common], rows), folder)
                    found[label]["most_held"] = counts(url)["most_held"]
            rates = {label: result["rows_per_s"] for label, result in found.items()}
            best = max(rate for label, rate in rates.items() if label != "auto")
            lines.append([knee, rows, *rates.values(), rates["auto"] / best])
            figures[f"knee {knee}"] = {"auto_of_best_fixed": rates["auto"] / best, **found}
    columns = [
        "knee",
        "rows",
        "fixed: half",
        "fixed: knee",
        "fixed: double",
        "auto",
        "auto of best",
    ]
    table("Rows a second, the whole run, search included", columns, lines)
    keep("limit", figures)


if __name__ == "__main__":
    main()
