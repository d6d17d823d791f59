"""The questions that a flow run asks about its plan, and their answers.

A suspended run starts again from the top once it is resumed, and plans again. These records tell it
which plan was answered: other runs may have changed the estimate meanwhile.
"""

from dataclasses import dataclass
from typing import Literal, Self
from uuid import UUID

import orjson
from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRunInput
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.input import RunInput, keyset_from_base_key
from pydantic import Field

from mayfly.orchestration.flow_state import APPROVAL_KEY

Decision = Literal["approve", "refuse"]

POLL_S = 2

_ASKED_ABOUT = "mayfly-approval-usd"
"""Key of the flow run input with the estimate of the first question, in dollars; for the next ones,
followed by their numbers."""

_MOST = 200
"""More questions of one run than anybody answers; also the most that Prefect lists."""


class Approval(RunInput):
    """The form that asks for approval."""

    # No default, so that the dialog preselects nothing.
    decision: Decision = Field(
        title="Decision",
        description="approve creates the endpoint of the plan; refuse ends the run",
    )


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a plan.

    Attributes:
        number: 1 for the first question of a flow run.
        estimated_usd: Upper end of the plan's cost in dollars; infinity when it is unknown.
    """

    number: int
    estimated_usd: float

    @property
    def key(self) -> str:
        """The key of the pause: Prefect asks once for each key, also after a restart."""
        return f"{APPROVAL_KEY}{self._suffix}"

    @property
    def stored_as(self) -> str:
        """The key of the flow run input with the estimate."""
        return f"{_ASKED_ABOUT}{self._suffix}"

    @property
    def _suffix(self) -> str:
        # The first question has no number: runs that older versions suspended have no other.
        return "" if self.number == 1 else f"-{self.number}"

    @classmethod
    def read(cls, stored: FlowRunInput) -> Self:
        """Read a stored question."""
        number = stored.key.removeprefix(_ASKED_ABOUT).removeprefix("-")
        return cls(int(number or 1), float(stored.value))


@dataclass(frozen=True, slots=True)
class Answered:
    """A decision about a plan of this estimate: the upper end of its cost, in dollars."""

    decision: Decision
    estimated_usd: float


def last_answered() -> Answered | None:
    """Return the answer to this flow run's last question, if this attempt of the run has one.

    A run that is retried after its end has another attempt: it asks anew.
    """
    run = UUID(runtime.flow_run.id)
    with get_client(sync_client=True) as client:
        question = _last_question(client, run)
        policy = client.read_flow_run(run).empirical_policy
        if question is None or question.key not in (policy.pause_keys or set()):
            return None
        kind = "suspended" if runtime.deployment.id else "paused"
        response = keyset_from_base_key(f"{kind}-{question.key}")["response"]
        # None where the run was rescheduled without its dialog.
        given = _read_input(client, run, response)
    if given is None:
        return None
    return Answered(Approval(**orjson.loads(given)).decision, question.estimated_usd)


def ask(description: str, *, estimated_usd: float, within_s: float) -> Decision:
    """Ask about a plan, and wait for the answer.

    In a run of a deployment this ends the process, by an exception of Prefect's: once answered, the
    run starts again, and `last_answered` has the answer.

    Args:
        description: The plan as Markdown.
        estimated_usd: Upper end of the plan's cost in dollars; infinity when it is unknown.
        within_s: Time for the answer, in seconds.

    Raises:
        FlowPauseTimeout: Nobody answered in time.
    """
    run = UUID(runtime.flow_run.id)
    with get_client(sync_client=True) as client:
        last = _last_question(client, run)
        question = Question(1 if last is None else last.number + 1, estimated_usd)
        client.create_flow_run_input(run, question.stored_as, f"{estimated_usd:.4f}")
    form, timeout = Approval.with_initial_data(description=description), round(within_s)
    if runtime.deployment.id:
        return suspend_flow_run(form, timeout=timeout, key=question.key).decision
    return pause_flow_run(form, timeout=timeout, poll_interval=POLL_S, key=question.key).decision


def _last_question(client: SyncPrefectClient, run: UUID) -> Question | None:
    stored = client.filter_flow_run_input(run, _ASKED_ABOUT, _MOST, set())
    return max(map(Question.read, stored), key=lambda question: question.number, default=None)


def _read_input(client: SyncPrefectClient, run: UUID, key: str) -> str | None:
    """Return a flow run input, or None when the server has none of this key."""
    try:
        return client.read_flow_run_input(run, key)
    except ObjectNotFound:
        return None
    except PrefectHTTPStatusError as error:
        if error.response.status_code == 404:
            return None
        raise
