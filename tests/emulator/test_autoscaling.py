"""Replicas follow the load within their bounds; idle deployments stop."""

import asyncio
import math
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.emulator.conftest import TLS
from tests.support.emulator_client import COLD_START_S, DRAIN_S, SMALL, EmulatorClient
from together_emulator import Emulator, ManualClock
from together_emulator.state.autoscaler import allowance, stable


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A server where replicas start at once, so that a minute is a minute of scaling."""
    with Emulator(clock=ManualClock(), v1_create=True, start_factor=0, schedule_s=0) as server:
        yield server


def press(api: EmulatorClient, deployment: dict[str, Any], requests: int) -> None:
    """Make a deployment count so many requests in flight."""
    api.emulator.clock.advance(0)
    found = api.emulator._store.deployments[deployment["id"]]
    found.replicas[0].in_flight = requests


def desired(api: EmulatorClient, deployment: dict[str, Any]) -> int:
    """Return the desired number of replicas."""
    return int(api.get_deployment(deployment)["desiredReplicas"])


def grow(api: EmulatorClient, deployment: dict[str, Any], steps: int, each_s: float) -> list[int]:
    """Let time pass in steps; returns the replicas after each."""
    seen = []
    for _ in range(steps):
        api.emulator.clock.advance(each_s)
        seen.append(desired(api, deployment))
    return seen


def test_scale_up_doubles_replicas_every_15_s_by_at_most_4(api: EmulatorClient) -> None:
    deployment = api.deploy(api.endpoint(), replicas=(1, 20))
    press(api, deployment, 8 * 15)

    seen = grow(api, deployment, 6, 15)

    assert seen == [2, 4, 8, 12, 15, 15]


def test_scale_down_removes_one_replica_a_minute_after_5_idle_minutes(api: EmulatorClient) -> None:
    deployment = api.deploy(api.endpoint(), replicas=(1, 4))
    press(api, deployment, 8 * 4)
    grow(api, deployment, 4, 15)

    press(api, deployment, 0)
    # The last busy evaluation is a minute old at most when the quiet begins.
    quiet = grow(api, deployment, 4, 60)
    leaving = grow(api, deployment, 5, 60)

    assert quiet == [4, 4, 4, 4]
    assert leaving[-1] == 1
    assert all(0 <= a - b <= 1 for a, b in zip([4, *leaving], leaving, strict=False))


def test_initial_replicas_stay_for_the_scale_down_window(api: EmulatorClient) -> None:
    deployment = api.deploy(api.endpoint(), replicas=(3, 4))
    api.scale(deployment, 1, 4)

    seen = grow(api, deployment, 8, 60)

    assert seen[:5] == [3] * 5
    assert seen[-1] == 1


def test_replica_bounds_hold_under_any_load(api: EmulatorClient) -> None:
    deployment = api.deploy(api.endpoint(), replicas=(2, 3))
    idle = grow(api, deployment, 3, 300)
    press(api, deployment, 1000)

    assert idle == [2, 2, 2]
    assert grow(api, deployment, 5, 60) == [3] * 5


def test_fixed_replicas_ignore_load(api: EmulatorClient) -> None:
    deployment = api.deploy(api.endpoint(), replicas=(2, 2))
    press(api, deployment, 1000)

    assert grow(api, deployment, 3, 60) == [2, 2, 2]


def test_autoscaling_target_and_windows_are_those_of_the_deployment(api: EmulatorClient) -> None:
    metric = {"name": "inflight_requests", "target": 50, "type": "METRIC_TARGET_TYPE_AVERAGE_VALUE"}
    autoscaling = {
        "minReplicas": 1,
        "maxReplicas": 8,
        "scaleUpWindow": "3m",
        "scalingMetrics": [metric],
    }
    deployment = api.deploy(api.endpoint(), autoscaling=autoscaling)
    api.emulator.clock.advance(75)
    press(api, deployment, 100)

    early = grow(api, deployment, 2, 60)
    late = grow(api, deployment, 3, 60)

    assert early == [1, 1]
    assert late[-1] == 2


def test_requests_in_flight_scale_up_replicas() -> None:
    clock = ManualClock(holds_answers=True)
    headers = {"authorization": "Bearer local"}
    with (
        Emulator(clock=clock, start_factor=0, schedule_s=0) as emulator,
        httpx.Client(base_url=emulator.url, headers=headers, verify=TLS) as http,
    ):
        api = EmulatorClient(emulator, http)
        endpoint, deployment = api.serve(replicas=(1, 4), maxConcurrentRequestsPerReplica="4")
        body = {"model": endpoint["name"], "messages": [{"role": "user", "content": "Hi"}]}

        async def send_all() -> list[int]:
            async with httpx.AsyncClient(
                base_url=emulator.url, headers=headers, verify=TLS, timeout=60
            ) as client:
                calls = (client.post("/v1/chat/completions", json=body) for _ in range(20))
                return [answer.status_code for answer in await asyncio.gather(*calls)]

        statuses: list[int] = []
        thread = threading.Thread(target=lambda: statuses.extend(asyncio.run(send_all())))
        thread.start()
        while api.in_flight() < 4 or len(emulator.calls()) < 24:
            pass
        clock.advance(60)
        grown = desired(api, deployment)
        while thread.is_alive():
            clock.advance(1)
            thread.join(0.01)

    assert grown == 3
    assert statuses == [200] * 20


def test_idle_deployment_stops_after_its_timeout(api: EmulatorClient) -> None:
    endpoint, deployment = api.serve(inactiveTimeout=30)
    api.emulator.clock.advance(20 * 60)
    api.chat(endpoint["name"])
    requested_s = api.emulator.clock.now_s()
    api.emulator.clock.advance(29 * 60)
    waiting = api.state(deployment)

    api.emulator.clock.advance(60 + DRAIN_S)

    assert (waiting, api.state(deployment)) == ("READY", "STOPPED")
    ended_s = api.emulator.ledger().lines[0].ended_s
    assert ended_s == pytest.approx(requested_s + 30 * 60 + api.emulator.settings.drain_s)


def test_idle_deployment_without_timeout_keeps_running(api: EmulatorClient) -> None:
    _, deployment = api.serve()

    api.emulator.clock.advance(14 * 24 * 3600)

    assert api.state(deployment) == "READY"


def test_deployment_with_request_in_flight_is_not_idle(api: EmulatorClient) -> None:
    _, deployment = api.serve(inactiveTimeout=30)
    press(api, deployment, 1)

    api.emulator.clock.advance(3 * 3600)

    assert api.state(deployment) == "READY"


def test_scale_to_zero_window_stops_deployment(api: EmulatorClient) -> None:
    autoscaling = {"minReplicas": 1, "maxReplicas": 2, "scaleToZeroWindow": "10m"}
    _, deployment = api.serve(autoscaling=autoscaling)

    api.emulator.clock.advance(600 + DRAIN_S)

    assert api.state(deployment) == "STOPPED"


@pytest.mark.parametrize("timeout", [None, 0, 20])
def test_legacy_endpoint_stops_after_timeout_unless_null_or_0(
    api: EmulatorClient, timeout: int | None
) -> None:
    body = {
        "model": SMALL,
        "hardware": "1x_nvidia_h100_80gb_sxm",
        "autoscaling": {"min_replicas": 1, "max_replicas": 2},
        "inactive_timeout": timeout,
    }
    endpoint = api.http.post("/v1/endpoints", json=body).json()

    api.emulator.clock.advance(COLD_START_S + 20 * 60 + DRAIN_S)

    state = api.http.get(f"/v1/endpoints/{endpoint['id']}").json()["state"]
    assert state == ("STOPPED" if timeout else "STARTED")


def test_autoscaling_update_merges_rules_and_mask_clears_them(api: EmulatorClient) -> None:
    rules = {"policies": [{"periodSeconds": 60, "type": "SCALING_POLICY_TYPE_PODS", "value": 2}]}
    deployment = api.deploy(
        api.endpoint(),
        autoscaling={"minReplicas": 1, "maxReplicas": 4, "scaleUp": rules, "scaleUpWindow": "60s"},
    )

    def update(mask: str | None, **autoscaling: Any) -> dict[str, Any]:
        query = {"updateMask": mask} if mask else {}
        answer = api.http.patch(
            api.path(deployment), params=query, json={"autoscaling": autoscaling}
        )
        scaling: dict[str, Any] = answer.json()["autoscaling"]
        return scaling

    selector = "SCALING_POLICY_SELECT_MIN"
    merged = update(None, scaleUp={"policies": [], "selectPolicy": selector})
    cleared = update("autoscaling.scaleUp.policies", scaleUp={"policies": []})
    without = update("autoscaling.scaleUpWindow")

    assert merged["scaleUp"] == {**rules, "selectPolicy": selector}
    assert cleared["scaleUp"] == {"selectPolicy": selector}
    assert "scaleUpWindow" not in without
    assert (without["minReplicas"], without["maxReplicas"]) == (1, 4)


@given(
    current=st.integers(1, 100),
    changed=st.lists(st.tuples(st.floats(0, 300), st.integers(-4, 4)), max_size=8),
    direction=st.sampled_from(["scaleUp", "scaleDown"]),
)
def test_scaling_step_never_exceeds_platform_limits(
    current: int, changed: list[tuple[float, int]], direction: str
) -> None:
    most = allowance({}, direction, deque(sorted(changed)), current, 300.0)

    assert 0 <= most <= (4 if direction == "scaleUp" else 1)


@given(seen=st.lists(st.integers(0, 20), min_size=1, max_size=10), current=st.integers(1, 20))
def test_scale_down_needs_lower_recommendations_in_whole_window(
    seen: list[int], current: int
) -> None:
    times = deque((60.0 * n, number) for n, number in enumerate(seen))
    now_s = times[-1][0]

    wanted = stable(times, now_s, current, up_s=0, down_s=math.inf)

    if wanted < current:
        assert max(seen) == wanted
    if wanted > current:
        assert wanted == seen[-1]


def test_disabled_scaling_rule_stops_that_direction() -> None:
    rules = {"selectPolicy": "SCALING_POLICY_SELECT_DISABLED"}

    assert allowance(rules, "scaleUp", deque(), 4, 0) == 0
