"""Ask before spending: a run that may cost more than its owner said waits, and holds nothing.

The question comes after the plan and before the lease: while a person thinks, nothing bills and
nothing has to be torn down. A run of a deployment is suspended: its process ends and its
concurrency slot is free, for a day if need be; approved, it starts again from the top, plans anew
and finds the answer. (A pause would keep the process, which Prefect ends 225 s after its start,
because the pause has given its slot back.) An ad-hoc run waits in its process. On the command line
the question is asked in the terminal instead.
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
"""Key under which a flow run keeps the dollars that its question was about."""


class Approval(RunInput):
    """What a person answers to the plan."""

    # No default: the dialog preselects nothing.
    decision: Literal["approve", "refuse"] = Field(
        title="Decision",
        description="approve rents the hardware of the plan; refuse ends the run",
    )


def await_approval(run: Run) -> None:
    """Wait until a person has approved the plan, if its cost asks for that.

    Raises:
        NotApproved: The plan was refused, or nobody answered in time; nothing was created.
    """
    plan, limits = run.plan, run.job.limits
    if plan is None or not is_recorded():
        return
    estimated_usd = None if plan.chosen is None else plan.chosen.forecast.usd.high
    if not approval_needed(
        approve_above_usd=limits.approve_above_usd,
        estimated_usd=estimated_usd,
        max_cost_usd=limits.max_cost_usd,
    ):
        return
    run.progress.log("waiting for approval; nothing is rented meanwhile")
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
            f"nobody approved the plan within {span(within_s)}; nothing was rented: run it again"
        )
        _say_why(str(unanswered))
        raise unanswered from error
    if answer.decision == "refuse":
        raise NotApproved("the plan was refused; nothing was rented")
    run.progress.log("the plan was approved")
    # The time that a person thinks is not the run's: its deadline counts from here on.
    run.monitor.leave_out(monotonic() - asked)


def question_key(estimated_usd: float | None) -> str:
    """Return the key of the pause that asks about a plan.

    Prefect asks once for each key, and finds the answer by it after a restart. A plan that has
    become more expensive than what was asked about is another question.
    """
    run, usd = UUID(flow_run.id), estimated_usd or 0.0
    with get_client(sync_client=True) as client:
        try:
            before = float(client.read_flow_run_input(run, _ASKED_ABOUT))
        except (ObjectNotFound, PrefectHTTPStatusError, ValueError):
            client.create_flow_run_input(run, _ASKED_ABOUT, f"{usd:.4f}")
            return APPROVAL_KEY
    # Half a cent is what a person was shown.
    return APPROVAL_KEY if usd <= before + 0.005 else f"{APPROVAL_KEY}-{usd:.2f}"


def _say_why(message: str) -> None:
    """Say why a run ended that Prefect's server has already ended by itself, in other words."""
    with suppress(Exception), get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run.id), Failed(message=message), force=True)
