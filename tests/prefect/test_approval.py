"""Runs that ask for approval: refused, or unanswered."""

from pathlib import Path

from tests.prefect.conftest import PrefectStage
from tests.support.wait import wait_until

ASK_ALWAYS = {"approve_above_usd": 0}


def test_refused_plan_ends_run_with_one_line_and_creates_nothing(
    stage: PrefectStage, tmp_path: Path, messages: list[str]
) -> None:
    created = stage.created()
    run = stage.prefect.start(stage.job(tmp_path / "a", limits=ASK_ALWAYS))
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

    run = stage.prefect.start(
        stage.job(tmp_path / "a", limits=ASK_ALWAYS | {"approve_within_s": "2s"})
    )

    # Its process has ended by then: Prefect's server ends the run, with its own message.
    ended = stage.prefect.await_state(run, "FAILED")
    assert ended["state"]["message"] == "The flow was paused and never resumed."
    assert stage.created() == created


def test_refused_run_can_be_retried_and_asks_again(stage: PrefectStage, tmp_path: Path) -> None:
    run = stage.prefect.start(stage.job(tmp_path / "a", limits=ASK_ALWAYS))
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


def test_approval_dialog_preselects_nothing(stage: PrefectStage, tmp_path: Path) -> None:
    run = stage.prefect.start(stage.job(tmp_path / "a", limits=ASK_ALWAYS))
    stage.prefect.await_state(run, "PAUSED")

    def reason() -> str | None:
        answer = stage.prefect.request("POST", f"/flow_runs/{run}/resume", run_input={})
        assert answer["status"] == "REJECT"
        messages = str(answer["details"]["reason"])
        return None if messages == "Run input schema not found." else messages

    assert "decision" in wait_until(reason, "the dialog's schema")
    stage.prefect.request("POST", f"/flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    stage.prefect.await_state(run, "CANCELLED")
