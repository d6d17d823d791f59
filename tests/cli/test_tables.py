"""Tables use the width of the terminal and never wrap."""

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from mayfly.cli.render.fitting_table import Column, FittingTable
from mayfly.cli.render.history import by_tag, history_table
from mayfly.cli.render.summary import summary


def drawn(what: RenderableType, width: int) -> list[str]:
    """Return the lines that a terminal of some width shows."""
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, color_system=None).print(what)
    return [line.rstrip() for line in out.getvalue().splitlines()]


TABLE = FittingTable(
    [
        Column(name="name", cells=["alpha"]),
        Column(name="count", cells=["12 (10-14)"], narrower={1: ["12"], 3: None}, right=True),
        Column(name="why", cells=["because of this"], narrower={2: ["this"]}),
    ]
)


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (60, " alpha  12 (10-14)  because of this"),
        (34, " alpha     12  because of this"),
        (25, " alpha     12  this"),
        (16, " alpha  this"),
    ],
)
def test_table_uses_the_widest_form_that_fits(width: int, line: str) -> None:
    assert drawn(TABLE, width)[1] == line


def test_table_that_does_not_fit_is_cut_and_not_wrapped() -> None:
    assert len(drawn(TABLE, 8)) == 2


def run(**changes: Any) -> dict[str, Any]:
    """Return a record of the history."""
    held = {"low": 1.0, "mid": 2.0, "high": 3.0, "actual": 5.0, "held": False}
    return {
        "started_at": 1.8e9, "ended_at": 1.8e9 + 600, "model": "Qwen/Qwen2.5-7B-Instruct",
        "hardware": "1xnvidia-h100-80gb", "rows": 1000, "failed": 2, "prompt_tokens": 40_000,
        "completion_tokens": 60_000, "completion_tokens_per_s": 3000.0, "usd": 0.37,
        "usd_per_million_tokens": 3.5, "outcome": "complete",
        "estimate": {"usd": held, "seconds": held}, "tags": {"team": "search"}, **changes,
    }  # fmt: skip


@pytest.mark.parametrize("width", [50, 80, 120, 200])
def test_history_fits_the_terminal_width(width: int) -> None:
    lines = drawn(history_table([run(), run(usd=12.5)]), width)

    assert max(map(len, lines)) <= width
    assert any("1,000" in line and "$0.37" in line for line in lines)
    assert any("█" in line for line in lines)


def test_history_by_tag_sums_runs_and_cost() -> None:
    runs = [run(), run(usd=0.5), run(usd=2.0, tags={"team": "ads"}), run(tags={}), {"later": 1}]

    sums = by_tag(runs, "team")

    assert [(each["value"], each["runs"], each["usd"]) for each in sums] == [
        ("ads", 1, 2.0),
        ("search", 2, 0.87),
        ("", 2, 0.37),
    ]
    assert sums[0]["usd_per_million_tokens"] == 20.0
    lines = drawn(history_table(runs, by="team"), 80)
    assert lines[0].split()[0] == "team"
    assert any(line.split()[:2] == ["search", "2"] for line in lines)


def report(**changes: Any) -> dict[str, Any]:
    """Return what the summary reads of a run's report."""
    return {
        "rows": {"total": 20, "done": 20, "failed": 0, "remaining": 0, "resumed": 0},
        "tokens": {"prompt": 1, "completion": 1, "cached": 0},
        "throughput": {"rows_per_s": 0, "completion_tokens_per_s": 0}, "seconds": {},
        "cost": {"usd": 0.0, "replica_minutes": 0}, "endpoints": [], "output": "out", **changes,
    }  # fmt: skip


@pytest.mark.parametrize(("remaining", "how"), [(0, "pandas.read_parquet"), (7, "--partial")])
def test_summary_names_a_way_to_read_the_answers_that_works(remaining: int, how: str) -> None:
    rows = {"total": 20, "done": 20 - remaining, "failed": 0, "remaining": remaining, "resumed": 0}

    lines = drawn(summary(report(rows=rows)), 120)

    (line,) = [line for line in lines if line.split()[:1] == ["answers"]]
    assert how in line


def test_summary_has_the_most_frequent_errors_and_the_number_of_others() -> None:
    kinds = [{"rows": 9 - n, "first_row": n, "error": f"kind_{n}: why"} for n in range(5)]

    text = "\n".join(drawn(summary(report(errors=kinds)), 120))

    assert "9 rows: kind_0: why" in text
    assert "7 rows: kind_2: why" in text
    assert "kind_3" not in text
    assert "2 more kinds" in text
