"""Fallbacks for system calls that only Linux has: file sync and process watch."""

import os
from pathlib import Path

import pytest

from mayfly.system import System

PORTABLE = System.of({"MAYFLY_SYSTEM": "portable"})
UNKNOWN = 99_999
"""A command of fcntl that is refused, as F_FULLFSYNC is on a network's file system."""


def test_file_is_synced_without_fdatasync(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.write(b"data")
        file.flush()
        PORTABLE.sync(file.fileno(), data_only=True)

    assert PORTABLE.sync_data is os.fsync


def test_refused_full_sync_falls_back_to_fsync(tmp_path: Path) -> None:
    synced: list[int] = []
    with (tmp_path / "file").open("wb") as file:
        system = System(full_sync=UNKNOWN, sync_data=synced.append)
        system.sync(file.fileno(), data_only=True)

        assert synced == [file.fileno()]


def test_file_that_cannot_be_synced_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        System(full_sync=UNKNOWN).sync(99_999)


def test_process_is_not_watched_by_pidfd_where_unsupported() -> None:
    assert PORTABLE.watch(os.getpid()) is None


def test_forbidden_pidfd_is_treated_as_unsupported() -> None:
    def forbidden(_pid: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    assert System(pidfd_open=forbidden).watch(os.getpid()) is None


@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="needs fdatasync")
def test_linux_syncs_data_only() -> None:
    assert System.of({}).sync_data is os.fdatasync
