"""What the README's commands set up, and what a run from a deployment tells and leaves."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.prefect.conftest import Stage


@pytest.fixture(scope="module")
def finished(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A run of the batch that has ended, and its output."""
    output = tmp_path_factory.mktemp("deployed") / "answers"
    run = stage.prefect.start(stage.job(output))
    return stage.prefect.await_state(run), output


def test_the_batch_has_a_nightly_schedule_that_is_off_until_switched_on(stage: Stage) -> None:
    deployment = stage.prefect.deployment("batch-inference/batch-inference")

    assert [schedule["active"] for schedule in deployment["schedules"]] == [False]
    assert deployment["global_concurrency_limit"]["limit"] == 1


def test_the_sweep_runs_every_ten_minutes(stage: Stage) -> None:
    deployment = stage.prefect.deployment("sweep-endpoints/sweep-endpoints")

    assert [(s["schedule"]["cron"], s["active"]) for s in deployment["schedules"]] == [
        ("*/10 * * * *", True)
    ]


def test_a_deployed_run_completes_and_its_endpoint_is_gone(
    stage: Stage, finished: tuple[dict[str, Any], Path]
) -> None:
    run, output = finished

    assert run["state_type"] == "COMPLETED", stage.prefect.logs(run["id"])
    assert pd.read_parquet(output)["response"].notna().sum() == 300
    assert stage.standing() == 0
