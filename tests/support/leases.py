"""Leases for tests."""

from mayfly.endpoints.process_liveness import this_process
from mayfly.models.endpoint import EndpointRef
from mayfly.models.lease import Lease, Owner
from tests.support.control_plane import EmulatedService


def lease_of(owner: Owner | None = None, *, output: str = "") -> Lease:
    """Return a lease of this process, or of an owner, on an endpoint that does not exist."""
    return Lease(
        ref=EndpointRef(api="v2", name="mayfly-me-0123456789-68000000"),
        provider="p",
        base_url="http://127.0.0.1:1",
        project="project",
        namespace="me",
        run="run",
        owner=owner or this_process(),
        opened_at=1000.0,
        heartbeat_at=1000.0,
        output=output,
    )


def lease_on(service: EmulatedService, ref: EndpointRef, *, owner: Owner, at: float) -> Lease:
    """Return a lease on an endpoint of a server, opened and renewed at a time (Unix, seconds)."""
    return Lease(
        ref=ref,
        provider="loopback",
        base_url=service.url,
        project=service.plane.project,
        namespace="contract",
        run="run",
        owner=owner,
        opened_at=at,
        heartbeat_at=at,
    )
