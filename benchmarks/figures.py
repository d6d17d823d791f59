"""Print a benchmark's results as a table, and write them as JSON under out/benchmarks/."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

OUT = Path(__file__).parents[1] / "out" / "benchmarks"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table as Markdown, so that it can be quoted."""
    print(f"\n{title}\n")
    print(f"| {' | '.join(columns)} |")
    print(f"| {' | '.join('---' for _ in columns)} |")
    for row in rows:
        print(f"| {' | '.join(_text(cell) for cell in row)} |")


def keep(name: str, figures: dict[str, Any]) -> Path:
    """Write the figures as JSON, with a description of the machine; return the path."""
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{name}.json"
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "at": time.time()}
    path.write_bytes(
        orjson.dumps({"machine": machine, **figures}, option=orjson.OPT_INDENT_2, default=str)
    )
    print(f"\n{path.relative_to(OUT.parents[1])}")
    return path


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.3f}" if abs(cell) < 10 else f"{cell:,.0f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
