"""Runs that ask before they spend, and what happens when the answer is no, or none."""

from pathlib import Path

from tests.prefect.conftest import PrefectStage
from tests.support.wait import wait_until

ASK_ALWAYS = {"approve_above_usd": 0}


def test_a_plan_that_is_refused_ends_the_run_with_one_line_and_nothing_was_created(
    stage: PrefectStage, tmp_path: Path, told: list[str]
) -> None:
    created = stage.created()
    run = stage.prefect.start(stage.job(tmp_path / "a", limits=ASK_ALWAYS))
    stage.prefect.await_state(run, "PAUSED")
    wait_until(lambda: [line for line in told if "Paused" in line], "word of the question")

    stage.prefect.ask("POST", f"/flow_runs/{run}/resume", run_input={"decision": "refuse"})

    ended = stage.prefect.await_state(run, "FAILED")
    assert "the plan was refused; nothing was rented" in ended["state"]["message"]
    assert "\n" not in ended["state"]["message"]
    assert stage.created() == created
    wait_until(lambda: [line for line in told if "was refused" in line], "word of the failure")


def test_a_plan_that_nobody_answers_ends_the_run_in_time(
    stage: PrefectStage, tmp_path: Path
) -> None:
    created = stage.created()

    run = stage.prefect.start(
        stage.job(tmp_path / "a", limits=ASK_ALWAYS | {"approve_within_s": "2s"})
    )

    stage.prefect.await_state(run, "FAILED")
    # Prefect's server may end it before the run itself does, which then says why.
    wait_until(
        lambda: "nobody approved" in stage.prefect.run(run)["state"]["message"], "the reason"
    )
    assert stage.created() == created
