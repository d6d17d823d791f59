"""How the questions of a flow run are stored."""

from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRunInput

from mayfly.orchestration.approval_questions import Question


@pytest.mark.parametrize("question", [Question(1, 0.18), Question(2, 12.5), Question(13, 0.0)])
def test_stored_question_is_read_again(question: Question) -> None:
    stored = FlowRunInput(
        flow_run_id=uuid4(), key=question.stored_as, value=f"{question.estimated_usd:.4f}"
    )

    assert Question.read(stored) == question


def test_question_of_an_older_version_is_the_first() -> None:
    stored = FlowRunInput(flow_run_id=uuid4(), key="mayfly-approval-usd", value="0.1800")

    assert Question.read(stored).key == "approval"


def test_question_of_unknown_cost_is_read_as_such() -> None:
    stored = FlowRunInput(flow_run_id=uuid4(), key="mayfly-approval-usd-2", value="inf")

    assert Question.read(stored) == Question(2, float("inf"))
