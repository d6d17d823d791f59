"""v2's endpoints and deployments as values of ours.

Source: Together API, v2 endpoints and deployments, and together 3.1.
"""

import re
from dataclasses import dataclass
from typing import Any

from mayfly.models.endpoint import Phase
from mayfly.together.parsing import count, field, items, needed, number, text

_STATE = "DEPLOYMENT_STATE_"
_PHASES = {
    "PROVISIONING": Phase.STARTING,
    "SCALING": Phase.STARTING,
    "READY": Phase.READY,
    "DEGRADED": Phase.DEGRADED,
    "STOPPING": Phase.STOPPING,
    "STOPPED": Phase.STOPPED,
    "FAILED": Phase.FAILED,
}
_NO_ROOM = re.compile(r"capacity|cannot place|insufficient", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentV2:
    """A deployment at one look.

    Attributes:
        state: The API's own word.
        ready, desired: Replicas; None when the API does not say.
        concurrency: Requests that one replica takes at once; None when not said or unlimited.
    """

    id: str
    state: str = ""
    message: str = ""
    ready: int | None = None
    desired: int | None = None
    hardware: str = ""
    concurrency: int | None = None

    @property
    def phase(self) -> Phase:
        """Where it is in its life; a state that we do not know is unknown, not an error."""
        return _PHASES.get(self.state.removeprefix(_STATE), Phase.UNKNOWN)

    @property
    def no_capacity(self) -> bool:
        """Whether it waits for GPUs that are not to be had."""
        return self.phase is Phase.DEGRADED and bool(_NO_ROOM.search(self.message))


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointV2:
    """An endpoint at one look.

    Attributes:
        name: With the project's slug, as requests give it.
        weights: Traffic weight by deployment id, above 0.
        newest: Summaries of the newest deployments only.
    """

    id: str
    name: str
    weights: dict[str, float]
    newest: tuple[DeploymentV2, ...] = ()

    @property
    def bare(self) -> str:
        """The name without the project's slug."""
        return bare(self.name)


def bare(name: str) -> str:
    """Return a name without its project's slug."""
    return name.rsplit("/", 1)[-1]


def read_endpoint(call: str, value: Any) -> EndpointV2:
    """Read an endpoint (OutcomeUnknown when it is none)."""
    split = items(value, "traffic_split")
    weights = {text(e, "deployment_id"): number(e, "weight") or 0.0 for e in split}
    summaries = [entry for entry in items(value, "deployments") if text(entry, "id")]
    return EndpointV2(
        id=needed(call, value, "id"),
        name=needed(call, value, "name"),
        weights={key: weight for key, weight in weights.items() if key and weight > 0},
        newest=tuple(read_deployment(call, entry) for entry in summaries),
    )


def read_deployment(call: str, value: Any) -> DeploymentV2:
    """Read a deployment or the summary of one (OutcomeUnknown when it is none)."""
    status = field(value, "status")
    ready = count(status, "ready_replicas")
    return DeploymentV2(
        id=needed(call, value, "id"),
        state=text(status, "state") or text(value, "state"),
        message=text(status, "message"),
        ready=count(value, "ready_replicas") if ready is None else ready,
        desired=count(value, "desired_replicas"),
        hardware=text(value, "hardware"),
        # 0 is unlimited.
        concurrency=count(value, "max_concurrent_requests_per_replica") or None,
    )
