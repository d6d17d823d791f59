"""What a run leaves behind about itself: figures for machines, a page for people."""

import time
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.core.rows import Tally
from tasks.progress import Snapshot

_PAGES = Path(__file__).parent / "pages"
FORMAT = 1


def figures(
    *,
    run: str,
    outcome: str,
    job: dict[str, Any],
    started_at: float,
    snapshot: Snapshot,
    total: Tally,
    endpoints: list[dict[str, Any]],
    moves: list[str],
) -> dict[str, Any]:
    """Return `report.json`: the figures of one run and the state of its output.

    Args:
        outcome: `complete`, `errors`, `stopped`, `interrupted` or `failed: why`.
        snapshot: The run's last.
        total: Sums over the whole output, earlier runs included.
        endpoints: One record each, with the proof of teardown.
        moves: Why the run went on to another endpoint.
    """
    this = snapshot.tally
    usd = sum(endpoint["usd"] for endpoint in endpoints)
    inferring_s = snapshot.inferring_s
    return {
        "format": FORMAT,
        "run": run,
        "outcome": outcome,
        "started_at": started_at,
        "ended_at": time.time(),
        "job": job,
        "output": job["output"],
        "rows": {
            "total": snapshot.rows,
            "done": total.done,
            "failed": total.failed,
            "remaining": snapshot.rows - total.done,
            "resumed": snapshot.resumed.done,
            "this_run": this.done,
        },
        "tokens": {
            "prompt": total.prompt_tokens,
            "completion": total.completion_tokens,
            "cached": total.cached_tokens,
        },
        "requests": total.requests,
        "throughput": {
            "rows_per_s": _per(this.done, inferring_s),
            "prompt_tokens_per_s": _per(this.prompt_tokens, inferring_s),
            "completion_tokens_per_s": _per(this.completion_tokens, inferring_s),
        },
        "seconds": {name: round(seconds, 3) for name, seconds in snapshot.seconds.items()},
        "cost": {
            "usd": round(usd, 4),
            "replica_minutes": sum(endpoint["replica_minutes"] for endpoint in endpoints),
            "usd_per_row": _per(usd, this.done),
            "usd_per_million_completion_tokens": _per(usd * 1e6, this.completion_tokens),
            "billing_assumption": "every started minute of a ready replica",
        },
        "endpoints": endpoints,
        "moves": moves,
    }


def run_record(report: dict[str, Any]) -> dict[str, Any]:
    """Return what the manifest keeps of a run."""
    return {
        name: report[name]
        for name in ("run", "outcome", "started_at", "ended_at", "seconds", "cost", "throughput")
    } | {
        "rows": report["rows"]["this_run"],
        "hardware": [endpoint["hardware"] for endpoint in report["endpoints"]],
    }


def page(report: dict[str, Any]) -> str:
    """Return `report.html`: one page, no network, printable."""
    environment = Environment(
        loader=FileSystemLoader(_PAGES), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["when"] = _when
    return environment.get_template("report.html").render(report=report)


def _per(amount: float, whole: float) -> float | None:
    return round(amount / whole, 6) if whole > 0 else None


def _when(unix_s: float | None) -> str:
    if unix_s is None:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_s))
