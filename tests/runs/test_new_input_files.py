"""New files in the input folder are answered by the next run."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.machine import MODEL, Machine, Process


def put(folder: Path, name: str, first: int, rows: int) -> None:
    folder.mkdir(exist_ok=True)
    numbers = range(first, first + rows)
    prompts = [f"Question {n} of {folder}" for n in numbers]
    pq.write_table(pa.table({"n": list(numbers), "prompt": prompts}), folder / name)


def run(machine: Machine, *options: str) -> Process:
    process = machine.command(
        *("run", str(machine.folder / "in"), "--model", MODEL, "--output", str(machine.output)),
        *("--yes", *options),
    )
    process.wait()
    return process


def asked(machine: Machine) -> int:
    return sum(call.path.startswith("/v1/chat/") for call in machine.emulator.calls())


def test_new_input_files_are_answered_by_the_next_run(machine: Machine) -> None:
    folder = machine.folder / "in"
    put(folder, "2026-02.parquet", 0, 10)
    assert run(machine, "--incremental").wait() == 0
    first = (machine.output / "part-000000.parquet").read_bytes()

    # One that sorts before what was there, and one after.
    put(folder, "2026-01.parquet", 10, 5)
    put(folder, "2026-03.parquet", 15, 6)
    refused = run(machine)
    assert refused.wait() == 2
    assert "2026-01.parquet, 2026-03.parquet is new (--incremental" in refused.text
    assert asked(machine) == 10
    grown = run(machine, "--incremental")

    assert grown.wait() == 0, grown.text
    assert asked(machine) == 21
    table = pq.read_table(machine.output)
    assert table["n"].to_pylist() == list(range(21))
    assert table["response"].null_count == 0
    assert (machine.output / "part-000000.parquet").read_bytes() == first

    # Nothing has come since: with or without the option there is nothing to do.
    for options in ((), ("--incremental",)):
        assert run(machine, *options).wait() == 0
    assert asked(machine) == 21

    # What was there must stay as it was.
    put(folder, "2026-02.parquet", 100, 10)
    (folder / "2026-03.parquet").unlink()
    changed = run(machine, "--incremental")
    assert changed.wait() == 2
    assert "input file 2026-02.parquet has changed" in changed.text
    assert "input file 2026-03.parquet no longer exists" in changed.text
    assert asked(machine) == 21
