"""Schedules of every minute: their runs are created and completed, never two at once."""

from datetime import datetime
from itertools import pairwise
from typing import Any

import httpx
import pandas as pd
import pytest

from tests.prefect.conftest import KEY, PrefectStage
from tests.soak.conftest import TimedBatch
from tests.support.prefect_deployments import prefect_command
from tests.support.wait import wait_until

EVERY_MINUTE = "* * * * *"
ORPHAN = "mayfly-tests-0123456789-5f000000"
"""A name of ours whose time passed in 2020."""


def runs_of(stage: PrefectStage, deployment: str) -> list[dict[str, Any]]:
    """Return the runs of a deployment that have begun, in order."""
    found = stage.prefect.request(
        "POST",
        "/flow_runs/filter",
        deployments={"id": {"any_": [deployment]}},
        sort="EXPECTED_START_TIME_ASC",
    )
    return [run for run in found if run["start_time"]]


def completed(stage: PrefectStage, deployment: str) -> list[dict[str, Any]]:
    """Return its runs that have completed."""
    return [run for run in runs_of(stage, deployment) if run["state_type"] == "COMPLETED"]


@pytest.mark.soak
def test_batch_every_minute_answers_new_rows_and_never_overlaps(batch: TimedBatch) -> None:
    stage = batch.stage
    # The first run takes longer than a minute, so that the next ones have to wait for it.
    batch.rows("a.parquet", 0, 280)
    deployment = batch.deploy(
        "every-minute",
        parameters=batch.job(rows={"incremental": True}),
        schedules=[{"schedule": {"cron": EVERY_MINUTE, "timezone": "UTC"}, "active": True}],
    )
    wait_until(
        lambda: completed(stage, deployment), "the first scheduled run", timeout_s=280, every_s=1
    )
    batch.rows("b.parquet", 280, 40)

    wait_until(
        lambda: len(pd.read_parquet(batch.output)) == 320, "the new rows", timeout_s=280, every_s=2
    )

    stage.prefect.request("POST", f"/deployments/{deployment}/pause_deployment")
    wait_until(
        lambda: all(run["end_time"] for run in runs_of(stage, deployment)),
        "the end of the run that had begun",
        every_s=1,
    )
    batch.assert_complete(320)
    runs = runs_of(stage, deployment)
    assert len(runs) >= 2
    assert {run["state_type"] for run in runs} == {"COMPLETED"}
    times = [tuple(datetime.fromisoformat(run[f"{end}_time"]) for end in ("start", "end"))
             for run in runs]  # fmt: skip
    assert all(former[1] <= later[0] for former, later in pairwise(times))
    assert batch.answered() == 320
    assert not batch.together.has_endpoints


@pytest.mark.soak
def test_sweep_every_minute_ends_an_orphan(batch: TimedBatch) -> None:
    stage = batch.stage
    with httpx.Client(headers={"authorization": f"Bearer {KEY}"}) as http:
        project = http.get(f"{batch.together.url}/v3/whoami").json()["project"]["id"]
        endpoints = f"{batch.together.url}/v2/projects/{project}/endpoints"
        assert http.post(endpoints, json={"name": ORPHAN}).is_success
    sweep = stage.prefect.deployment("sweep-endpoints/sweep-endpoints")
    credentials = {"credentials": {"$ref": {"block_document_id": batch.block}}}
    stage.prefect.request("PATCH", f"/deployments/{sweep['id']}", parameters=credentials)

    created = prefect_command(
        stage.prefect.api, "deployment", "schedule", "create", "sweep-endpoints/sweep-endpoints",
        "--cron", EVERY_MINUTE,
    )  # fmt: skip

    assert "Created" in created
    wait_until(
        lambda: not batch.together.has_endpoints, "the end of the orphan", timeout_s=240, every_s=1
    )
    wait_until(lambda: completed(stage, sweep["id"]), "the sweep's completion", every_s=1)
    prefect_command(
        stage.prefect.api,
        "deployment",
        "schedule",
        "clear",
        "sweep-endpoints/sweep-endpoints",
        "-y",
    )
