"""Past runs as a table: what was asked of whom, what it took, what it cost."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tasks.core.span import span

_COLUMNS = {
    "when": "left",
    "model": "left",
    "hardware": "left",
    "rows": "right",
    "took": "right",
    "tokens/s": "right",
    "cost": "right",
    "estimate": "right",
    "outcome": "left",
}


def history_table(runs: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Draw the runs, newest last; columns of which no run knows anything are left out."""
    if not runs:
        return Text("no runs yet on this machine")
    rows = [_row(run) for run in runs]
    table = Table(box=None, padding=(0, 1), header_style="bold")
    shown = [name for name in _COLUMNS if any(row[name] for row in rows)]
    for name in shown:
        left = _COLUMNS[name] == "left"
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(row[name]) for name in shown))
    return table


def _row(run: Mapping[str, Any]) -> dict[str, str]:
    cost, pace = run.get("cost") or {}, run.get("throughput") or {}
    estimate = (run.get("estimate") or {}).get("usd")
    tokens_per_s = pace.get("completion_tokens_per_s")
    return {
        "when": time.strftime("%Y-%m-%d %H:%M", time.localtime(run.get("started_at", 0))),
        "model": str(run.get("model", "")).rpartition("/")[2],
        "hardware": ", ".join(dict.fromkeys(run.get("hardware") or ())),
        "rows": f"{run.get('rows', 0):,}",
        "took": span(run["ended_at"] - run["started_at"]) if "ended_at" in run else "",
        "tokens/s": f"{tokens_per_s:,.0f}" if tokens_per_s else "",
        "cost": f"${cost['usd']:.2f}" if "usd" in cost else "",
        "estimate": f"${estimate:.2f}" if isinstance(estimate, int | float) else "",
        "outcome": str(run.get("outcome", "")).partition(":")[0],
    }
