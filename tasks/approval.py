"""Ask before spending: a run that may cost more than its owner said waits, and holds nothing.

The question comes after the plan and before the lease: while a person thinks, nothing bills and
nothing has to be torn down. On the command line the question is asked in the terminal instead.
"""

from contextlib import suppress
from typing import Literal
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.states import Failed
from pydantic import Field

from mayfly.models.durations import span
from mayfly.models.errors import NotApproved
from mayfly.orchestration.artifacts import plan_question
from mayfly.planning.approval import has_to_ask
from mayfly.runs.run import Run

POLL_S = 2


class Approval(RunInput):
    """What a person answers to the plan."""

    decision: Literal["approve", "refuse"] = Field(
        default="approve",
        title="Decision",
        description="approve rents the hardware of the plan; refuse ends the run",
    )


def await_approval(run: Run) -> None:
    """Wait until a person has approved of the plan, if its cost asks for that.

    Raises:
        NotApproved: The plan was refused, or nobody answered in time; nothing was created.
    """
    plan, limits = run.plan, run.job.limits
    if plan is None or not has_to_ask(
        approve_above_usd=limits.approve_above_usd,
        estimated_usd=None if plan.chosen is None else plan.chosen.forecast.usd.high,
        max_cost_usd=limits.max_cost_usd,
    ):
        return
    run.progress.say("waiting for approval; nothing is rented meanwhile")
    question = Approval.with_initial_data(description=plan_question(plan))
    within_s, monotonic = limits.approve_within_s, run.environment.clock.monotonic
    asked = monotonic()
    try:
        answer = pause_flow_run(question, timeout=round(within_s), poll_interval=POLL_S)
    except FlowPauseTimeout as error:
        unanswered = NotApproved(
            f"nobody approved the plan within {span(within_s)}; nothing was rented: run it again"
        )
        _say_why(str(unanswered))
        raise unanswered from error
    if answer.decision == "refuse":
        raise NotApproved("the plan was refused; nothing was rented")
    run.progress.say("the plan was approved")
    # The time that a person thinks is not the run's: its deadline counts from here on.
    run.monitor.leave_out(monotonic() - asked)


def _say_why(message: str) -> None:
    """Say why a run ended that Prefect's server has already ended by itself, in other words."""
    with suppress(Exception), get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run.id), Failed(message=message), force=True)
