"""The sweep: what leases name, and what carries our name, without a live owner."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mayfly.endpoints.cleanup import end_on
from mayfly.endpoints.process_liveness import owner_is_alive
from mayfly.endpoints.sweep_policy import Judgement, judge
from mayfly.models.endpoint import PREFIX, EndpointRef
from mayfly.models.errors import MayflyError
from mayfly.models.lease import Lease
from mayfly.storage.lease_store import LeaseStore
from mayfly.together.connection import Connection
from mayfly.together.control_plane import ControlPlane
from mayfly.together.retry import with_retries
from mayfly.together.teardown import tear_down

BUDGET_S = 300.0


@dataclass(slots=True)
class SweepReport:
    """What a sweep found, did, and could not do.

    Attributes:
        found: One record each: name, verdict, why, and what was done.
        failed: Messages of what could not be ended; it may still bill.
        damaged: Lease files that cannot be read; what they name may still bill.
    """

    dry_run: bool
    found: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    @property
    def ended(self) -> int:
        """How many endpoints were ended."""
        return sum(entry["done"] == "ended" for entry in self.found)

    def lines(self) -> list[str]:
        """Return the report for people."""
        told = [f"{e['name']}: {e['done']} ({e['why']})" for e in self.found]
        return [*told, *self.failed, *self.damaged] or ["nothing of ours was found"]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "dry_run": self.dry_run,
            "ended": self.ended,
            "found": self.found,
            "failed": self.failed,
            "damaged": self.damaged,
        }


def sweep(
    plane: ControlPlane,
    book: LeaseStore,
    connection: Connection,
    *,
    dry_run: bool,
    on_step: Callable[[str], None] = lambda _text: None,
) -> SweepReport:
    """Judge everything that is ours here, and end what has no live owner; see `core.sweep`."""
    ours = with_retries(lambda: plane.list_endpoints(f"{PREFIX}-"))
    listed = {ref.name: ref for ref in ours}
    leases = book.list()
    report = SweepReport(dry_run=dry_run, damaged=[str(damaged) for damaged in leases.damaged])
    leased = {lease.name: lease for lease in leases.open}
    for name in sorted(listed.keys() | leased.keys()):
        ref, lease = listed.get(name), leased.get(name)
        if ref is None and lease is not None and lease.ref.api == plane.api:
            # A user's own endpoint carries no name of ours, and a list may lag behind.
            ref = plane.find(name)
        judgement = judge(
            name=name,
            exists=ref is not None,
            lease=lease,
            namespace=connection.namespace,
            provider=connection.provider,
            project=plane.project,
            api=plane.api,
            owner_alive=None if lease is None else owner_is_alive(lease.owner),
            now=time.time(),
        )
        done = "left" if judgement.verdict == "leave" else "would be ended" if dry_run else "ended"
        if judgement.verdict == "close the lease":
            done = "lease would be closed" if dry_run else "lease closed"
        if not dry_run:
            try:
                _carry_out(plane, book, judgement, ref, lease, on_step)
            except MayflyError as error:
                done = "could not be ended"
                report.failed.append(str(error))
        report.found.append(
            {"name": name, "verdict": judgement.verdict, "why": judgement.why, "done": done}
        )
    return report


def _carry_out(
    plane: ControlPlane,
    book: LeaseStore,
    judgement: Judgement,
    ref: EndpointRef | None,
    lease: Lease | None,
    on_step: Callable[[str], None],
) -> None:
    match judgement.verdict:
        case "close the lease":
            assert lease is not None  # noqa: S101 - only leases are closed
            book.close(lease)
        case "end" if lease is not None:
            end_on(plane, lease, line="sweep", book=book, budget_s=BUDGET_S, on_step=on_step)
        case "end":
            assert ref is not None  # noqa: S101 - without a lease it was listed
            tear_down(plane, ref, policy="delete", line="sweep", budget_s=BUDGET_S, on_step=on_step)
        case "leave":
            return
