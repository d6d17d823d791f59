"""The state of one server, as plain objects; nothing here is global.

Wire formats and rules are in other modules; this one has only the data.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from together_emulator.http.errors import not_found
from together_emulator.state.adapters import Adapter
from together_emulator.state.billing import Ledger
from together_emulator.state.capacity import Capacity
from together_emulator.state.catalogue import (
    OWN_PROJECT,
    OWN_SLUG,
    Catalogue,
    Config,
    Model,
    stable_id,
)
from together_emulator.state.clock import Clock, wire_time
from together_emulator.state.ids import Ids
from together_emulator.state.settings import Settings
from together_emulator.state.timeline import Timeline


class State(StrEnum):
    """A deployment's state.

    Source: Together API, deployment status.
    """

    PROVISIONING = "DEPLOYMENT_STATE_PROVISIONING"
    SCALING = "DEPLOYMENT_STATE_SCALING"
    READY = "DEPLOYMENT_STATE_READY"
    DEGRADED = "DEPLOYMENT_STATE_DEGRADED"
    STOPPING = "DEPLOYMENT_STATE_STOPPING"
    STOPPED = "DEPLOYMENT_STATE_STOPPED"
    FAILED = "DEPLOYMENT_STATE_FAILED"


class Step(StrEnum):
    """A replica's step: waiting to be placed, for capacity, for weights; serving; draining."""

    SCHEDULING = "scheduling"
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One inference request that reached a deployment; times in emulated seconds.

    Attributes:
        status: 200, or the status of its rejection or abort.
        first_s: Time to the first token.
    """

    at_s: float
    status: int
    prompt_tokens: int
    completion_tokens: int
    first_s: float
    latency_s: float


@dataclass(slots=True, eq=False, kw_only=True)
class Replica:
    """One copy of the model.

    Attributes:
        region: Its region; None before it is placed.
        in_flight: Its requests in flight.
        ready_s: Time since which it serves.
        prefixes: Its prompt cache, least recently used first.
        replaces: Whether it replaces a lost replica.
        drains_until_s: Time when it is removed even with requests in flight.
    """

    id: str
    step: Step = Step.SCHEDULING
    region: str | None = None
    in_flight: int = 0
    ready_s: float = 0.0
    prefixes: OrderedDict[int, None] = field(default_factory=OrderedDict)
    replaces: bool = False
    bills: bool = False
    drains_until_s: float = 0.0


@dataclass(slots=True, eq=False, kw_only=True)
class Deployment:
    """A model on replicas.

    Attributes:
        model: The served model: the config's reference model, or one derived from it.
        adapters: Attached LoRA adapters, oldest first, by the attachment's id.
        bounds: Minimum and maximum number of replicas; 0, 0 is stopped.
        autoscaling: The rest of `autoscaling` as given.
        concurrency: Maximum requests in flight per replica; 0 is unlimited.
        start: Number of starts, so that events of earlier starts can be ignored.
        ever_ready: Whether any replica has ever served.
        history: States with their times, oldest first.
        price_cents_per_h: Price of one replica in the API generation that created it.
        speed: Factor of the profile's speed.
        samples: The newest requests that reached it.
    """

    id: str
    endpoint_id: str
    name: str
    model: Model
    config: Config
    revision: str
    bounds: tuple[int, int]
    autoscaling: dict[str, Any]
    concurrency: int
    price_cents_per_h: float
    created_s: float
    updated_s: float
    etag: str
    speed: float = 1.0
    inactive_timeout_min: int = 0
    regions: tuple[str, ...] = ()
    regions_required: bool = False
    hipaa: bool = False
    placement: dict[str, Any] | None = None
    state: State = State.PROVISIONING
    message: str = ""
    desired: int = 0
    start: int = 0
    ever_ready: bool = False
    replicas: list[Replica] = field(default_factory=list)
    history: list[tuple[float, State, str]] = field(default_factory=list)
    last_request_s: float = 0.0
    served: int = 0
    adapters: dict[str, Adapter] = field(default_factory=dict)
    waiting: deque[Any] = field(default_factory=deque)
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=100_000))

    def count(self, *steps: Step) -> int:
        """Return the number of replicas at one of these steps."""
        return sum(replica.step in steps for replica in self.replicas)

    @property
    def load(self) -> int:
        """Requests in flight or queued."""
        return sum(replica.in_flight for replica in self.replicas) + len(self.waiting)

    @property
    def ready(self) -> int:
        """Replicas that serve and are not draining."""
        return self.count(Step.READY)

    @property
    def hardware(self) -> str:
        return self.config.profile.hardware


@dataclass(slots=True, eq=False, kw_only=True)
class Legacy:
    """Fields of an endpoint that only the legacy API has: one object with one hidden deployment.

    Attributes:
        replicas: Bounds while started; kept while stopped.
    """

    deployment_id: str
    display_name: str
    replicas: tuple[int, int]


@dataclass(slots=True, eq=False, kw_only=True)
class Endpoint:
    """A stable name that routes to deployments.

    Attributes:
        legacy: Set for an endpoint of the legacy API, which the v2 API does not list.
        split: Weight by deployment id, as last set.
        splits: Splits with the time from which each is in effect, oldest first.
    """

    id: str
    name: str
    visibility: str
    created_s: float
    updated_s: float
    etag: str
    legacy: Legacy | None = None
    split: dict[str, float] = field(default_factory=dict)
    splits: list[tuple[float, dict[str, float]]] = field(default_factory=list)

    def split_in_force(self, now_s: float) -> dict[str, float]:
        """Return the split that is in effect."""
        while len(self.splits) > 1 and self.splits[1][0] <= now_s:
            self.splits.pop(0)
        if self.splits and self.splits[0][0] <= now_s:
            return self.splits[0][1]
        return {}


class Store:
    """The state of one server: clock, catalogue, endpoints, deployments, bill and events."""

    def __init__(self, *, settings: Settings, clock: Clock, catalogue: Catalogue) -> None:
        self.settings = settings
        self.clock = clock
        self.catalogue = catalogue
        self.timeline = Timeline(clock)
        self.capacity = Capacity(catalogue)
        self.ledger = Ledger()
        self.ids = Ids(settings.seed)
        self.organization_id = stable_id("org", "emulated")
        self.organization_name = "Emulated Organization"
        self.project_id = OWN_PROJECT
        self.project_name = "Emulated Project"
        self.slug = OWN_SLUG
        self.api_key_id = stable_id("key", "emulated")
        self.endpoints: dict[str, Endpoint] = {}
        self.deployments: dict[str, Deployment] = {}
        self.events: list[dict[str, Any]] = []
        self.weights_seen: set[tuple[str, str]] = set()

    def change(self, **fields: Any) -> None:
        """Change fields of the settings (TypeError for an unknown one)."""
        self.settings = replace(self.settings, **fields)

    @property
    def now_s(self) -> float:
        """Emulated seconds: the time of the current event or request."""
        return self.timeline.now_s

    def wire_time(self, at_s: float) -> str:
        """Return an emulated time as an API timestamp."""
        return wire_time(self.clock, at_s)

    def settle(self) -> None:
        """Run all events that are due."""
        self.timeline.settle()

    def endpoint(self, endpoint_id: str, *, legacy: bool = False) -> Endpoint:
        """Return an endpoint of one API generation by id (404)."""
        found = self.endpoints.get(endpoint_id)
        if found is None or (found.legacy is not None) != legacy:
            raise not_found("endpoint", endpoint_id)
        return found

    def endpoints_of(self, *, legacy: bool) -> list[Endpoint]:
        """Return the endpoints of one API generation, oldest first."""
        return [e for e in self.endpoints.values() if (e.legacy is not None) == legacy]

    def deployment(self, endpoint_id: str, deployment_id: str) -> Deployment:
        """Return a deployment of an endpoint by id (404)."""
        self.endpoint(endpoint_id)
        found = self.deployments.get(deployment_id)
        if found is None or found.endpoint_id != endpoint_id:
            raise not_found("deployment", deployment_id)
        return found

    def deployments_of(self, endpoint_id: str) -> Iterator[Deployment]:
        """Yield an endpoint's deployments, oldest first."""
        return (d for d in self.deployments.values() if d.endpoint_id == endpoint_id)

    def endpoint_named(self, name: str) -> Endpoint | None:
        """Find an endpoint by its bare name."""
        return next((e for e in self.endpoints.values() if e.name == name), None)

    def event(
        self,
        endpoint_id: str,
        kind: str,
        message: str,
        *,
        deployment_id: str | None = None,
        level: str = "LEVEL_INFO",
        **more: Any,
    ) -> None:
        """Add to an endpoint's event feed."""
        entry: dict[str, Any] = {
            "id": self.ids.new("evt"),
            "at_s": self.now_s,
            "endpointId": endpoint_id,
            "level": level,
            "source": "together_emulator",
            "sourceKind": "SOURCE_KIND_DEPLOYMENT" if deployment_id else "SOURCE_KIND_ENDPOINT",
            "type": kind,
            "message": message,
        }
        if deployment_id:
            entry["deploymentId"] = deployment_id
        self.events.append(entry | more)
