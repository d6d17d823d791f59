"""The summary of a run, printed at its end."""

from typing import Any

from rich.console import RenderableType

from mayfly.cli.render.plan import details_table
from mayfly.models.durations import short, span
from mayfly.planning.pricing import dollars
from mayfly.reporting.progress import STEP_LABELS

ERROR_KINDS = 3
"""Kinds of errors that the summary shows; the report shows more."""


def summary(report: dict[str, Any]) -> RenderableType:
    """Draw a report: rows, tokens, throughput, time, cost, and how the endpoint ended."""
    rows, tokens = report["rows"], report["tokens"]
    table = details_table()
    answered = rows["done"] - rows["failed"]
    errors = f", {rows['failed']:,} failed" if rows["failed"] else ""
    left = f", {rows['remaining']:,} remaining" if rows["remaining"] else ""
    table.add_row("rows", f"{answered:,} of {rows['total']:,} answered{errors}{left}")
    for text in _errors(report):
        table.add_row("errors", text)
    if rows["resumed"]:
        table.add_row("", f"{rows['resumed']:,} by earlier runs, not sent again")
    table.add_row(
        "tokens",
        f"{tokens['prompt']:,} in, {tokens['completion']:,} out"
        + (f", {cached_text(tokens)}" if tokens["cached"] else ""),
    )
    throughput = report["throughput"]
    if throughput["rows_per_s"]:
        latency = report.get("latency", {})
        slowest = latency.get("p99_s")
        table.add_row(
            "throughput",
            f"{throughput['rows_per_s']:,.1f} rows/s, "
            f"{throughput['completion_tokens_per_s']:,.0f} tokens/s"
            + (f", p50 latency {short(latency['p50_s'])}, p99 {short(slowest)}" if slowest else ""),
        )
    elif not report["endpoints"]:
        table.add_row("", "no rows were left to send; no endpoint was created")
    took = ", ".join(
        f"{STEP_LABELS.get(name, name)} {span(seconds)}"
        for name, seconds in report["seconds"].items()
        if seconds >= 0.5
    )
    table.add_row("time", took or "under a second")
    table.add_row("cost", cost_line(report["cost"]))
    if any(endpoint.get("bills_anyway") for endpoint in report["endpoints"]):
        table.add_row("", "the endpoint was running already: it bills with and without this run")
    if (estimate := report.get("estimate")) and report["endpoints"]:
        table.add_row("estimate", _planned(estimate))
    for endpoint in report["endpoints"]:
        table.add_row("endpoint", f"{endpoint['name']}: {endpoint['ended']}")
    table.add_row("answers", f"{report['output']}  ({_how_to_read(report)})")
    table.add_row("report", f"{report['output'].rstrip('/')}/_mayfly/report.html")
    return table


def _errors(report: dict[str, Any]) -> list[str]:
    """Return a line for each of the most frequent errors."""
    kinds = report.get("errors") or []
    lines = [
        f"{kind['rows']:,} {'row' if kind['rows'] == 1 else 'rows'}: {kind['error']}"
        for kind in kinds[:ERROR_KINDS]
    ]
    if more := len(kinds) - len(lines):
        lines.append(f"and {more:,} more kinds, in the report")
    return lines


def _how_to_read(report: dict[str, Any]) -> str:
    if not report["rows"]["remaining"]:
        return "pandas.read_parquet reads the folder"
    # Rows of unfinished shards are in journals, which pandas does not read.
    return "`mayfly export` with --partial reads those received so far"


def cached_text(tokens: dict[str, Any]) -> str:
    """Return the share of prompt tokens from the prompt cache."""
    share = tokens["cached"] / max(tokens["prompt"], 1)
    return f"{tokens['cached']:,} of those in ({100 * share:.1f} %) from the prompt cache"


def _planned(estimate: dict[str, Any]) -> str:
    """Return the estimate with its intervals."""
    seconds, usd = estimate["seconds"], estimate["usd"]
    return (
        f"{dollars(usd['mid'])} ({dollars(usd['low'])} to {dollars(usd['high'])}) and "
        f"{span(seconds['mid'])} ({span(seconds['low'])} to {span(seconds['high'])})"
    )


def cost_line(cost: dict[str, Any]) -> str:
    """Return the cost of a run: total, and per million tokens."""
    minutes = cost["replica_minutes"]
    line = f"${cost['usd']:.2f} for {minutes:,} replica-minute{'' if minutes == 1 else 's'}"
    if per_million := cost.get("usd_per_million_completion_tokens"):
        line += f", ${per_million:,.2f} per million completion tokens"
    return line
