"""What a run tells of itself in Prefect: its plan as rows and text, its result as text."""

from typing import Any

from mayfly.models.durations import span
from mayfly.planning.plan import Plan
from mayfly.planning.pricing import dollars
from mayfly.reporting.progress import Snapshot

_RESULT = """\
| rows | {answered:,} of {total:,} answered, {failed:,} with an error, {remaining:,} left |
| --- | --- |
| model | {model} |
| input | {input} |
| output | [{output}](file://{place}) |
| report | [{output}/_mayfly/report.html](file://{place}/_mayfly/report.html) |
| tokens | {prompt:,} in, {completion:,} out |
| throughput | {throughput} |
| cost | {cost} |
| endpoint | {endpoint} |
"""

_AT_THE_END = {"delete": "deleted", "stop": "stopped", "keep": "kept, and goes on billing"}


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
                "free": ", ".join(str(region) for region in offer.regions) or "not said",
            }
        )
    return rows


def of_hardware(hardware: str, replicas: object = 1) -> str:
    """Return so many replicas of a kind of hardware, in words."""
    many = "" if str(replicas) == "1" else f"{replicas} replicas of "
    return f"{many}{hardware or 'hardware of its own'}"


def plan_line(plan: Plan) -> str:
    """Return the plan in one line: what would be rented, for what, at which price."""
    rows = f"{plan.look.dataset.rows:,} rows"
    if plan.placement is None:
        return f"{rows} on endpoint {plan.existing.name if plan.existing else '?'}, which stands"
    line = f"{rows} on {of_hardware(plan.placement.chosen.hardware, plan.replicas)}, "
    line += f"${plan.usd_per_h:.2f}/h"
    if plan.chosen is not None:
        forecast = plan.chosen.forecast
        line += f"; about {span(forecast.seconds.mid)} and {dollars(forecast.usd.mid)}"
    return line


def plan_question(plan: Plan) -> str:
    """Return the plan as a person is asked to approve of it, in Markdown."""
    job, quote = plan.look.job, plan.chosen
    cost, time_s = job.limits.max_cost_usd, job.limits.deadline_s
    if quote is None:
        estimate = "not known"
    else:
        usd, seconds = quote.forecast.usd, quote.forecast.seconds
        estimate = (
            f"{dollars(usd.mid)} ({dollars(usd.low)} to {dollars(usd.high)}), "
            f"{span(seconds.mid)} ({span(seconds.low)} to {span(seconds.high)})"
        )
    lines = [
        "**May this be spent?** Nothing is rented, and nothing bills, until you approve.",
        "",
        f"- **batch** {plan.look.dataset.rows:,} rows of `{job.input}`",
        f"- **model** {job.model}",
        f"- **on** endpoint {plan.existing.name}, which stands"
        if plan.existing is not None
        else f"- **rent** {plan_line(plan).partition(' on ')[2].partition(';')[0]}, by the minute",
        f"- **estimate** {estimate}",
        f"- **stops at** {'no limit of cost' if cost is None else f'${cost:,.2f}'}, "
        f"{'no deadline' if time_s is None else span(time_s)}",
        f"- **at the end** the endpoint is {_AT_THE_END[job.rental.teardown]}",
        *(f"- **note** {note}" for note in (plan.advice, *plan.warnings) if note),
    ]
    return "\n".join(lines)


def progress_line(look: Snapshot) -> str:
    """Return how far a run is, in one line."""
    parts = [f"{look.done:,} of {look.rows:,} rows"]
    if look.tally.failed:
        parts.append(f"{look.tally.failed:,} with an error")
    parts.append(f"{look.rows_per_s:,.1f} rows/s, {look.tokens_per_s:,.0f} tokens/s")
    parts.append(f"{look.in_flight:,} in flight")
    parts.append(f"${look.spent_usd:.2f} spent")
    if look.left_s:
        parts.append(f"about {span(look.left_s)} left")
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


def result_markdown(report: dict[str, Any], place: str) -> str:
    """Return the result as a page, with links to the output and the report.

    Args:
        place: The output folder's absolute path.
    """
    rows, tokens, throughput = report["rows"], report["tokens"], report["throughput"]
    per_s = throughput["rows_per_s"], throughput["completion_tokens_per_s"]
    per_million = report["cost"]["usd_per_million_completion_tokens"]
    return _RESULT.format(
        answered=rows["done"] - rows["failed"],
        model=report["job"]["model"],
        input=report["job"]["input"],
        output=report["output"].rstrip("/"),
        place=place,
        throughput="nothing was left to send"
        if None in per_s
        else f"{per_s[0]:,.1f} rows/s, {per_s[1]:,.0f} tokens/s",
        cost=f"${report['cost']['usd']:.2f} for {report['cost']['replica_minutes']} replica-minutes"
        + (f", ${per_million:.2f} per million tokens out" if per_million is not None else ""),
        endpoint="; ".join(f"{e['name']}: {e['ended']}" for e in report["endpoints"])
        or "none was needed",
        **rows | tokens,
    )
