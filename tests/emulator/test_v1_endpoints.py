"""The legacy API: one endpoint object, started and stopped, billed by the minute."""

import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.emulator_client import (
    COLD_START_S,
    DRAIN_S,
    SMALL,
    EmulatorClient,
    code,
    message,
)
from together_emulator import Emulator, ManualClock
from together_emulator.inference.serving import Work, service_s

H100 = "1x_nvidia_h100_80gb_sxm"
BODY = {
    "model": SMALL,
    "hardware": H100,
    "autoscaling": {"min_replicas": 1, "max_replicas": 1},
    "display_name": "batch",
}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A server that still lets the legacy API create."""
    with Emulator(clock=ManualClock(), v1_create=True) as server:
        yield server


def create(api: EmulatorClient, **body: Any) -> dict[str, Any]:
    """Create a legacy endpoint."""
    answer = api.http.post("/v1/endpoints", json=BODY | body)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def path(endpoint: dict[str, Any]) -> str:
    return f"/v1/endpoints/{endpoint['id']}"


def get_endpoint(api: EmulatorClient, endpoint: dict[str, Any]) -> dict[str, Any]:
    seen: dict[str, Any] = api.http.get(path(endpoint)).json()
    return seen


def patch(api: EmulatorClient, endpoint: dict[str, Any], **body: Any) -> httpx.Response:
    return api.http.patch(path(endpoint), json=body)


def test_v1_endpoint_starts_serves_stops_restarts_and_is_deleted(api: EmulatorClient) -> None:
    clock = api.emulator.clock
    endpoint = create(api)
    states = [endpoint["state"]]
    for advance_s in (30, COLD_START_S):
        clock.advance(advance_s)
        states.append(get_endpoint(api, endpoint)["state"])
    answer = api.chat(endpoint["name"])
    states.append(patch(api, endpoint, state="STOPPED").json()["state"])
    clock.advance(DRAIN_S)
    states.append(get_endpoint(api, endpoint)["state"])
    refused = api.chat(endpoint["name"])
    states.append(patch(api, endpoint, state="STARTED").json()["state"])
    clock.advance(COLD_START_S)
    states.append(get_endpoint(api, endpoint)["state"])
    deleted = api.http.delete(path(endpoint))

    assert states == [
        "PENDING",
        "STARTING",
        "STARTED",
        "STOPPING",
        "STOPPED",
        "PENDING",
        "STARTED",
    ]
    assert answer.status_code == 200
    assert code(refused) == (400, "dedicated_endpoint_not_running")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert api.http.get(path(endpoint)).status_code == 404
    assert api.emulator.billing == 0


def test_v1_endpoint_shows_all_requested_fields(api: EmulatorClient) -> None:
    endpoint = create(api, autoscaling={"min_replicas": 2, "max_replicas": 3})

    assert endpoint.keys() == {
        "object",
        "id",
        "name",
        "display_name",
        "model",
        "hardware",
        "type",
        "owner",
        "state",
        "autoscaling",
        "created_at",
    }
    assert endpoint["name"].startswith(f"emulated-project/{SMALL}-")
    assert endpoint["id"].startswith("endpoint-")
    assert (endpoint["display_name"], endpoint["hardware"]) == ("batch", H100)
    assert endpoint["autoscaling"] == {"min_replicas": 2, "max_replicas": 3}


@pytest.mark.parametrize("call", ["create", "restart"])
def test_v1_create_and_restart_are_refused_unless_allowed(call: str) -> None:
    with Emulator(clock=ManualClock(), v1_create=call == "restart") as emulator:
        http = httpx.Client(
            base_url=emulator.url, headers={"authorization": f"Bearer {emulator.key}"}
        )
        with http:
            api = EmulatorClient(emulator, http)
            if call == "create":
                refused = http.post("/v1/endpoints", json=BODY)
            else:
                endpoint = create(api, state="STOPPED")
                emulator.change(v1_create=False)
                refused = patch(api, endpoint, state="STARTED")
                assert get_endpoint(api, endpoint)["state"] == "STOPPED"

    assert code(refused) == (403, "endpoints_v1_create_access_disabled")


def test_v1_create_is_never_idempotent(api: EmulatorClient) -> None:
    first, second = create(api), create(api)

    listed = api.http.get("/v1/endpoints", params={"mine": "true", "type": "dedicated"}).json()

    assert first["id"] != second["id"]
    assert first["name"] != second["name"]
    assert [e["id"] for e in listed["data"]] == [first["id"], second["id"]]


def test_v1_inference_accepts_the_name_only(api: EmulatorClient) -> None:
    endpoint = create(api)
    api.emulator.clock.advance(COLD_START_S)

    assert api.chat(endpoint["name"]).status_code == 200
    assert api.chat(endpoint["id"]).status_code == 404
    assert api.chat(endpoint["display_name"]).status_code == 404


def test_v1_replica_bills_the_minutes_that_it_runs(api: EmulatorClient) -> None:
    endpoint = create(api, autoscaling={"min_replicas": 2, "max_replicas": 2})
    api.emulator.clock.advance(300 + 600)
    patch(api, endpoint, state="STOPPED")
    api.emulator.clock.advance(3600)

    bill = api.emulator.ledger()

    minutes = math.ceil((600 + api.emulator.settings.drain_s) / 60)
    assert (bill.billing, bill.minutes) == (0, 2 * minutes)
    assert bill.usd == pytest.approx(2 * minutes * 0.09)


def test_v1_endpoint_deleted_while_running_bills_no_more(api: EmulatorClient) -> None:
    endpoint = create(api)
    api.emulator.clock.advance(300 + 60)

    api.http.delete(path(endpoint))
    api.emulator.clock.advance(3600)

    assert (api.emulator.ledger().billing, api.emulator.ledger().minutes) == (0, 1)
    assert api.http.delete(path(endpoint)).status_code == 404


def test_v1_endpoint_created_stopped_costs_nothing(api: EmulatorClient) -> None:
    endpoint = create(api, state="STOPPED")
    api.emulator.clock.advance(COLD_START_S)

    assert get_endpoint(api, endpoint)["state"] == "STOPPED"
    assert get_endpoint(api, endpoint)["autoscaling"] == {"min_replicas": 1, "max_replicas": 1}
    assert api.emulator.ledger().lines == ()


def test_v1_replica_change_survives_a_stop(api: EmulatorClient) -> None:
    endpoint = create(api)
    api.emulator.clock.advance(COLD_START_S)
    patch(api, endpoint, autoscaling={"min_replicas": 3, "max_replicas": 3})
    api.emulator.clock.advance(COLD_START_S)
    grown = api.emulator.billing

    patch(api, endpoint, state="STOPPED")
    api.emulator.clock.advance(DRAIN_S)
    patch(api, endpoint, state="STARTED")
    api.emulator.clock.advance(COLD_START_S)

    assert (grown, api.emulator.billing) == (3, 3)


def test_v1_endpoint_without_capacity_is_pending(api: EmulatorClient) -> None:
    api.emulator.set_free("1xnvidia-h100-80gb", 0)
    endpoint = create(api)
    api.emulator.clock.advance(COLD_START_S)
    waiting = get_endpoint(api, endpoint)["state"]

    api.emulator.set_free("1xnvidia-h100-80gb", 1)
    api.emulator.clock.advance(COLD_START_S)

    assert (waiting, get_endpoint(api, endpoint)["state"]) == ("PENDING", "STARTED")


def test_v1_endpoint_that_never_starts_is_in_error_and_final(api: EmulatorClient) -> None:
    api.emulator.set_free("1xnvidia-h100-80gb", 0)
    endpoint = create(api)
    api.emulator.clock.advance(6 * 3600 + 1)

    refused = patch(api, endpoint, state="STARTED")

    assert get_endpoint(api, endpoint)["state"] == "ERROR"
    assert refused.status_code == 400


@pytest.mark.parametrize("where", ["json", "params"])
def test_v1_zone_is_accepted_in_body_and_query(api: EmulatorClient, where: str) -> None:
    api.emulator.set_free("1xnvidia-h100-80gb", 0, region="us-east-1")
    zone = {"availability_zone": "us-east-1"}
    body, query = (BODY | zone, {}) if where == "json" else (BODY, zone)

    endpoint = api.http.post("/v1/endpoints", json=body, params=query).json()
    api.emulator.clock.advance(COLD_START_S)

    assert get_endpoint(api, endpoint)["state"] == "PENDING"


def test_v1_zones_are_listed(api: EmulatorClient) -> None:
    answer = api.http.get("/v1/clusters/availability-zones").json()

    assert answer == {"avzones": ["eu-west-1", "us-central-1", "us-east-1"]}


def test_v1_hardware_has_price_and_availability_for_a_model(api: EmulatorClient) -> None:
    api.emulator.set_free("1xnvidia-h200-141gb", 0)

    every = api.http.get("/v1/hardware").json()["data"]
    fitting = api.http.get("/v1/hardware", params={"model": SMALL}).json()["data"]

    assert len(every) == 12
    assert all("availability" not in kind for kind in every)
    assert {kind["id"]: kind["availability"]["status"] for kind in fitting} == {
        H100: "available",
        "1x_nvidia_h200_141gb_sxm": "insufficient",
        "1x_nvidia_b200_180gb_sxm": "available",
    }
    prices = {k["pricing"]["cents_per_minute"] / k["specs"]["gpu_count"] for k in every}
    assert prices == {9.0, 11.0, 15.0}


def test_v1_answers_take_longer_without_speculative_decoding(api: EmulatorClient) -> None:
    create(api, disable_speculative_decoding=True)
    create(api, disable_speculative_decoding=False)
    work = Work(prompt_tokens=100, cached_tokens=0, completion_tokens=100)

    plain_s, quick_s = (
        service_s(deployment, work, 1) for deployment in api.emulator._store.deployments.values()
    )

    assert plain_s > 1.2 * quick_s


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"model": "nobody/nothing"}, "not found"),
        ({"hardware": ""}, "hardware is required"),
        ({"hardware": "9x_nvidia_z9"}, "invalid hardware provided"),
        ({"hardware": "8x_nvidia_h200_141gb_sxm"}, "the selected configuration"),
        ({"autoscaling": {"min_replicas": 2, "max_replicas": 1}}, "above max_replicas"),
        ({"autoscaling": {"min_replicas": 0, "max_replicas": 1}}, "min_replicas"),
        ({"autoscaling": {"minReplicas": 1, "maxReplicas": 1}}, "unknown autoscaling field"),
        ({"availability_zone": "moon"}, "availability_zone"),
        ({"state": "PAUSED"}, "state"),
        ({"inactive_timeout": -1}, "inactive_timeout"),
        ({"surprise": 1}, "unknown field"),
    ],
)
def test_v1_invalid_request_is_refused(
    api: EmulatorClient, body: dict[str, Any], expected: str
) -> None:
    refused = api.http.post("/v1/endpoints", json=BODY | body)

    assert refused.status_code in (400, 404)
    assert expected in message(refused)
    assert api.emulator.endpoints() == []


def test_v1_and_v2_do_not_list_each_others_endpoints(api: EmulatorClient) -> None:
    legacy, modern = create(api), api.endpoint()

    assert [e["id"] for e in api.http.get(f"{api.p}/endpoints").json()["data"]] == [modern["id"]]
    assert api.http.get(f"{api.p}/endpoints/{legacy['id']}").status_code == 404
    assert api.http.get(f"/v1/endpoints/{modern['id']}").status_code == 404


def test_v1_list_separates_own_endpoints_from_serverless(api: EmulatorClient) -> None:
    endpoint = create(api)

    def listed(**query: str) -> list[str]:
        return [e["type"] for e in api.http.get("/v1/endpoints", params=query).json()["data"]]

    assert set(listed()) == {"dedicated", "serverless"}
    assert listed(type="dedicated") == listed(mine="true") == ["dedicated"]
    assert set(listed(type="serverless")) == {"serverless"}
    assert listed(usage_type="reserved") == []
    assert endpoint["type"] == "dedicated"


def test_v1_vanish_fault_accepts_the_display_name(api: EmulatorClient) -> None:
    endpoint = create(api, display_name="mayfly-one")
    create(api, display_name="other")

    gone = api.emulator.vanish("^mayfly-one$")

    assert gone == 1
    assert api.http.get(path(endpoint)).status_code == 404
