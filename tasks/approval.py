"""Step: wait for approval of a run that may cost more than its limit for unapproved spending.

The question comes after the plan and before the lease: while the run waits, nothing bills and
nothing has to be torn down. A run of a deployment is suspended: its process ends and its
concurrency slot is free. Once approved it starts again from the top, plans again and finds the
answer. (A pause would keep the process, but Prefect ends it 225 s after its start, because the
pause has released its slot.) An ad-hoc run waits in its process. The command line asks in the
terminal instead.
"""

from contextlib import suppress
from typing import Literal
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout, ObjectNotFound, PrefectHTTPStatusError
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from prefect.states import Failed
from pydantic import Field

from mayfly.models.durations import span
from mayfly.models.errors import NotApproved
from mayfly.orchestration.artifacts import plan_question
from mayfly.orchestration.flow_state import APPROVAL_KEY
from mayfly.orchestration.record import is_recorded
from mayfly.planning.approval import approval_needed
from mayfly.runs.run import Run

POLL_S = 2

_ASKED_ABOUT = "mayfly-approval-usd"
"""Key of the flow run input that stores the estimate of the question, in dollars."""


class Approval(RunInput):
    """The form that asks for approval."""

    # No default, so that the dialog preselects nothing.
    decision: Literal["approve", "refuse"] = Field(
        title="Decision",
        description="approve creates the endpoint of the plan; refuse ends the run",
    )


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
    run.progress.log("waiting for approval; no endpoint exists meanwhile")
    question = Approval.with_initial_data(description=plan_question(plan))
    within_s, monotonic = limits.approve_within_s, run.environment.clock.monotonic
    asked = monotonic()
    try:
        if deployment.id:
            key = question_key(estimated_usd)
            answer = suspend_flow_run(question, timeout=round(within_s), key=key)
        else:
            answer = pause_flow_run(
                question, timeout=round(within_s), poll_interval=POLL_S, key=APPROVAL_KEY
            )
    except FlowPauseTimeout as error:
        unanswered = NotApproved(
            f"the plan was not approved within {span(within_s)}; nothing was created. "
            "Start the run again"
        )
        _set_failure_message(str(unanswered))
        raise unanswered from error
    if answer.decision == "refuse":
        raise NotApproved("the plan was refused; nothing was created")
    run.progress.log("the plan was approved")
    # The wait does not count toward the deadline.
    run.monitor.exclude_time(monotonic() - asked)


def question_key(estimated_usd: float | None) -> str:
    """Return the key of the pause that asks about a plan.

    Prefect asks once per key, and finds the answer by it after a restart. A plan that has become
    more expensive than the approved one needs another question.
    """
    run, usd = UUID(flow_run.id), estimated_usd or 0.0
    with get_client(sync_client=True) as client:
        try:
            before = float(client.read_flow_run_input(run, _ASKED_ABOUT))
        except (ObjectNotFound, PrefectHTTPStatusError, ValueError):
            client.create_flow_run_input(run, _ASKED_ABOUT, f"{usd:.4f}")
            return APPROVAL_KEY
    # The question shows whole cents.
    return APPROVAL_KEY if usd <= before + 0.005 else f"{APPROVAL_KEY}-{usd:.2f}"


def _set_failure_message(message: str) -> None:
    """Replace the message of the state into which Prefect's server has already put the run."""
    with suppress(Exception), get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run.id), Failed(message=message), force=True)
