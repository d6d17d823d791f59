"""The proof of a teardown: what was done, when, by which line; what to say without one."""

import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from mayfly.models.cost import billed_minutes, cost_usd
from mayfly.models.endpoint import EndpointRef
from mayfly.models.lease import Lease

Line = Literal["finally", "hook", "guardian", "next run", "sweep", "by hand"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TeardownProof:
    """Evidence that an endpoint has ended. All times are Unix seconds.

    Attributes:
        name: The endpoint's.
        line: Which line of defence did it.
        stop_requested_at: When the API took the stop, or None when nothing was running.
        stopped_at: When the API first said that nothing runs: billing had ended by then.
        gone_at: When a read answered 404; None when it was only stopped.
        not_found_read_back: Whether the API itself has said that there is no such endpoint.
        replicas_seen: Most replicas that were ready at a look.
        steps: What was done, in words, in order.
        run: The run whose endpoint it was; "" when no lease told.
        replica_minutes, usd: What it billed, as far as lease and looks tell; None when they do not.
    """

    name: str
    line: Line
    started_at: float
    stop_requested_at: float | None = None
    stopped_at: float | None = None
    gone_at: float | None = None
    not_found_read_back: bool = False
    replicas_seen: int = 0
    steps: tuple[str, ...] = ()
    run: str = ""
    replica_minutes: int | None = None
    usd: float | None = None

    def followed_by(self, later: "TeardownProof") -> Self:
        """Return one proof for two parts of a teardown: the stop, then the deletion."""
        return replace(
            self,
            stop_requested_at=self.stop_requested_at or later.stop_requested_at,
            stopped_at=self.stopped_at or later.stopped_at,
            gone_at=later.gone_at,
            not_found_read_back=later.not_found_read_back,
            replicas_seen=max(self.replicas_seen, later.replicas_seen),
            steps=tuple(dict.fromkeys((*self.steps, *later.steps))),
        )

    def billed_to(self, lease: Lease) -> Self:
        """Return the proof with what the lease's run was billed, rather too much than too little.

        For a finisher that did not meter the endpoint itself: every replica that the lease allows
        counts from READY, or from the lease's opening when READY was never noted.
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


def unfinished_teardown(
    ref: EndpointRef,
    *,
    bills: bool,
    since: float | None,
    why: str,
    aim: Literal["delete", "stop"],
    stop_taken: bool = False,
) -> str:
    """Return what a teardown that did not end has left, in one line with the way out.

    Args:
        bills: Whether replicas may be ready, as far as anybody has seen.
        since: Since when they have been (Unix time); None when it was never noted.
        why: What became of the teardown.
        aim: What was to become of the endpoint: only what we created is ever deleted.
        stop_taken: Whether the API has taken a stop, so that only the proof of its end is missing.
    """
    what = "no longer bills, but still exists"
    if bills:
        began = "" if since is None else time.strftime(" since %F %T UTC", time.gmtime(since))
        rate = f" at ${ref.price_usd_per_h:.2f}/h a replica" if ref.price_usd_per_h else ""
        what = f"may still bill{began}{rate}"
        if stop_taken:
            what += "; the API has taken its stop, and the end of it could not be read back"
    return (
        f"endpoint {ref.name} {what}: {why}; "
        f"end it with `mayfly endpoints {aim} {ref.name} --api {ref.api}`"
    )
