"""Decide what a sweep may end: endpoints of this namespace without a live owner. Pure."""

from dataclasses import dataclass
from typing import Literal

from mayfly.models.endpoint import Api, EndpointName, Observation, Phase, Use
from mayfly.models.lease import Lease

Verdict = Literal["end", "close the lease", "leave"]

IDLE_S = 1800.0
"""An endpoint without a lease that was idle for this long has no live run: the platform's own
inactivity timeout would stop it too."""

_BUSY_GPU_PERCENT = 5.0
"""GPU load above which an endpoint is in use: a single request may take longer than `IDLE_S`."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The decision on one endpoint or lease, with its reason."""

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
    silent: bool | None = None,
    seen: Observation | None = None,
    use: Use | None = None,
) -> Judgement:
    """Decide about an endpoint that the provider lists, a lease, or both.

    Args:
        name: Name of the endpoint, without slug.
        exists: Whether the provider lists it.
        lease: The lease of that name, if this machine has one.
        namespace, provider, project: The scope of this sweep.
        api: API generation of this sweep; endpoints of the other generation are not visible.
        owner_alive: Whether the lease's owner runs; None when it cannot be checked from here.
        now: Unix time by the API's clock, in seconds; by this machine's for a lease's heartbeat.
        silent: Whether an owner that cannot be checked sent no heartbeat while the sweep waited;
            None when the sweep did not wait, so that the age of the last heartbeat decides.
        seen, use: Without a lease: the endpoint's state, and its recorded use; None when they were
            not fetched.
    """
    if lease is not None and lease.ref.api != api:
        return Judgement("leave", f"API {lease.ref.api}; use `mayfly sweep --api {lease.ref.api}`")
    if lease is not None:
        if silent is None:
            silent = lease.expired(now)
        return _leased(lease, exists, namespace, provider, project, owner_alive, silent=silent)
    return _unleased(name, exists, namespace, now) or _by_use(api, seen, use)


def judge_damaged(name: str, *, exists: bool, namespace: str, silent: bool) -> Judgement:
    """Decide about an endpoint whose lease cannot be read.

    Args:
        silent: Whether the lease file has had no heartbeat for too long.
    """
    ours = EndpointName.parse(name)
    if ours is None:
        return Judgement("leave", "its lease is damaged, and its name is not one of mayfly's")
    if ours.namespace != namespace:
        return Judgement("leave", f"belongs to namespace {ours.namespace}")
    if not silent:
        return Judgement("leave", "its lease is damaged, but its run sends heartbeats")
    if not exists:
        return Judgement("close the lease", "its lease is damaged, and its endpoint was deleted")
    return Judgement("end", "its lease is damaged, and its run sends no heartbeat")


def _unleased(name: str, exists: bool, namespace: str, now: float) -> Judgement | None:  # noqa: FBT001
    """Decide by the name alone; None where that is not enough."""
    ours = EndpointName.parse(name)
    if ours is None:
        return Judgement("leave", "not created by mayfly")
    if ours.namespace != namespace:
        return Judgement("leave", f"belongs to namespace {ours.namespace}")
    if not exists:
        return Judgement("leave", "already deleted")
    return Judgement("end", "its lifetime has ended") if now >= ours.until else None


def _by_use(api: Api, seen: Observation | None, use: Use | None) -> Judgement:
    """Decide about an endpoint of this namespace whose lease may be on another machine."""
    spared = "its lifetime has not ended, and its lease may be on another machine"
    if seen is None or use is None:
        return Judgement("leave", spared)
    minutes = f"{use.span_s / 60:.0f} min"
    reasons = (
        (not seen.phase.may_bill, f"{spared}; it does not bill ({seen.short_state})"),
        (
            seen.phase is not Phase.READY and not seen.ready_replicas,
            f"{spared}; it is starting ({seen.short_state})",
        ),
        (
            use.requests is None or use.event is None,
            f"{spared}; API {api} does not report whether it is used",
        ),
        (use.requests, f"in use: {use.requests or 0:,} requests within {minutes}"),
        (use.event, f"changed within {minutes} ({use.event})"),
        (
            (use.gpu_percent or 0.0) > _BUSY_GPU_PERCENT,
            f"in use: its GPUs were busy within {minutes}",
        ),
    )
    for applies, why in reasons:
        if applies:
            return Judgement("leave", why)
    return Judgement("end", f"idle: no request and no change for {minutes}")


def _leased(
    lease: Lease,
    exists: bool,  # noqa: FBT001 - as given
    namespace: str,
    provider: str,
    project: str,
    owner_alive: bool | None,  # noqa: FBT001 - as given
    *,
    silent: bool,
) -> Judgement:
    if (lease.namespace, lease.provider, lease.project) != (namespace, provider, project):
        scope = f"namespace {lease.namespace}, project {lease.project} at {lease.base_url}"
        return Judgement("leave", f"belongs to {scope}")
    if owner_alive or (owner_alive is None and not silent):
        return Judgement(
            "leave", f"its run is alive (process {lease.owner.pid} on {lease.owner.host})"
        )
    # Without an id the create was never confirmed and may still take effect: the teardown has to
    # poll for a while before the lease may be closed.
    if not exists and lease.ref.endpoint_id:
        return Judgement("close the lease", "its endpoint was deleted")
    if lease.teardown == "keep":
        return Judgement("close the lease", "its run was started with --teardown keep")
    unknown = owner_alive is None
    return Judgement(
        "end", f"no heartbeat from {lease.owner.host}" if unknown else "its run has died"
    )
