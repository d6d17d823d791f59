"""Wait until an endpoint is READY, for a bounded time, and report what is awaited."""

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
    unseen: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Observation:
    """Poll until the endpoint is READY and requests by its name are routed; return that state.

    Args:
        ready_timeout_s: Time limit of the whole wait, in seconds.
        capacity_timeout_s: Time limit of DEGRADED for lack of capacity, in seconds.
        on_observation: Called with every observation.
        partly: Whether one ready replica is enough: it is billed, so it should work while the
            others start or wait for capacity.
        unseen: Whether the API may not show a new endpoint yet, so that a 404 is no proof.

    Raises:
        HardwareUnavailable: It FAILED, or there was no capacity for too long.
        EndpointLost: It does not exist.
        TimedOut: The time limit is exceeded; the message has the last state.
    """
    began, wait_s = clock(), FIRST_POLL_S
    short_since: float | None = None
    last = "no response from the API"
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
            if observation.phase is Phase.GONE and not unseen():
                raise EndpointLost(f"endpoint {ref.name} no longer exists")
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
        f"endpoint {ref.name} was not READY after {ready_timeout_s:.0f} s; last state: {last}; "
        "raise --ready-timeout, or choose other hardware"
    )


def _serves(observation: Observation) -> bool:
    """Whether at least one replica is ready while others are not."""
    starting = observation.phase in (Phase.STARTING, Phase.DEGRADED)
    return starting and bool(observation.ready_replicas)
