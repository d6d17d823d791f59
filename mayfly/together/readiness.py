"""Waiting for READY: bounded, and never in the dark about what is awaited."""

import time
from collections.abc import Callable

from mayfly.models.endpoint import EndpointRef, Observation, Phase
from mayfly.models.errors import EndpointLost, HardwareUnavailable, RetryableError, TimedOut
from mayfly.together.control_plane import ControlPlane

FIRST_POLL_S = 0.5
MAX_POLL_S = 5.0


def await_ready(
    plane: ControlPlane,
    ref: EndpointRef,
    *,
    ready_timeout_s: float,
    capacity_timeout_s: float,
    on_observation: Callable[[Observation], None],
    partly: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Observation:
    """Look until the endpoint is READY and requests by its name reach it; return that look.

    Args:
        ready_timeout_s: Budget for the whole wait, in seconds.
        capacity_timeout_s: How long DEGRADED for want of capacity is borne, in seconds.
        on_look: Is shown every observation.
        partly: Whether one ready replica is enough: it bills, so it should work while the others
            start, or cannot be had.

    Raises:
        HardwareUnavailable: It FAILED, or capacity was wanting for too long.
        EndpointLost: It is not there.
        TimedOut: The budget is used up; the message says what was last seen.
    """
    began, wait_s = clock(), FIRST_POLL_S
    short_since: float | None = None
    last = "nothing, the API did not answer"
    while (waited_s := clock() - began) < ready_timeout_s:
        try:
            observation = plane.observe(ref)
        except RetryableError as error:
            last = str(error)
        else:
            last = str(observation)
            on_observation(observation)
            if observation.routed and (
                observation.phase is Phase.READY or (partly and _serves(observation))
            ):
                return observation
            if observation.phase is Phase.GONE:
                raise EndpointLost(f"endpoint {ref.name} is not there any more")
            if observation.phase is Phase.FAILED:
                raise HardwareUnavailable(f"endpoint {ref.name} on {ref.hardware}: {observation}")
            short_since = (short_since or clock()) if observation.no_capacity else None
            if short_since is not None and clock() - short_since >= capacity_timeout_s:
                raise HardwareUnavailable(
                    f"endpoint {ref.name} on {ref.hardware}: no capacity for "
                    f"{clock() - short_since:.0f} s ({observation})"
                )
        sleep(min(wait_s, max(0.0, ready_timeout_s - waited_s)))
        wait_s = min(wait_s * 1.5, MAX_POLL_S)
    raise TimedOut(
        f"endpoint {ref.name} was not READY after {ready_timeout_s:.0f} s; last seen: {last}; "
        "raise the time to wait for READY, or choose other hardware"
    )


def _serves(observation: Observation) -> bool:
    """Whether some replica answers while others do not yet."""
    starting = observation.phase in (Phase.STARTING, Phase.DEGRADED)
    return starting and bool(observation.ready_replicas)
