"""What a sweep may end: ours, without a live owner; and nothing else."""

from dataclasses import dataclass
from typing import Literal

from mayfly.models.endpoint import Api, EndpointName
from mayfly.models.lease import Lease

Verdict = Literal["end", "close the lease", "leave"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to do about one endpoint or lease, and why."""

    verdict: Verdict
    why: str


def judge(
    *,
    name: str,
    exists: bool,
    lease: Lease | None,
    namespace: str,
    provider: str,
    project: str,
    api: Api,
    owner_alive: bool | None,
    now: float,
) -> Judgement:
    """Decide about an endpoint that the provider lists, a lease, or both.

    Args:
        name: The endpoint's, without slug.
        exists: Whether the provider lists it.
        lease: The lease of that name, if there is one on this machine.
        namespace, provider, project: What this sweep may touch.
        api: Generation of the API that it speaks; it does not see the other's endpoints.
        owner_alive: Whether the lease's owner runs; None when that cannot be asked from here.
        now: Unix time, seconds.
    """
    if lease is not None and lease.ref.api != api:
        return Judgement("leave", f"of API {lease.ref.api}, which `--api {lease.ref.api}` sweeps")
    if lease is not None:
        return _leased(lease, exists, namespace, provider, project, owner_alive, now)
    return _unleased(name, exists, namespace, now)


def _unleased(name: str, exists: bool, namespace: str, now: float) -> Judgement:  # noqa: FBT001
    ours = EndpointName.parse(name)
    if ours is None:
        return Judgement("leave", "not ours")
    if ours.namespace != namespace:
        return Judgement("leave", f"of namespace {ours.namespace}")
    if not exists:
        return Judgement("leave", "gone")
    if now < ours.until:
        return Judgement("leave", "its time has not passed, and its lease is on another machine")
    return Judgement("end", "its time has passed")


def _leased(
    lease: Lease,
    exists: bool,  # noqa: FBT001 - as given
    namespace: str,
    provider: str,
    project: str,
    owner_alive: bool | None,  # noqa: FBT001 - as given
    now: float,
) -> Judgement:
    if (lease.namespace, lease.provider, lease.project) != (namespace, provider, project):
        whose = f"of namespace {lease.namespace}, project {lease.project} at {lease.base_url}"
        return Judgement("leave", whose)
    if owner_alive or (owner_alive is None and not lease.expired(now)):
        return Judgement("leave", f"its run is alive (process {lease.owner.pid})")
    # Without an id nobody has seen the endpoint: its create may yet take effect, so that the
    # teardown has to look for a while before the lease may be closed.
    if not exists and lease.ref.endpoint_id:
        return Judgement("close the lease", "its endpoint is gone")
    if lease.teardown == "keep":
        return Judgement("close the lease", "its run was asked to keep it")
    lost = owner_alive is None
    return Judgement("end", f"no word from {lease.owner.host}" if lost else "its owner has died")
