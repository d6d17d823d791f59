"""Prefect's UI in a browser: form, approval, progress, cancel, report."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser

from tests.prefect.conftest import MODEL, PrefectStage
from tests.support.browser import CHROMIUM, Screen, chromium
from tests.support.prefect_deployments import POOL, ROOT
from tests.support.wait import wait_until

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium here; .ci/run installs it"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def screen(browser: Browser, stage: PrefectStage) -> Iterator[Screen]:
    """A tab of its own for each test."""
    screen = Screen.open(browser, stage.prefect.ui)
    yield screen
    screen.page.close()


@pytest.fixture
def form(screen: Screen, stage: PrefectStage) -> Screen:
    """The form of the batch."""
    screen.open_form(stage.prefect.deployment("batch-inference/batch-inference")["id"])
    return screen


def test_form_shows_description_and_unit_of_each_field(form: Screen) -> None:
    form.page.set_viewport_size({"width": 1280, "height": 4200})
    form.picture("form")
    for title, messages in {
        "Model": "Model to deploy",
        "Temperature (0 to 2)": "0 is greedy",
        "Maximum cost (USD)": "Stop before this many dollars are spent",
        "Inactivity timeout (minutes, 30 to 1440)": "the platform stops the endpoint",
        "Deadline (90m, 2h, 1h30m)": "can be resumed",
    }.items():
        assert messages in form.field(title).inner_text()


def test_form_refuses_an_invalid_value_before_a_run_starts(
    form: Screen, stage: PrefectStage
) -> None:
    before = stage.prefect.batches()
    for title in ("Input", "Model", "Output"):
        form.fill(title, "some")
    form.fill("Temperature (0 to 2)", "9")
    form.fill("Deadline (90m, 2h, 1h30m)", "soon")

    form.submit()

    form.page.get_by_text("maximum of 2").first.wait_for()
    form.picture("form-refuses")
    assert stage.prefect.batches() == before


@pytest.fixture
def output() -> Iterator[str]:
    """A folder as typed into the form: relative to the project."""
    folder = f"out/browser-{os.getpid()}"
    yield folder
    shutil.rmtree(ROOT / folder, ignore_errors=True)


@pytest.mark.soak
def test_run_is_started_approved_and_followed_in_the_browser(
    form: Screen, stage: PrefectStage, output: str
) -> None:
    form.fill("Input", "data/sample.parquet")
    form.fill("Model", MODEL)
    form.fill("Output", output)
    form.choose_credentials(stage.credentials)
    form.fill("Prompt template", "Summarise: {{ message }}")
    form.fill("Require approval above (USD)", "0")
    form.field("Input").scroll_into_view_if_needed()
    form.picture("form-filled")
    form.start()

    run = stage.prefect.run_with("output", output)
    stage.prefect.await_state(run, "PAUSED")
    stage.prefect.question(run)
    assert stage.endpoint_count() == 0
    form.open_run(run)
    form.answer("approve")

    stage.prefect.await_state(run, "COMPLETED")
    form.open_run(run)
    form.await_badge("Completed")
    form.tab("Task Runs")
    form.page.get_by_text("delete endpoint").first.wait_for()
    form.picture("run")
    for key, messages in (
        ("batch-inference-plan", "cheapest available"),
        ("batch-inference-progress", "300 of 300 rows"),
        ("batch-inference-result", "300 of 300 rows answered"),
    ):
        form.open_artifact(stage.prefect.artifact(run, key)["id"])
        form.page.get_by_text(messages).first.wait_for()
        form.picture(key)
    assert pd.read_parquet(ROOT / output)["response"].notna().all()
    assert stage.endpoint_count() == 0

    form.page.goto((ROOT / output / "_mayfly" / "report.html").as_uri())
    form.picture("report")
    assert "300" in form.text()


@pytest.mark.soak
def test_second_run_waits_for_the_first_and_cancel_leaves_no_endpoint(
    screen: Screen, stage: PrefectStage, tmp_path: Path
) -> None:
    # A limit of its own: at its end, an approved run releases a slot that it does not hold.
    deployed = stage.prefect.deploy_again(f"places-{os.getpid()}", POOL)
    rows = tmp_path / "rows.parquet"
    pd.DataFrame({"message": [f"message {n}" for n in range(20_000)]}).to_parquet(rows)
    limits = {"concurrency": 1, "shard_rows": 100}
    run = stage.prefect.start_of(
        deployed, stage.job(tmp_path / "answers", input=str(rows), limits=limits)
    )
    wait_until(
        lambda: any(
            task["name"] == "answer shard 0" and task["state_type"] == "COMPLETED"
            for task in stage.prefect.of_run("task_runs", run)
        ),
        "the first shard of a slow run",
    )
    assert stage.endpoint_count() == 1
    second = stage.prefect.start_of(deployed, stage.job(tmp_path / "others"))
    wait_until(
        lambda: stage.prefect.run(second)["state_name"] == "AwaitingConcurrencySlot",
        "the second run waiting for the first",
    )
    stage.prefect.request("DELETE", f"/flow_runs/{second}")
    screen.open_run(run)
    screen.await_badge("Running")
    screen.picture("run-midway")

    screen.cancel()

    stage.prefect.await_state(run, "CANCELLED")
    screen.await_badge("Cancelled")
    screen.picture("run-cancelled")
    assert stage.endpoint_count() == 0


@pytest.mark.soak
def test_run_is_approved_in_the_new_ui_too(
    browser: Browser, stage: PrefectStage, output: str
) -> None:
    run = stage.start(stage.job(ROOT / output, limits={"approve_above_usd": 0}))
    stage.prefect.await_state(run, "PAUSED")
    stage.prefect.question(run)
    screen = Screen.open(browser, f"{stage.prefect.ui}/v2")
    page = screen.page
    screen.open_run(run)

    # The new UI has the question behind the menu of the run.
    page.get_by_role("button", name="Open menu").first.click()
    page.get_by_role("menuitem", name="Resume").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Approve this spend?").wait_for()
    dialog.get_by_text("Select", exact=True).click()
    page.get_by_role("option", name="approve").or_(
        page.get_by_role("menuitem", name="approve")
    ).first.click()
    screen.picture("new-ui-approval")
    resume = dialog.get_by_role("button", name="Resume", exact=True)
    screen.until_taken(resume.click, "resume")

    stage.prefect.await_state(run, "COMPLETED")
    screen.open_artifact(stage.prefect.artifact(run, "batch-inference-result")["id"])
    page.get_by_text("300 of 300 answered").first.wait_for()
    page.close()
