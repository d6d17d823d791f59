"""Fault rules: what the client receives, and whether the request had its effect."""

import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.emulator_client import COLD_START_S, EmulatorClient
from together_emulator import Emulator, FaultRule, ManualClock
from together_emulator.state.faults import load_rules, read_rules

CREATE = {"method": "POST", "path": "/endpoints$"}


def create(api: EmulatorClient, name: str = "batch", timeout_s: float = 20) -> httpx.Response:
    """Create an endpoint, or see what happens instead."""
    return api.http.post(f"{api.p}/endpoints", json={"name": name}, timeout=timeout_s)


def test_status_fault_has_its_headers_and_no_effect(api: EmulatorClient) -> None:
    rule = {"action": "status", "status": 429, "headers": {"Retry-After": "7"}, "code": "slow"}
    api.emulator.use_faults(FaultRule.read(CREATE | rule))

    answer = create(api)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["error"]["code"] == "slow"
    assert api.emulator.endpoints() == []


def test_hang_fault_before_has_no_effect_and_after_has(api: EmulatorClient) -> None:
    for action, expected in (("hang_before", []), ("hang_after", ["emulated-project/batch"])):
        api.emulator.use_faults(FaultRule.read(CREATE | {"action": action}))

        with pytest.raises(httpx.ReadTimeout):
            create(api, timeout_s=0.2)

        assert api.emulator.endpoints() == expected
        call = api.emulator.calls()[-1]
        assert (call.fault, call.status) == (action, None)
        assert call.effect == (200 if expected else None)


def test_reset_fault_before_has_no_effect_and_after_has(api: EmulatorClient) -> None:
    for action, expected in (("reset_before", []), ("reset_after", ["emulated-project/batch"])):
        api.emulator.use_faults(FaultRule.read(CREATE | {"action": action}))

        with pytest.raises(httpx.ReadError):
            create(api)

        assert api.emulator.endpoints() == expected


def test_truncate_fault_ends_inside_the_body(api: EmulatorClient) -> None:
    api.emulator.use_faults(FaultRule(action="truncate"))

    with pytest.raises(httpx.RemoteProtocolError):
        create(api)

    assert api.emulator.endpoints() == ["emulated-project/batch"]


@pytest.mark.parametrize(("action", "kind"), [("malformed", "json"), ("not_json", "html")])
def test_status_200_can_have_a_body_that_is_not_json(
    api: EmulatorClient, action: Any, kind: str
) -> None:
    api.emulator.use_faults(FaultRule(action=action))

    answer = create(api)

    assert answer.status_code == 200
    assert kind in answer.headers["content-type"]
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        answer.json()


def test_fault_rule_counts_its_matches(api: EmulatorClient) -> None:
    api.emulator.use_faults(FaultRule(action="status", method="POST", nth=(2, 4)))

    statuses = [create(api, f"e-{n}").status_code for n in range(5)]

    assert statuses == [200, 500, 200, 500, 200]


def test_fault_rule_matches_by_body(api: EmulatorClient) -> None:
    api.emulator.use_faults(FaultRule(action="status", body="poison", status=503))

    assert create(api, "poison").status_code == 503
    assert create(api, "fine").status_code == 200


def test_fault_probability_is_deterministic_for_a_seed() -> None:
    def statuses() -> list[int]:
        rule = FaultRule(action="status", chance=0.5)
        with Emulator(clock=ManualClock(), seed=7, faults=[rule]) as emulator:
            headers = {"authorization": f"Bearer {emulator.key}"}
            with httpx.Client(base_url=emulator.url, headers=headers) as http:
                return [http.get("/v3/whoami").status_code for _ in range(40)]

    first = statuses()

    assert first == statuses()
    assert set(first) == {200, 500}


def test_vanish_fault_makes_endpoint_404_and_ends_its_billing(api: EmulatorClient) -> None:
    endpoint, deployment = api.serve()
    api.emulator.use_faults(FaultRule(action="vanish", method="GET", target="batch"))

    seen = api.http.get(api.path(deployment))

    assert seen.status_code == 404
    assert api.emulator.billing == 0
    assert api.chat(endpoint["name"]).status_code == 404


def test_replica_loss_can_be_triggered_by_a_request(api: EmulatorClient) -> None:
    endpoint, deployment = api.serve(replicas=(2, 2))
    api.emulator.use_faults(FaultRule(action="lose_replica", path="/chat/", nth=(1,)))

    answer = api.chat(endpoint["name"])

    assert answer.status_code == 200
    assert api.state(deployment) == "DEGRADED"


def test_start_failure_fault_fails_the_start(api: EmulatorClient) -> None:
    rule = FaultRule(action="fail_start", path="/deployments$", message="Image pull failed")
    api.emulator.use_faults(rule)

    deployment = api.deploy(api.endpoint())
    api.emulator.clock.advance(COLD_START_S)

    status = api.get_deployment(deployment)["status"]
    assert (status["state"], status["message"]) == ("DEPLOYMENT_STATE_FAILED", "Image pull failed")
    assert api.emulator.ledger().lines == ()


def test_fault_rules_are_read_from_json_and_toml_files(tmp_path: Path) -> None:
    as_json = tmp_path / "faults.json"
    as_toml = tmp_path / "faults.toml"
    as_json.write_text('{"rules": [{"action": "delay", "delay_s": 0.5, "nth": 3}]}')
    as_toml.write_text('[[rules]]\naction = "delay"\ndelay_s = 0.5\nnth = [3]\n')

    rules = load_rules(as_json)

    assert rules == load_rules(as_toml) == [FaultRule(action="delay", delay_s=0.5, nth=(3,))]


@pytest.mark.parametrize(
    "rule",
    [{"action": "explode"}, {"action": "delay", "after": 3}, {"action": "delay", "path": "("}],
)
def test_invalid_fault_rule_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="fault rule"):
        read_rules([rule])


def test_fault_rules_can_be_replaced_over_http(api: EmulatorClient) -> None:
    api.http.post("/_emulator/faults", json=[{"action": "status", "status": 502}])
    broken = create(api).status_code
    refused = api.http.post("/_emulator/faults", json=[{"action": "explode"}]).status_code
    api.http.post("/_emulator/faults", json=[])

    assert (broken, refused, create(api).status_code) == (502, 400, 200)


def test_server_ends_while_a_request_hangs() -> None:
    arrived = threading.Event()
    failures: list[str] = []

    def hang(url: str) -> None:
        with httpx.Client(timeout=30) as http:
            try:
                arrived.set()
                http.get(f"{url}/v3/whoami")
            except httpx.TransportError as error:
                failures.append(type(error).__name__)

    with Emulator(clock=ManualClock(), faults=[FaultRule(action="hang_before")]) as emulator:
        thread = threading.Thread(target=hang, args=(emulator.url,))
        thread.start()
        arrived.wait(10)
        while not emulator.calls():
            pass
    thread.join(10)

    assert failures == ["ReadError"]


def test_call_journal_has_caller_request_and_outcome(api: EmulatorClient) -> None:
    create(api)
    api.http.get(f"{api.p}/endpoints/ep_none", params={})

    calls = api.http.get("/_emulator/calls", params={"path": "/endpoints"}).json()["calls"]

    seen = [(c["method"], c["path"].rsplit("/", 1)[1], c["status"], c["body"]) for c in calls]
    assert seen == [("POST", "endpoints", 200, '{"name":"batch"}'), ("GET", "ep_none", 404, "")]


def test_drip_fault_sends_the_true_response_slowly(api: EmulatorClient) -> None:
    api.emulator.use_faults(FaultRule(action="drip", delay_s=0.001, piece_bytes=50))

    answer = create(api)

    assert answer.json()["name"] == "emulated-project/batch"
    assert api.emulator.calls()[-1].fault == "drip"


def test_drip_fault_has_its_effect_when_the_client_times_out(
    api: EmulatorClient,
) -> None:
    api.emulator.use_faults(FaultRule(action="drip", delay_s=0.3, piece_bytes=1))

    with (
        pytest.raises(httpx.ReadTimeout),
        api.http.stream("POST", f"{api.p}/endpoints", json={"name": "batch"}, timeout=0.1) as seen,
    ):
        seen.read()

    assert api.emulator.endpoints() == ["emulated-project/batch"]
