"""What a sweep may end: our endpoints without a live owner, and no others."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mayfly.endpoints.sweep_policy import Judgement, judge
from mayfly.models.endpoint import Api, EndpointName, EndpointRef
from mayfly.models.lease import EXPIRY_S, Lease, Owner

NOW = 1_800_000_000.0
HERE = {"namespace": "default", "provider": "api.example", "project": "proj_a"}
"""What the sweep may touch."""

NAME = str(EndpointName(namespace="default", job="0" * 10, until=int(NOW) + 60))

LEASE = Lease(
    ref=EndpointRef(api="v2", name=NAME, endpoint_id="ep_1"),
    namespace="default",
    provider="api.example",
    project="proj_a",
    base_url="https://api.example",
    run="run",
    owner=Owner(host="here", pid=1, started_at=0.0, user="me"),
    opened_at=NOW - 600,
    heartbeat_at=NOW - 600,
)


def judged(
    lease: Lease | None = LEASE,
    *,
    name: str = NAME,
    exists: bool = True,
    owner_alive: bool | None = False,
    api: Api = "v2",
) -> Judgement:
    return judge(
        name=name,
        exists=exists,
        lease=lease,
        namespace=HERE["namespace"],
        provider=HERE["provider"],
        project=HERE["project"],
        api=api,
        owner_alive=owner_alive,
        now=NOW,
    )


leases = st.builds(
    lambda changes, ref: replace(LEASE, ref=replace(LEASE.ref, **ref), **changes),
    changes=st.fixed_dictionaries(
        {
            "namespace": st.sampled_from(["default", "other"]),
            "provider": st.sampled_from(["api.example", "loopback"]),
            "project": st.sampled_from(["proj_a", "proj_b"]),
            "heartbeat_at": st.floats(NOW - 3 * EXPIRY_S, NOW),
            "teardown": st.sampled_from(["delete", "stop", "keep"]),
        }
    ),
    ref=st.fixed_dictionaries(
        {"endpoint_id": st.sampled_from(["", "ep_1"]), "api": st.sampled_from(["v1", "v2"])}
    ),
)
alive = st.sampled_from([True, False, None])


@given(lease=leases, exists=st.booleans())
def test_endpoint_of_live_owner_is_spared(lease: Lease, exists: bool) -> None:
    assert judged(lease, exists=exists, owner_alive=True).verdict == "leave"


@given(lease=leases, exists=st.booleans(), owner_alive=alive)
def test_endpoint_of_other_namespace_project_provider_or_api_is_spared(
    lease: Lease, exists: bool, owner_alive: bool | None
) -> None:
    mine = (lease.namespace, lease.provider, lease.project) == tuple(HERE.values())

    verdict = judged(lease, exists=exists, owner_alive=owner_alive).verdict

    assert verdict == "leave" or (mine and lease.ref.api == "v2")


@given(lease=leases)
def test_remote_owner_is_alive_until_its_heartbeat_expires(lease: Lease) -> None:
    if judged(lease, owner_alive=None).verdict != "leave":
        assert NOW - lease.heartbeat_at > EXPIRY_S


@given(until=st.integers(0, 2**32 - 1), namespace=st.sampled_from(["default", "other"]))
def test_endpoint_without_lease_is_ended_only_if_ours_and_expired(
    until: int, namespace: str
) -> None:
    name = str(EndpointName(namespace=namespace, job="a" * 10, until=until))

    ends = judged(None, name=name).verdict == "end"

    assert ends == (namespace == "default" and until <= NOW)


@given(name=st.text("abcdefghijklmnopqrstuvwxyz0123456789-", max_size=40))
def test_endpoint_without_our_name_is_spared(name: str) -> None:
    if EndpointName.parse(name) is None:
        assert judged(None, name=name).verdict == "leave"


def test_endpoint_of_dead_owner_is_ended() -> None:
    assert judged().verdict == "end"


def test_lease_is_closed_when_its_seen_endpoint_is_deleted() -> None:
    assert judged(exists=False).verdict == "close the lease"


def test_lease_of_unseen_endpoint_is_closed_only_after_a_search() -> None:
    unseen = replace(LEASE, ref=replace(LEASE.ref, endpoint_id=""))

    assert judged(unseen, exists=False).verdict == "end"


def test_kept_endpoint_is_spared() -> None:
    assert judged(replace(LEASE, teardown="keep")).verdict == "close the lease"
