"""`make demo`: the main job, end to end, on the sample, against the embedded endpoint."""

import shutil
import sys
from pathlib import Path

import pandas as pd

from flows.cli import main

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
        with pd.option_context("display.max_colwidth", 60, "display.width", 120):
            sys.stdout.write(f"\n{answers[['message', 'response']].head(5)}\n")
        sys.stdout.write(
            f"\nThe answers are in {OUTPUT} and the endpoint is gone. They are made up: the "
            "embedded endpoint emulates Together, not a model.\n"
        )
    return code


if __name__ == "__main__":
    sys.exit(demo())
