"""`make demo`: the main job, end to end, on the sample, against the local emulator."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.table import Table
from rich.text import Text

from mayfly.cli.local_emulator import SPEED, embedded_endpoint
from mayfly.cli.main import main
from mayfly.cli.render.console import console

HERE = Path(__file__).parent
OUTPUT = Path("out/demo")
MODEL = "Qwen/Qwen3.5-9B"
PROMPT = "Classify this support message from a {{ customer_tier }} customer. Message: {{ message }}"
CLOCK = ("--serving-speed", "1")
"""Starting and stopping are fast; answers take real time, so that you can follow them."""

INTRODUCTION = f"""\
A rehearsal on the local emulator: no real endpoint is created, and no API key is used.
  real      the requests over HTTP, the files, the plan, the report, the teardown
  emulated  the endpoint, its GPUs, its billing, and the answers (text that fits the schema)
  clock     {SPEED:g} times as fast while the endpoint starts and stops, real time while it answers
"""


def job(*options: str, output: Path) -> list[str]:
    """Return the command line of the demo's job."""
    return [
        "run", str(HERE / "sample.parquet"),
        "--model", MODEL,
        "--prompt", PROMPT,
        "--schema", str(HERE / "sample.schema.json"),
        "--temperature", "0",
        "--output", str(output),
        "--yes",
        *options,
    ]  # fmt: skip


def run(command: Sequence[str], output: Path, *emulator: str) -> int:
    """Run a job against a new emulator; show some answers; return the exit code.

    Args:
        emulator: Options of the emulator.
    """
    shutil.rmtree(output, ignore_errors=True)
    with embedded_endpoint(os.environ, options=emulator) as environment:
        # As a user with a real endpoint would export them.
        os.environ.update({**environment.folders, **environment.connection.environment()})
        code = main(list(command))
    if code == 0:
        show(output)
    return code


def show(output: Path) -> None:
    """Print the first messages and their answers."""
    out = console()
    table = Table(box=None, padding=(0, 2), header_style="bold", expand=out.is_terminal)
    for name in ("message", "response"):
        table.add_column(name, no_wrap=True, ratio=1)
    for row in pd.read_parquet(output).head(5).itertuples():
        # A real model may spread its JSON over lines.
        table.add_row(Text(str(row.message)), Text(" ".join(str(row.response).split())))
    out.print("", table, "")


def demo() -> int:
    """Run the job and print where the results are."""
    console().print(INTRODUCTION)
    code = run(job(output=OUTPUT), OUTPUT, *CLOCK)
    if code == 0:
        out = console()
        out.print(f"Results: {OUTPUT} (pandas.read_parquet reads the folder).")
        out.print(f"Report: {OUTPUT}/_mayfly/report.html. The endpoint has been deleted.")
        out.print("The answers are generated text. For those of a real model: make demo-real.")
    return code


if __name__ == "__main__":
    sys.exit(demo())
