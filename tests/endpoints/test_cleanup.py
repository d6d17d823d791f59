"""Whoever ends the endpoint of a dead run waits for a create that may still take effect."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.clock import Clock
from mayfly.endpoints.cleanup import end_on
from mayfly.endpoints.sweep import sweep
from mayfly.models.endpoint import EndpointRef
from mayfly.models.lease import Lease, Owner
from mayfly.storage.lease_store import LeaseStore
from tests.support.control_plane import NAME, EmulatedService, connection, emulated_service
from tests.support.leases import lease_on
from together_emulator import Emulator, FaultRule, ManualClock

LATE_S = 40.0
"""When the create takes effect, after the death of the run that sent it."""

SILENT_S = 31.0
"""Age of the last heartbeat: a sweep takes a more recent one for a live run's."""

DEAD = Owner(host="elsewhere", pid=1, started_at=1.0, user="me", boot_id="another")


class SetClock:
    """A clock that was set by some seconds after the last heartbeat, over an emulator's.

    Args:
        late: Called once, when `LATE_S` have passed.
    """

    def __init__(self, emulator: Emulator, step_s: float, late: Callable[[], object]) -> None:
        self._emulator, self._step_s, self._late = emulator, step_s, late
        self._elapsed_s, self._called = 0.0, False

    def time(self) -> float:
        """Return Unix time, off by the step."""
        return time.time() + self._step_s + self._elapsed_s

    def monotonic(self) -> float:
        """Return the seconds slept."""
        return self._elapsed_s

    def sleep(self, seconds: float) -> None:
        """Let the emulator's time pass too."""
        self._elapsed_s += seconds
        self._emulator.clock.advance(seconds)
        if self._elapsed_s >= LATE_S and not self._called:
            self._called = True
            self._late()


def end(service: EmulatedService, lease: Lease, store: LeaseStore, clock: Clock) -> None:
    """End the endpoint as guardian, hook and the next run do."""
    end_on(service.plane, lease, line="guardian", store=store, budget_s=900, clock=clock)


def end_by_sweep(service: EmulatedService, lease: Lease, store: LeaseStore, clock: Clock) -> None:
    """End the endpoint as a sweep on another machine does, which cannot see the run."""
    del lease
    there = connection(service.url)
    sweep(service.plane, store, there, dry_run=False, watch_s=0, budget_s=900, clock=clock)


@pytest.mark.parametrize("ending", [end, end_by_sweep])
def test_endpoint_that_was_never_shown_is_waited_for_and_ended(
    ending: Callable[[EmulatedService, Lease, LeaseStore, Clock], None], tmp_path: Path
) -> None:
    with (
        Emulator(clock=ManualClock()) as emulator,
        emulated_service("v2", emulator) as service,
    ):
        ref = service.serve()
        lease = lease_on(service, ref, owner=DEAD, at=time.time() - SILENT_S)
        lease = replace(lease, unseen=True)
        store = LeaseStore(tmp_path)
        store.open(lease)
        hidden = r"/endpoints/[^/]+$"
        emulator.use_faults(
            FaultRule(action="status", method="GET", path=hidden, status=404, first=3)
        )

        ending(service, lease, store, SetClock(emulator, 0.0, lambda: None))

        assert service.made() == 0
        assert not store.path(ref.name).exists()


@pytest.mark.parametrize("step_s", [-90_000.0, 0.0, 90_000.0])
@pytest.mark.parametrize("ending", [end, end_by_sweep])
def test_late_create_is_found_and_ended_when_the_clock_was_set(
    ending: Callable[[EmulatedService, Lease, LeaseStore, Clock], None],
    step_s: float,
    tmp_path: Path,
) -> None:
    with (
        Emulator(clock=ManualClock()) as emulator,
        emulated_service("v2", emulator) as service,
        emulated_service("v2", emulator) as run,
    ):
        unseen = EndpointRef(api="v2", name=NAME)
        lease = lease_on(service, unseen, owner=DEAD, at=time.time() - SILENT_S)
        store = LeaseStore(tmp_path)
        store.open(lease)
        created: list[EndpointRef] = []
        clock = SetClock(emulator, step_s, lambda: created.append(run.plane.create(run.spec(NAME))))

        ending(service, lease, store, clock)

        assert [ref.name for ref in created] == [NAME]
        assert service.made() == 0
        assert store.list().open == ()


def test_endpoint_with_an_id_that_does_not_exist_takes_no_search(tmp_path: Path) -> None:
    with Emulator(clock=ManualClock()) as emulator, emulated_service("v2", emulator) as service:
        ref = service.plane.create(service.spec(NAME))
        service.tear_down(ref)
        lease = lease_on(service, ref, owner=DEAD, at=time.time())
        store = LeaseStore(tmp_path)
        store.open(lease)
        clock = SetClock(emulator, 0.0, lambda: None)

        end(service, lease, store, clock)

        assert clock.monotonic() < 1
        assert store.list().open == ()
