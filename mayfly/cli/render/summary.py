"""The last screen of a run."""

from typing import Any

from rich.console import RenderableType

from mayfly.cli.render.plan import facts
from mayfly.models.durations import short, span
from mayfly.planning.pricing import dollars


def summary(report: dict[str, Any]) -> RenderableType:
    """Draw a report: what came back, what it took, what it cost, and that the endpoint is gone."""
    rows, tokens = report["rows"], report["tokens"]
    table = facts()
    answered = rows["done"] - rows["failed"]
    errors = f", {rows['failed']:,} with an error" if rows["failed"] else ""
    left = f", {rows['remaining']:,} left" if rows["remaining"] else ""
    table.add_row("rows", f"{answered:,} of {rows['total']:,} answered{errors}{left}")
    if rows["resumed"]:
        table.add_row("", f"{rows['resumed']:,} of them by earlier runs, not sent again")
    table.add_row(
        "tokens",
        f"{tokens['prompt']:,} in, {tokens['completion']:,} out"
        + (f", {cached_words(tokens)}" if tokens["cached"] else ""),
    )
    throughput = report["throughput"]
    if throughput["rows_per_s"]:
        slowest = report.get("latency", {}).get("p99_s")
        table.add_row(
            "throughput",
            f"{throughput['rows_per_s']:,.1f} rows/s, "
            f"{throughput['completion_tokens_per_s']:,.0f} tokens/s"
            + (f", 99 % within {short(slowest)}" if slowest else ""),
        )
    elif not report["endpoints"]:
        table.add_row("", "nothing was left to send, so nothing was rented")
    took = ", ".join(
        f"{name.replace('_', ' ')} {span(seconds)}"
        for name, seconds in report["seconds"].items()
        if seconds >= 0.5
    )
    table.add_row("time", took or "under a second")
    table.add_row("cost", cost_line(report["cost"]))
    if estimate := report.get("estimate"):
        table.add_row("", f"planned: {_planned(estimate)}")
    for endpoint in report["endpoints"]:
        table.add_row("endpoint", f"{endpoint['name']}: {endpoint['ended']}")
    table.add_row("answers", f"{report['output']}  (pandas.read_parquet reads the folder)")
    table.add_row("report", f"{report['output'].rstrip('/')}/_mayfly/report.html")
    return table


def cached_words(tokens: dict[str, Any]) -> str:
    """Return how many tokens of the prompts the endpoint had read before."""
    share = tokens["cached"] / max(tokens["prompt"], 1)
    return f"{tokens['cached']:,} of those in ({100 * share:.1f} %) from the prompt cache"


def _planned(estimate: dict[str, Any]) -> str:
    """Return what had been expected, with the intervals."""
    seconds, usd = estimate["seconds"], estimate["usd"]
    return (
        f"{dollars(usd['mid'])} ({dollars(usd['low'])} to {dollars(usd['high'])}) and "
        f"{span(seconds['mid'])} ({span(seconds['low'])} to {span(seconds['high'])})"
    )


def cost_line(cost: dict[str, Any]) -> str:
    """Return what a run cost and what a million tokens came to."""
    minutes = cost["replica_minutes"]
    line = f"${cost['usd']:.2f} for {minutes:,} replica-minute{'' if minutes == 1 else 's'}"
    if per_million := cost.get("usd_per_million_completion_tokens"):
        line += f", ${per_million:,.2f} per million tokens out"
    return line
