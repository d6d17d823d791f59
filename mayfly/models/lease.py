"""The lease: a record of what may exist, written before it exists.

A lease is opened and synced before the create call and closed only when the API itself has said
that the endpoint is gone (or has been left on purpose). Whoever finds an open lease without a
live owner may end what it names; it never holds the API key.
"""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from mayfly.models.endpoint import EndpointRef
from mayfly.models.job import Teardown

HEARTBEAT_S = 15.0
"""How often a live owner renews its lease."""

EXPIRY_S = 90.0
"""How long after the last heartbeat an owner that cannot be asked counts as dead."""

WATCH_S = 2.5 * HEARTBEAT_S
"""How long the heartbeat of an owner that cannot be asked is watched before it counts as dead."""

SETTLE_S = 45.0
"""How long a create that has been sent may take to have its effect, whoever still waits for it: the
client gives up on an answer after 30 s. Until then "there is none" proves nothing about an endpoint
that nobody has seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that answers for an endpoint.

    Attributes:
        host: Machine name, for people; two machines may have the same.
        pid, started_at: Process id and its start (Unix time, seconds), so that a reused id does
            not pass for the owner.
        boot_id: Identifies the running kernel; "" when unknown.
        pid_namespace: Identifies the set of ids that `pid` is of; "" when unknown.
        start_ticks: The start in kernel ticks since the boot, which no setting of the clock
            changes; None when unknown.
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
    """One endpoint that may exist, whose it is, and until when that is believed.

    Attributes:
        ref: Enough to find the endpoint; its ids may still be empty.
        provider: Identity of the API host, see `mayfly.together.connection`.
        opened_at, heartbeat_at: Unix time, seconds.
        ready_at: When replicas began to bill, as far as the owner saw it.
        replicas: Most that may be ready at once.
        output: The run's folder.
        teardown: What the run was asked to do with the endpoint at its end.
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
    output: str = ""
    model: str = ""
    teardown: Teardown = "delete"

    @property
    def name(self) -> str:
        """The endpoint's name, which is the lease's too."""
        return self.ref.name

    def renewed(self, now: float) -> Self:
        """Return the lease with a heartbeat at `now`."""
        return replace(self, heartbeat_at=now)

    def expired(self, now: float) -> bool:
        """Whether the last heartbeat is too old to believe in."""
        return now - self.heartbeat_at > EXPIRY_S

    @property
    def settled_at(self) -> float:
        """When absence of the endpoint proves that there is none (Unix time).

        At once for one whose create was answered; otherwise its create may be on its way. A dead
        owner cannot have sent it later than its next heartbeat was due.
        """
        if self.ref.endpoint_id:
            return 0.0
        return self.heartbeat_at + HEARTBEAT_S + SETTLE_S

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "ref": self.ref.as_dict()}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read what `as_dict` wrote, also of a later version that knows more fields."""
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
