"""The lease: a record of an endpoint that may exist, written before it is created.

A lease is opened and synced before the create call. It is closed only when the API has confirmed
that the endpoint is deleted, or when the endpoint is kept on purpose. Any process that finds an
open lease without a live owner may delete the endpoint. A lease never holds the API key.
"""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from mayfly.models.endpoint import EndpointRef
from mayfly.models.job import Teardown

HEARTBEAT_S = 15.0
"""Interval at which a live owner renews its lease."""

EXPIRY_S = 90.0
"""Time since the last heartbeat after which an owner on another host counts as dead."""

WATCH_S = 2.5 * HEARTBEAT_S
"""How long the heartbeat of an owner on another host is observed before it counts as dead."""

SETTLE_S = 45.0
"""How long a create that was sent may take effect, even after the client gave up on the response
(30 s). Until then a 404 does not prove that an endpoint without a known id does not exist. Whoever
tears it down counts from when it learned that the run is dead, by its own monotonic clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that is responsible for an endpoint.

    Attributes:
        host: Host name, for people; two hosts may have the same.
        pid, started_at: Process id and start (Unix time, seconds), so that a reused id is not
            taken for the owner.
        boot_id: Identifies the running kernel; "" if unknown.
        pid_namespace: Identifies the PID namespace of `pid`; "" if unknown.
        start_ticks: The start in kernel ticks since boot, which setting the clock does not change;
            None if unknown.
    """

    host: str
    pid: int
    started_at: float
    user: str
    boot_id: str = ""
    pid_namespace: str = ""
    start_ticks: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One endpoint that may exist, its owner, and the owner's last heartbeat.

    Attributes:
        ref: Enough to find the endpoint; its ids may still be empty.
        provider: Identity of the API host, see `mayfly.together.connection`.
        opened_at, heartbeat_at: Unix time, seconds.
        ready_at: When replicas began to be billed, as far as the owner observed it.
        replicas: Maximum number of replicas that may be ready at once.
        unseen: Whether the API has created the endpoint, but not shown it yet: a 404 does not
            prove that it does not exist.
        output: The run's output folder.
        teardown: What the run is to do with the endpoint at its end.
    """

    ref: EndpointRef
    provider: str
    base_url: str
    project: str
    namespace: str
    run: str
    owner: Owner
    opened_at: float
    heartbeat_at: float
    ready_at: float | None = None
    replicas: int = 1
    unseen: bool = False
    output: str = ""
    model: str = ""
    teardown: Teardown = "delete"

    @property
    def name(self) -> str:
        """The endpoint's name, which is also the lease's."""
        return self.ref.name

    def renewed(self, now: float) -> Self:
        """Return the lease with a heartbeat at `now`."""
        return replace(self, heartbeat_at=now)

    def expired(self, now: float) -> bool:
        """Whether the last heartbeat is too old."""
        return now - self.heartbeat_at > EXPIRY_S

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "ref": self.ref.as_dict()}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read what `as_dict` wrote; unknown fields of a later version are ignored."""
        return cls(
            **{
                **_known(cls, value),
                "ref": EndpointRef.from_dict(_known(EndpointRef, value["ref"])),
                "owner": Owner(**_known(Owner, value["owner"])),
            }
        )


def _known(of: type[Any], value: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(of)}
    return {name: entry for name, entry in value.items() if name in names}
