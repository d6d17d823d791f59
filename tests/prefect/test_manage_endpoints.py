"""The manage-endpoints deployment: its form, actions and artifacts."""

from typing import Any

import httpx

from tests.prefect.conftest import KEY, PrefectStage

NAME = "manage-endpoints"


def test_manage_form_offers_actions_and_api_generations(stage: PrefectStage) -> None:
    deployment = stage.prefect.deployment(f"{NAME}/{NAME}")
    schema = deployment["parameter_openapi_schema"]
    fields: dict[str, Any] = schema["properties"]

    assert fields["action"]["enum"] == ["list", "show", "start", "stop", "scale", "delete"]
    assert fields["api"]["enum"] == ["v1", "v2"]
    assert all(field.get("description") for field in fields.values())
    assert deployment["enforce_parameter_schema"]
    assert deployment["schedules"] == []


def test_manage_run_lists_endpoints_in_a_table_artifact(stage: PrefectStage) -> None:
    parameters = {
        "action": "list",
        "credentials": {"$ref": {"block_document_id": stage.block}},
    }

    run = stage.prefect.start(parameters, NAME)

    ended = stage.prefect.await_state(run, "COMPLETED")
    assert ended["name"].startswith("list")
    assert [a["key"] for a in stage.prefect.of_run("artifacts", run)] == ["endpoints"]


def test_manage_run_deletes_a_foreign_endpoint(
    stage: PrefectStage,
) -> None:
    with httpx.Client(headers={"authorization": f"Bearer {KEY}"}) as http:
        project = http.get(f"{stage.together.url}/v3/whoami").json()["project"]["id"]
        endpoints = f"{stage.together.url}/v2/projects/{project}/endpoints"
        made = http.post(endpoints, json={"name": "by-hand"}).json()
        parameters = {
            "action": "delete",
            "name": "by-hand",
            "force": True,
            "credentials": {"$ref": {"block_document_id": stage.block}},
        }

        run = stage.prefect.start(parameters, NAME)

        ended = stage.prefect.await_state(run, "COMPLETED")
        assert ended["name"] == "delete by-hand"
        assert http.get(f"{endpoints}/{made['id']}").status_code == 404
