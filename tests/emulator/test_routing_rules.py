"""Which deployment serves a model name, and errors for names that none serves."""

from collections import Counter

import httpx
import pytest

from tests.support.emulator_client import COLD_START_S, DRAIN_S, SMALL, EmulatorClient, code
from together_emulator import Emulator, ManualClock


def test_ready_deployment_without_weight_serves_nothing(rig: EmulatorClient) -> None:
    endpoint = rig.endpoint()
    deployment = rig.deploy(endpoint)
    rig.emulator.clock.advance(COLD_START_S)

    assert rig.state(deployment) == "READY"
    assert code(rig.chat(endpoint["name"])) == (400, "endpoint_not_configured")


def test_traffic_split_takes_effect_after_a_delay(rig: EmulatorClient) -> None:
    endpoint = rig.endpoint()
    deployment = rig.deploy(endpoint)
    rig.emulator.clock.advance(COLD_START_S)
    split = [{"deploymentId": deployment["id"], "weight": 1}]
    rig.http.patch(f"{rig.p}/endpoints/{endpoint['id']}", json={"trafficSplit": split})

    at_once = rig.chat(endpoint["name"])
    rig.emulator.clock.advance(rig.emulator.settings.routing_s)
    later = rig.chat(endpoint["name"])

    assert code(at_once) == (400, "endpoint_not_configured")
    assert later.status_code == 200


def test_unrouted_endpoint_is_503_by_the_older_docs() -> None:
    with Emulator(clock=ManualClock(), unrouted="routing_error") as emulator:
        headers = {"authorization": f"Bearer {emulator.key}"}
        with httpx.Client(base_url=emulator.url, headers=headers) as http:
            rig = EmulatorClient(emulator, http)
            endpoint = rig.endpoint()

            assert code(rig.chat(endpoint["name"])) == (503, "routing_error")


def test_deployment_can_be_requested_by_its_name(rig: EmulatorClient) -> None:
    endpoint = rig.endpoint()
    deployment = rig.deploy(endpoint)
    rig.emulator.clock.advance(COLD_START_S)

    assert rig.chat(deployment["name"]).status_code == 200


def test_unserved_model_errors_differ_by_cause(rig: EmulatorClient) -> None:
    endpoint, deployment = rig.serve()

    unknown = rig.chat("emulated-project/none")
    catalogue = rig.chat(SMALL)
    bare = rig.chat("batch")
    wrong_pin = rig.chat(f"{endpoint['name']}/none")
    rig.scale(deployment, 0, 0)
    rig.emulator.clock.advance(DRAIN_S)
    stopped = rig.chat(endpoint["name"])

    assert code(catalogue) == (400, "model_not_available")
    assert [r.status_code for r in (unknown, bare, wrong_pin, stopped)] == [404, 404, 404, 503]


def test_starting_deployment_serves_nothing_yet(rig: EmulatorClient) -> None:
    endpoint = rig.endpoint()
    deployment = rig.deploy(endpoint)
    rig.route(endpoint, deployment)

    assert rig.chat(endpoint["name"]).status_code == 503


def test_draining_deployment_still_serves(rig: EmulatorClient) -> None:
    endpoint, deployment = rig.serve()
    rig.scale(deployment, 0, 0)

    assert rig.state(deployment) == "STOPPING"
    assert rig.chat(endpoint["name"]).status_code == 200


def test_traffic_is_split_by_weight_and_ready_replicas(rig: EmulatorClient) -> None:
    endpoint = rig.endpoint()
    one = rig.deploy(endpoint, name="one", replicas=(1, 1))
    three = rig.deploy(endpoint, name="three", replicas=(3, 3))
    rig.route(endpoint, one, three)
    rig.emulator.clock.advance(COLD_START_S)

    for n in range(200):
        rig.chat(endpoint["name"], f"question {n}", max_tokens=1)

    deployments = rig.http.get("/_emulator/deployments").json()["deployments"]
    served = Counter({d["id"]: d["served"] for d in deployments})
    shown = rig.http.get(f"{rig.p}/endpoints/{endpoint['id']}").json()["deployments"]
    shares = {d["id"]: d["estimatedEffectiveTrafficShare"] for d in shown}
    assert shares == {one["id"]: 0.25, three["id"]: 0.75}
    assert 25 <= served[one["id"]] <= 75


@pytest.mark.parametrize("sticky", ["prompt_cache_key", "user"])
def test_requests_of_one_key_stay_on_one_deployment(rig: EmulatorClient, sticky: str) -> None:
    endpoint = rig.endpoint()
    pair = [rig.deploy(endpoint, name=name) for name in ("one", "two")]
    rig.route(endpoint, *pair)
    rig.emulator.clock.advance(COLD_START_S)

    for n in range(20):
        rig.chat(endpoint["name"], f"question {n}", max_tokens=1, **{sticky: "same"})

    deployments = rig.http.get("/_emulator/deployments").json()["deployments"]
    assert sorted(d["served"] for d in deployments) == [0, 20]
