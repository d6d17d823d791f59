"""Notifications for orphaned endpoints and for missing sweeps."""

from datetime import timedelta
from uuid import UUID

import httpx

from mayfly.orchestration.notifications import automations
from tests.prefect.conftest import KEY, PrefectStage
from tests.support.wait import wait_until

ORPHAN_ENDED_EVENT = "mayfly-tests-0123456789-5f000000"
"""A name of ours whose time was over in 2020."""


def test_notification_is_sent_for_an_endpoint_that_outlived_its_run(
    stage: PrefectStage, messages: list[str]
) -> None:
    with httpx.Client(headers={"authorization": f"Bearer {KEY}"}) as http:
        project = http.get(f"{stage.together.url}/v3/whoami").json()["project"]["id"]
        endpoints = f"{stage.together.url}/v2/projects/{project}/endpoints"
        assert http.post(endpoints, json={"name": ORPHAN_ENDED_EVENT}).is_success
    credentials = {"credentials": {"$ref": {"block_document_id": stage.block}}}

    run = stage.prefect.start(credentials, "sweep-endpoints")

    stage.prefect.await_state(run, "COMPLETED")
    (line,) = wait_until(
        lambda: [line for line in messages if "the sweep ended an orphaned endpoint" in line],
        "notification",
    )
    assert ORPHAN_ENDED_EVENT in line


def test_notification_is_sent_when_no_sweep_completes(
    stage: PrefectStage, webhook: tuple[str, str, list[str]]
) -> None:
    _, block, messages = webhook
    wanted = automations(UUID(block), silence=timedelta(seconds=10))[2].model_dump(
        mode="json", exclude={"id"}
    )
    wanted["name"] = f"no sweep, notified through {block}"

    made = stage.prefect.request("POST", "/automations/", **wanted)

    wait_until(
        lambda: [line for line in messages if "no sweep has completed" in line], "notification"
    )
    stage.prefect.request("DELETE", f"/automations/{made['id']}")
