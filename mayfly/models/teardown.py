"""The proof of a teardown, and the message about a teardown that failed."""

import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from mayfly.models.cost import billed_minutes, cost_usd
from mayfly.models.endpoint import EndpointRef
from mayfly.models.lease import Lease

Line = Literal["finally", "hook", "guardian", "next run", "sweep", "endpoints command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TeardownProof:
    """Evidence that an endpoint was stopped or deleted. All times are Unix seconds.

    Attributes:
        name: The endpoint's name.
        line: The line of defence that tore it down.
        stop_requested_at: When the API accepted the stop, or None if nothing was running.
        stopped_at: When the API first reported no replicas: billing had ended by then.
        gone_at: When a read returned 404; None if it was only stopped.
        not_found_read_back: Whether the API has confirmed that the endpoint does not exist.
        existed: Whether there was an endpoint: a create answered, or a poll found it.
        replicas_seen: Maximum number of ready replicas at any poll.
        steps: Log of the steps, in order.
        run: The run that owned the endpoint; "" if no lease says.
        replica_minutes, usd: What was billed, by lease and polls; None if unknown.
    """

    name: str
    line: Line
    started_at: float
    stop_requested_at: float | None = None
    stopped_at: float | None = None
    gone_at: float | None = None
    not_found_read_back: bool = False
    existed: bool = True
    replicas_seen: int = 0
    steps: tuple[str, ...] = ()
    run: str = ""
    replica_minutes: int | None = None
    usd: float | None = None

    @property
    def end(self) -> str:
        """How the endpoint ended, for people."""
        return how_it_ended(gone=self.gone_at is not None, existed=self.existed)

    def followed_by(self, later: "TeardownProof") -> Self:
        """Return one proof for both parts of a teardown: the stop, then the deletion."""
        return replace(
            self,
            stop_requested_at=self.stop_requested_at or later.stop_requested_at,
            stopped_at=self.stopped_at or later.stopped_at,
            gone_at=later.gone_at,
            not_found_read_back=later.not_found_read_back,
            existed=self.existed or later.existed,
            replicas_seen=max(self.replicas_seen, later.replicas_seen),
            steps=tuple(dict.fromkeys((*self.steps, *later.steps))),
        )

    def billed_to(self, lease: Lease) -> Self:
        """Return the proof with an upper bound of what the lease's run was billed.

        For a process that did not meter the endpoint itself: every replica that the lease allows
        counts from READY, or from the lease's opening if READY was never recorded.
        """
        replicas = max(self.replicas_seen, lease.replicas if lease.ready_at is not None else 0)
        began = lease.opened_at if lease.ready_at is None else lease.ready_at
        ended = self.started_at if self.stopped_at is None else self.stopped_at
        replica_s = max(0.0, ended - began) * replicas
        return replace(
            self,
            run=lease.run,
            replica_minutes=billed_minutes(replica_s),
            usd=round(cost_usd(replica_s, lease.ref.price_usd_per_h), 6),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "steps": list(self.steps)}


def how_it_ended(*, gone: bool, existed: bool) -> str:
    """Return how a teardown ended, for people."""
    if not gone:
        return "stopped"
    return "deleted (confirmed: 404)" if existed else "never created (confirmed: 404)"


def unfinished_teardown(
    ref: EndpointRef,
    *,
    bills: bool,
    since: float | None,
    why: str,
    aim: Literal["delete", "stop"],
    stop_taken: bool = False,
) -> str:
    """Return the message about an unfinished teardown: what is left, and the command that ends it.

    Args:
        bills: Whether replicas may be ready, as far as was observed.
        since: Unix time since which they are ready; None if it was never recorded.
        why: Why the teardown did not finish.
        aim: What should have been done: only endpoints that mayfly created are ever deleted.
        stop_taken: Whether the API has accepted a stop, so that only the confirmation is missing.
    """
    what = "no longer bills, but still exists"
    if bills:
        began = "" if since is None else time.strftime(" since %F %T UTC", time.gmtime(since))
        rate = f" at ${ref.price_usd_per_h:.2f}/h a replica" if ref.price_usd_per_h else ""
        what = f"may still bill{began}{rate}"
        if stop_taken:
            what += "; the API has accepted the stop, but did not confirm that it has ended"
    return (
        f"endpoint {ref.name} {what}: {why}; "
        f"end it with `mayfly endpoints {aim} {ref.name} --api {ref.api}`"
    )
