"""What a sweep may end: ours, without a live owner; and nothing else."""

from dataclasses import dataclass
from typing import Literal

from mayfly.models.endpoint import Api, EndpointName, Observation, Phase, Use
from mayfly.models.lease import Lease

Verdict = Literal["end", "close the lease", "leave"]

IDLE_S = 1800.0
"""Without a lease, an endpoint on which the API has seen nothing for so long has no live run: the
platform's own inactivity timeout would stop it too."""

_BUSY_GPU_PERCENT = 5.0
"""A request that takes longer than `IDLE_S` keeps the GPUs busy."""


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
    silent: bool | None = None,
    seen: Observation | None = None,
    use: Use | None = None,
) -> Judgement:
    """Decide about an endpoint that the provider lists, a lease, or both.

    Args:
        name: The endpoint's, without slug.
        exists: Whether the provider lists it.
        lease: The lease of that name, if there is one on this machine.
        namespace, provider, project: What this sweep may touch.
        api: Generation of the API that it speaks; it does not see the other's endpoints.
        owner_alive: Whether the lease's owner runs; None when that cannot be asked from here.
        now: Unix time by the API's clock, seconds; by this machine's for a lease's heartbeat.
        silent: Whether an owner that cannot be asked has given no heartbeat while it was watched;
            None when it was not, so that the last heartbeat's age decides.
        seen, use: Without a lease: the endpoint as it is, and what the API has recorded of its
            use; None when that was not asked.
    """
    if lease is not None and lease.ref.api != api:
        return Judgement("leave", f"of API {lease.ref.api}, which `--api {lease.ref.api}` sweeps")
    if lease is not None:
        if silent is None:
            silent = lease.expired(now)
        return _leased(lease, exists, namespace, provider, project, owner_alive, silent=silent)
    return _unleased(name, exists, namespace, now) or _by_use(api, seen, use)


def judge_damaged(name: str, *, exists: bool, namespace: str, silent: bool) -> Judgement:
    """Decide about an endpoint whose lease cannot be read.

    Args:
        silent: Whether the lease's file has had no heartbeat for too long to believe in.
    """
    ours = EndpointName.parse(name)
    if ours is None:
        return Judgement("leave", "its lease is damaged, and it does not carry mayfly's name")
    if ours.namespace != namespace:
        return Judgement("leave", f"of namespace {ours.namespace}")
    if not silent:
        return Judgement("leave", "its lease is damaged, and its run gives heartbeats")
    if not exists:
        return Judgement("close the lease", "its lease is damaged, and its endpoint is gone")
    return Judgement("end", "its lease is damaged, and its run gives no heartbeat")


def _unleased(name: str, exists: bool, namespace: str, now: float) -> Judgement | None:  # noqa: FBT001
    """Decide by the name alone; None where that is not enough."""
    ours = EndpointName.parse(name)
    if ours is None:
        return Judgement("leave", "not ours")
    if ours.namespace != namespace:
        return Judgement("leave", f"of namespace {ours.namespace}")
    if not exists:
        return Judgement("leave", "gone")
    return Judgement("end", "its time has passed") if now >= ours.until else None


def _by_use(api: Api, seen: Observation | None, use: Use | None) -> Judgement:
    """Decide about one of ours whose lease is on another machine, if there is one at all."""
    spared = "its time has not passed, and its lease may be on another machine"
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
            f"{spared}; API {api} does not say whether it is used",
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
    return Judgement("end", f"idle: the API has seen no request and no change for {minutes}")


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
        whose = f"of namespace {lease.namespace}, project {lease.project} at {lease.base_url}"
        return Judgement("leave", whose)
    if owner_alive or (owner_alive is None and not silent):
        return Judgement(
            "leave", f"its run is alive (process {lease.owner.pid} on {lease.owner.host})"
        )
    # Without an id nobody has seen the endpoint: its create may yet take effect, so that the
    # teardown has to look for a while before the lease may be closed.
    if not exists and lease.ref.endpoint_id:
        return Judgement("close the lease", "its endpoint is gone")
    if lease.teardown == "keep":
        return Judgement("close the lease", "its run was asked to keep it")
    lost = owner_alive is None
    return Judgement(
        "end", f"no heartbeat from {lease.owner.host}" if lost else "its owner has died"
    )
