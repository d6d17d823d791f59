"""What a run shows of itself in Prefect: its plan as rows and text, its result as text.

Browsers refuse `file://` links, and the path may be another machine's: folders are shown as text
with the machine's name. A link to the report is there where the job says under which URL people
can open the output folder.
"""

from typing import Any

from mayfly.models.durations import span
from mayfly.planning.plan import Plan
from mayfly.planning.pricing import dollars
from mayfly.reporting.progress import Snapshot

_TEARDOWN = {"delete": "deleted", "stop": "stopped", "keep": "kept, and goes on billing"}

LONGEST_TEXT = 500
"""Characters of an error or a sample that the result shows."""


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """Return the plan as a table: one row for each kind of hardware, the chosen one first."""
    if plan.placement is None:
        return []
    rows = []
    for candidate in plan.placement.candidates:
        offer, quote = candidate.offer, plan.quote_of(candidate.offer)
        forecast = None if quote is None else quote.forecast
        rows.append(
            {
                "hardware": offer.hardware,
                "GPUs": offer.gpu_count,
                "$/h": f"{offer.price_usd_per_h:.2f}",
                "time": "" if forecast is None else span(forecast.seconds.mid),
                "cost": "" if forecast is None else dollars(forecast.usd.mid),
                "why": candidate.why,
                "free": ", ".join(str(region) for region in offer.regions) or "unknown",
            }
        )
    return rows


def of_hardware(hardware: str, replicas: object = 1) -> str:
    """Return a number of replicas of a kind of hardware, in words."""
    many = "" if str(replicas) == "1" else f"{replicas} replicas of "
    return f"{many}{hardware or 'unknown hardware'}"


def plan_line(plan: Plan) -> str:
    """Return the plan in one line: what would be rented, for what, at which price."""
    rows = f"{plan.preview.dataset.rows:,} rows"
    if plan.placement is None:
        return f"{rows} on the existing endpoint {plan.existing.name if plan.existing else '?'}"
    line = f"{rows} on {of_hardware(plan.placement.chosen.hardware, plan.replicas)}, "
    line += f"${plan.usd_per_h:.2f}/h"
    if plan.chosen is not None:
        forecast = plan.chosen.forecast
        line += f"; about {span(forecast.seconds.mid)} and {dollars(forecast.usd.mid)}"
    return line


def plan_question(plan: Plan) -> str:
    """Return the plan as a person is asked to approve it, in Markdown."""
    job, quote = plan.preview.job, plan.chosen
    cost, time_s = job.limits.max_cost_usd, job.limits.deadline_s
    if quote is None:
        estimate = "unknown"
    else:
        usd, seconds = quote.forecast.usd, quote.forecast.seconds
        estimate = (
            f"{dollars(usd.mid)} ({dollars(usd.low)} to {dollars(usd.high)}), "
            f"{span(seconds.mid)} ({span(seconds.low)} to {span(seconds.high)})"
        )
    lines = [
        "**Approve this spend?** Nothing is rented, and nothing bills, until you approve.",
        "",
        f"- **batch** {plan.preview.dataset.rows:,} rows of `{job.input}`",
        f"- **model** {job.model}",
        f"- **endpoint** {plan.existing.name}, which exists"
        if plan.existing is not None
        else f"- **rent** {plan_line(plan).partition(' on ')[2].partition(';')[0]}, by the minute",
        f"- **estimate** {estimate}",
        f"- **stops at** {'no cost limit' if cost is None else f'${cost:,.2f}'}, "
        f"{'no deadline' if time_s is None else span(time_s)}",
        f"- **at the end** the endpoint is {_TEARDOWN[job.rental.teardown]}",
        *(f"- **note** {note}" for note in (plan.advice, *plan.warnings) if note),
    ]
    return "\n".join(lines)


def progress_line(now: Snapshot) -> str:
    """Return how far a run is, in one line."""
    parts = [f"{now.done:,} of {now.rows:,} rows"]
    if now.tally.failed:
        parts.append(f"{now.tally.failed:,} with an error")
    parts.append(f"{now.rows_per_s:,.1f} rows/s, {now.tokens_per_s:,.0f} tokens/s")
    parts.append(f"{now.in_flight:,} in flight")
    parts.append(f"${now.spent_usd:.2f} spent")
    if now.left_s:
        parts.append(f"about {span(now.left_s)} left")
    return "; ".join(parts)


def result_line(report: dict[str, Any]) -> str:
    """Return the result in one line: rows, dollars, and what became of the endpoint."""
    rows = report["rows"]
    answered = rows["done"] - rows["failed"]
    errors = f", {rows['failed']:,} with an error" if rows["failed"] else ""
    ends = "; ".join(endpoint["ended"] for endpoint in report["endpoints"]) or "none was needed"
    return (
        f"{answered:,} of {rows['total']:,} rows answered{errors}; "
        f"${report['cost']['usd']:.2f}; endpoint: {ends}"
    )


def result_markdown(report: dict[str, Any], *, folder: str, host: str, report_url: str = "") -> str:
    """Return the result as a page: figures, errors and a sample, and where the files are.

    Args:
        folder: The output folder: its absolute path, or its URI.
        host: Name of the machine that has the folder.
        report_url: Where people can open the report; empty where they cannot.
    """
    place = folder if "://" in folder else f"{host}:{folder}"
    parts = [_table(_figures(report)), f"Files on **{host}**" if "://" not in folder else "Files"]
    parts.append(f"```\n{place}\n{place.rstrip('/')}/_mayfly/report.html\n```")
    if report_url:
        parts.insert(0, f"[Open the report]({report_url})")
    if errors := report.get("errors"):
        rows = [(_one_line(str(kind.get("error", ""))), f"{kind['rows']:,}") for kind in errors]
        parts.append("**Errors**\n\n" + _table([("error", "rows"), *rows]))
    parts += [
        f"**Row {sample['row']}**\n\n> {_one_line(str(sample['response']))}"
        for sample in report.get("samples", [])[:1]
        if sample.get("response")
    ]
    return "\n\n".join(parts)


def report_link(report_url: str | None) -> str:
    """Return the report's URL below the URL of the output folder."""
    return f"{report_url.rstrip('/')}/_mayfly/report.html" if report_url else ""


def _figures(report: dict[str, Any]) -> list[tuple[str, str]]:
    rows, tokens, cost = report["rows"], report["tokens"], report["cost"]
    answered = rows["done"] - rows["failed"]
    per_s = [report["throughput"][f"{kind}_per_s"] for kind in ("rows", "completion_tokens")]
    latency, per_million = report.get("latency") or {}, cost["usd_per_million_completion_tokens"]
    endpoints = "; ".join(f"{e['name']}: {e['ended']}" for e in report["endpoints"])
    figures = [
        (
            "rows",
            f"{answered:,} of {rows['total']:,} answered, {rows['failed']:,} with an error, "
            f"{rows['remaining']:,} left",
        ),
        ("model", report["job"]["model"]),
        ("input", f"`{report['job']['input']}`"),
        ("tokens", f"{tokens['prompt']:,} in, {tokens['completion']:,} out"),
        (
            "throughput",
            "no requests were sent"
            if None in per_s
            else f"{per_s[0]:,.1f} rows/s, {per_s[1]:,.0f} tokens/s",
        ),
    ]
    if latency.get("count"):
        figures.append(("latency", f"p50 {latency['p50_s']:.2f} s, p99 {latency['p99_s']:.2f} s"))
    spent = f"${cost['usd']:.2f} for {cost['replica_minutes']} replica-minutes"
    if per_million is not None:
        spent += f", ${per_million:.2f} per million tokens out"
    return [*figures, ("cost", spent), ("endpoint", endpoints or "none was needed")]


def _table(rows: list[tuple[str, str]]) -> str:
    head, *body = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    lines = [head, ("---", "---"), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _one_line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= LONGEST_TEXT else flat[:LONGEST_TEXT] + " …"
