"""Which deployment serves a model name, and errors for names that none serves."""

from collections import Counter

import httpx
import pytest

from tests.support.emulator_client import COLD_START_S, DRAIN_S, SMALL, EmulatorClient, code
from together_emulator import Emulator, ManualClock


def test_ready_deployment_without_weight_serves_nothing(api: EmulatorClient) -> None:
    endpoint = api.endpoint()
    deployment = api.deploy(endpoint)
    api.emulator.clock.advance(COLD_START_S)

    assert api.state(deployment) == "READY"
    assert code(api.chat(endpoint["name"])) == (400, "endpoint_not_configured")


def test_traffic_split_takes_effect_after_a_delay(api: EmulatorClient) -> None:
    endpoint = api.endpoint()
    deployment = api.deploy(endpoint)
    api.emulator.clock.advance(COLD_START_S)
    split = [{"deploymentId": deployment["id"], "weight": 1}]
    api.http.patch(f"{api.p}/endpoints/{endpoint['id']}", json={"trafficSplit": split})

    at_once = api.chat(endpoint["name"])
    api.emulator.clock.advance(api.emulator.settings.routing_s)
    later = api.chat(endpoint["name"])

    assert code(at_once) == (400, "endpoint_not_configured")
    assert later.status_code == 200


def test_unrouted_endpoint_is_503_by_the_older_docs() -> None:
    with Emulator(clock=ManualClock(), unrouted="routing_error") as emulator:
        headers = {"authorization": f"Bearer {emulator.key}"}
        with httpx.Client(base_url=emulator.url, headers=headers) as http:
            api = EmulatorClient(emulator, http)
            endpoint = api.endpoint()

            assert code(api.chat(endpoint["name"])) == (503, "routing_error")


def test_deployment_can_be_requested_by_its_name(api: EmulatorClient) -> None:
    endpoint = api.endpoint()
    deployment = api.deploy(endpoint)
    api.emulator.clock.advance(COLD_START_S)

    assert api.chat(deployment["name"]).status_code == 200


def test_unserved_model_errors_differ_by_cause(api: EmulatorClient) -> None:
    endpoint, deployment = api.serve()

    unknown = api.chat("emulated-project/none")
    catalogue = api.chat(SMALL)
    bare = api.chat("batch")
    wrong_pin = api.chat(f"{endpoint['name']}/none")
    api.scale(deployment, 0, 0)
    api.emulator.clock.advance(DRAIN_S)
    stopped = api.chat(endpoint["name"])

    assert code(catalogue) == (400, "model_not_available")
    assert [r.status_code for r in (unknown, bare, wrong_pin, stopped)] == [404, 404, 404, 503]


def test_starting_deployment_serves_nothing_yet(api: EmulatorClient) -> None:
    endpoint = api.endpoint()
    deployment = api.deploy(endpoint)
    api.route(endpoint, deployment)

    assert api.chat(endpoint["name"]).status_code == 503


def test_draining_deployment_still_serves(api: EmulatorClient) -> None:
    endpoint, deployment = api.serve()
    api.scale(deployment, 0, 0)

    assert api.state(deployment) == "STOPPING"
    assert api.chat(endpoint["name"]).status_code == 200


def test_traffic_is_split_by_weight_and_ready_replicas(api: EmulatorClient) -> None:
    endpoint = api.endpoint()
    one = api.deploy(endpoint, name="one", replicas=(1, 1))
    three = api.deploy(endpoint, name="three", replicas=(3, 3))
    api.route(endpoint, one, three)
    api.emulator.clock.advance(COLD_START_S)

    for n in range(200):
        api.chat(endpoint["name"], f"question {n}", max_tokens=1)

    deployments = api.http.get("/_emulator/deployments").json()["deployments"]
    served = Counter({d["id"]: d["served"] for d in deployments})
    shown = api.http.get(f"{api.p}/endpoints/{endpoint['id']}").json()["deployments"]
    shares = {d["id"]: d["estimatedEffectiveTrafficShare"] for d in shown}
    assert shares == {one["id"]: 0.25, three["id"]: 0.75}
    assert 25 <= served[one["id"]] <= 75


@pytest.mark.parametrize("sticky", ["prompt_cache_key", "user"])
def test_requests_of_one_key_stay_on_one_deployment(api: EmulatorClient, sticky: str) -> None:
    endpoint = api.endpoint()
    pair = [api.deploy(endpoint, name=name) for name in ("one", "two")]
    api.route(endpoint, *pair)
    api.emulator.clock.advance(COLD_START_S)

    for n in range(20):
        api.chat(endpoint["name"], f"question {n}", max_tokens=1, **{sticky: "same"})

    deployments = api.http.get("/_emulator/deployments").json()["deployments"]
    assert sorted(d["served"] for d in deployments) == [0, 20]
