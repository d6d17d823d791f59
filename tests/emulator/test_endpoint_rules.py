"""Refusals of the management API and their messages."""

import httpx
import pytest

from tests.support.emulator_client import EmulatorClient, code, message
from together_emulator import Emulator


@pytest.mark.parametrize("key", [None, "Bearer wrong", "local"])
def test_request_without_key_is_401(emulator: Emulator, key: str | None) -> None:
    headers = {} if key is None else {"authorization": key}

    refused = httpx.get(f"{emulator.url}/v3/whoami", headers=headers)

    assert code(refused) == (401, "invalid_api_key")


def test_error_has_the_shape_that_the_sdk_parses(api: EmulatorClient) -> None:
    error = api.http.get(f"{api.p}/endpoints/ep_none").json()

    assert set(error) == {"error"}
    assert set(error["error"]) == {"message", "type", "param", "code"}


def test_unknown_project_is_404_and_foreign_project_is_403(api: EmulatorClient) -> None:
    model = api.profile()["model"]
    other = model.split("/")[1]

    unknown = api.http.get("/v2/projects/proj_none/endpoints")
    forbidden = api.http.post(f"/v2/projects/{other}/endpoints", json={"name": "batch"})
    readable = api.http.get(f"/v2/projects/{other}/configs")

    assert (unknown.status_code, forbidden.status_code) == (404, 403)
    assert readable.status_code == 200


@pytest.mark.parametrize("name", ["", "Batch", "-batch", "batch-", "a" * 64, "a b", "other/batch"])
def test_invalid_endpoint_name_is_refused(api: EmulatorClient, name: str) -> None:
    refused = api.http.post(f"{api.p}/endpoints", json={"name": name})

    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "name"


def test_endpoint_name_may_have_project_slug(api: EmulatorClient) -> None:
    assert api.endpoint("emulated-project/batch")["name"] == "emulated-project/batch"


def test_duplicate_endpoint_name_is_refused(api: EmulatorClient) -> None:
    endpoint = api.endpoint()
    api.deploy(endpoint)

    again = api.http.post(f"{api.p}/endpoints", json={"name": "batch"})
    deployment = api.http.post(f"{api.p}/endpoints/{endpoint['id']}/deployments", json=api.body())

    assert code(again) == code(deployment) == (409, "already_exists")


def test_stale_etag_is_conflict_and_missing_etag_is_unchecked(api: EmulatorClient) -> None:
    endpoint = api.endpoint()
    path = f"{api.p}/endpoints/{endpoint['id']}"

    fresh = api.http.patch(path, json={"etag": endpoint["etag"], "name": "renamed"})
    stale = api.http.patch(path, json={"etag": endpoint["etag"], "name": "again"})
    stale_delete = api.http.delete(path, params={"etag": endpoint["etag"]})
    unchecked = api.http.patch(path, json={"name": "again"})

    assert [r.status_code for r in (fresh, stale, stale_delete, unchecked)] == [200, 409, 409, 200]


def test_empty_traffic_split_needs_update_mask(api: EmulatorClient) -> None:
    endpoint, deployment = api.serve()
    path = f"{api.p}/endpoints/{endpoint['id']}"

    unmasked = api.http.patch(path, json={"trafficSplit": []})
    masked = api.http.patch(path, params={"updateMask": "trafficSplit"}, json={"trafficSplit": []})

    assert (unmasked.status_code, message(unmasked)) == (400, "no fields to update")
    assert masked.json()["trafficSplit"] == []
    assert api.state(deployment) == "READY"


@pytest.mark.parametrize(
    "split",
    [
        [{"deploymentId": "dep_none", "weight": 1}],
        [{"deploymentId": "OWN", "weight": -1}],
        [{"deploymentId": "OWN"}],
        [{"deploymentId": "OWN", "weight": 1}, {"deploymentId": "OWN", "weight": 2}],
        [{"deploymentId": "OWN", "weight": 1, "share": 1}],
        "OWN",
    ],
)
def test_invalid_traffic_split_is_refused(api: EmulatorClient, split: object) -> None:
    endpoint = api.endpoint()
    own = api.deploy(endpoint)["id"]
    if isinstance(split, list):
        split = [
            entry | {"deploymentId": own} if entry["deploymentId"] == "OWN" else entry
            for entry in split
        ]

    refused = api.http.patch(f"{api.p}/endpoints/{endpoint['id']}", json={"trafficSplit": split})

    assert refused.status_code == 400


def test_unknown_fields_and_parameters_are_refused(api: EmulatorClient) -> None:
    endpoint = api.endpoint()
    deployments = f"{api.p}/endpoints/{endpoint['id']}/deployments"
    loud = api.body() | {"autoscaling": {"minReplicas": 1, "min_replicas": 1}}

    answers = [
        api.http.post(f"{api.p}/endpoints", json={"name": "new", "display_name": "New"}),
        api.http.get(f"{api.p}/endpoints", params={"page": 2}),
        api.http.get("/v2/supported-models", params={"q": "Qwen"}),
        api.http.post(deployments, json=api.body() | {"hardware": "1xnvidia-h100-80gb"}),
        api.http.post(deployments, json=loud),
        api.http.patch(f"{api.p}/endpoints/{endpoint['id']}", json={"traffic_split": []}),
    ]

    assert [code(answer) for answer in answers] == [(400, "unknown_field")] * 6


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", None),
        ("autoscaling", None),
        ("model", None),
        ("config", None),
        ("model", "Qwen/Qwen2.5-7B-Instruct"),
        ("config", "projects/p/configs/cr_none"),
        ("inactiveTimeout", 29),
        ("inactiveTimeout", 1441),
        ("maxConcurrentRequestsPerReplica", "many"),
        ("placement", {"inline": {"regions": ["moon"]}}),
        ("placement", {"profile": "pp_none"}),
        ("autoscaling", {"minReplicas": 1, "scaleDownWindow": "soon"}),
    ],
)
def test_invalid_deployment_is_refused(api: EmulatorClient, field: str, value: object) -> None:
    endpoint = api.endpoint()
    body = api.body() | {field: value}

    refused = api.http.post(f"{api.p}/endpoints/{endpoint['id']}/deployments", json=body)

    assert refused.status_code == 400
    assert field in message(refused) or refused.json()["error"]["param"]


def test_config_of_another_model_is_refused(api: EmulatorClient) -> None:
    other = api.profile("meta-llama/Llama-3.3-70B-Instruct", "H200")
    body = api.body() | {"config": other["config"]}

    refused = api.http.post(f"{api.p}/endpoints/{api.endpoint()['id']}/deployments", json=body)

    assert "not compatible" in message(refused)


def test_model_without_profiles_cannot_be_deployed(api: EmulatorClient) -> None:
    name = "deepseek-ai/DeepSeek-V3.1"
    found = api.http.get("/v2/supported-models", params={"search": name}).json()["data"]
    configs = api.http.get(
        f"{api.p}/configs", params={"referenceModel": found[0]["baseModel"]}
    ).json()["data"]

    assert (found[0]["deploymentProfiles"], configs) == ([], [])


def test_excessive_concurrency_is_reduced_silently(api: EmulatorClient) -> None:
    endpoint = api.endpoint()

    default = api.deploy(endpoint, name="a")
    small = api.deploy(endpoint, name="b", maxConcurrentRequestsPerReplica="32")
    large = api.deploy(endpoint, name="c", maxConcurrentRequestsPerReplica="9999")

    limits = [d["maxConcurrentRequestsPerReplica"] for d in (default, small, large)]
    assert limits == ["255", "32", "255"]


def test_deployment_config_model_and_placement_are_immutable(api: EmulatorClient) -> None:
    deployment = api.deploy(api.endpoint())

    for field in ("config", "model", "placement", "hardware"):
        refused = api.http.patch(api.path(deployment), json={field: "x"})
        assert code(refused) == (400, "unknown_field")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('name = "alpha-1"', ["alpha-1"]),
        ('name = "emulated-project/alpha-1"', ["alpha-1"]),
        ('name != "alpha-1"', ["alpha-2", "beta-1"]),
        ('name:"ph"', ["alpha-1", "alpha-2"]),
        ('name = "alpha*"', ["alpha-1", "alpha-2"]),
        ('name = "*-1"', ["alpha-1", "beta-1"]),
        ('name = "*-1" AND NOT name = "beta*"', ["alpha-1"]),
        ('name = "beta-1" OR name = "alpha-2"', ["alpha-2", "beta-1"]),
        ('(name = "beta-1" OR name = "alpha-2") AND name:"a-1"', ["beta-1"]),
        ('created_at >= "2026-11-01T00:01:30Z"', ["beta-1"]),
        ('created_at < "2026-11-01T00:00:30+00:00"', ["alpha-1"]),
    ],
)
def test_list_filter_selects_matching_endpoints(
    api: EmulatorClient, text: str, names: list[str]
) -> None:
    for name in ("alpha-1", "alpha-2", "beta-1"):
        api.endpoint(name)
        api.emulator.clock.advance(60)

    found = api.http.get(
        f"{api.p}/endpoints", params={"filter": text, "orderBy": "created_at asc"}
    ).json()["data"]

    assert [endpoint["name"].split("/")[1] for endpoint in found] == names


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        'name = "a" AND',
        'name == "a"',
        '(name = "a"',
        'colour = "red"',
        "created_at > 2026",
        'created_at > "yesterday"',
        'name = "a" name = "b"',
        'name = "a*b"',
    ],
)
def test_invalid_list_filter_is_refused(api: EmulatorClient, text: str) -> None:
    refused = api.http.get(f"{api.p}/endpoints", params={"filter": text})

    assert refused.status_code == 400
    assert message(refused).startswith("invalid filter expression")


def test_deployments_are_filtered_by_state_and_model(api: EmulatorClient) -> None:
    endpoint, _ = api.serve(name="batch")
    api.deploy(endpoint, name="idle", replicas=(0, 0))
    path = f"{api.p}/endpoints/{endpoint['id']}/deployments"

    ready = api.http.get(path, params={"filter": 'state = "DEPLOYMENT_STATE_READY"'}).json()
    unknown = api.http.get(path, params={"filter": 'state = "READY"'})

    assert [d["name"].rsplit("/", 1)[1] for d in ready["data"]] == ["main"]
    assert unknown.status_code == 400


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "501"}, {"after": "?"}, {"orderBy": "x"}]
)
def test_invalid_page_request_is_refused(api: EmulatorClient, query: dict[str, str]) -> None:
    assert api.http.get(f"{api.p}/endpoints", params=query).status_code == 400


def test_page_token_survives_deletion_of_its_item(api: EmulatorClient) -> None:
    made = [api.endpoint(f"e-{n}") for n in range(4)]
    first = api.http.get(
        f"{api.p}/endpoints", params={"limit": 2, "orderBy": "created_at asc"}
    ).json()
    for endpoint in made:
        if endpoint["id"] == first["data"][-1]["id"]:
            api.http.delete(f"{api.p}/endpoints/{endpoint['id']}")

    rest = api.http.get(
        f"{api.p}/endpoints",
        params={"limit": 2, "orderBy": "created_at asc", "after": first["next_cursor"]},
    ).json()

    seen = {endpoint["id"] for endpoint in first["data"] + rest["data"]}
    assert seen == {endpoint["id"] for endpoint in made}


def test_endpoint_shows_its_10_newest_deployments(api: EmulatorClient) -> None:
    endpoint = api.endpoint()
    for n in range(12):
        api.deploy(endpoint, name=f"d-{n}", replicas=(0, 0))
        api.emulator.clock.advance(1)

    shown = api.http.get(f"{api.p}/endpoints/{endpoint['id']}").json()["deployments"]

    assert [d["name"].rsplit("/", 1)[1] for d in shown] == [f"d-{n}" for n in range(11, 1, -1)]


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"'])
def test_body_that_is_no_json_object_is_refused(api: EmulatorClient, body: bytes) -> None:
    assert code(api.http.post(f"{api.p}/endpoints", content=body)) == (400, "invalid_json")


def test_unknown_path_or_method_is_404_or_405(api: EmulatorClient) -> None:
    assert code(api.http.get("/v2/nothing")) == (404, "http_404")
    assert code(api.http.put("/v3/whoami")) == (405, "http_405")
