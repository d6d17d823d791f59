"""The sweep over a shuffled set of endpoints: ours without a live owner end, others stay."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mayfly.endpoints.process_liveness import this_process
from mayfly.endpoints.sweep import sweep
from mayfly.models.endpoint import EndpointName, EndpointRef, EndpointSpec
from mayfly.models.lease import Lease, Owner
from mayfly.models.offers import Offer
from mayfly.storage.lease_store import LeaseStore
from mayfly.together.connection import Connection
from mayfly.together.control_plane import ControlPlane
from mayfly.together.factory import connect
from tests.support.machine import MODEL
from together_emulator import Emulator, FaultRule, ManualClock

DEAD = Owner(host=this_process().host, pid=2**22 + 1, started_at=1.0, user="nobody")
ELSEWHERE = replace(DEAD, host="elsewhere")


@dataclass(frozen=True)
class Figure:
    """One endpoint or lease.

    Attributes:
        owner: Of its lease; None when there is no lease on this machine.
        ends: Whether a sweep may, and has to, end it.
    """

    ends: bool
    owner: Owner | None = None
    namespace: str = "default"
    project: str = ""
    age_s: float = 0.0
    overdue: bool = False
    name: str = ""
    half_deleted: bool = False
    teardown: str = "delete"


FIGURES = {
    "live": Figure(ends=False, owner=this_process()),
    "live and overdue": Figure(ends=False, owner=this_process(), overdue=True),
    "dead": Figure(ends=True, owner=DEAD),
    "dead, without its deployment": Figure(ends=True, owner=DEAD, half_deleted=True),
    "dead, kept as asked": Figure(ends=False, owner=DEAD, teardown="keep"),
    "elsewhere, fresh": Figure(ends=False, owner=ELSEWHERE),
    "elsewhere, silent": Figure(ends=True, owner=ELSEWHERE, age_s=600.0),
    "no lease, in time": Figure(ends=False),
    "no lease, overdue": Figure(ends=True, overdue=True),
    "no lease, overdue, without its deployment": Figure(ends=True, overdue=True, half_deleted=True),
    "another namespace": Figure(ends=False, namespace="other", overdue=True),
    "another namespace's lease": Figure(ends=False, owner=DEAD, namespace="other"),
    "another project's lease": Figure(ends=False, owner=DEAD, project="proj_other"),
    "not ours": Figure(ends=False, name="production-chat"),
    "nearly ours": Figure(ends=False, name="mayfly-default-0123456789"),
}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """A server on a manual clock; stops take no time."""
    with Emulator(clock=ManualClock(), schedule_s=0, start_factor=0, drain_s=0) as server:
        yield server


@pytest.fixture(scope="module")
def connection(emulator: Emulator) -> Connection:
    """The way to it."""
    return Connection.from_env(
        {"TOGETHER_API_KEY": emulator.key, "TOGETHER_BASE_URL": emulator.url}
    )


@pytest.fixture(scope="module")
def plane(connection: Connection) -> Iterator[ControlPlane]:
    """Its control plane."""
    with connect("v2", connection) as plane:
        yield plane


@pytest.fixture(scope="module")
def offer(plane: ControlPlane) -> Offer:
    """What to rent."""
    return plane.offers(MODEL)[0]


def create_endpoint(
    plane: ControlPlane, store: LeaseStore, connection: Connection, offer: Offer, at: int, kind: str
) -> EndpointRef:
    """Create an endpoint of one kind, with its lease."""
    figure = FIGURES[kind]
    now = time.time()
    until = int(now) + (-60 if figure.overdue else 3600) + at
    ours = EndpointName(namespace=figure.namespace, job=f"{at:010x}", until=until)
    spec = EndpointSpec(
        name=f"{figure.name}-{at}" if figure.name else str(ours),
        model=MODEL,
        hardware=offer.hardware,
        price_usd_per_h=offer.price_usd_per_h,
        model_ref=offer.model_ref,
        config_ref=offer.config_ref,
    )
    ref = plane.create(spec)
    if figure.owner is not None:
        lease = Lease(
            ref=ref,
            provider=connection.provider,
            base_url=connection.base_url,
            project=figure.project or plane.project,
            namespace=figure.namespace,
            run=kind,
            owner=figure.owner,
            opened_at=now - 3600,
            heartbeat_at=now - figure.age_s,
            teardown=figure.teardown,  # type: ignore[arg-type]
        )
        store.open(lease)
    return ref


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kinds=st.permutations(sorted(FIGURES)), most=st.integers(1, len(FIGURES)))
def test_sweep_ends_own_orphaned_endpoints_only(
    emulator: Emulator,
    plane: ControlPlane,
    connection: Connection,
    offer: Offer,
    tmp_path: Path,
    kinds: list[str],
    most: int,
) -> None:
    emulator.vanish()
    store = LeaseStore(tmp_path / os.urandom(4).hex())
    kinds = kinds[:most]
    refs = [
        create_endpoint(plane, store, connection, offer, at, kind)
        for at, kind in enumerate(kinds, start=1)
    ]
    for kind, ref in zip(kinds, refs, strict=True):
        if FIGURES[kind].half_deleted:
            half_delete(emulator, plane, ref)

    dry = sweep(plane, store, connection, dry_run=True, watch_s=0)
    assert len(emulator.endpoints()) == len(refs)
    report = sweep(plane, store, connection, dry_run=False, watch_s=0)

    left = {name.rsplit("/", 1)[-1] for name in emulator.endpoints()}
    expected = {ref.name for kind, ref in zip(kinds, refs, strict=True) if not FIGURES[kind].ends}
    assert left == expected
    assert report.failed == []
    assert report.ended == len(refs) - len(expected)
    assert sum(e["done"] == "would be ended" for e in dry.found) == report.ended
    # And again there is nothing left to do.
    assert sweep(plane, store, connection, dry_run=False, watch_s=0).ended == 0


def half_delete(emulator: Emulator, plane: ControlPlane, ref: EndpointRef) -> None:
    """Delete an endpoint but for the last call of the deletion."""
    plane.stop(ref)
    emulator.clock.advance(10)
    emulator.use_faults(
        FaultRule(action="status", status=500, method="DELETE", path="/endpoints/[^/]+$")
    )
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(Exception, match="500"))
        plane.delete(ref)
    emulator.use_faults()


def test_sweep_reports_what_it_cannot_end_and_keeps_its_lease(
    emulator: Emulator,
    plane: ControlPlane,
    connection: Connection,
    offer: Offer,
    tmp_path: Path,
) -> None:
    emulator.vanish()
    store = LeaseStore(tmp_path)
    create_endpoint(plane, store, connection, offer, 1, "dead")
    create_endpoint(plane, store, connection, offer, 2, "no lease, overdue")
    emulator.use_faults(FaultRule(action="status", status=500, method="PATCH"))

    report = sweep(plane, store, connection, dry_run=False, watch_s=0, budget_s=1.0)

    emulator.use_faults()
    assert len(report.failed) == 2
    assert all("may still bill" in line for line in report.failed)
    assert len(store.list().open) == 1
