"""Any sequence of calls: legal transitions only, and the bill is that of ready replicas.

Time moves in steps of five seconds, of which all delays here are multiples. So a replica ready at
the beginning of a step is ready to its end, and the sum of the steps is the expected bill.
"""

from itertools import pairwise
from typing import Any

import httpx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from together import APIStatusError, Together

from tests.emulator.conftest import TLS
from tests.support.emulator_client import SMALL
from together_emulator import Emulator, ManualClock
from together_emulator.state.store import Replica, Step

STEP_S = 5.0
H100 = "1xnvidia-h100-80gb"
FOLLOWS = {
    "PROVISIONING": {"SCALING", "DEGRADED", "FAILED", "STOPPING"},
    "SCALING": {"READY", "DEGRADED", "FAILED", "STOPPING"},
    "READY": {"SCALING", "DEGRADED", "STOPPING"},
    "DEGRADED": {"SCALING", "READY", "FAILED", "STOPPING"},
    "STOPPING": {"STOPPED", "FAILED"},
    "STOPPED": {"PROVISIONING"},
    "FAILED": set(),
}
"""As the API's documentation has it, written down here once more on purpose."""
V1_FOLLOWS = {
    "PENDING": {"STARTING", "STOPPING", "ERROR"},
    "STARTING": {"STARTED", "PENDING", "STOPPING", "ERROR"},
    "STARTED": {"STARTING", "STOPPING"},
    "STOPPING": {"STOPPED", "ERROR"},
    "STOPPED": {"PENDING"},
    "ERROR": set(),
}
REFUSALS = {400, 403, 404, 409, 503}
names = st.sampled_from(["one", "two"])
numbers = st.integers(0, 3)
some = st.integers(0, 7)


class AnySequence(RuleBasedStateMachine):
    """An emulator, its official client, and what a bystander would write down."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.emulator = Emulator(
            clock=self.clock, v1_create=True, release_s=STEP_S, ready_timeout_s=1800
        ).__enter__()
        headers = {"authorization": f"Bearer {self.emulator.key}"}
        self.http = httpx.Client(
            base_url=self.emulator.url, headers=headers, timeout=20, verify=TLS
        )
        self.sdk = Together(
            base_url=self.emulator.url,
            api_key=self.emulator.key,
            project_id=self.emulator.project_id,
            max_retries=0,
            http_client=httpx.Client(verify=TLS),
            _strict_response_validation=True,
        )
        self.ready_s = 0.0
        self.served: set[str] = set()
        self.v1_states: dict[str, str] = {}

    def teardown(self) -> None:
        self.http.close()
        self.sdk.close()
        self.emulator.__exit__(None, None, None)

    @initialize()
    def observe_all(self) -> None:
        found = self.sdk.models.list_supported(search=SMALL).data[0].deployment_profiles
        self.profile = next(p for p in found if p.gpu_type == "H100")

    # What a bystander sees.

    def replicas(self) -> list[Replica]:
        return [r for d in self.emulator._store.deployments.values() for r in d.replicas]

    def billable(self) -> int:
        """Count what serves, or drains after it has served."""
        self.served |= {r.id for r in self.replicas() if r.step is Step.READY}
        # One may have been ready for no time at all, unseen, before it had to drain.
        drains = (
            r.id in self.served or r.bills for r in self.replicas() if r.step is Step.DRAINING
        )
        return sum(r.step is Step.READY for r in self.replicas()) + sum(drains)

    def legacy(self) -> list[dict[str, Any]]:
        query = {"type": "dedicated"}
        data: list[dict[str, Any]] = self.http.get("/v1/endpoints", params=query).json()["data"]
        return data

    def pick(self, found: list[Any], index: int) -> Any:
        return found[index % len(found)]

    def dare(self, call: Any, *arguments: Any, **named: Any) -> Any:
        """Call what may be refused, for one of the documented reasons only."""
        try:
            return call(*arguments, **named)
        except APIStatusError as error:
            if error.status_code not in REFUSALS:
                raise
            return None

    def existing_endpoints(self) -> list[Any]:
        return self.sdk.endpoints.list().data

    def deployments(self) -> list[Any]:
        return [
            deployment
            for endpoint in self.existing_endpoints()
            for deployment in self.sdk.endpoints.deployments.list(endpoint.id).data
        ]

    # What can be done.

    @rule(steps=st.sampled_from([1, 3, 4, 20, 60]))
    def let_time_pass(self, steps: int) -> None:
        for _ in range(steps):
            self.ready_s += STEP_S * self.billable()
            self.clock.advance(STEP_S)
            self.billable()

    @rule(name=names)
    def create_endpoint(self, name: str) -> None:
        self.dare(self.sdk.endpoints.create, name=name)

    @precondition(lambda self: self.emulator.has_endpoints)
    @rule(index=some, name=names, smallest=numbers, largest=numbers)
    def deploy(self, index: int, name: str, smallest: int, largest: int) -> None:
        if found := self.existing_endpoints():
            self.dare(
                self.sdk.endpoints.deployments.create,
                self.pick(found, index).id,
                name=name,
                model=self.profile.model,
                config=self.profile.config,
                autoscaling={"min_replicas": smallest, "max_replicas": largest},
                inactive_timeout=30,
            )

    @precondition(lambda self: self.emulator.has_endpoints)
    @rule(index=some, smallest=numbers, largest=numbers)
    def scale(self, index: int, smallest: int, largest: int) -> None:
        if found := self.deployments():
            one = self.pick(found, index)
            self.dare(
                self.sdk.endpoints.deployments.update,
                one.id,
                endpoint_id=one.endpoint_id,
                autoscaling={"min_replicas": smallest, "max_replicas": largest},
            )

    @precondition(lambda self: self.emulator.has_endpoints)
    @rule(index=some, weight=st.sampled_from([0.0, 1.0]), stale=st.booleans())
    def route(self, index: int, weight: float, stale: bool) -> None:
        if found := self.deployments():
            one = self.pick(found, index)
            self.dare(
                self.sdk.endpoints.update,
                one.endpoint_id,
                traffic_split=[{"deployment_id": one.id, "weight": weight}],
                etag="0" if stale else "",
                update_mask="trafficSplit",
            )

    @precondition(lambda self: self.emulator.has_endpoints)
    @rule(index=some)
    def delete(self, index: int) -> None:
        for one in self.deployments()[index:]:
            deployments = self.sdk.endpoints.deployments
            self.dare(deployments.delete, one.id, endpoint_id=one.endpoint_id)
        for endpoint in self.existing_endpoints():
            self.dare(self.sdk.endpoints.delete, endpoint.id)

    @rule(smallest=numbers, largest=numbers, state=st.sampled_from(["STARTED", "STOPPED"]))
    def create_legacy(self, smallest: int, largest: int, state: str) -> None:
        answer = self.http.post(
            "/v1/endpoints",
            json={
                "model": SMALL,
                "hardware": "1x_nvidia_h100_80gb_sxm",
                "autoscaling": {"min_replicas": smallest, "max_replicas": largest},
                "inactive_timeout": 20,
                "state": state,
            },
        )
        assert answer.status_code in {200, *REFUSALS}

    @precondition(lambda self: self.emulator.has_endpoints)
    @rule(
        index=some,
        change=st.sampled_from(
            [
                {"state": "STARTED"},
                {"state": "STOPPED"},
                {"autoscaling": {"min_replicas": 2, "max_replicas": 2}},
                {"autoscaling": {"min_replicas": 1, "max_replicas": 3}, "state": "STARTED"},
                {},
                None,
            ]
        ),
    )
    def change_legacy(self, index: int, change: dict[str, Any] | None) -> None:
        if found := self.legacy():
            path = f"/v1/endpoints/{self.pick(found, index)['id']}"
            method = "DELETE" if change is None else "PATCH"
            answer = self.http.request(method, path, json=change)
            assert answer.status_code in {200, 204, *REFUSALS}

    @precondition(lambda self: self.emulator.has_endpoints)
    @rule(index=some)
    def send_chat(self, index: int) -> None:
        answer = self.http.post(
            "/v1/chat/completions",
            json={
                "model": self.pick(self.emulator.endpoints(), index),
                "messages": [{"role": "user", "content": "?"}],
            },
        )
        assert answer.status_code in {200, *REFUSALS}

    @rule(free=numbers)
    def change_capacity(self, free: int) -> None:
        self.emulator.set_free(H100, free)

    @rule(action=st.sampled_from(["lose_replica", "vanish", "fail_start"]), name=names)
    def suffer(self, action: str, name: str) -> None:
        body = {"action": action, "target": "" if action == "lose_replica" else name}
        self.http.post("/_emulator/incidents", json=body)

    # What holds whatever was done.

    @invariant()
    def states_follow_the_documented_ones(self) -> None:
        existing_endpoints = self.http.get("/_emulator/deployments").json()["deployments"]
        for deployment in existing_endpoints:
            states = [
                entry["state"].removeprefix("DEPLOYMENT_STATE_") for entry in deployment["history"]
            ]
            assert states[0] in ("PROVISIONING", "STOPPED")
            for before, after in pairwise(states):
                assert after in FOLLOWS[before], states
            assert states[-1] == deployment["state"].removeprefix("DEPLOYMENT_STATE_")

    @invariant()
    def legacy_states_follow_theirs(self) -> None:
        for endpoint in self.legacy():
            before = self.v1_states.get(endpoint["id"], endpoint["state"])
            after = endpoint["state"]
            # An observation may come after several transitions: any path between them counts.
            assert after == before or after in _reachable(V1_FOLLOWS, before), (before, after)
            self.v1_states[endpoint["id"]] = after

    @invariant()
    def the_bill_is_the_time_that_was_ready(self) -> None:
        bill = self.emulator.ledger()

        assert bill.ready_s == self.ready_s
        assert bill.billing == self.billable()
        assert bill.usd == round(sum(line.usd(bill.at_s) for line in bill.lines), 6)

    @invariant()
    def nothing_bills_that_has_stopped_failed_or_gone(self) -> None:
        states = {d.id: d for d in self.emulator._store.deployments.values()}
        for line in self.emulator.ledger().lines:
            deployment = states.get(line.deployment_id)
            ended = deployment is None or deployment.state.name in ("STOPPED", "FAILED")
            if ended:
                assert line.ended_s is not None, line
            if deployment is not None and deployment.state.name == "STOPPED":
                assert line.ended_s is not None
                assert line.ended_s <= deployment.history[-1][0]

    @invariant()
    def no_room_is_given_twice(self) -> None:
        assert all(room["free"] >= 0 for room in self.emulator._store.capacity.snapshot())


def _reachable(follows: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        for after in follows[todo.pop()] - seen:
            seen.add(after)
            todo.append(after)
    return seen


AnySequence.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestAnySequence = AnySequence.TestCase
