"""LoRA adapters attached to a deployment of their base model."""

from typing import Any

import pytest
from together import BadRequestError, ConflictError, NotFoundError, Together

from tests.support.emulator_client import COLD_START_S, SMALL, EmulatorClient, code
from tests.support.own_models import ADAPTER, configs, own, path, selectors
from together_emulator.state.adapters import Adapter


def deployed(
    api: EmulatorClient, mode: str
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Serve the adapter's base model on a config of that adapter mode."""
    adapter = own(api, ADAPTER)
    config = next(
        c for c in configs(api, adapter["baseModel"]) if selectors(c)["adapter_mode"] == mode
    )
    endpoint, deployment = api.serve(
        profile={
            "model": adapter["baseModel"],
            "config": f"projects/{config['projectId']}/configs/{config['id']}",
        }
    )
    return adapter, endpoint, deployment


def test_attached_adapter_loads_becomes_ready_and_is_removed(
    api: EmulatorClient, together: Together
) -> None:
    adapter, endpoint, deployment = deployed(api, "dynamic")
    where: dict[str, Any] = {"endpoint_id": endpoint["id"], "deployment_id": deployment["id"]}

    made = together.endpoints.adapters.create(adapter_model_id=adapter["id"], **where)
    loading = made.per_cluster[0]
    api.emulator.clock.advance(api.emulator.settings.adapter_load_s)
    ready = together.endpoints.adapters.retrieve(made.id, **where).per_cluster[0]
    together.endpoints.adapters.delete(made.id, etag=made.etag, **where)
    removing = together.endpoints.adapters.retrieve(made.id, **where).per_cluster[0]
    api.emulator.clock.advance(api.emulator.settings.release_s)

    assert made.id.startswith("dad_")
    assert (loading.state, loading.ready_pod_count) == ("ADAPTER_LOAD_STATE_LOADING", 0)
    assert (ready.state, ready.ready_pod_count) == ("ADAPTER_LOAD_STATE_READY", 1)
    assert removing.state == "ADAPTER_LOAD_STATE_REMOVING"
    assert list(together.endpoints.adapters.list(endpoint["id"], deployment["id"])) == []


def test_attached_adapter_waits_for_a_replica(api: EmulatorClient) -> None:
    adapter, _, deployment = deployed(api, "dynamic")
    api.scale(deployment, 2, 2)
    api.emulator.clock.advance(api.emulator.settings.schedule_s + 1)
    attached = api.http.post(
        f"{api.path(deployment)}/adapters", json={"adapterModelId": adapter["id"]}
    )

    states = {row["clusterId"]: row["state"] for row in attached.json()["perCluster"]}

    assert set(states.values()) <= {"ADAPTER_LOAD_STATE_PENDING", "ADAPTER_LOAD_STATE_LOADING"}


def test_attached_adapter_answers_under_its_name_once_loaded(api: EmulatorClient) -> None:
    adapter, _, deployment = deployed(api, "dynamic")
    api.http.post(f"{api.path(deployment)}/adapters", json={"adapterModelId": adapter["id"]})

    early = api.chat(adapter["name"])
    api.emulator.clock.advance(api.emulator.settings.adapter_load_s)
    late = api.chat(adapter["name"])

    assert (early.status_code, late.status_code) == (404, 200)


def test_attached_revision_that_failed_validation_never_loads(api: EmulatorClient) -> None:
    adapter, _, deployment = deployed(api, "dynamic")
    newest = api.http.get(f"{api.p}/models/{adapter['id']}/revisions").json()["data"][0]

    attached = api.http.post(
        f"{api.path(deployment)}/adapters",
        json={"adapterModelId": adapter["id"], "adapterRevisionId": newest["revisionId"]},
    ).json()

    (row,) = attached["perCluster"]
    assert (row["state"], row["failedPodCount"]) == ("ADAPTER_LOAD_STATE_FAILED", 1)
    assert "validation" in row["message"]


def test_adapter_on_config_without_adapters_is_refused(
    api: EmulatorClient, together: Together
) -> None:
    adapter, endpoint, deployment = deployed(api, "disabled")

    with pytest.raises(BadRequestError, match="adapter_mode disabled"):
        together.endpoints.adapters.create(
            adapter_model_id=adapter["id"],
            endpoint_id=endpoint["id"],
            deployment_id=deployment["id"],
        )


def test_adapter_attached_twice_is_conflict(api: EmulatorClient, together: Together) -> None:
    adapter, endpoint, deployment = deployed(api, "fixed")
    where: dict[str, Any] = {"endpoint_id": endpoint["id"], "deployment_id": deployment["id"]}
    together.endpoints.adapters.create(adapter_model_id=adapter["id"], **where)

    with pytest.raises(ConflictError):
        together.endpoints.adapters.create(adapter_model_id=adapter["id"], **where)


def test_model_that_is_no_adapter_is_not_attached(api: EmulatorClient) -> None:
    adapter, _, deployment = deployed(api, "dynamic")

    refused = api.http.post(
        f"{api.path(deployment)}/adapters", json={"adapterModelId": adapter["baseModelId"]}
    )

    assert refused.status_code == 400


def test_adapter_update_needs_newest_etag_and_reloads(
    api: EmulatorClient, together: Together
) -> None:
    adapter, endpoint, deployment = deployed(api, "dynamic")
    where: dict[str, Any] = {"endpoint_id": endpoint["id"], "deployment_id": deployment["id"]}
    oldest = api.http.get(f"{api.p}/models/{adapter['id']}/revisions").json()["data"][-1]
    made = together.endpoints.adapters.create(adapter_model_id=adapter["id"], **where)
    api.emulator.clock.advance(api.emulator.settings.adapter_load_s)

    changed = together.endpoints.adapters.update(
        made.id, adapter_revision_id=oldest["revisionId"], etag=made.etag, **where
    )
    with pytest.raises(ConflictError):
        together.endpoints.adapters.delete(made.id, etag=made.etag, **where)

    assert changed.desired_revision_id == oldest["revisionId"] != made.desired_revision_id
    assert changed.per_cluster[0].state == "ADAPTER_LOAD_STATE_LOADING"


def test_unknown_adapter_is_not_found(api: EmulatorClient, together: Together) -> None:
    _, endpoint, deployment = deployed(api, "dynamic")

    with pytest.raises(NotFoundError):
        together.endpoints.adapters.retrieve(
            "dad_none", endpoint_id=endpoint["id"], deployment_id=deployment["id"]
        )


def test_merged_adapter_is_deployed_by_its_path(api: EmulatorClient) -> None:
    adapter = own(api, ADAPTER)
    config = configs(api, adapter["baseModel"])[0]

    _, deployment = api.serve(
        profile={
            "model": path(adapter),
            "config": f"projects/{config['projectId']}/configs/{config['id']}",
        }
    )

    assert api.http.get(f"{api.path(deployment)}/adapters").json()["data"] == []
    assert deployment["modelId"] == adapter["id"]


def legacy_endpoint(api: EmulatorClient) -> dict[str, Any]:
    """Create an endpoint of the adapter's base model by the legacy API, and let it start."""
    api.emulator.change(v1_create=True)
    made: dict[str, Any] = api.http.post(
        "/v1/endpoints",
        json={
            "model": SMALL,
            "hardware": "1x_nvidia_h100_80gb_sxm",
            "autoscaling": {"min_replicas": 1, "max_replicas": 1},
        },
    ).json()
    api.emulator.clock.advance(COLD_START_S)
    return made


def test_legacy_endpoint_answers_under_the_name_of_an_adapter(api: EmulatorClient) -> None:
    endpoint = legacy_endpoint(api)
    path = f"/v1/endpoints/{endpoint['id']}/adapters"

    attached = api.http.post(path, json={"model_id": f"{endpoint['name']}:{ADAPTER}"})
    api.emulator.clock.advance(api.emulator.settings.adapter_load_s)

    assert attached.status_code == 200
    assert api.chat(ADAPTER).status_code == 200


@pytest.mark.parametrize(
    "model_id", ["", ADAPTER, f"other:{ADAPTER}", "{name}:", "{name}:none", "{name}:" + SMALL]
)
def test_legacy_endpoint_refuses_adapter_of_other_model(api: EmulatorClient, model_id: str) -> None:
    endpoint = legacy_endpoint(api)

    refused = api.http.post(
        f"/v1/endpoints/{endpoint['id']}/adapters",
        json={"model_id": model_id.format(name=endpoint["name"])},
    )

    assert refused.status_code in (400, 404)


def test_adapter_beyond_capacity_needs_force(api: EmulatorClient) -> None:
    adapter, _, deployment = deployed(api, "fixed")
    stored = api.emulator._store.deployments[deployment["id"]]
    path = f"{api.path(deployment)}/adapters"
    other = Adapter(
        id="dad_other",
        model=stored.model,
        revision="rv_other",
        etag="etag",
        changed_s=0.0,
    )
    stored.adapters[other.id] = other

    refused = api.http.post(path, json={"adapterModelId": adapter["id"]})
    forced = api.http.post(path, json={"adapterModelId": adapter["id"], "force": True})

    assert code(refused) == (400, "adapter_capacity")
    assert forced.status_code == 200
    assert list(stored.adapters) == [forced.json()["id"]]
