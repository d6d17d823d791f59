"""`make demo`: the main job, end to end, on the sample, against the embedded endpoint."""

import shutil
import sys
from pathlib import Path

import pandas as pd
from rich.table import Table
from rich.text import Text

from mayfly.cli.main import main
from mayfly.cli.render.console import console

HERE = Path(__file__).parent
OUTPUT = Path("out/demo")
PROMPT = "Classify this support message from a {{ customer_tier }} customer. Message: {{ message }}"


def demo() -> int:
    """Run the job, show some answers, say where the rest is and that the endpoint is gone."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    code = main(
        [
            "run", str(HERE / "sample.parquet"),
            "--model", "Qwen/Qwen2.5-7B-Instruct",
            "--prompt", PROMPT,
            "--schema", str(HERE / "sample.schema.json"),
            "--temperature", "0",
            "--output", str(OUTPUT),
            "--local", "--yes",
        ]
    )  # fmt: skip
    if code == 0:
        answers = pd.read_parquet(OUTPUT)
        out = console()
        table = Table(box=None, padding=(0, 2), header_style="bold", expand=out.is_terminal)
        for name in ("message", "response"):
            table.add_column(name, no_wrap=True, ratio=1)
        for row in answers.head(5).itertuples():
            table.add_row(Text(str(row.message)), Text(str(row.response)))
        out.print("", table, "")
        out.print(f"The answers are in {OUTPUT}, and the endpoint is gone.")
        out.print("They are made up: the embedded endpoint emulates Together, not a model.")
    return code


if __name__ == "__main__":
    sys.exit(demo())
