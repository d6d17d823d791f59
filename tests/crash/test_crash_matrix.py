"""The crash matrix: a run is killed at every point, and the promises are checked."""

import json
import os
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from tests.support.crash_matrix import AtRows, Cell, Outcome, cells_of, play
from tests.support.machine import Launcher, Machine, quick_emulator

ROOT = Path(__file__).parents[2]
WHOLE = bool(os.environ.get("CRASH_MATRIX_WHOLE"))
EVERY = [27, pytest.param(9, marks=pytest.mark.soak)]
"""One cell in so many is played, by the suite and by the soak; CRASH_MATRIX_WHOLE=1 plays all."""

OFFSETS = {("v2", "guardian"): 0, ("v2", "sweep"): 2, ("v1", "guardian"): 4, ("v1", "sweep"): 7}
AT_ONCE = 4

Line = Literal["guardian", "sweep"]


@contextmanager
def machine_of(launcher: Launcher, folder: Path, api: str, *, rows: int) -> Iterator[Machine]:
    """Set up a machine."""
    with quick_emulator(v1_create=api == "v1") as emulator:
        yield Machine(emulator, launcher, folder, api=api, rows=rows)


def play_cell(launcher: Launcher, folder: Path, api: str, cell: Cell, line: Line) -> Outcome:
    """Play one cell on a machine of its own."""
    # Enough rows to be counted while they are answered.
    with machine_of(launcher, folder, api, rows=120 if isinstance(cell, AtRows) else 16) as machine:
        return play(machine, cell, line=line)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("line", ["guardian", "sweep"])
@pytest.mark.parametrize("api", ["v2", "v1"])
def test_run_killed_at_any_point_leaves_nothing_and_loses_nothing(
    launcher: Launcher, tmp_path: Path, api: str, line: Line, every: int
) -> None:
    with machine_of(launcher, tmp_path / "whole", api, rows=16) as machine:
        whole = machine.run()
        assert whole.wait() == 0, whole.text
        calls = machine.management()
    cells = cells_of(calls)
    if not WHOLE:
        cells = cells[OFFSETS[api, line] :: every]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(
            pool.map(
                lambda numbered: play_cell(
                    launcher, tmp_path / f"cell-{numbered[0]}", api, numbered[1], line
                ),
                enumerate(cells),
            )
        )

    keep(outcomes, api=api, line=line, calls=len(calls))
    leaks = {outcome.cell: outcome.leaks for outcome in outcomes if outcome.leaks}
    assert leaks == {}
    # The number of polls varies with the machine, so that a late cell may not exist.
    late = [outcome.cell for outcome in outcomes if not outcome.reached]
    assert len(late) <= max(1, len(outcomes) // 4), late


def keep(outcomes: list[Outcome], *, api: str, line: str, calls: int) -> None:
    """Print the figures, and write them for the README."""
    outcomes = [outcome for outcome in outcomes if outcome.reached]
    billed = [outcome.stopped_s for outcome in outcomes if outcome.billed]
    stood = [outcome.gone_s for outcome in outcomes if outcome.stood]
    figures = {
        "api": api,
        "line": line,
        "cells": len(outcomes),
        "calls_of_a_whole_run": calls,
        "leaks": sum(len(outcome.leaks) for outcome in outcomes),
        "cells_that_billed": len(billed),
        "death_to_billing_stopped_s": _spread(billed),
        "death_to_gone_s": _spread(stood),
        "rows_asked_twice": sum(o.requests - o.rows for o in outcomes),
        "cpu_s": round(sum(o.cpu_s for o in outcomes), 1),
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    folder = ROOT / "out"
    folder.mkdir(exist_ok=True)
    data = {**figures, "outcomes": [outcome.as_dict() for outcome in outcomes]}
    (folder / f"crash-matrix-{api}-{line}.json").write_text(json.dumps(data, indent=2))


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    ordered = sorted(values)
    return {
        "min": round(ordered[0], 2),
        "median": round(statistics.median(ordered), 2),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 2),
        "max": round(ordered[-1], 2),
    }
