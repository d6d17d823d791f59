"""A project's own models: records, revisions, configs, and deployments of them."""

from typing import Any

import pytest
from together import NotFoundError, Together

from tests.support.emulator_client import SMALL, EmulatorClient, code, message
from tests.support.own_models import (
    ADAPTER,
    FINE_TUNE,
    NO_CONFIG,
    UPLOAD,
    configs,
    own,
    path,
    selectors,
)
from together_emulator.state.catalogue import OWN_SLUG, PUBLIC_PROJECT, stable_id

THINKING = "Qwen/Qwen3.5-9B"


def body(
    api: EmulatorClient, model: dict[str, Any], config: dict[str, Any], **more: str
) -> dict[str, Any]:
    """Return the body of a deployment of a model on a config."""
    wanted = {
        "model": path(model, more.get("revision", "")),
        "config": f"projects/{config['projectId']}/configs/{config['id']}",
    }
    return api.body(profile=wanted)


def create(api: EmulatorClient, wanted: dict[str, Any]) -> Any:
    """Create a deployment; returns the response."""
    endpoint = api.endpoint()
    return api.http.post(f"{api.p}/endpoints/{endpoint['id']}/deployments", json=wanted)


def test_own_models_list_has_each_kind_with_its_base(together: Together) -> None:
    listed = {model.name: model for model in together.models.list()}

    assert listed[ADAPTER].weights.type == "WEIGHTS_TYPE_ADAPTER"
    assert listed[ADAPTER].base_model == listed[FINE_TUNE].base_model
    assert listed[FINE_TUNE].base_model_id == stable_id("ml", SMALL)
    assert (listed[UPLOAD].base_model, listed[UPLOAD].base_model_id) == (None, None)
    assert all(model.name.startswith(f"{OWN_SLUG}/") for model in listed.values())


def test_own_models_list_has_pages_by_cursor(api: EmulatorClient) -> None:
    first = api.http.get(f"{api.p}/models", params={"limit": 2}).json()
    second = api.http.get(f"{api.p}/models", params={"after": first["next_cursor"]}).json()

    assert len(first["data"]) == 2
    assert {m["id"] for m in first["data"]}.isdisjoint(m["id"] for m in second["data"])
    assert second["next_cursor"] is None


def test_own_models_list_visibility_narrows_it(api: EmulatorClient) -> None:
    query = {"visibility": "VISIBILITY_INTERNAL"}

    assert api.http.get(f"{api.p}/models", params=query).json()["data"] == []


def test_model_of_the_platform_is_found_in_its_project_only(together: Together) -> None:
    model_id = stable_id("ml", SMALL)

    found = together.models.retrieve(model_id, project_id=PUBLIC_PROJECT)
    with pytest.raises(NotFoundError):
        together.models.retrieve(model_id)

    assert found.name == SMALL


def test_platform_project_lists_no_models_of_ours(api: EmulatorClient) -> None:
    assert api.http.get(f"/v2/projects/{PUBLIC_PROJECT}/models").json()["data"] == []


def test_revisions_list_has_the_newest_first_with_its_validation(
    together: Together, api: EmulatorClient
) -> None:
    model = own(api, FINE_TUNE)

    revisions = together.models.list_revisions(model["id"]).data or []

    assert [revision.validation_status for revision in revisions] == [
        "REVISION_VALIDATION_STATUS_FAILED",
        "REVISION_VALIDATION_STATUS_SUCCESS",
        "REVISION_VALIDATION_STATUS_SUCCESS",
    ]
    assert revisions[0].created_at > revisions[-1].created_at


def test_configs_of_a_fine_tune_are_its_bases(api: EmulatorClient) -> None:
    model = own(api, FINE_TUNE)

    assert configs(api, path(model)) == []
    assert {selectors(c)["adapter_mode"] for c in configs(api, model["baseModel"])} == {
        "disabled",
        "dynamic",
        "fixed",
    }


def test_configs_of_an_upload_are_its_own_and_the_projects(api: EmulatorClient) -> None:
    model = own(api, UPLOAD)

    (config,) = configs(api, path(model))

    assert config["projectId"] == api.emulator.project_id
    assert config["referenceModelId"] == model["id"]


def test_configs_by_the_deprecated_id_are_the_same(together: Together) -> None:
    model_id = stable_id("ml", SMALL)

    by_id = list(together.models.configs.list(reference_model_id=model_id))
    by_path = list(
        together.models.configs.list(reference_model=f"projects/{PUBLIC_PROJECT}/models/{model_id}")
    )

    assert [config.id for config in by_id] == [config.id for config in by_path] != []


def test_config_with_a_draft_model_names_it_beside_one_without(api: EmulatorClient) -> None:
    found = configs(api, f"projects/{PUBLIC_PROJECT}/models/{stable_id('ml', THINKING)}")

    on_one_gpu = [c for c in found if selectors(c)["accelerator_type"] == "nvidia-h100-80gb"]
    drafts = {selectors(c)["optimization"]: c.get("draftModel") for c in on_one_gpu}

    assert drafts["balanced"] is None
    assert str(drafts["throughput"]).startswith(f"projects/{PUBLIC_PROJECT}/models/ml_")


def test_catalogue_profiles_leave_out_what_only_the_configs_api_shows(api: EmulatorClient) -> None:
    entry = api.http.get("/v2/supported-models", params={"search": SMALL}).json()["data"][0]

    profiles = {profile["certifiedConfigRevisionId"] for profile in entry["deploymentProfiles"]}
    all_configs = {config["id"] for config in configs(api, entry["baseModel"])}

    assert profiles < all_configs
    assert {p["adapterMode"] for p in entry["deploymentProfiles"]} == {"ADAPTER_MODE_DISABLED"}


@pytest.mark.parametrize("name", [FINE_TUNE, ADAPTER])
def test_deployment_of_an_own_model_runs_on_its_bases_config(
    api: EmulatorClient, name: str
) -> None:
    model = own(api, name)
    config = configs(api, model["baseModel"])[0]

    endpoint, deployment = api.serve(
        profile={
            "model": path(model),
            "config": f"projects/{config['projectId']}/configs/{config['id']}",
        }
    )
    answer = api.chat(endpoint["name"])

    assert deployment["modelId"] == model["id"]
    assert deployment["model"].startswith(path(model))
    assert deployment["config"].startswith(f"projects/{PUBLIC_PROJECT}/")
    assert answer.status_code == 200


def test_deployment_without_a_revision_takes_the_newest_valid_one(api: EmulatorClient) -> None:
    model = own(api, FINE_TUNE)
    revisions = api.http.get(f"{api.p}/models/{model['id']}/revisions").json()["data"]

    made = create(api, body(api, model, configs(api, model["baseModel"])[0])).json()

    assert made["modelRevisionId"] == revisions[1]["revisionId"]


def test_deployment_with_a_pinned_revision_serves_that(api: EmulatorClient) -> None:
    model = own(api, FINE_TUNE)
    revisions = api.http.get(f"{api.p}/models/{model['id']}/revisions").json()["data"]
    oldest = revisions[-1]["revisionId"]

    made = create(api, body(api, model, configs(api, model["baseModel"])[0], revision=oldest))

    assert made.json()["model"] == path(model, oldest)


def test_deployment_of_a_revision_that_failed_validation_is_refused(api: EmulatorClient) -> None:
    model = own(api, FINE_TUNE)
    revisions = api.http.get(f"{api.p}/models/{model['id']}/revisions").json()["data"]
    newest = revisions[0]["revisionId"]

    refused = create(api, body(api, model, configs(api, model["baseModel"])[0], revision=newest))

    assert refused.status_code == 400
    assert "failed validation" in message(refused)


def test_deployment_with_a_config_of_the_wrong_project_is_refused(api: EmulatorClient) -> None:
    model = own(api, FINE_TUNE)
    config = configs(api, model["baseModel"])[0] | {"projectId": api.emulator.project_id}

    refused = create(api, body(api, model, config))

    assert code(refused) == (400, "invalid_argument")
    assert "does not exist" in message(refused)


def test_deployment_of_a_merged_adapter_on_an_adapter_config_is_refused(
    api: EmulatorClient,
) -> None:
    model = own(api, ADAPTER)
    attaching = next(
        c for c in configs(api, model["baseModel"]) if selectors(c)["adapter_mode"] == "fixed"
    )

    refused = create(api, body(api, model, attaching))

    assert refused.status_code == 400
    assert "adapter_mode fixed" in message(refused)


def test_model_without_a_config_has_none_in_any_list(api: EmulatorClient) -> None:
    model = own(api, NO_CONFIG)

    assert configs(api, path(model)) == configs(api, model["baseModel"]) == []


def test_deployment_of_a_speculator_is_refused(api: EmulatorClient) -> None:
    model = own(api, f"{OWN_SLUG}/contract-reader-speculator")

    refused = create(api, body(api, model, configs(api, model["baseModel"])[0]))

    assert "speculator" in message(refused)


def test_speculative_config_writes_faster_than_the_plain_one(api: EmulatorClient) -> None:
    entry = api.http.get("/v2/supported-models", params={"search": THINKING}).json()["data"][0]

    speeds = [
        profile["performanceBenchmarks"]["decodingSpeedTps"]
        for profile in entry["deploymentProfiles"]
        if profile["gpuType"] == "H100"
    ]

    assert speeds[1] > speeds[0]


def test_legacy_create_takes_a_fine_tunes_name(api: EmulatorClient) -> None:
    api.emulator.change(v1_create=True)
    offered = api.http.get("/v1/hardware", params={"model": FINE_TUNE}).json()["data"]

    made = api.http.post(
        "/v1/endpoints",
        json={
            "model": FINE_TUNE,
            "hardware": offered[0]["id"],
            "autoscaling": {"min_replicas": 1, "max_replicas": 1},
        },
    )

    assert made.status_code == 200
    assert made.json()["model"] == FINE_TUNE
