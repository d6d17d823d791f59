"""A teardown waits by the monotonic clock: the time of day may be set meanwhile."""

from typing import Any, cast

import pytest

from mayfly.models.endpoint import EndpointRef, Observation, Phase
from mayfly.together.teardown import tear_down


class NothingThere:
    """A control plane where the endpoint does not exist."""

    def __init__(self) -> None:
        self.polls = 0

    def stop_known(self, ref: EndpointRef) -> bool:
        del ref
        return False

    def observe(self, ref: EndpointRef) -> Observation:
        del ref
        self.polls += 1
        return Observation(phase=Phase.GONE)


@pytest.mark.parametrize("step_s", [-90_000.0, 0.0, 90_000.0])
def test_search_for_a_late_create_takes_as_long_when_the_clock_is_set(step_s: float) -> None:
    plane, elapsed, day = NothingThere(), 0.0, 1_000_000.0

    def sleep(seconds: float) -> None:
        nonlocal elapsed, day
        elapsed += seconds
        day = 1_000_000.0 + step_s

    proof = tear_down(
        cast("Any", plane),
        EndpointRef(api="v2", name="mayfly-batch-0-1"),
        policy="delete",
        line="finally",
        budget_s=300,
        unsettled_s=45,
        now=lambda: day,
        clock=lambda: elapsed,
        sleep=sleep,
    )

    assert proof.not_found_read_back
    assert 45 <= elapsed < 60
    assert plane.polls > 10
