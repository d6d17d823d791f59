"""Run clients alternately, round by round, each in its own process on one core."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import orjson

from benchmarks.servers import CLIENT_CORE


class Case(NamedTuple):
    """One client with its settings and its server."""

    label: str
    arguments: Sequence[str]
    rows: int


def once(
    case: Case, folder: Path, *, env: dict[str, str] | None = None, output: Path | None = None
) -> dict[str, Any]:
    """Run a case once on the client's core; return what it printed."""
    output = output or folder / f"out-{os.urandom(6).hex()}"
    command = [sys.executable, "-m", "benchmarks.clients", *case.arguments]
    command += ["--rows", str(case.rows), "--output", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **(env or {})})
    os.sched_setaffinity(process.pid, {CLIENT_CORE})
    printed, _ = process.communicate(timeout=900)
    if process.returncode:
        raise SystemExit(f"{case.label}: {' '.join(command)} ended with {process.returncode}")
    result: dict[str, Any] = orjson.loads(printed)
    return result


def in_turn(
    cases: Sequence[Case], rounds: int, folder: Path, *, env: dict[str, str] | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Run every case once a round; return the results by label."""
    results: dict[str, list[dict[str, Any]]] = {case.label: [] for case in cases}
    for _ in range(rounds):
        for case in cases:
            results[case.label].append(once(case, folder, env=env))
    return results


def least_and_median(results: Sequence[dict[str, Any]], name: str) -> tuple[float, float]:
    """Return the minimum and the median of a figure."""
    values = [float(result[name]) for result in results]
    return min(values), median(values)
