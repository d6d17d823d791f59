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
    rig: EmulatorClient, model: dict[str, Any], config: dict[str, Any], **more: str
) -> dict[str, Any]:
    """Return the body of a deployment of a model on a config."""
    wanted = {
        "model": path(model, more.get("revision", "")),
        "config": f"projects/{config['projectId']}/configs/{config['id']}",
    }
    return rig.body(profile=wanted)


def create(rig: EmulatorClient, wanted: dict[str, Any]) -> Any:
    """Create a deployment; returns the response."""
    endpoint = rig.endpoint()
    return rig.http.post(f"{rig.p}/endpoints/{endpoint['id']}/deployments", json=wanted)


def test_own_models_list_has_each_kind_with_its_base(together: Together) -> None:
    listed = {model.name: model for model in together.models.list()}

    assert listed[ADAPTER].weights.type == "WEIGHTS_TYPE_ADAPTER"
    assert listed[ADAPTER].base_model == listed[FINE_TUNE].base_model
    assert listed[FINE_TUNE].base_model_id == stable_id("ml", SMALL)
    assert (listed[UPLOAD].base_model, listed[UPLOAD].base_model_id) == (None, None)
    assert all(model.name.startswith(f"{OWN_SLUG}/") for model in listed.values())


def test_own_models_list_has_pages_by_cursor(rig: EmulatorClient) -> None:
    first = rig.http.get(f"{rig.p}/models", params={"limit": 2}).json()
    second = rig.http.get(f"{rig.p}/models", params={"after": first["next_cursor"]}).json()

    assert len(first["data"]) == 2
    assert {m["id"] for m in first["data"]}.isdisjoint(m["id"] for m in second["data"])
    assert second["next_cursor"] is None


def test_own_models_list_visibility_narrows_it(rig: EmulatorClient) -> None:
    query = {"visibility": "VISIBILITY_INTERNAL"}

    assert rig.http.get(f"{rig.p}/models", params=query).json()["data"] == []


def test_model_of_the_platform_is_found_in_its_project_only(together: Together) -> None:
    model_id = stable_id("ml", SMALL)

    found = together.models.retrieve(model_id, project_id=PUBLIC_PROJECT)
    with pytest.raises(NotFoundError):
        together.models.retrieve(model_id)

    assert found.name == SMALL


def test_platform_project_lists_no_models_of_ours(rig: EmulatorClient) -> None:
    assert rig.http.get(f"/v2/projects/{PUBLIC_PROJECT}/models").json()["data"] == []


def test_revisions_list_has_the_newest_first_with_its_validation(
    together: Together, rig: EmulatorClient
) -> None:
    model = own(rig, FINE_TUNE)

    revisions = together.models.list_revisions(model["id"]).data or []

    assert [revision.validation_status for revision in revisions] == [
        "REVISION_VALIDATION_STATUS_FAILED",
        "REVISION_VALIDATION_STATUS_SUCCESS",
        "REVISION_VALIDATION_STATUS_SUCCESS",
    ]
    assert revisions[0].created_at > revisions[-1].created_at


def test_configs_of_a_fine_tune_are_its_bases(rig: EmulatorClient) -> None:
    model = own(rig, FINE_TUNE)

    assert configs(rig, path(model)) == []
    assert {selectors(c)["adapter_mode"] for c in configs(rig, model["baseModel"])} == {
        "disabled",
        "dynamic",
        "fixed",
    }


def test_configs_of_an_upload_are_its_own_and_the_projects(rig: EmulatorClient) -> None:
    model = own(rig, UPLOAD)

    (config,) = configs(rig, path(model))

    assert config["projectId"] == rig.emulator.project_id
    assert config["referenceModelId"] == model["id"]


def test_configs_by_the_deprecated_id_are_the_same(together: Together) -> None:
    model_id = stable_id("ml", SMALL)

    by_id = list(together.models.configs.list(reference_model_id=model_id))
    by_path = list(
        together.models.configs.list(reference_model=f"projects/{PUBLIC_PROJECT}/models/{model_id}")
    )

    assert [config.id for config in by_id] == [config.id for config in by_path] != []


def test_config_with_a_draft_model_names_it_beside_one_without(rig: EmulatorClient) -> None:
    found = configs(rig, f"projects/{PUBLIC_PROJECT}/models/{stable_id('ml', THINKING)}")

    on_one_gpu = [c for c in found if selectors(c)["accelerator_type"] == "nvidia-h100-80gb"]
    drafts = {selectors(c)["optimization"]: c.get("draftModel") for c in on_one_gpu}

    assert drafts["balanced"] is None
    assert str(drafts["throughput"]).startswith(f"projects/{PUBLIC_PROJECT}/models/ml_")


def test_catalogue_profiles_leave_out_what_only_the_configs_api_shows(rig: EmulatorClient) -> None:
    entry = rig.http.get("/v2/supported-models", params={"search": SMALL}).json()["data"][0]

    profiles = {profile["certifiedConfigRevisionId"] for profile in entry["deploymentProfiles"]}
    all_configs = {config["id"] for config in configs(rig, entry["baseModel"])}

    assert profiles < all_configs
    assert {p["adapterMode"] for p in entry["deploymentProfiles"]} == {"ADAPTER_MODE_DISABLED"}


@pytest.mark.parametrize("name", [FINE_TUNE, ADAPTER])
def test_deployment_of_an_own_model_runs_on_its_bases_config(
    rig: EmulatorClient, name: str
) -> None:
    model = own(rig, name)
    config = configs(rig, model["baseModel"])[0]

    endpoint, deployment = rig.serve(
        profile={
            "model": path(model),
            "config": f"projects/{config['projectId']}/configs/{config['id']}",
        }
    )
    answer = rig.chat(endpoint["name"])

    assert deployment["modelId"] == model["id"]
    assert deployment["model"].startswith(path(model))
    assert deployment["config"].startswith(f"projects/{PUBLIC_PROJECT}/")
    assert answer.status_code == 200


def test_deployment_without_a_revision_takes_the_newest_valid_one(rig: EmulatorClient) -> None:
    model = own(rig, FINE_TUNE)
    revisions = rig.http.get(f"{rig.p}/models/{model['id']}/revisions").json()["data"]

    made = create(rig, body(rig, model, configs(rig, model["baseModel"])[0])).json()

    assert made["modelRevisionId"] == revisions[1]["revisionId"]


def test_deployment_with_a_pinned_revision_serves_that(rig: EmulatorClient) -> None:
    model = own(rig, FINE_TUNE)
    revisions = rig.http.get(f"{rig.p}/models/{model['id']}/revisions").json()["data"]
    oldest = revisions[-1]["revisionId"]

    made = create(rig, body(rig, model, configs(rig, model["baseModel"])[0], revision=oldest))

    assert made.json()["model"] == path(model, oldest)


def test_deployment_of_a_revision_that_failed_validation_is_refused(rig: EmulatorClient) -> None:
    model = own(rig, FINE_TUNE)
    revisions = rig.http.get(f"{rig.p}/models/{model['id']}/revisions").json()["data"]
    newest = revisions[0]["revisionId"]

    refused = create(rig, body(rig, model, configs(rig, model["baseModel"])[0], revision=newest))

    assert refused.status_code == 400
    assert "failed validation" in message(refused)


def test_deployment_with_a_config_of_the_wrong_project_is_refused(rig: EmulatorClient) -> None:
    model = own(rig, FINE_TUNE)
    config = configs(rig, model["baseModel"])[0] | {"projectId": rig.emulator.project_id}

    refused = create(rig, body(rig, model, config))

    assert code(refused) == (400, "invalid_argument")
    assert "does not exist" in message(refused)


def test_deployment_of_a_merged_adapter_on_an_adapter_config_is_refused(
    rig: EmulatorClient,
) -> None:
    model = own(rig, ADAPTER)
    attaching = next(
        c for c in configs(rig, model["baseModel"]) if selectors(c)["adapter_mode"] == "fixed"
    )

    refused = create(rig, body(rig, model, attaching))

    assert refused.status_code == 400
    assert "adapter_mode fixed" in message(refused)


def test_model_without_a_config_has_none_in_any_list(rig: EmulatorClient) -> None:
    model = own(rig, NO_CONFIG)

    assert configs(rig, path(model)) == configs(rig, model["baseModel"]) == []


def test_deployment_of_a_speculator_is_refused(rig: EmulatorClient) -> None:
    model = own(rig, f"{OWN_SLUG}/contract-reader-speculator")

    refused = create(rig, body(rig, model, configs(rig, model["baseModel"])[0]))

    assert "speculator" in message(refused)


def test_speculative_config_writes_faster_than_the_plain_one(rig: EmulatorClient) -> None:
    entry = rig.http.get("/v2/supported-models", params={"search": THINKING}).json()["data"][0]

    speeds = [
        profile["performanceBenchmarks"]["decodingSpeedTps"]
        for profile in entry["deploymentProfiles"]
        if profile["gpuType"] == "H100"
    ]

    assert speeds[1] > speeds[0]


def test_legacy_create_takes_a_fine_tunes_name(rig: EmulatorClient) -> None:
    rig.emulator.change(v1_create=True)
    offered = rig.http.get("/v1/hardware", params={"model": FINE_TUNE}).json()["data"]

    made = rig.http.post(
        "/v1/endpoints",
        json={
            "model": FINE_TUNE,
            "hardware": offered[0]["id"],
            "autoscaling": {"min_replicas": 1, "max_replicas": 1},
        },
    )

    assert made.status_code == 200
    assert made.json()["model"] == FINE_TUNE
