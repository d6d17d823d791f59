"""The guardian process by itself: resources, signals, release."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mayfly.endpoints.guardian import Guardian
from mayfly.models.errors import TerminalError
from tests.support.wait import wait_until

MB = 1_000_000


@pytest.fixture
def lease(tmp_path: Path) -> Path:
    """Where a lease would be; this process plays the flow."""
    folder = tmp_path / "leases"
    folder.mkdir()
    return folder / "mayfly-tests-0123456789-6b067ea5.json"


@pytest.fixture
def guardian(lease: Path) -> Iterator[Guardian]:
    """A guardian that waits."""
    guardian = Guardian.arm(lease, {})
    yield guardian
    if guardian.alive():
        guardian.release()


def test_guardian_that_waits_uses_little_memory(guardian: Guardian) -> None:
    process = psutil.Process(guardian.pid)
    own = process.memory_full_info().uss

    assert own < 20 * MB
    assert process.num_threads() == 1


def test_guardian_survives_terminal_signals(guardian: Guardian) -> None:
    assert os.getsid(guardian.pid) == guardian.pid

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        os.kill(guardian.pid, number)

    # It has received all of them by the time that it reacts to another signal.
    os.kill(guardian.pid, signal.SIGSTOP)
    process = psutil.Process(guardian.pid)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "stopped process")
    os.kill(guardian.pid, signal.SIGCONT)
    assert guardian.alive()


def test_guardian_that_is_released_ends_without_a_call(guardian: Guardian, lease: Path) -> None:
    guardian.release()

    assert not guardian.alive()
    assert (lease.parent / "guardian.log").read_bytes() == b""


def test_guardian_that_cannot_start_prevents_create(tmp_path: Path) -> None:
    with pytest.raises(TerminalError, match="nothing was created"):
        Guardian.arm(tmp_path / "nowhere" / "lease.json", {})
