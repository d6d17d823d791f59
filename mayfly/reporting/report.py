"""The figures of a run: `report.json`."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from mayfly.models.command_line import run_command
from mayfly.models.job import Job
from mayfly.models.rows import Tally
from mayfly.reporting.output_stats import Results
from mayfly.reporting.progress import Progress

FORMAT = 1


def figures(
    *,
    run: str,
    outcome: str,
    job: dict[str, Any],
    started_at: float,
    progress: Progress,
    total: Tally,
    endpoints: list[dict[str, Any]],
    moves: list[str],
    results: Results,
    usd_before: float,
    earlier_teardowns: list[dict[str, Any]],
    environment: Mapping[str, Any] | None = None,
    earlier_runs: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return `report.json`: the figures of one run and the state of its output.

    Args:
        outcome: `complete`, `errors`, `stopped`, `interrupted` or `failed: why`.
        progress: The run's progress at its end.
        total: Totals of the whole output, earlier runs included.
        endpoints: One record per endpoint, with the proof of teardown.
        moves: Reasons for moving on to another endpoint.
        results: Statistics of the parts, also of the whole output.
        usd_before: Cost of earlier runs into the same output.
        earlier_teardowns: Proofs of teardowns in this output that a run did not do itself.
        environment: Versions, host and the input's commit; see `reporting.environment`.
        earlier_runs: Records of earlier runs of the same job, oldest first, for comparison.
    """
    snapshot = progress.snapshot()
    this = snapshot.tally
    usd = sum(endpoint["usd"] for endpoint in endpoints)
    inferring_s = snapshot.inferring_s
    return {
        "format": FORMAT,
        "run": run,
        "outcome": outcome,
        "reason": "" if progress.error is None else str(progress.error),
        "started_at": started_at,
        "ended_at": time.time(),
        "environment": dict(environment or {}),
        "job": job,
        "tags": job.get("tags", {}),
        "retry_command": run_command(Job.model_validate(job), "--retry-failed"),
        "output": job["output"],
        "rows": {
            "total": snapshot.rows,
            "done": total.done,
            "failed": total.failed,
            "remaining": snapshot.rows - total.done,
            "resumed": snapshot.resumed.done,
            "this_run": this.done,
            "copied": snapshot.copied,
        },
        "tokens": {
            "prompt": total.prompt_tokens,
            "completion": total.completion_tokens,
            "cached": total.cached_tokens,
            "cached_share": round(total.cached_tokens / max(total.prompt_tokens, 1), 4),
        },
        "requests": total.requests,
        "retries": dict(snapshot.retries),
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
            "usd_per_million_tokens": _per(usd * 1e6, this.prompt_tokens + this.completion_tokens),
            "usd_all_runs": round(usd + usd_before, 4),
            "billing_assumption": "every started minute of a ready replica",
        },
        "endpoints": endpoints,
        "moves": moves,
        **_with_cost_per_row(results.as_dict(), usd + usd_before),
        "earlier_runs": [dict(run) for run in earlier_runs],
        "phases": _phases(progress, snapshot.elapsed_s),
        "series": progress.series.columns(),
        "earlier_teardowns": earlier_teardowns,
    }


def _with_cost_per_row(results: dict[str, Any], usd: float) -> dict[str, Any]:
    """Add the distribution of dollars per row: a row costs its share of all tokens."""
    tokens = results["per_row"]["tokens"]
    total_tokens = (tokens["mean"] or 0.0) * tokens["count"]
    price = usd / total_tokens if total_tokens else 0.0
    if price > 0:
        scaled = {
            name: None if value is None else value * price
            for name, value in tokens.items()
            if name not in ("count", "bins")
        }
        bins = [[low * price, high * price, rows] for low, high, rows in tokens["bins"]]
        results["per_row"]["usd"] = {"count": tokens["count"], **scaled, "bins": bins}
    return results


def run_record(report: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest's record of a run."""
    return {
        name: report[name]
        for name in ("run", "outcome", "started_at", "ended_at", "seconds", "cost", "throughput")
    } | {
        "rows": report["rows"]["this_run"],
        "hardware": [endpoint["hardware"] for endpoint in report["endpoints"]],
    }


def _phases(progress: Progress, end_s: float) -> list[dict[str, Any]]:
    """Return the steps in the order in which they were taken, in seconds since the start."""
    steps = [event for event in progress.events if event.kind == "phase"]
    ends = [*(event.at_s for event in steps[1:]), end_s]
    return [
        {**event.fields, "from_s": round(event.at_s, 3), "to_s": round(to_s, 3)}
        for event, to_s in zip(steps, ends, strict=True)
    ]


def _per(amount: float, total_tokens: float) -> float | None:
    return round(amount / total_tokens, 6) if total_tokens > 0 else None
