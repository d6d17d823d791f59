"""The wait for READY: bounded, with messages that say what is awaited."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.models.endpoint import EndpointRef, Observation, Phase
from mayfly.models.errors import (
    EndpointLost,
    HardwareUnavailable,
    MayflyError,
    OutcomeUnknown,
    TimedOut,
)
from mayfly.together.control_plane import ControlPlane
from mayfly.together.readiness import MAX_POLL_S, await_ready
from tests.support.control_plane import MEDIUM, EmulatedService
from together_emulator import FaultRule

H100 = "1xnvidia-h100-80gb"


def test_each_poll_is_reported_until_ready(service: EmulatedService) -> None:
    ref = service.plane.create(service.spec())
    seen: list[Observation] = []

    service.await_ready(ref, on_observation=seen.append)

    phases = [observation.phase for observation in seen]
    assert phases[0] is Phase.STARTING
    assert phases[-1] is Phase.READY
    assert Phase.READY not in phases[:-1]
    assert all(observation.state for observation in seen)


def test_wait_timeout_reports_the_last_state(service: EmulatedService) -> None:
    ref = service.plane.create(service.spec())

    with pytest.raises(TimedOut, match=r"was not READY after 60 s; last state: (SC|ST)A") as late:
        service.await_ready(ref, ready_timeout_s=60)

    assert ref.name in str(late.value)
    assert 60 <= service.emulator.clock.now_s() < 60 + MAX_POLL_S


def test_missing_capacity_ends_the_wait_at_its_limit(service: EmulatedService) -> None:
    spec = service.spec()
    service.emulator.set_free(H100, 0)
    ref = service.plane.create(spec)

    with pytest.raises(HardwareUnavailable, match="no capacity for 1"):
        service.await_ready(ref, capacity_timeout_s=120)

    assert 120 <= service.emulator.clock.now_s() < 180
    service.tear_down(ref)
    assert service.made() == 0


def test_capacity_within_its_limit_is_used(service: EmulatedService) -> None:
    spec = service.spec()
    service.emulator.set_free(H100, 0)
    ref = service.plane.create(spec)
    observations: list[Observation] = []

    def free_it_soon(observation: Observation) -> None:
        observations.append(observation)
        if service.emulator.clock.now_s() > 90:
            service.emulator.set_free(H100, 1)

    seen = service.await_ready(ref, capacity_timeout_s=200, on_observation=free_it_soon)

    assert any(observation.no_capacity for observation in observations)
    assert seen.phase is Phase.READY


def test_failed_start_is_an_error_of_the_hardware(service: EmulatedService) -> None:
    post = "/deployments$" if service.api == "v2" else "/v1/endpoints$"
    service.emulator.use_faults(
        FaultRule(action="fail_start", method="POST", path=post, message="CUDA out of memory")
    )
    ref = service.plane.create(service.spec(model=MEDIUM, hardware="2xnvidia-h100-80gb"))

    with pytest.raises(HardwareUnavailable, match="2x"):
        service.await_ready(ref)


def test_vanished_endpoint_is_lost(service: EmulatedService) -> None:
    ref = service.plane.create(service.spec())
    service.emulator.vanish()

    with pytest.raises(EndpointLost, match="no longer exists"):
        service.await_ready(ref)


def test_api_outage_is_survived(service: EmulatedService) -> None:
    ref = service.plane.create(service.spec())
    service.emulator.use_faults(FaultRule(action="status", method="GET", status=503, first=20))

    assert service.await_ready(ref).phase is Phase.READY


def test_api_outage_beyond_the_timeout_is_named(service: EmulatedService) -> None:
    ref = service.plane.create(service.spec())
    service.emulator.use_faults(
        FaultRule(action="status", method="GET", status=503, message="we are down")
    )

    with pytest.raises(TimedOut, match=r"last state: .*HTTP 503: we are down"):
        service.await_ready(ref, ready_timeout_s=100)


class Script:
    """A control plane with prepared observations; the last one repeats."""

    def __init__(self, said: list[Observation | None]) -> None:
        self._said = said
        self.observations = 0

    def observe(self, ref: EndpointRef) -> Observation:
        self.observations += 1
        now = self._said[min(self.observations, len(self._said)) - 1]
        if now is None:
            raise OutcomeUnknown(f"look at endpoint {ref.name}: no answer")
        return now


observations = st.lists(
    st.none()
    | st.builds(
        Observation,
        phase=st.sampled_from(Phase),
        state=st.text(max_size=8),
        routed=st.booleans(),
        no_capacity=st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


@given(said=observations, timeout_s=st.floats(1, 2000), capacity_s=st.floats(1, 2000))
def test_wait_ends_ready_or_within_its_budget(
    said: list[Observation | None], timeout_s: float, capacity_s: float
) -> None:
    now_s = [0.0]
    plane: ControlPlane = Script(said)  # type: ignore[assignment]

    def sleep(seconds: float) -> None:
        assert seconds >= 0
        now_s[0] += seconds

    try:
        ready = await_ready(
            plane,
            EndpointRef(api="v2", name="n"),
            ready_timeout_s=timeout_s,
            capacity_timeout_s=capacity_s,
            on_observation=lambda _observation: None,
            clock=lambda: now_s[0],
            sleep=sleep,
        )
    except MayflyError:
        pass
    else:
        assert (ready.phase, ready.routed) == (Phase.READY, True)
    assert now_s[0] <= timeout_s + 1e-6


@given(first=st.integers(0, 5), short=st.integers(1, 10))
def test_capacity_limit_starts_again_after_capacity_was_available(first: int, short: int) -> None:
    wanting = Observation(phase=Phase.DEGRADED, no_capacity=True)
    scheduled = Observation(phase=Phase.STARTING)
    said: list[Observation | None] = [
        *[wanting] * first, scheduled, *[wanting] * short, Observation(phase=Phase.READY)
    ]  # fmt: skip
    now_s = [0.0]

    def sleep(seconds: float) -> None:
        now_s[0] += seconds

    seen = await_ready(
        Script(said),  # type: ignore[arg-type]
        EndpointRef(api="v2", name="n"),
        ready_timeout_s=1e6,
        capacity_timeout_s=MAX_POLL_S * (max(first, short) + 1),
        on_observation=lambda _observation: None,
        clock=lambda: now_s[0],
        sleep=sleep,
    )

    assert seen.phase is Phase.READY
