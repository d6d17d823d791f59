"""v2's endpoints and deployments as typed values.

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
_NO_CAPACITY = re.compile(r"capacity|cannot place|insufficient", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentV2:
    """A deployment as the API returned it.

    Attributes:
        state: The API's own term.
        ready, desired: Replicas; None if the API does not say.
        concurrency: Requests that one replica serves at once; None if unknown or unlimited.
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
        """Its phase; a state that we do not know is UNKNOWN, not an error."""
        return _PHASES.get(self.state.removeprefix(_STATE), Phase.UNKNOWN)

    @property
    def no_capacity(self) -> bool:
        """Whether it waits for GPUs that are not available."""
        return self.phase is Phase.DEGRADED and bool(_NO_CAPACITY.search(self.message))


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointV2:
    """An endpoint as the API returned it.

    Attributes:
        name: With the project's slug, as in requests.
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
    """Parse an endpoint (OutcomeUnknown if it is not one)."""
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
    """Parse a deployment or a summary of one (OutcomeUnknown if it is not one)."""
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
