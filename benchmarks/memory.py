"""Peak memory against rows: `python -m benchmarks.memory`.

The whole data path, Parquet to Parquet with its journal, 256 in flight against nginx's fixed body:
with 100,000 rows and with ten times as many, with prompts of 50 kB, and with all rows in one row
group of some 100 MB.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.dataset import write_input
from benchmarks.figures import keep, table
from benchmarks.rounds import Case, once
from benchmarks.servers import nginx


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    few, many = options.rows, 10 * options.rows
    inputs = {
        f"{few:,} rows": {"rows": few},
        f"{many:,} rows": {"rows": many},
        "4,000 rows of 50 kB": {"rows": 4_000, "prompt_bytes": 50_000},
        "240,000 rows in one row group": {"rows": 240_000, "group_rows": 240_000},
    }
    lines, figures = [], {}
    with tempfile.TemporaryDirectory(prefix="mayfly-memory-") as name, nginx(Path(name)) as url:
        folder = Path(name)
        for number, (label, shape) in enumerate(inputs.items()):
            path = write_input(folder / f"input-{number}.parquet", **shape)
            common = ["--url", url, "--input", str(path), "--in-flight", "256"]
            result = once(Case(label, ["mayfly", *common], shape["rows"]), folder)
            figures[label] = result
            lines.append([label, result["peak_mb"], result["rows_per_s"], result["cpu_ms_per_row"]])
    growth = lines[1][1] / lines[0][1]
    table("Peak memory", ["input", "peak MB", "rows/s", "CPU ms a row"], lines)
    print(f"\n{many:,} rows take {growth:.3f} times the memory of {few:,}.")
    keep("memory", {"growth": growth, **figures})


if __name__ == "__main__":
    main()
