"""Runs that ask for approval: refused, or unanswered."""

from pathlib import Path
from uuid import uuid4

import pytest

from mayfly.planning.measurements import Measurement
from mayfly.storage.history_store import HISTORY, append_history
from mayfly.together.connection import provider_of
from tests.prefect.conftest import MODEL, PrefectStage
from tests.support.prefect_client import FINAL
from tests.support.wait import wait_until

ASK_ALWAYS = {"approve_above_usd": 0}


def test_refused_plan_ends_run_with_one_line_and_creates_nothing(
    stage: PrefectStage, tmp_path: Path, messages: list[str]
) -> None:
    created = stage.created()
    run = stage.start(stage.job(tmp_path / "a", limits=ASK_ALWAYS))
    stage.prefect.await_state(run, "PAUSED")
    wait_until(
        lambda: [line for line in messages if "Suspended" in line],
        "notification of the approval request",
    )

    stage.prefect.resume(run, decision="refuse")

    ended = stage.prefect.await_state(run, "FAILED")
    assert ended["state"]["message"] == "the plan was refused; nothing was created"
    assert "Traceback" not in stage.prefect.logs(run)
    assert stage.created() == created
    wait_until(
        lambda: [line for line in messages if "was refused" in line], "notification of the failure"
    )


def test_unanswered_plan_ends_run_at_its_timeout_with_one_line(
    stage: PrefectStage, tmp_path: Path
) -> None:
    created = stage.created()

    run = stage.start(stage.job(tmp_path / "a", limits=ASK_ALWAYS | {"approve_within_s": "2s"}))

    # Its process has ended by then: Prefect's server ends the run, with its own message.
    ended = stage.prefect.await_state(run, "FAILED")
    assert ended["state"]["message"] == "The flow was paused and never resumed."
    assert stage.created() == created


def test_refused_run_can_be_retried_and_asks_again(stage: PrefectStage, tmp_path: Path) -> None:
    run = stage.start(stage.job(tmp_path / "a", limits=ASK_ALWAYS))
    asked = stage.prefect.await_state(run, "PAUSED")
    assert asked["state_name"] == "Suspended"
    stage.prefect.resume(run, decision="refuse")
    stage.prefect.await_state(run, "FAILED")

    stage.prefect.request(
        "POST", f"/flow_runs/{run}/set_state", state={"type": "SCHEDULED", "name": "AwaitingRetry"}
    )

    stage.prefect.await_state(run, "PAUSED")
    stage.prefect.resume(run, decision="approve")
    stage.prefect.await_state(run, "COMPLETED")


@pytest.fixture
def dearer(stage: PrefectStage, tmp_path: Path) -> str:
    """A run that has asked, and plans from a much slower run when it starts again."""
    history = tmp_path / "history"
    deployment = stage.prefect.deploy_again(f"dearer-{uuid4().hex[:8]}", "mayfly", history=history)
    run = stage.prefect.start_of(deployment, stage.job(tmp_path / "a", limits=ASK_ALWAYS))
    stage.prefect.await_state(run, "PAUSED")
    slow = Measurement(
        provider=provider_of(stage.together.url),
        model=MODEL,
        hardware="1xnvidia-h100-80gb",
        answered=20,
        work_per_s=0.01,
        rows_per_s=0.01,
        in_flight=1.0,
    )
    append_history({HISTORY: str(history)}, {"lessons": [slow.as_dict()]})
    return run


def test_refusal_holds_though_the_plan_has_become_dearer(stage: PrefectStage, dearer: str) -> None:
    stage.prefect.resume(dearer, decision="refuse")

    ended = stage.prefect.await_state(dearer, "FAILED")
    assert ended["state"]["message"] == "the plan was refused; nothing was created"


def test_dearer_plan_than_the_approved_one_asks_again(stage: PrefectStage, dearer: str) -> None:
    run, created = dearer, stage.created()
    first = stage.prefect.run(run)["state_id"]

    stage.prefect.resume(run, decision="approve")

    wait_until(lambda: asked_after(stage, run, first), "the second question")
    assert "the plan may now cost more" in stage.prefect.question(run, "approval-2")
    assert stage.created() == created
    stage.prefect.resume(run, decision="approve")
    stage.prefect.await_state(run, "COMPLETED")


def asked_after(stage: PrefectStage, run: str, question: str) -> bool:
    """Whether a run waits for the answer to another question."""
    state: dict[str, str] = stage.prefect.run(run)["state"]
    assert state["type"] not in FINAL, f"{state}\n{stage.prefect.logs(run)}"
    return state["type"] == "PAUSED" and state["id"] != question


def test_run_rescheduled_without_its_dialog_asks_again(stage: PrefectStage, tmp_path: Path) -> None:
    run = stage.start(stage.job(tmp_path / "a", limits=ASK_ALWAYS))
    asked = stage.prefect.await_state(run, "PAUSED")["state_id"]

    stage.prefect.request(
        "POST", f"/flow_runs/{run}/set_state", state={"type": "SCHEDULED", "name": "Scheduled"}
    )

    wait_until(lambda: asked_after(stage, run, asked), "the second question")
    stage.prefect.resume(run, decision="approve")
    stage.prefect.await_state(run, "COMPLETED")


def test_approval_dialog_preselects_nothing(stage: PrefectStage, tmp_path: Path) -> None:
    run = stage.start(stage.job(tmp_path / "a", limits=ASK_ALWAYS))
    stage.prefect.await_state(run, "PAUSED")

    def reason() -> str | None:
        answer = stage.prefect.request("POST", f"/flow_runs/{run}/resume", run_input={})
        assert answer["status"] == "REJECT"
        messages = str(answer["details"]["reason"])
        return None if messages == "Run input schema not found." else messages

    assert "decision" in wait_until(reason, "the dialog's schema")
    stage.prefect.request("POST", f"/flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    stage.prefect.await_state(run, "CANCELLED")
