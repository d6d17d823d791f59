"""Step: wait for approval of a run that may cost more than its limit for unapproved spending.

The question comes after the plan and before the lease: while the run waits, nothing bills and
nothing has to be torn down. A run of a deployment is suspended: its process ends and its
concurrency slot is free. Once approved it starts again from the top, plans again and finds the
answer. (A pause would keep the process, but Prefect ends it 225 s after its start, because the
pause has released its slot.) An ad-hoc run waits in its process. The command line asks in the
terminal instead.
"""

from contextlib import suppress
from math import inf
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout
from prefect.runtime import flow_run
from prefect.states import Failed

from mayfly.models.durations import span
from mayfly.models.errors import NotApproved
from mayfly.orchestration.approval_questions import Decision, ask, last_answered
from mayfly.orchestration.artifacts import plan_question
from mayfly.orchestration.record import is_recorded
from mayfly.planning.approval import approval_covers, approval_needed
from mayfly.planning.plan import Plan
from mayfly.runs.run import Run


def await_approval(run: Run) -> None:
    """Wait until a person has approved the plan, if its cost requires approval.

    Raises:
        NotApproved: The plan was refused, or not answered in time, or there is no Prefect server to
            ask in; nothing was created.
    """
    plan, limits = run.plan, run.job.limits
    if plan is None or not run.output.rows_left:
        return
    estimated_usd = None if plan.chosen is None else plan.chosen.forecast.usd.high
    if not approval_needed(
        approve_above_usd=limits.approve_above_usd,
        estimated_usd=estimated_usd,
        max_cost_usd=limits.max_cost_usd,
    ):
        return
    if not is_recorded():
        raise NotApproved(
            "--approve-above: this run needs approval in Prefect, and no Prefect server took it; "
            "nothing was created. Check PREFECT_API_URL"
        )
    usd = inf if estimated_usd is None else estimated_usd
    if (before := last_answered()) is None:
        decision = _ask(run, plan, usd)
    elif before.decision == "approve" and not approval_covers(before.estimated_usd, usd):
        decision = _ask(run, plan, usd, approved_usd=before.estimated_usd)
    else:
        decision = before.decision
    if decision == "refuse":
        raise NotApproved("the plan was refused; nothing was created")
    run.progress.log("the plan was approved")


def _ask(
    run: Run, plan: Plan, estimated_usd: float, *, approved_usd: float | None = None
) -> Decision:
    """Ask about the plan; the wait of an ad-hoc run does not count toward its deadline."""
    run.progress.log("waiting for approval; no endpoint exists meanwhile")
    within_s, monotonic = run.job.limits.approve_within_s, run.environment.clock.monotonic
    asked = monotonic()
    try:
        return ask(
            plan_question(plan, approved_usd=approved_usd),
            estimated_usd=estimated_usd,
            within_s=within_s,
        )
    except FlowPauseTimeout as error:
        unanswered = NotApproved(
            f"the plan was not approved within {span(within_s)}; nothing was created. "
            "Start the run again"
        )
        _set_failure_message(str(unanswered))
        raise unanswered from error
    finally:
        run.monitor.exclude_time(monotonic() - asked)


def _set_failure_message(message: str) -> None:
    """Replace the message of the state into which Prefect's server has already put the run."""
    with suppress(Exception), get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run.id), Failed(message=message), force=True)
