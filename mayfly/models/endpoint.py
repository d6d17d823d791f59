"""The endpoint as values: its name, its specification, a reference to it, and what was observed.

An endpoint's name carries everything that a sweep needs: our prefix, the namespace, the job and
the time until which a run may own it, so that the provider's own list is enough to clean up.
"""

import hashlib
import re
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal, Self

Api = Literal["v1", "v2"]

PREFIX = "mayfly"
_NAME = re.compile(
    rf"^{PREFIX}-(?P<namespace>[a-z0-9]+)-(?P<job>[0-9a-f]{{10}})-(?P<until>[0-9a-f]{{8}})$"
)
_NAMESPACE = re.compile(r"^[a-z0-9]{1,16}$")


class Phase(StrEnum):
    """Phase in an endpoint's life cycle; the states of both API generations map to these."""

    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    GONE = "gone"
    UNKNOWN = "unknown"

    @property
    def may_bill(self) -> bool:
        """Whether replicas may be running; UNKNOWN counts as yes."""
        return self not in (Phase.STOPPED, Phase.FAILED, Phase.GONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointName:
    """The parts of a name that mayfly gave to an endpoint.

    Attributes:
        namespace: Namespace of the run, 1-16 of [a-z0-9]; a sweep touches its own namespace only.
        job: First 10 hex digits of the job's fingerprint.
        until: Unix time in seconds after which no run may still own the endpoint.
    """

    namespace: str
    job: str
    until: int

    def __post_init__(self) -> None:
        if not _NAMESPACE.match(self.namespace):
            raise ValueError(
                f"namespace {self.namespace!r} is not 1-16 lower-case letters or digits"
            )

    def __str__(self) -> str:
        return f"{PREFIX}-{self.namespace}-{self.job}-{self.until:08x}"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Parse a name, with or without its `<slug>/`; None if mayfly did not give it."""
        match = _NAME.match(name.rsplit("/", 1)[-1])
        if match is None:
            return None
        return cls(namespace=match["namespace"], job=match["job"], until=int(match["until"], 16))


def job_digest(*parts: str) -> str:
    """Return the 10 hex digits by which an endpoint's name refers to a job."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """Bounds on the number of replicas; equal bounds are a fixed number, 0-0 is stopped."""

    minimum: int = 1
    maximum: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= self.maximum or (self.minimum == 0 < self.maximum):
            raise ValueError(
                f"replicas {self.minimum}-{self.maximum}: give MIN-MAX with 1 <= MIN <= MAX"
            )

    def __str__(self) -> str:
        fixed = self.minimum == self.maximum
        return str(self.minimum) if fixed else f"{self.minimum}-{self.maximum}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """The endpoint to create.

    Attributes:
        name: The name mayfly gives it, without the project's slug; unique in the project.
        model: The model's public name, such as `Qwen/Qwen2.5-7B-Instruct`.
        hardware: The offer's id, in the spelling of the API generation that returned it.
        model_ref, config_ref: Resource names that v2 takes instead; empty for v1.
        price_usd_per_h: Of one replica, for the lease and the bill.
        regions: Allowed regions; v1 takes the first, which it calls an availability zone.
        scale_at_in_flight: With a range of replicas, the requests in flight per replica at which
            the platform adds one; None keeps the platform's default, which is low for a batch.
        inactive_timeout_min: Minutes without a request after which the platform stops it;
            30-1440 for v2. A fallback in case everything else fails.
        speculative_decoding: v1 only: whether a small model drafts tokens for the large one.
    """

    name: str
    model: str
    hardware: str
    price_usd_per_h: float
    model_ref: str = ""
    config_ref: str = ""
    replicas: Replicas = field(default_factory=Replicas)
    regions: tuple[str, ...] = ()
    inactive_timeout_min: int = 30
    scale_at_in_flight: float | None = None
    speculative_decoding: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRef:
    """Reference to an endpoint that exists or may exist: enough to find it and delete it.

    Attributes:
        name: The name mayfly or the user gave it, without the slug; identifies it everywhere.
        endpoint_id, deployment_ids: The provider's ids, once known.
        inference_name: The `model` of a request.
        created_by_us: Whether mayfly created it, and so may delete it.
    """

    api: Api
    name: str
    endpoint_id: str = ""
    deployment_ids: tuple[str, ...] = ()
    inference_name: str = ""
    hardware: str = ""
    price_usd_per_h: float = 0.0
    created_by_us: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "deployment_ids": list(self.deployment_ids)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read what `as_dict` wrote."""
        return cls(**{**value, "deployment_ids": tuple(value.get("deployment_ids", ()))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """State of an endpoint as the provider reported it at one poll.

    Attributes:
        state: The provider's own term, such as `DEPLOYMENT_STATE_SCALING`.
        message: The provider's explanation; may be empty.
        ready_replicas, desired_replicas: Counts; None if the API does not say.
        routed: Whether requests by name reach a deployment.
        no_capacity: DEGRADED because there is no free hardware.
        concurrency_per_replica: Requests that one replica serves at once; None if unknown.
    """

    phase: Phase
    state: str = ""
    message: str = ""
    ready_replicas: int | None = None
    desired_replicas: int | None = None
    routed: bool = True
    no_capacity: bool = False
    concurrency_per_replica: int | None = None

    @property
    def short_state(self) -> str:
        """The provider's state without its common prefix, such as `SCALING`."""
        return self.state.rpartition("_STATE_")[2] or str(self.phase)

    def __str__(self) -> str:
        replicas = "" if self.ready_replicas is None else f", {self.ready_replicas} ready"
        message = f": {self.message}" if self.message else ""
        return f"{self.short_state}{message}{replicas}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeToFirstToken:
    """Percentiles of the time to the first token, in seconds; None if the API does not say."""

    p50_s: float | None = None
    p90_s: float | None = None
    p99_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What the API has recorded about an endpoint's use in a period that ends now.

    Attributes:
        span_s: Length of the period, in seconds.
        requests: Requests received; None if the API does not say.
        event: The last event of the endpoint, such as `deployment.scaled`; "" if there was none,
            None if the API does not say.
        gpu_percent: Average GPU utilisation; None if the API does not say.
    """

    span_s: float
    requests: int | None = None
    event: str | None = None
    gpu_percent: float | None = None
