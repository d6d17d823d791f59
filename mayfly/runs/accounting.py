"""Account for a finished run: cost by phase, estimate against actual, and measurements."""

from collections.abc import Sequence
from typing import Any

from mayfly.billing.usage import total_by_phase
from mayfly.endpoints.session import EndpointSession
from mayfly.models.rows import Tally
from mayfly.planning.measurements import Measurement
from mayfly.planning.plan import Plan
from mayfly.planning.preview import JobPreview
from mayfly.planning.uncertainty import Interval
from mayfly.planning.workload import prompt_digest

_UNTIL_THE_LAST_ANSWER = ("creating", "waiting", "inferring")


def add_accounts(
    report: dict[str, Any], plan: Plan | None, sessions: Sequence[EndpointSession]
) -> None:
    """Add to `report.json`: `cost.by_phase`, `cost.utilisation` and `estimate`."""
    spent = [session["spending"] for session in report["endpoints"]]
    cost = report["cost"]
    cost["by_phase"] = total_by_phase(spent)
    paid = sum(session["usd"] for session in report["endpoints"])
    cost["utilisation"] = (
        round(
            sum((t["spending"]["utilisation"] or 0.0) * t["usd"] for t in report["endpoints"])
            / paid,
            4,
        )
        if paid
        else None
    )
    # Time that is not billed counts as waiting too; each session's record has its own share.
    cost["waited_s"] = round(sum(_waited_s(session) for session in sessions), 3)
    report["estimate"] = estimate_against_actual(report, plan)


def estimate_against_actual(report: dict[str, Any], plan: Plan | None) -> dict[str, Any] | None:
    """Compare the estimate with the actual figures; return None without a plan.

    The comparison needs figures of the same rows: a run that was stopped, or that moved to
    another endpoint, has none.
    """
    quote = plan.chosen if plan is not None else None
    if plan is None or quote is None or plan.load is None:
        return None
    actual_s = sum(report["seconds"].get(name, 0.0) for name in _UNTIL_THE_LAST_ANSWER)
    usd = report["cost"]["usd"]
    complete = report["rows"]["remaining"] == 0 and len(report["endpoints"]) == 1
    return {
        "hardware": quote.offer.hardware,
        "rows": plan.load.rows,
        "basis": [*plan.load.basis, quote.rate.basis],
        "seconds": _compared(quote.forecast.seconds, actual_s, complete=complete),
        "usd": _compared(quote.forecast.usd, usd, complete=complete),
        "prompt_tokens": plan.load.prompt_tokens.interval.as_dict(),
        "completion_tokens": plan.load.answer_tokens.interval.as_dict(),
    }


def history_record(
    report: dict[str, Any],
    plan: Plan | None,
    sessions: Sequence[EndpointSession],
    *,
    tally: Tally,
    provider: str,
    fingerprint: str,
) -> dict[str, Any]:
    """Return the run's record for the history; its `lessons` inform later plans.

    Args:
        tally: Totals of this run.
        fingerprint: SHA-256 of request, input and provider; equal for comparable runs.
    """
    job, cost, estimate = report["job"], report["cost"], report["estimate"]
    return {
        "run": report["run"],
        "started_at": report["started_at"],
        "ended_at": report["ended_at"],
        "outcome": report["outcome"],
        "fingerprint": fingerprint,
        "tags": report["tags"],
        "provider": provider,
        "model": job["model"],
        "input": job["input"],
        "output": report["output"],
        "hardware": ", ".join(dict.fromkeys(t.ref.hardware for t in sessions)),
        "rows": tally.done,
        "failed": tally.failed,
        "prompt_tokens": tally.prompt_tokens,
        "completion_tokens": tally.completion_tokens,
        "rows_per_s": report["throughput"]["rows_per_s"],
        "completion_tokens_per_s": report["throughput"]["completion_tokens_per_s"],
        "p50_s": report["latency"]["p50_s"],
        "usd": cost["usd"],
        "usd_per_million_tokens": cost["usd_per_million_tokens"],
        "utilisation": cost["utilisation"],
        "estimate": None
        if estimate is None
        else {name: estimate[name] for name in ("seconds", "usd")},
        "lessons": [
            measurement(session, plan, provider=provider).as_dict()
            for session in sessions
            if session.ready_at is not None
        ],
    }


def earlier_runs(
    history: Sequence[dict[str, Any]], preview: JobPreview, *, run: str
) -> list[dict[str, Any]]:
    """Return the records of earlier runs of the same job, oldest first, into any output.

    Records of older versions have no fingerprint; they are matched by model and input.
    """
    return [
        record
        for record in history
        if record.get("run") != run
        and (
            record["fingerprint"] == preview.fingerprint
            if "fingerprint" in record
            else (record.get("model"), record.get("input"))
            == (preview.job.model, preview.job.input)
        )
    ]


def measurement(session: EndpointSession, plan: Plan | None, *, provider: str) -> Measurement:
    """Return the measurement of one endpoint."""
    done, spending = session.answered, session.spending
    answered = done.done - done.failed
    guessed = plan.load.guessed_prompt * answered if plan is not None and plan.load else 0.0
    # A calibration sends few rows on purpose: use its measurement, not the endpoint's utilisation.
    trial = session.trial or {}
    return Measurement(
        provider=provider,
        model=plan.preview.job.model if plan is not None else "",
        hardware=session.ref.hardware,
        prompt_key=prompt_digest(plan.preview.job) if plan is not None else "",
        answered=answered,
        prompt_tokens=done.prompt_tokens,
        completion_tokens=done.completion_tokens,
        token_ratio=round(done.prompt_tokens / guessed, 4) if guessed else 0.0,
        work_per_s=trial.get("work_per_s", round(spending.work_per_s, 3)),
        rows_per_s=0.0 if trial else round(spending.rows_per_s, 4),
        in_flight=trial.get("in_flight", round(spending.in_flight, 1)),
        settled_limit=round(session.settled_limit, 1),
        cold_start_s=round(_waited_s(session), 1),
        drain_s=round(session.drain_s, 1),
    )


def _waited_s(session: EndpointSession) -> float:
    return 0.0 if session.ready_at is None else max(0.0, session.ready_at - session.created_at)


def _compared(expected: Interval, actual: float, *, complete: bool) -> dict[str, Any]:
    held = expected.holds(actual) if complete else None
    return expected.as_dict() | {"actual": round(actual, 4), "held": held}
