"""The guardian acts on a death, on missing heartbeats, and without a readable lease."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil
import pytest

from mayfly.endpoints.process_liveness import this_process
from mayfly.models.lease import Lease
from mayfly.storage.lease_store import LeaseStore
from tests.support.control_plane import NAME, EmulatedService, emulated_service
from tests.support.leases import lease_on
from tests.support.machine import quick_emulator
from tests.support.wait import wait_until

FLOW = """
import os, sys, time
from pathlib import Path
from mayfly.endpoints.guardian import Guardian

path, record, hang_s, beats = sys.argv[1:]
guardian = Guardian.arm(Path(path), {}, record=record.encode(), hang_s=float(hang_s))
print(guardian.pid, flush=True)
while True:
    if beats == "beats":
        guardian.beat()
    time.sleep(0.1)
"""
"""A flow reduced to its guardian: it beats, or it hangs, and does not end by itself."""


@dataclass
class Rented:
    """An endpoint with its lease.

    Attributes:
        started: The flows that were started, and their guardians.
    """

    service: EmulatedService
    store: LeaseStore
    lease: Lease
    started: list[psutil.Process] = field(default_factory=list)

    @property
    def gone(self) -> bool:
        """Whether nothing of it exists any more."""
        return self.service.made() == 0

    def flow(self, *, hang_s: float, beats: bool = True) -> tuple[subprocess.Popen[bytes], int]:
        """Start a flow with a guardian; return it and the guardian's process id."""
        env = {
            **os.environ,
            "TOGETHER_API_KEY": self.service.emulator.key,
            "TOGETHER_BASE_URL": self.service.url,
        }
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", FLOW, str(self.store.path(self.lease.name))),
                *(orjson.dumps(self.lease.as_dict()).decode(), str(hang_s)),
                "beats" if beats else "silent",
            ],
            stdout=subprocess.PIPE,
            env=env,
        )
        assert process.stdout is not None
        self.started.append(psutil.Process(process.pid))
        guardian = int(process.stdout.readline())
        self.started.append(psutil.Process(guardian))
        return process, guardian

    def end_processes(self) -> None:
        """End what a test has left: a guardian would try for an hour to reach the emulator."""
        for process in self.started:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(self.started, timeout=20)


@pytest.fixture
def rented(tmp_path: Path) -> Iterator[Rented]:
    with quick_emulator() as emulator, emulated_service("v2", emulator) as service:
        ref = service.plane.create(service.spec(NAME))
        lease = lease_on(service, ref, owner=this_process(), at=time.time())
        store = LeaseStore(tmp_path / "home")
        store.open(lease)
        rented = Rented(service, store, lease)
        try:
            yield rented
        finally:
            rented.end_processes()


def end(process: subprocess.Popen[bytes]) -> None:
    """End a flow, stopped or not."""
    process.kill()
    process.wait(20)
    assert process.stdout is not None
    process.stdout.close()


def test_guardian_ends_endpoint_of_a_hung_unkillable_run(rented: Rented) -> None:
    process, _ = rented.flow(hang_s=2.5)
    time.sleep(3.5)
    assert not rented.gone, "deleted although its run gave heartbeats"

    process.send_signal(signal.SIGSTOP)

    wait_until(lambda: rented.gone, "deletion by the guardian after missing heartbeats")
    wait_until(lambda: rented.store.list().open == (), "closed lease")
    end(process)


def test_guardian_acts_when_the_lease_is_lost(rented: Rented) -> None:
    process, _ = rented.flow(hang_s=60.0)
    rented.store.path(rented.lease.name).unlink()

    end(process)

    wait_until(lambda: rented.gone, "deletion by the guardian without the lease")


def test_guardian_acts_when_the_lease_is_damaged(rented: Rented) -> None:
    process, _ = rented.flow(hang_s=60.0)
    rented.store.path(rented.lease.name).write_bytes(b"{")

    end(process)

    wait_until(lambda: rented.gone, "deletion by the guardian from the run's record")


def test_guardian_ignores_time_in_which_it_was_stopped(rented: Rented) -> None:
    process, guardian = rented.flow(hang_s=3.0)
    for number in (process.pid, guardian):
        os.kill(number, signal.SIGSTOP)
    stopped = psutil.Process(guardian)
    wait_until(lambda: stopped.status() == psutil.STATUS_STOPPED, "stopped process")
    time.sleep(5)

    # As a machine that was suspended wakes up: the guardian a moment before its run.
    os.kill(guardian, signal.SIGCONT)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGCONT)
    time.sleep(3)

    assert not rented.gone
    end(process)
    wait_until(lambda: rented.gone, "deletion by the guardian after the death")
