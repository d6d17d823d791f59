"""Texts and tables of a run for Prefect's artifacts and state messages.

Browsers block `file://` links, and the path may be on another machine, so folders are shown as
text with the machine's name. The report is linked where the job has the URL of its output folder.
"""

from typing import Any

from mayfly.models.durations import span
from mayfly.planning.plan import Plan
from mayfly.planning.pricing import dollars
from mayfly.reporting.progress import Snapshot

_TEARDOWN = {"delete": "deleted", "stop": "stopped", "keep": "kept, and continues to bill"}

LONGEST_TEXT = 500
"""Maximum length of an error or a sample in the result, in characters."""


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """Return the plan as a table with a row per hardware candidate, the chosen one first."""
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
    """Return hardware with its number of replicas, for messages."""
    many = "" if str(replicas) == "1" else f"{replicas} replicas of "
    return f"{many}{hardware or 'unknown hardware'}"


def plan_line(plan: Plan) -> str:
    """Return the plan in one line: rows, hardware, price and estimate."""
    rows = f"{plan.preview.dataset.rows:,} rows"
    if plan.placement is None:
        return f"{rows} on the existing endpoint {plan.existing.name if plan.existing else '?'}"
    line = f"{rows} on {of_hardware(plan.placement.chosen.hardware, plan.replicas)}, "
    line += f"${plan.usd_per_h:.2f}/h"
    if plan.chosen is not None:
        forecast = plan.chosen.forecast
        line += f"; about {span(forecast.seconds.mid)} and {dollars(forecast.usd.mid)}"
    return line


def plan_question(plan: Plan, *, approved_usd: float | None = None) -> str:
    """Return the plan as the text of the approval dialog, in Markdown.

    Args:
        approved_usd: Upper end of an earlier, lower estimate that was approved, in dollars.
    """
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
        "**Approve this spend?** No endpoint is created until you approve."
        if approved_usd is None
        else f"**Approve this higher spend?** Up to {dollars(approved_usd)} was approved; the plan "
        "may now cost more. No endpoint is created until you approve.",
        "",
        f"- **batch** {plan.preview.dataset.rows:,} rows of `{job.input}`",
        f"- **model** {job.model}",
        f"- **endpoint** {plan.existing.name} (existing)"
        if plan.existing is not None
        else f"- **endpoint** {plan_line(plan).partition(' on ')[2].partition(';')[0]}, "
        "billed by the minute",
        f"- **estimate** {estimate}",
        f"- **stops at** {'no cost limit' if cost is None else f'${cost:,.2f}'}, "
        f"{'no deadline' if time_s is None else span(time_s)}",
        f"- **at the end** the endpoint is {_at_the_end(plan)}",
        *(f"- **note** {note}" for note in (plan.advice, *plan.warnings) if note),
    ]
    return "\n".join(lines)


def _at_the_end(plan: Plan) -> str:
    teardown = plan.preview.job.rental.teardown
    if plan.existing is not None and teardown == "delete":
        return "left as it was found"
    return _TEARDOWN[teardown]


def progress_line(now: Snapshot) -> str:
    """Return the progress of a run in one line."""
    parts = [f"{now.done:,} of {now.rows:,} rows"]
    if now.tally.failed:
        parts.append(f"{now.tally.failed:,} failed")
    parts.append(f"{now.rows_per_s:,.1f} rows/s, {now.tokens_per_s:,.0f} tokens/s")
    parts.append(f"{now.in_flight:,} in flight")
    parts.append(f"${now.spent_usd:.2f} spent")
    if now.left_s:
        parts.append(f"about {span(now.left_s)} left")
    return "; ".join(parts)


def result_line(report: dict[str, Any]) -> str:
    """Return the result in one line: rows, cost, and how the endpoint ended."""
    rows = report["rows"]
    answered = rows["done"] - rows["failed"]
    errors = f", {rows['failed']:,} failed" if rows["failed"] else ""
    ends = "; ".join(endpoint["ended"] for endpoint in report["endpoints"]) or "none was needed"
    return (
        f"{answered:,} of {rows['total']:,} rows answered{errors}; "
        f"${report['cost']['usd']:.2f}; endpoint: {ends}"
    )


def result_markdown(report: dict[str, Any], *, folder: str, host: str, report_url: str = "") -> str:
    """Return the result in Markdown: figures, errors, a sample, and the location of the files.

    Args:
        folder: Absolute path or URI of the output folder.
        host: Name of the machine that has the folder.
        report_url: URL of the report, or "".
    """
    location = folder if "://" in folder else f"{host}:{folder}"
    parts = [_table(_figures(report)), f"Files on **{host}**" if "://" not in folder else "Files"]
    parts.append(f"```\n{location}\n{location.rstrip('/')}/_mayfly/report.html\n```")
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
    """Return the URL of the report from the URL of the output folder."""
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
            f"{answered:,} of {rows['total']:,} answered, {rows['failed']:,} failed, "
            f"{rows['remaining']:,} remaining",
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
    minutes = cost["replica_minutes"]
    spent = f"${cost['usd']:.2f} for {minutes:,} replica-minute{'' if minutes == 1 else 's'}"
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
