"""Heartbeats show that a run makes progress: they stop when its main thread does."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.endpoints.guardian import Guardian
from mayfly.endpoints.heartbeat import STALL_S, Heartbeat
from mayfly.models.lease import Lease
from mayfly.storage.lease_store import LeaseStore
from tests.support.leases import lease_of


class Clock:
    """A clock that is moved by the test."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def lease() -> Lease:
    return lease_of()


def unarmed(_record: bytes) -> Guardian:
    raise AssertionError("no guardian is wanted here")


def test_stalled_run_gives_no_heartbeat(tmp_path: Path, lease: Lease) -> None:
    clock, store = Clock(), LeaseStore(tmp_path)
    store.open(lease)
    heart = Heartbeat(lease, store, unarmed, print, now=clock, clock=clock)

    clock.now_s += STALL_S - 1
    heart.beat_lease()
    moving = store.heartbeat(lease.name)
    clock.now_s += 2
    heart.beat_lease()
    stalled = store.heartbeat(lease.name)
    heart.moved()
    heart.beat_lease()

    assert moving == 1000.0 + STALL_S - 1
    assert stalled == moving
    assert store.heartbeat(lease.name) == clock.now_s


def test_hung_output_disk_does_not_delay_heartbeats(tmp_path: Path, lease: Lease) -> None:
    # A pipe without a reader hangs as such a disk does: on open.
    kept = tmp_path / "out" / "_mayfly"
    kept.mkdir(parents=True)
    store = LeaseStore(tmp_path / "home", copy_s=0.2)
    hung = replace(lease, output=str(tmp_path / "out"))
    store.open(hung)
    (kept / "lease.json").unlink()
    os.mkfifo(kept / "lease.json")
    began = time.monotonic()

    store.update(hung)
    store.renew(hung, 2000.0)
    store.close(hung)

    assert time.monotonic() - began < 5
    assert store.list().open == ()
