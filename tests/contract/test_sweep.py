"""A sweep from a machine that has only the key finds our endpoints, by either generation."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mayfly.clock import SystemClock
from mayfly.endpoints.sweep import sweep, sweep_all
from mayfly.endpoints.sweep_policy import IDLE_S
from mayfly.models.endpoint import Api, EndpointName, EndpointRef
from mayfly.models.lease import Owner
from mayfly.storage.lease_store import LeaseStore
from tests.support.control_plane import EmulatedService, connection, emulated_service
from tests.support.leases import lease_on
from together_emulator import Emulator, FaultRule, ManualClock

PAST, FUTURE = 0x10000000, 0x7FFFFFFF


def name(namespace: str, until: int) -> str:
    """Return the name of an endpoint of some job."""
    return str(EndpointName(namespace=namespace, job="0123456789", until=until))


def test_sweep_ends_own_expired_endpoints_only(api: Api, tmp_path: Path) -> None:
    left = {name("contract", FUTURE), name("others", PAST), "a-users-own"}
    with (
        Emulator(speed=120, v1_create=True) as emulator,
        emulated_service(api, emulator) as service,
    ):
        for each in (name("contract", PAST), *left):
            service.plane.create(service.spec(each))
        emulator.clock.advance(400)
        # Another plane, of another machine: it knows no ids and no leases.
        with emulated_service(api, emulator) as remote_owner:
            store, there = LeaseStore(tmp_path), connection(emulator.url)
            would = sweep(remote_owner.plane, store, there, dry_run=True)
            before = remote_owner.made()
            did = sweep(remote_owner.plane, store, there, dry_run=False)
            again = sweep(remote_owner.plane, store, there, dry_run=False)

            assert before == 4
            assert [e["name"] for e in would.found if e["verdict"] == "end"] == [
                name("contract", PAST)
            ]
            assert (did.ended, did.failed) == (1, [])
            assert again.ended == 0
            assert remote_owner.made() == 3


ORPHAN = name("contract", FUTURE)
"""Of ours, with hours to go by its name, and no lease on this machine."""


def use_endpoint(service: EmulatedService, ref: EndpointRef) -> None:
    """Send one request, as a live run does all the time."""
    reply = httpx.post(
        f"{service.plane.inference_url}/chat/completions",
        headers={"authorization": f"Bearer {service.emulator.key}"},
        json={"model": ref.inference_name, "messages": [{"role": "user", "content": "Hello"}]},
        trust_env=False,
    )
    assert reply.status_code == 200, reply.text


@pytest.fixture
def v2() -> Iterator[EmulatedService]:
    with (
        Emulator(clock=ManualClock(), v1_create=True) as emulator,
        emulated_service("v2", emulator) as service,
    ):
        yield service


def swept(service: EmulatedService, home: Path) -> dict[str, Any]:
    """Sweep both generations from a machine that has nothing but the key."""
    report = sweep_all(connection(service.url), LeaseStore(home), dry_run=False)
    assert report.failed == report.damaged == []
    return {entry["name"]: entry for entry in report.found}


def test_sweep_ends_idle_orphan_by_recorded_use(v2: EmulatedService, tmp_path: Path) -> None:
    use_endpoint(v2, v2.serve(v2.spec(ORPHAN, inactive_timeout_min=600)))
    v2.emulator.clock.advance(IDLE_S + 60)

    entry = swept_with_time(v2, tmp_path)[ORPHAN]

    assert entry["done"] == "ended"
    assert "no request and no change for 30 min" in entry["why"]
    assert v2.made() == 0


def swept_with_time(service: EmulatedService, home: Path) -> dict[str, Any]:
    """Sweep while the emulator's clock advances."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(0.05):
            service.emulator.clock.advance(10)

    ticking = threading.Thread(target=tick)
    ticking.start()
    try:
        return swept(service, home)
    finally:
        over.set()
        ticking.join()


def test_sweep_spares_endpoint_in_use_and_says_why(v2: EmulatedService, tmp_path: Path) -> None:
    ref = v2.serve(v2.spec(ORPHAN, inactive_timeout_min=600))
    v2.emulator.clock.advance(IDLE_S + 60)
    use_endpoint(v2, ref)
    v2.emulator.clock.advance(60)

    entry = swept(v2, tmp_path)[ORPHAN]

    assert (entry["done"], entry["why"]) == ("left", "in use: 1 requests within 30 min")


def test_sweep_spares_endpoint_that_just_became_ready(v2: EmulatedService, tmp_path: Path) -> None:
    v2.serve(v2.spec(ORPHAN))

    entry = swept(v2, tmp_path)[ORPHAN]

    assert entry["done"] == "left"
    assert "changed within 30 min" in entry["why"]


def test_sweep_spares_starting_endpoint(v2: EmulatedService, tmp_path: Path) -> None:
    v2.plane.create(v2.spec(ORPHAN))

    assert "it is starting" in swept(v2, tmp_path)[ORPHAN]["why"]


def test_sweep_spares_v1_endpoint_until_it_expires(v2: EmulatedService, tmp_path: Path) -> None:
    with emulated_service("v1", v2.emulator) as old:
        old.serve(old.spec(ORPHAN, inactive_timeout_min=600))
        v2.emulator.clock.advance(IDLE_S + 60)

        entry = swept(v2, tmp_path)[ORPHAN]

    assert entry["api"] == "v1"
    assert "API v1 does not report whether it is used" in entry["why"]


def test_sweep_ends_orphans_of_both_generations(tmp_path: Path) -> None:
    with Emulator(speed=120, v1_create=True) as emulator:
        for api in ("v1", "v2"):
            with emulated_service(api, emulator) as service:
                service.plane.create(service.spec(name("contract", PAST + (api == "v1"))))

        report = sweep_all(connection(emulator.url), LeaseStore(tmp_path), dry_run=False)

        assert {entry["api"] for entry in report.found if entry["done"] == "ended"} == {"v1", "v2"}
        assert emulator.endpoints() == []


def test_sweep_reports_unavailable_generation_and_covers_the_other(
    v2: EmulatedService, tmp_path: Path
) -> None:
    v2.emulator.use_faults(FaultRule(action="status", path="^/v1/endpoints", status=404))

    report = sweep_all(connection(v2.url), LeaseStore(tmp_path), dry_run=False)

    assert report.failed == []
    assert any(note.startswith("API v1 was not swept") for note in report.notes)


def test_sweep_ends_endpoint_of_damaged_lease_without_heartbeat(
    tmp_path: Path,
) -> None:
    with (
        Emulator(speed=120, v1_create=True) as emulator,
        emulated_service("v2", emulator) as service,
    ):
        service.plane.create(service.spec(ORPHAN))
        store = LeaseStore(tmp_path)
        store.folder.mkdir()
        store.path(ORPHAN).write_bytes(b'{"ref": {"na')
        fresh = sweep(service.plane, store, connection(service.url), dry_run=False, watch_s=0)
        os.utime(store.path(ORPHAN), (1e9, 1e9))

        report = sweep(service.plane, store, connection(service.url), dry_run=False, watch_s=0)

        assert [entry["done"] for entry in fresh.found] == ["left"]
        assert [entry["done"] for entry in report.found] == ["ended"]
        assert report.damaged == []
        assert not store.path(ORPHAN).exists()
        assert service.made() == 0


class NoWait(SystemClock):
    """A clock whose sleeps take no time.

    Args:
        meanwhile: Called instead.
    """

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile

    def sleep(self, seconds: float) -> None:
        """Return at once."""
        del seconds
        self._meanwhile()


def test_sweep_spares_lease_of_another_machine_with_heartbeat(tmp_path: Path) -> None:
    # Its clock is an hour behind: the age of its heartbeats says nothing.
    with (
        Emulator(speed=120, v1_create=True) as emulator,
        emulated_service("v2", emulator) as service,
    ):
        ref = service.plane.create(service.spec(ORPHAN))
        behind = time.time() - 3600
        remote_owner = Owner(host="twin", pid=1, started_at=1.0, user="me", boot_id="another")
        lease = lease_on(service, ref, owner=remote_owner, at=behind)
        store = LeaseStore(tmp_path)
        store.open(lease)

        there = connection(service.url)

        def beats() -> None:
            LeaseStore(tmp_path).renew(lease, behind + 15)

        spared = sweep(service.plane, store, there, dry_run=False, clock=NoWait(beats))
        ended = sweep(service.plane, store, there, dry_run=False, clock=NoWait(lambda: None))

        assert [entry["done"] for entry in spared.found] == ["left"]
        assert [entry["done"] for entry in ended.found] == ["ended"]
