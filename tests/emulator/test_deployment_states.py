"""States of a deployment: transitions, messages, and what each state forbids."""

import pytest

from tests.support.emulator_client import COLD_START_S, DRAIN_S, EmulatorClient, message
from together_emulator import Emulator

H100 = "1xnvidia-h100-80gb"


def history(api: EmulatorClient, deployment_id: str) -> list[tuple[str, str]]:
    """Return the states that a deployment went through, with their messages."""
    deployments = api.http.get("/_emulator/deployments").json()["deployments"]
    found = next(d for d in deployments if d["id"] == deployment_id)
    return [(e["state"].removeprefix("DEPLOYMENT_STATE_"), e["message"]) for e in found["history"]]


def test_deployment_goes_through_provisioning_starting_ready_stopped(api: EmulatorClient) -> None:
    _, deployment = api.serve()

    api.scale(deployment, 0, 0)
    api.emulator.clock.advance(DRAIN_S)

    assert history(api, deployment["id"]) == [
        ("PROVISIONING", "Scheduling replicas"),
        ("SCALING", "Starting replicas"),
        ("READY", "All replicas ready"),
        ("STOPPING", "Draining replicas"),
        ("STOPPED", "0 replicas"),
    ]


def test_deployment_with_zero_replicas_is_created_stopped(api: EmulatorClient) -> None:
    deployment = api.deploy(api.endpoint(), replicas=(0, 0))

    assert deployment["status"]["state"] == "DEPLOYMENT_STATE_STOPPED"


def test_stopped_deployment_can_be_started(api: EmulatorClient) -> None:
    _, deployment = api.serve()
    api.scale(deployment, 0, 0)
    api.emulator.clock.advance(DRAIN_S)

    api.scale(deployment, 1, 1)
    first = api.state(deployment)
    api.emulator.clock.advance(COLD_START_S)

    assert (first, api.state(deployment)) == ("PROVISIONING", "READY")


def test_second_start_is_faster_with_cached_weights(api: EmulatorClient) -> None:
    _, deployment = api.serve()
    api.scale(deployment, 0, 0)
    api.emulator.clock.advance(DRAIN_S)

    api.scale(deployment, 1, 1)
    api.emulator.clock.advance(200)

    assert api.state(deployment) == "READY"


def test_scale_up_keeps_serving_replicas(api: EmulatorClient) -> None:
    _, deployment = api.serve()

    api.scale(deployment, 3, 3)
    growing = api.get_deployment(deployment)["status"]
    api.emulator.clock.advance(COLD_START_S)
    grown = api.get_deployment(deployment)["status"]

    assert (growing["state"], growing["readyReplicas"]) == ("DEPLOYMENT_STATE_SCALING", 1)
    assert (grown["state"], grown["readyReplicas"]) == ("DEPLOYMENT_STATE_READY", 3)


def test_scale_down_drains_replicas_then_removes_them(api: EmulatorClient) -> None:
    _, deployment = api.serve(replicas=(3, 3))

    api.scale(deployment, 1, 1)
    shrinking = api.get_deployment(deployment)["status"]
    api.emulator.clock.advance(DRAIN_S)

    assert (shrinking["state"], shrinking["message"]) == (
        "DEPLOYMENT_STATE_SCALING",
        "Scaling down",
    )
    assert api.get_deployment(deployment)["status"]["scheduledReplicas"] == 1


def test_deployment_without_capacity_is_degraded_until_available(api: EmulatorClient) -> None:
    api.emulator.set_free(H100, 0)
    endpoint = api.endpoint()
    deployment = api.deploy(endpoint)
    api.emulator.clock.advance(COLD_START_S)
    stuck = api.get_deployment(deployment)["status"]

    api.emulator.set_free(H100, 1, region="eu-west-1")
    api.emulator.clock.advance(COLD_START_S)

    assert stuck["state"] == "DEPLOYMENT_STATE_DEGRADED"
    assert stuck["message"] == "Cannot place replicas: insufficient GPU capacity"
    assert api.get_deployment(deployment)["status"]["details"]["region"][0]["region"] == "eu-west-1"
    assert [state for state, _ in history(api, deployment["id"])] == [
        "PROVISIONING",
        "DEGRADED",
        "SCALING",
        "READY",
    ]


def test_released_capacity_goes_to_the_next_deployment(api: EmulatorClient) -> None:
    api.emulator.set_free(H100, 0)
    api.emulator.set_free(H100, 1, region="us-east-1")
    _, first = api.serve("first")
    _, second = api.serve("second")
    waiting = api.state(second)

    api.scale(first, 0, 0)
    api.emulator.clock.advance(DRAIN_S + COLD_START_S)

    assert (waiting, api.state(second)) == ("DEGRADED", "READY")


def test_required_regions_are_enforced_and_preferred_are_not(api: EmulatorClient) -> None:
    api.emulator.set_free(H100, 0, region="us-east-1")
    endpoint = api.endpoint()
    inline = {"regions": ["us-east-1"], "constraint": "ENFORCEMENT_REQUIRED"}

    strict = api.deploy(endpoint, name="strict", placement={"inline": inline})
    inline = inline | {"constraint": "ENFORCEMENT_PREFERRED"}
    loose = api.deploy(endpoint, name="loose", placement={"inline": inline})
    api.emulator.clock.advance(COLD_START_S)

    assert (api.state(strict), api.state(loose)) == ("DEGRADED", "READY")


def test_deployment_that_never_starts_fails_after_6_hours(api: EmulatorClient) -> None:
    api.emulator.set_free(H100, 0)
    deployment = api.deploy(api.endpoint())

    api.emulator.clock.advance(6 * 3600 + 1)

    status = api.get_deployment(deployment)["status"]
    assert status["state"] == "DEPLOYMENT_STATE_FAILED"
    assert status["message"] == "Timed out waiting for readiness"


def test_lost_replica_is_replaced(api: EmulatorClient) -> None:
    _, deployment = api.serve(replicas=(2, 2))

    api.emulator.lose_replica("batch")
    lost = api.get_deployment(deployment)["status"]
    api.emulator.clock.advance(COLD_START_S)

    assert lost["state"] == "DEPLOYMENT_STATE_DEGRADED"
    assert lost["message"] == "Not ready: 1 of 2 replicas ready"
    assert [state for state, _ in history(api, deployment["id"])][-3:] == [
        "DEGRADED",
        "SCALING",
        "READY",
    ]


@pytest.mark.parametrize("advance_s", [0, 25, COLD_START_S])
def test_deployment_can_be_stopped_at_any_time(api: EmulatorClient, advance_s: float) -> None:
    deployment = api.deploy(api.endpoint())
    api.emulator.clock.advance(advance_s)

    stopping = api.scale(deployment, 0, 0).json()["status"]["state"]
    api.emulator.clock.advance(DRAIN_S)

    assert stopping == "DEPLOYMENT_STATE_STOPPING"
    assert api.state(deployment) == "STOPPED"


def test_stopping_deployment_cannot_be_restarted_before_stopped(
    api: EmulatorClient,
) -> None:
    _, deployment = api.serve()
    api.scale(deployment, 0, 0)

    refused = api.scale(deployment, 1, 1)

    assert refused.status_code == 400
    assert message(refused) == "the deployment must be stopped before it can be restarted"


def test_failed_deployment_can_only_be_deleted(api: EmulatorClient) -> None:
    api.emulator.set_free(H100, 0)
    deployment = api.deploy(api.endpoint())
    api.emulator.clock.advance(6 * 3600 + 1)

    restarted = api.scale(deployment, 1, 1)
    deleted = api.http.delete(api.path(deployment))

    assert restarted.status_code == 400
    assert "create a new deployment" in message(restarted)
    assert (deleted.status_code, deleted.json()) == (200, {})


@pytest.mark.parametrize(
    ("advance_s", "state"), [(0, "PROVISIONING"), (25, "SCALING"), (COLD_START_S, "READY")]
)
def test_running_deployment_cannot_be_deleted(
    api: EmulatorClient, advance_s: float, state: str
) -> None:
    deployment = api.deploy(api.endpoint())
    api.emulator.clock.advance(advance_s)

    refused = api.http.delete(api.path(deployment))

    assert refused.status_code == 400
    assert message(refused) == (
        "deployment must be stopped or failed before deletion "
        f"(current state: DEPLOYMENT_STATE_{state})"
    )


def test_stopped_deployment_with_traffic_cannot_be_deleted(api: EmulatorClient) -> None:
    _, deployment = api.serve()
    api.scale(deployment, 0, 0)
    api.emulator.clock.advance(DRAIN_S)

    refused = api.http.delete(api.path(deployment))

    assert refused.status_code == 400
    assert "weight to 0" in message(refused)


def test_endpoint_with_deployments_cannot_be_deleted(api: EmulatorClient) -> None:
    endpoint = api.endpoint()
    deployment = api.deploy(endpoint, replicas=(0, 0))

    refused = api.http.delete(f"{api.p}/endpoints/{endpoint['id']}")
    api.http.delete(api.path(deployment))
    deleted = api.http.delete(f"{api.p}/endpoints/{endpoint['id']}")

    assert (refused.status_code, deleted.status_code) == (400, 200)
    assert api.http.get(f"{api.p}/endpoints/{endpoint['id']}").status_code == 404


@pytest.mark.parametrize(("smallest", "largest"), [(0, 1), (2, 1), (-1, 1), (1, 10_000)])
def test_invalid_replica_bounds_are_refused_without_effect(
    api: EmulatorClient, smallest: int, largest: int
) -> None:
    _, deployment = api.serve()

    refused = api.scale(deployment, smallest, largest)

    assert refused.status_code == 400
    assert api.get_deployment(deployment)["autoscaling"] == {"minReplicas": 1, "maxReplicas": 1}


def test_unobserved_hour_is_settled_in_order_of_events(
    emulator: Emulator, api: EmulatorClient
) -> None:
    deployment = api.deploy(api.endpoint())

    emulator.clock.advance(3600)

    assert api.state(deployment) == "READY"
    assert emulator.ledger().lines[0].started_s == 300.0
