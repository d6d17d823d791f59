"""The cost of each input format: `python -m benchmarks.formats`.

For each format a separate process opens the input (with its copies), then reads all rows twice, as
a run does: the prompt for sending, every column for the parts. It does so with the given number of
rows and with ten times as many, to compare memory. No network, no inference.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

from benchmarks.dataset import write_input
from benchmarks.figures import keep, table

BATCH_ROWS = 10_000


def main() -> None:
    """Measure and print; with `--one`, be the measured process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument(
        "--times", type=int, default=10, help="rows of the second round, as a factor"
    )
    parser.add_argument("--only", nargs="*", help="some of the formats")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_read(Path(options.one))))
        return
    lines, figures = [], {}
    with tempfile.TemporaryDirectory(prefix="mayfly-formats-") as name:
        for rows in (options.rows, options.rows * options.times):
            folder = Path(name) / str(rows)
            folder.mkdir()
            source = write_input(folder / "source.parquet", rows)
            for kind, make in FORMATS.items():
                if options.only and kind not in options.only:
                    continue
                path = make(source, folder)
                figures[f"{kind}, {rows:,}"] = found = _measured(path)
                lines.append([kind, f"{rows:,}", *found.values()])
    heads = ["format", "rows", "MB", "rows/s", "open, CPU us/row", "read, CPU us/row", "peak MB"]
    table("Input formats", heads, lines)
    keep("formats", figures)


def _measured(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.formats", "--one", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _read(path: Path) -> dict[str, Any]:
    from mayfly.storage.open_input import open_dataset  # noqa: PLC0415 - its import is not measured

    with tempfile.TemporaryDirectory(prefix="mayfly-copy-", dir=path.parent) as beside:
        began, cpu = time.perf_counter(), time.process_time()
        dataset = open_dataset(str(path), beside=Path(beside))
        opened = time.process_time()
        sent = sum(chunk.rows for chunk in dataset.read(0, dataset.rows, ["prompt"]))
        written = sum(batch.num_rows for batch in dataset.arrow_batches(0, dataset.rows))
        ended, took = time.process_time(), time.perf_counter() - began
    if not sent == written == dataset.rows:
        raise SystemExit(f"{path}: {sent} and {written} rows of {dataset.rows}")
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {
        "mb": round(sum(file.stat().st_size for file in files) / 1e6, 1),
        "rows_per_s": round(dataset.rows / took),
        "open_us": round((opened - cpu) / dataset.rows * 1e6, 2),
        "read_us": round((ended - opened) / dataset.rows * 1e6, 2),
        "peak_mb": _peak_mb(),
    }


def _peak_mb() -> int:
    """Return the peak memory of this process; `ru_maxrss` would include its parent's."""
    text = Path("/proc/self/status").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) // 1024


def _batches(source: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(source) as file:
        yield from file.iter_batches(batch_size=BATCH_ROWS)


def _lines(source: Path) -> Iterator[bytes]:
    for batch in _batches(source):
        for row in batch.to_pylist():
            yield json.dumps(row).encode() + b"\n"


def _parquet(source: Path, _folder: Path) -> Path:
    return source


def _jsonl(source: Path, folder: Path) -> Path:
    path = folder / "in.jsonl"
    with path.open("wb") as file:
        file.writelines(_lines(source))
    return path


def _jsonl_gz(source: Path, folder: Path) -> Path:
    path = folder / "in.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.writelines(_lines(source))
    return path


def _csv(source: Path, folder: Path) -> Path:
    path = folder / "in.csv"
    schema = pq.read_schema(source)
    with pv.CSVWriter(path, schema) as writer:
        for batch in _batches(source):
            writer.write_batch(batch)
    return path


def _arrow(source: Path, folder: Path) -> Path:
    path = folder / "in.arrow"
    with pa.ipc.new_file(path, pq.read_schema(source)) as writer:
        for batch in _batches(source):
            writer.write_batch(batch)
    return path


def _stream(source: Path, folder: Path) -> Path:
    path = folder / "stream.arrow"
    with pa.ipc.new_stream(path, pq.read_schema(source)) as writer:
        for batch in _batches(source):
            writer.write_batch(batch)
    return path


def _requests(source: Path, folder: Path) -> Path:
    path = folder / "batch.jsonl"
    with path.open("w") as file:
        for batch in _batches(source):
            for row in batch.to_pylist():
                body = {"messages": [{"role": "user", "content": row["prompt"]}]}
                line = {"custom_id": str(row["id"]), "prompt": "", "body": body}
                file.write(json.dumps(line) + "\n")
    return path


def _delta(source: Path, folder: Path) -> Path:
    import deltalake  # noqa: PLC0415 - an extra

    path = folder / "table"
    deltalake.write_deltalake(
        path, pa.RecordBatchReader.from_batches(pq.read_schema(source), _batches(source))
    )
    return path


FORMATS: dict[str, Callable[[Path, Path], Path]] = {
    "Parquet": _parquet,
    "Arrow IPC file": _arrow,
    "Delta": _delta,
    "JSON lines": _jsonl,
    "JSON lines, gzip": _jsonl_gz,
    "OpenAI batch": _requests,
    "CSV": _csv,
    "Arrow IPC stream": _stream,
}


if __name__ == "__main__":
    main()
