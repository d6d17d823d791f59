"""The last screen of a run."""

from typing import Any

from rich.console import RenderableType
from rich.table import Table

from tasks.core.span import span


def summary(report: dict[str, Any]) -> RenderableType:
    """Draw a report: what came back, what it took, what it cost, and that the endpoint is gone."""
    rows, tokens, cost = report["rows"], report["tokens"], report["cost"]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right")
    table.add_column()
    answered = rows["done"] - rows["failed"]
    errors = f", {rows['failed']:,} with an error" if rows["failed"] else ""
    left = f", {rows['remaining']:,} left" if rows["remaining"] else ""
    table.add_row("rows", f"{answered:,} of {rows['total']:,} answered{errors}{left}")
    if rows["resumed"]:
        table.add_row("", f"{rows['resumed']:,} of them by earlier runs, not sent again")
    table.add_row(
        "tokens",
        f"{tokens['prompt']:,} in, {tokens['completion']:,} out"
        + (f", {tokens['cached']:,} from the prompt cache" if tokens["cached"] else ""),
    )
    if rows["this_run"]:
        pace = report["throughput"]
        per_s = f"{pace['rows_per_s']:,.1f} rows/s"
        table.add_row("pace", f"{per_s}, {pace['completion_tokens_per_s']:,.0f} tokens/s")
    else:
        table.add_row("", "nothing was left to send, so nothing was rented")
    took = ", ".join(
        f"{name.replace('_', ' ')} {span(seconds)}"
        for name, seconds in report["seconds"].items()
        if seconds >= 0.05
    )
    table.add_row("time", took)
    table.add_row("cost", f"${cost['usd']:.2f} for {cost['replica_minutes']} replica-minutes")
    for endpoint in report["endpoints"]:
        table.add_row("endpoint", f"{endpoint['name']}: {endpoint['ended']}")
    table.add_row("answers", f"{report['output']}  (pandas.read_parquet reads the folder)")
    table.add_row("report", f"{report['output'].rstrip('/')}/_mayfly/report.html")
    return table
